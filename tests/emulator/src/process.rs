//! The emulators as processes: one of each for all tests of a program, gone when the program is.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use crate::skipped;

/// Runs its arguments until its standard input ends, as it does when the test's process does,
/// however that comes about.
const WHILE_WE_LIVE: &str = r#""$@" & cat >/dev/null; kill "$!""#;
/// A port that was free may be taken before the emulator binds it.
pub(crate) const MOST_STARTS: u32 = 5;

/// The region of a stand-in for AWS that is alone.
const REGION: &str = "eu-central-1";

/// Names another DynamoDB on loopback, to be used instead of the emulator: for a second opinion.
const OTHER: &str = "POSTERN_DYNAMODB";

/// The emulator, its items in memory.
pub struct Emulator {
    url: String,
    /// It ends when its standard input is closed.
    #[allow(dead_code, reason = "it is held as long as it is needed")]
    process: Option<Child>,
}

impl Emulator {
    /// The one of this program, started when it is first asked for. `None`, which is said once, where
    /// it is not installed: then `tests` do not run.
    pub fn shared(tests: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Emulator>> = OnceLock::new();
        let start = || {
            if let Ok(url) = std::env::var(OTHER) {
                return Some(Self { url, process: None });
            }
            let program = tool("bin/dynoxide");
            if !program.exists() {
                skipped(tests, "no emulator, infra/scripts/emulator installs it");
                return None;
            }
            let (url, process) = start(&program, "listening", |command, port| {
                command.args(["serve", "--port", port]);
            });
            Some(Self {
                url,
                process: Some(process),
            })
        };
        SHARED.get_or_init(start).as_ref()
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A stand-in for AWS, of which the tests use S3: buckets with conditional writes, in memory.
pub struct Aws {
    url: String,
    _process: Child,
}

impl Aws {
    /// The one of this program, as [`Emulator::shared`].
    pub fn shared(tests: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Aws>> = OnceLock::new();
        let start = || {
            let program = tool("aws/bin/ministack");
            if !program.exists() {
                skipped(
                    tests,
                    "no stand-in for AWS, infra/scripts/emulator installs it",
                );
                return None;
            }
            let (url, process) = start(&program, "Running on", |command, port| {
                command
                    .env("BIND_HOST", "127.0.0.1")
                    .env("GATEWAY_PORT", port)
                    .env("IOT_MTLS_ENABLED", "0");
            });
            Some(Self {
                url,
                _process: process,
            })
        };
        SHARED.get_or_init(start).as_ref()
    }

    /// One for `test` alone, where roles hold: who calls must have the right to it. Functions are told that
    /// AWS is at `told`, and its files are in `folder`. `None`, which is said, where it is not installed.
    pub fn alone(test: &str, told: &str, folder: &Path) -> Option<Self> {
        let program = tool("aws/bin/ministack");
        if !program.exists() {
            let why = "no stand-in for AWS, infra/scripts/emulator installs it";
            skipped(test, why);
            return None;
        }
        let (url, process) = start(&program, "Running on", |command, port| {
            command
                .env("BIND_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", port)
                .env("IOT_MTLS_ENABLED", "0")
                .env("MINISTACK_REGION", REGION)
                .env("AUTH", "true")
                .env("AWS_ENDPOINT_URL", told)
                .env("TMPDIR", folder);
            for name in [
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_SESSION_TOKEN",
            ] {
                command.env_remove(name);
            }
        });
        Some(Self {
            url,
            _process: process,
        })
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A program of the project's tools.
fn tool(path: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    tools.join(path)
}

/// Starts an emulator at a free port, as `at` tells it, and waits until it says that it is `ready`.
pub(crate) fn start(
    program: &Path,
    ready: &str,
    at: impl Fn(&mut Command, &str),
) -> (String, Child) {
    let mut said = String::new();
    for _ in 0..MOST_STARTS {
        let port = free_port().to_string();
        let mut command = Command::new("sh");
        command.args(["-c", WHILE_WE_LIVE, "sh"]).arg(program);
        at(&mut command, &port);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped"));
        said.clear();
        while lines.read_line(&mut said).expect("it writes text") > 0 {
            if said.contains(ready) {
                // What it still has to say must not fill the pipe.
                thread::spawn(move || {
                    for line in lines.lines().map_while(Result::ok) {
                        eprintln!("emulator: {line}");
                    }
                });
                return (format!("http://127.0.0.1:{port}"), process);
            }
        }
        drop(process.stdin.take());
        process.wait().expect("it is our child");
    }
    panic!("the emulator does not start: {said}");
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}
