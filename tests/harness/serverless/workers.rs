//! Cloudflare's side of functions: its runtime `workerd`, configured as the platform would.
//!
//! Every function is a service of its own, as its wrangler configuration describes it: that is turned into
//! the runtime's own here, with the bindings that are declared there. A small Worker before them passes
//! requests on by their routes, and another, on a socket of its own, is the platform's clock: it calls
//! what a cron trigger would, where there is one. `fetch` reaches loopback, where the emulators are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use edge::settings::MOST_BINDING;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::process::Process;
use super::wrangler::{ROUTES, Wrangler};
use super::{Environment, Runtime, built, root};

/// The rules of the platform that the tests' own Workers want.
const COMPATIBILITY: &str = "2026-11-01";
/// The other module of each, which the configurations name by a rule for compiled code.
const COMPILED: &str = "index_bg.wasm";

/// Functions in `workerd`.
pub struct Workers {
    process: Process,
    /// Where requests come in, from before the runtime has started.
    front: SocketAddr,
    /// Where the clock listens, once it has.
    clock: SocketAddr,
    _config: TempDir,
}

impl Workers {
    /// Runs the functions with what each is told, behind `listener`.
    pub fn start(told: &BTreeMap<&'static str, Environment>, listener: TcpListener) -> Self {
        let built = built(Runtime::Workers);
        let config = tempfile::tempdir().expect("a temporary folder");
        for name in told.keys() {
            let folder = config.path().join(name);
            std::fs::create_dir(&folder).expect("the folder is new");
            for file in [&Wrangler::of(name).main, COMPILED] {
                let from = built.join(format!("{name}-worker")).join(file);
                std::fs::copy(from, folder.join(file)).expect("the function is built");
            }
        }
        let front = listener.local_addr().expect("it is bound");
        let clock = super::free_port();
        let write = |name: &str, text: String| {
            std::fs::write(config.path().join(name), text).expect("the folder is ours");
        };
        write("front.js", front_worker(told));
        write("clock.js", CLOCK.to_owned());
        write("config.capnp", configuration(told, clock));

        let mut command = Command::new(root().join(".tools/node/node_modules/.bin/workerd"));
        command
            .args([
                "serve",
                "config.capnp",
                "--experimental",
                "--socket-fd=http=0",
            ])
            .current_dir(config.path())
            .stdin(Stdio::from(OwnedFd::from(listener)));
        for (function, told) in told {
            // Secrets reach it as on the platform: past every file.
            for (name, text) in told {
                // As on the platform, which `workerd` does not know.
                assert!(
                    text.len() <= MOST_BINDING,
                    "{name} has {} bytes",
                    text.len()
                );
                command.env(variable(function, name), text);
            }
        }
        Self {
            process: Process::start(command),
            front,
            clock,
            _config: config,
        }
    }

    /// Calls a function as its cron trigger would, and gives what it wrote to its log of what it did.
    pub async fn wake(&self, function: &str) -> Result<Value, String> {
        // Whoever is answered knows that the runtime has started.
        super::get(self.front, "/").await;
        let before = self.runs().len();
        let answer = super::get(self.clock, &format!("/{function}")).await;
        if !answer.contains("\"outcome\":\"ok\"") {
            return Err(answer);
        }
        // The platform says that it is done, and the log's last lines are on their way.
        let run = self.process.until(|| self.runs().into_iter().nth(before));
        let run = run.await;
        run.unwrap_or_else(|| Err("it wrote no report".to_owned()))
    }

    /// What all runs so far came to: the reports, and the errors of those that failed.
    fn runs(&self) -> Vec<Result<Value, String>> {
        let said = self.said();
        let runs = said.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = &line["fields"];
            if let Some(report) = fields["report"].as_str() {
                return Some(Ok(serde_json::from_str(report).ok()?));
            }
            let has_failed = fields["message"].as_str()?.starts_with("the run failed");
            has_failed.then(|| Err(fields["error"].as_str().unwrap_or_default().to_owned()))
        });
        runs.collect()
    }

    /// The time that processors have spent on the runtime so far.
    pub fn processor_time(&self) -> Duration {
        self.process.processor_time()
    }

    /// The part of it that was spent in the runtime itself and not in the system for it.
    pub fn own_time(&self) -> Duration {
        self.process.own_time()
    }

    /// What the functions wrote to the console.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Waits until one of them has written `text`.
    pub async fn heard(&self, text: &str) {
        self.process.heard(text).await;
    }
}

fn variable(function: &str, name: &str) -> String {
    format!("{function}_{name}")
}

/// The Worker that passes requests on.
fn front_worker(told: &BTreeMap<&str, Environment>) -> String {
    let routes: Vec<_> = ROUTES
        .iter()
        .filter(|(_, function)| told.contains_key(function))
        .collect();
    let routes = serde_json::to_string(&routes).expect("it is plain data");
    format!(
        "const routes = {routes};
export default {{
  fetch(request, env) {{
    const {{ pathname }} = new URL(request.url);
    const route = routes.find(([prefix]) => pathname.startsWith(prefix));
    return route ? env[route[1]].fetch(request) : new Response(null, {{ status: 404 }});
  }},
}};
"
    )
}

/// The platform's clock: calls the function that the path names, as a cron trigger does.
const CLOCK: &str = "export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const scheduledTime = new Date();
    const done = await env[pathname.slice(1)].scheduled({ scheduledTime, cron: \"* * * * *\" });
    return Response.json(done);
  },
};
";

fn configuration(told: &BTreeMap<&str, Environment>, clock: SocketAddr) -> String {
    let mut services = String::new();
    let mut workers = String::new();
    let (mut bindings, mut woken) = (String::new(), String::new());
    for (function, told) in told {
        let binding = format!("(name = \"{function}\", service = \"{function}\"),");
        let wrangler = Wrangler::of(function);
        write(
            &mut services,
            format_args!("(name = \"{function}\", worker = .{function}),"),
        );
        bindings.push_str(&binding);
        if !wrangler.crons.is_empty() {
            woken.push_str(&binding);
        }
        workers.push_str(&worker(function, &wrangler, told));
    }
    format!(
        "using Workerd = import \"/workerd/workerd.capnp\";
const config :Workerd.Config = (
  services = [
    (name = \"front\", worker = .front),
    (name = \"clock\", worker = .clock),
    (name = \"loopback\", network = (allow = [\"local\"])),
    {services}
  ],
  sockets = [
    (name = \"http\", http = (), service = \"front\"),
    (name = \"clock\", address = \"{clock}\", http = (), service = \"clock\"),
  ],
);
const clock :Workerd.Worker = (
  modules = [(name = \"clock.js\", esModule = embed \"clock.js\")],
  compatibilityDate = \"{COMPATIBILITY}\",
  compatibilityFlags = [\"service_binding_extra_handlers\"],
  bindings = [{woken}],
);
const front :Workerd.Worker = (
  modules = [(name = \"front.js\", esModule = embed \"front.js\")],
  compatibilityDate = \"{COMPATIBILITY}\",
  bindings = [{bindings}],
);
{workers}"
    )
}

/// What the wrangler configuration says of a Worker, as the runtime wants to hear it.
fn worker(function: &str, wrangler: &Wrangler, told: &Environment) -> String {
    let mut texts = String::new();
    for name in told.keys() {
        wrangler.check_declares(name);
        let variable = variable(function, name);
        write(
            &mut texts,
            format_args!("(name = \"{name}\", fromEnvironment = \"{variable}\"),"),
        );
    }
    let Wrangler {
        main,
        compatibility_date,
        compatibility_flags,
        ..
    } = wrangler;
    let flags = serde_json::to_string(compatibility_flags).expect("it is plain data");
    format!(
        "const {function} :Workerd.Worker = (
  modules = [
    (name = \"{main}\", esModule = embed \"{function}/{main}\"),
    (name = \"{COMPILED}\", wasm = embed \"{function}/{COMPILED}\"),
  ],
  compatibilityDate = \"{compatibility_date}\",
  compatibilityFlags = {flags},
  globalOutbound = \"loopback\",
  bindings = [{texts}],
);
"
    )
}

fn write(to: &mut String, what: std::fmt::Arguments<'_>) {
    to.write_fmt(what).expect("a text takes any text");
}
