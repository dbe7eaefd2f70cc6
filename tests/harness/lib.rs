//! What the end-to-end tests stand on: the real programs as processes, the functions as they are
//! deployed, and front doors that can be made to fail; callers that lose no request, and what must hold
//! of a store after them.
//!
//! Helpers panic with what was seen: they are assertions of the tests.

pub mod agent;
pub mod amazon;
pub mod cdn;
pub mod cloud;
pub mod cloudflare;
pub mod crowd;
pub mod document;
pub mod door;
pub mod invariants;
pub mod ledger;
pub mod peak;
pub mod plane;
pub mod programs;
pub mod recorder;
pub mod serverless;
pub mod signed;
pub mod site;
pub mod tap;
pub mod units;

pub use agent::Agent;
pub use amazon::Amazon;
pub use door::{Answered, Door, Fault};
pub use emulator::skipped;
pub use programs::{Gateway, Up, postern, postern_refused, posternctl};
pub use recorder::Recorder;
pub use signed::Signed;
pub use site::Site;
pub use tap::Tap;

use std::time::Duration;

/// How long a state that is on its way may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one look at another process's state to the next: there is no event to await across
/// processes.
const LOOK: Duration = Duration::from_millis(100);

/// Looks again and again until `seen` gives a value, and fails with `what` when patience ends.
pub async fn until<T>(what: &str, seen: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = until_or(seen).await;
    seen.unwrap_or_else(|| panic!("not seen within {PATIENCE:?}: {what}"))
}

/// The same for who has more to say of it: `None` when patience ends.
async fn until_or<T>(mut seen: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let look = async {
        loop {
            if let Some(value) = seen().await {
                return value;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.ok()
}
