//! A DynamoDB for tests: the emulator `dynoxide` as a process, and a proxy before it that does what
//! the emulator never does, throttle, refuse what overlaps, and lose answers.
//!
//! It knows nothing of the house, so that the tests of every crate can stand on it.
//! `infra/scripts/emulator` installs the emulator into `.tools/`.

mod faults;
mod process;
mod proxy;

pub use faults::Faults;
pub use process::Emulator;
pub use proxy::Proxy;

/// Says on the terminal, past the test runner's capture, that a test did not run and why. Fails
/// instead where `POSTERN_ALL_TESTS` is set, as the project's test command does.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write;
    let all = std::env::var_os("POSTERN_ALL_TESTS").is_some_and(|value| !value.is_empty());
    assert!(!all, "{test} could not run: {why}");
    let line = format!("SKIPPED {test}: {why}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error is open");
}
