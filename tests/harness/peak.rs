//! How much memory a program took at most.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Command;

/// From one look at a process's peak to the next: the kernel tells nobody when it moves.
const LOOK: Duration = Duration::from_millis(5);

/// Runs `command` to its end, and gives the most memory that it had resident, in KiB (`VmHWM` of proc(5)),
/// as of its last few milliseconds.
pub async fn run(command: &mut Command) -> (ExitStatus, u64) {
    let mut child = command.spawn().expect("the program starts");
    let id = child.id().expect("it runs");
    let status = format!("/proc/{id}/status");
    let mut peak = 0;
    loop {
        peak = peak.max(resident(Path::new(&status)).unwrap_or(0));
        let ended = tokio::time::timeout(LOOK, child.wait()).await;
        if let Ok(ended) = ended {
            return (ended.expect("it can be awaited"), peak);
        }
    }
}

/// The line `VmHWM:     1234 kB`; a process that has ended has none.
fn resident(status: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
