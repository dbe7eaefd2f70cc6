//! A program that is stopped at its calls to the system.
//!
//! `strace` kills it at the entry of the n-th write, sync or rename, for every n that there is, or
//! makes that call fail. It is how the tests of whoever persists something show that it is the old
//! or the new; what a disk would lose with the power is tested with the code that writes.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// The calls, and how each may fail.
const CALLS: [(&str, &str); 3] = [
    ("write", "ENOSPC"),
    ("fsync", "EIO"),
    ("rename,renameat,renameat2", "EDQUOT"),
];

/// Whether `strace` is there.
pub fn can_stop() -> bool {
    Command::new("strace").arg("-V").output().is_ok()
}

/// Runs this test program's test `name` with `variable` naming `folder`, stopped at every call in
/// turn. `before` prepares each run, `after` looks at what it left. Says how often it was killed.
pub fn stop_everywhere(
    name: &str,
    (variable, folder): (&str, &Path),
    before: impl Fn(),
    after: impl Fn(&str),
) -> usize {
    let run = |calls: &str, inject: Option<String>| {
        before();
        let log = folder.join("calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", &format!("trace={calls}"), "-o"]);
        command
            .arg(&log)
            .args(inject.iter().flat_map(|it| ["-e", it]));
        command.arg(std::env::current_exe().expect("a test knows its own path"));
        command.args(["--exact", name, "--test-threads=1"]);
        let output = command.env(variable, folder).output().expect("strace runs");
        let log = std::fs::read_to_string(&log).expect("strace writes what it saw");
        std::fs::remove_file(folder.join("calls")).expect("it is there");
        (output, log)
    };
    let mut kills = 0;
    for (calls, error) in CALLS {
        let (output, log) = run(calls, None);
        assert!(output.status.success(), "{output:?}");
        after("not stopped");
        let made = |line: &&str| {
            calls
                .split(',')
                .any(|call| line.contains(&format!("{call}(")))
        };
        for number in 1..=log.lines().filter(made).count() {
            let (output, _) = run(
                calls,
                Some(format!("inject={calls}:signal=KILL:when={number}")),
            );
            kills += usize::from(was_killed(&output));
            after(&format!("killed before {calls} {number}"));
            run(
                calls,
                Some(format!("inject={calls}:error={error}:when={number}")),
            );
            after(&format!("{error} at {calls} {number}"));
        }
    }
    kills
}

fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(9) || output.status.code() == Some(137)
}
