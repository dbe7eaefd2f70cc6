//! What the end-to-end tests stand on: the real programs as processes, and front doors that can
//! be made to fail.
//!
//! Helpers panic with what was seen: they are assertions of the tests.

pub mod door;
pub mod programs;

pub use door::{Answered, Door, Fault};
pub use programs::{Gateway, Up, postern, postern_refused, posternctl};

use std::time::Duration;

/// How long a state that is on its way may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one look at another process's state to the next: there is no event to await across
/// processes.
const LOOK: Duration = Duration::from_millis(100);

/// Looks again and again until `seen` gives a value, and fails with `what` when patience ends.
pub async fn until<T>(what: &str, mut seen: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(value) = seen().await {
                return value;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, look).await;
    seen.unwrap_or_else(|_| panic!("not seen within {PATIENCE:?}: {what}"))
}

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
