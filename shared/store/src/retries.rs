//! How often and how long a call over a network is tried, and how long it waits in between.
//!
//! The pauses have full jitter: each is drawn evenly from a window that doubles up to a most, so that
//! callers which collided do not collide again.

use std::sync::Arc;
use std::time::Duration;

/// Where randomness comes from: 16 fresh bytes a call, from the system's source.
pub type Randomness = Arc<dyn Fn() -> [u8; 16] + Send + Sync>;

/// How often a call is tried, and for how long.
#[derive(Clone, Debug)]
pub struct Retries {
    /// The most attempts of one call, from 1.
    pub most_attempts: u32,
    /// From the first attempt on: no other begins later.
    pub most_time: Duration,
    /// The most time that one attempt may take.
    pub most_attempt_time: Duration,
    /// The window from which the first pause is drawn.
    pub first_window: Duration,
    /// The largest window.
    pub largest_window: Duration,
}

impl Default for Retries {
    /// For functions that a person waits for: an attempt takes some 5 to 30 ms, and what has not
    /// answered for 3 s will not. A gateway in front of a function waits for less than 30 s.
    fn default() -> Self {
        Self {
            most_attempts: 25,
            most_time: Duration::from_secs(10),
            most_attempt_time: Duration::from_secs(3),
            first_window: Duration::from_millis(25),
            largest_window: Duration::from_secs(1),
        }
    }
}

impl Retries {
    /// The window from which the pause after the attempt `made`, from 1, is drawn.
    pub(crate) fn window(&self, made: u32) -> Duration {
        let doubled = 1_u32
            .checked_shl(made.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let window = self.first_window.saturating_mul(doubled.max(1));
        window.min(self.largest_window)
    }
}

/// An even part of `window`.
pub(crate) fn part(window: Duration, random: [u8; 16]) -> Duration {
    let [a, b, c, d, ..] = random;
    let share = f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX);
    window.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_double_up_to_the_largest() {
        let retries = Retries::default();

        let windows = [1, 2, 3, 6, 7, 33, u32::MAX].map(|made| retries.window(made).as_millis());

        assert_eq!(windows, [25, 50, 100, 800, 1000, 1000, 1000]);
    }

    #[test]
    fn a_pause_is_anywhere_in_its_window() {
        let window = Duration::from_millis(100);

        let parts = [0, 0x80, 0xff].map(|byte| part(window, [byte; 16]).as_millis());

        assert_eq!(parts, [0, 50, 100]);
    }
}
