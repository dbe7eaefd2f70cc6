//! Where the time and the randomness of a request come from.

use std::sync::Arc;

use control::Moment;
use jiff::{SignedDuration, Timestamp};

/// How long a run lasts, in seconds: within what HTTP before a Lambda waits (29 s), and of what
/// `posternctl` does.
pub const RUN_SECONDS: u32 = 20;

/// Gives each request its moment.
pub trait Clock: Send + Sync {
    /// Now, with fresh randomness.
    fn moment(&self) -> Moment;
}

/// The system's clock and random source.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the clock that the others are passed"
    )]
    fn moment(&self) -> Moment {
        let mut seed = [0; 32];
        // Without randomness no id can be made and no key can be trusted: nothing may go on.
        getrandom::fill(&mut seed).expect("the system's random source works");
        Moment::new(jiff::Timestamp::now(), seed)
    }
}

/// Whether a run that began at `began` has lasted long enough. Where the clock stands between calls,
/// its budget ends it.
pub fn is_late(clock: &Arc<dyn Clock>, began: Timestamp) -> impl Fn() -> bool + Send + Sync {
    let clock = clock.clone();
    let ends = began + SignedDuration::from_secs(i64::from(RUN_SECONDS));
    move || clock.moment().now >= ends
}
