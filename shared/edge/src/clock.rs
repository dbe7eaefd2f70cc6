//! Where the time and the randomness of a request come from.

use control::Moment;

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
