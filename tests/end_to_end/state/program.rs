//! `posternctl state`, run as a person would.

use std::path::Path;
use std::process::Stdio;

use harness::programs::program;
use tokio::process::Command;

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// `posternctl state` beside no network.
pub async fn state(folder: &Path, arguments: &[&str]) -> Ran {
    state_with(folder, &[], arguments).await
}

/// The same, with options before the command.
pub async fn state_with(folder: &Path, options: &[&str], arguments: &[&str]) -> Ran {
    run(&folder.join("nothing"), options, arguments).await
}

/// `posternctl state` on the network of a data folder.
pub async fn run(data: &Path, options: &[&str], arguments: &[&str]) -> Ran {
    let output = on(data, options, arguments).output().await;
    let output = output.expect("posternctl starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// `posternctl state` beside no network, to be run in a way of the test's own.
pub fn command(folder: &Path, options: &[&str], arguments: &[&str]) -> Command {
    on(&folder.join("nothing"), options, arguments)
}

fn on(data: &Path, options: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(program("posternctl"));
    command.arg("--data").arg(data).args(options);
    command.arg("state").args(arguments).stdin(Stdio::null());
    command
}
