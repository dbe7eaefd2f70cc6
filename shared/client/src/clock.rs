//! The time of day, passed in.
//!
//! Only a program's `main` asks the system; tests hold the clock still. What is measured (how long
//! a door took) comes from [`tokio::time`], which is monotonic and can be paused.

use jiff::Timestamp;

/// Knows what time it is.
pub trait Clock: Send + Sync {
    /// The time of day, UTC.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests;
