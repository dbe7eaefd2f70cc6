//! The programs, built once and run as a person would run them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

pub use emulator::python;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::serverless::process::Process;

/// The path of a program of this workspace, built first in the profile of the test itself.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build).join(name)
}

/// Builds the programs and gives their folder.
fn build() -> PathBuf {
    // target/debug/deps/<test> → target/debug
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.ancestors().nth(2).expect("tests are two folders deep");
    let of_profile = folder.file_name().and_then(|name| name.to_str());
    // The profile dev has a folder of another name (the Cargo book, "Profiles").
    let profile = match of_profile.expect("a profile's folder has a plain name") {
        "debug" => "dev",
        name => name,
    };
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--bins", "--profile", profile]);
    if profile == "dev" {
        // With the features that `cargo test` built everything with, so that nothing is built twice:
        // those of the whole workspace, and, because a test is among them, of what tests stand on.
        cargo.args(["--workspace", "--test", "tracer_bullet"]);
        if cfg!(feature = "all-features") {
            cargo.arg("--all-features");
        }
    } else {
        cargo.args(["-p", "postern", "-p", "posternctl", "-p", "postern-gateway"]);
    }
    cargo.arg("--manifest-path");
    cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
    without_this_package(&mut cargo);
    let built = cargo.status().expect("cargo runs");
    assert!(built.success(), "the programs do not build");
    folder.to_owned()
}

/// The first of four free ports in a row that no outgoing connection is given while a program is
/// down: below 32768, where Linux begins to take those from.
pub fn free_ports(rng: &mut fastrand::Rng) -> u16 {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut tries = std::iter::repeat_with(|| rng.u16(20_000..32_000)).take(1000);
    let free = tries.find(|first| (*first..*first + 4).all(is_free));
    free.expect("four ports in a row are free")
}

/// Takes from a command that builds what `cargo test` tells of the test's own package. Build scripts
/// that look at it (ring's) would run anew each time that it comes or goes, and all that stands on
/// them would be compiled again.
pub(crate) fn without_this_package(command: &mut std::process::Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_package = [
            "CARGO_MANIFEST_",
            "CARGO_PKG_",
            "CARGO_PRIMARY_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if of_package.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// A program that goes on until this is dropped, and with it all that it has started.
pub struct Background(Process);

impl Background {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        command.process_group(0).stdin(Stdio::null());
        Self(Process::start(command))
    }

    /// What it has said.
    pub fn said(&self) -> String {
        self.0.said()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill_group();
    }
}

/// Runs `posternctl --json` on the data folder and gives its document.
pub async fn posternctl(data: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(program("posternctl"));
    command
        .arg("--data")
        .arg(data)
        .arg("--json")
        .args(arguments);
    let (ok, document) = run(command).await;
    assert!(ok, "posternctl {arguments:?} failed: {document}");
    document
}

/// `posternctl --json` with the profile, to be run in a way of the test's own.
pub fn posternctl_command(profile: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("posternctl"));
    command
        .arg("--profile")
        .arg(profile)
        .arg("--json")
        .args(arguments);
    command
}

/// Runs `postern --json` with the device file and gives its document.
pub async fn postern(device: &Path, arguments: &[&str]) -> Value {
    let (ok, document) = run(postern_command(device, arguments)).await;
    assert!(ok, "postern {arguments:?} failed: {document}");
    document
}

/// Runs `postern --json`, which must fail, and gives its document.
pub async fn postern_refused(device: &Path, arguments: &[&str]) -> Value {
    let (ok, document) = run(postern_command(device, arguments)).await;
    assert!(!ok, "postern {arguments:?} was to fail: {document}");
    document
}

/// `postern --json` with the device file, to be run in a way of the test's own.
pub fn postern_command(device: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("postern"));
    command
        .arg("--device")
        .arg(device)
        .arg("--json")
        .args(arguments);
    command
}

/// The command in a namespace without any network, where this process may make one (root on
/// Linux); the command itself elsewhere.
pub async fn without_network(command: Command) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.arg("--net");
    let works = Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status()
        .await;
    if !works.is_ok_and(|status| status.success()) {
        return command;
    }
    let command = command.as_std();
    unshare.arg(command.get_program()).args(command.get_args());
    unshare
}

/// Runs a command and reads what it prints as one JSON document.
pub async fn run(mut command: Command) -> (bool, Value) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let document = serde_json::from_str(&text).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{command:?}: not JSON ({error})\nstdout: {text}\nstderr: {said}")
    });
    (output.status.success(), document)
}

/// Runs `posternctl --json` on the data folder and gives the documents that it prints, a line each.
pub async fn posternctl_lines(data: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(program("posternctl"));
    command
        .arg("--data")
        .arg(data)
        .arg("--json")
        .args(arguments)
        .stdin(Stdio::null());
    let output = command.output().await.expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}\n{said}");
    let lines = text.lines().map(serde_json::from_str);
    let lines: Result<_, _> = lines.collect();
    lines.unwrap_or_else(|error| panic!("{arguments:?}: not JSON ({error}): {text}"))
}

/// A running `posternctl up`.
pub struct Up {
    child: Child,
    /// The invite that it printed; empty if it operates nothing.
    pub invite: String,
    /// The base URL of its control plane.
    pub control: String,
    /// The base URLs of its own front doors.
    pub doors: Vec<String>,
    /// Its data folder.
    pub data: PathBuf,
}

impl Up {
    /// Starts it and waits until it says that it is ready.
    pub async fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_told(data, arguments, &[]).await
    }

    /// The same, with these variables in its environment.
    pub async fn start_told(data: &Path, arguments: &[&str], told: &[(&str, &str)]) -> Self {
        let mut child = Command::new(program("posternctl"))
            .arg("--data")
            .arg(data)
            .args(["--json", "up"])
            .args(arguments)
            .envs(told.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("posternctl starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(crate::PATIENCE * 2, lines.next_line())
            .await
            .expect("'up' is ready in time")
            .expect("its output can be read")
            .expect("it says a line before it ends");
        let ready: Value = serde_json::from_str(&line).expect("the line is JSON");
        assert_eq!(ready["ready"], true, "{ready}");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Self {
            child,
            invite: ready["invite"].as_str().unwrap_or_default().to_owned(),
            control: text(&ready["control"]),
            doors: ready["doors"]
                .as_array()
                .expect("a list")
                .iter()
                .map(text)
                .collect(),
            data: PathBuf::from(text(&ready["data"])),
        }
    }

    /// Kills it without a word (`SIGKILL`), and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("'up' was running");
    }

    /// Asks it to stop, as Ctrl-C does, and waits until it has.
    pub async fn stop(mut self) {
        self.end().await;
    }

    /// The same, for who starts another in its place.
    pub async fn end(&mut self) {
        signal(&self.child, "INT").await;
        let ended = tokio::time::timeout(crate::PATIENCE, self.child.wait()).await;
        let status = ended
            .expect("'up' stops in time")
            .expect("it can be awaited");
        assert!(status.success(), "'up' ended with {status}");
    }
}

/// A running `postern-gateway`.
pub struct Gateway {
    child: Child,
    /// Its id.
    pub id: String,
}

impl Gateway {
    /// Makes a gateway's record as this machine's operator and starts its agent with the token.
    pub async fn start(network: &Path, folder: &Path, number: u8) -> Self {
        Self::start_by(&network.join("operator.json"), folder, number).await
    }

    /// Makes a gateway's record as who has the profile and starts its agent with the token.
    pub async fn start_by(profile: &Path, folder: &Path, number: u8) -> Self {
        let role = if number % 2 == 1 { "ingress" } else { "egress" };
        let endpoint = format!("127.0.0.{number}:51820");
        let add = ["gateways", "add", "--role", role, "--endpoint", &endpoint];
        let (ok, made) = run(posternctl_command(profile, &add)).await;
        assert!(ok, "posternctl {add:?} failed: {made}");
        let id = made["gateway"].as_str().expect("an id").to_owned();
        let child = Command::new(program("postern-gateway"))
            .arg("--data")
            .arg(folder.join(&id))
            .env("POSTERN_TOKEN", made["token"].as_str().expect("a token"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("postern-gateway starts");
        Self { child, id }
    }

    /// Kills it without a word.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the gateway was running");
    }
}

async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("the program runs").to_string();
    let sent = Command::new("kill")
        .args(["-s", name, &id])
        .status()
        .await
        .expect("kill runs");
    assert!(sent.success());
}
