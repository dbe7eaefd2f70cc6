//! The attempts of a call.
//!
//! This is the one place that decides: the SDK's own retries are off.

use std::time::{Duration, SystemTime};

use super::Connection;
use crate::StoreError;
use crate::retries::part;

/// The attempts of one call.
pub(super) struct Tries<'a> {
    connection: &'a Connection,
    made: u32,
    begun: SystemTime,
}

impl<'a> Tries<'a> {
    pub fn begin(connection: &'a Connection) -> Self {
        Self {
            connection,
            made: 1,
            begun: connection.now(),
        }
    }

    /// Waits until the next attempt may begin. Fails, with `why` the last one failed, where there is
    /// none.
    pub async fn pause(&mut self, why: &str) -> Result<(), StoreError> {
        let window = self.connection.retries.window(self.made);
        self.wait(window, why).await
    }

    /// Begins the next attempt at once: nobody was in the way of the last one, which failed for `why`.
    pub async fn go_on(&mut self, why: &str) -> Result<(), StoreError> {
        self.wait(Duration::ZERO, why).await
    }

    async fn wait(&mut self, window: Duration, why: &str) -> Result<(), StoreError> {
        let retries = &self.connection.retries;
        let pause = part(window, self.connection.draw());
        let spent = self.connection.now().duration_since(self.begun);
        // A clock that was set back says nothing; the number of attempts still holds.
        let spent = spent.unwrap_or_default();
        if self.made >= retries.most_attempts || spent + pause > retries.most_time {
            return Err(StoreError::Unavailable(format!(
                "{}: given up after {} attempts in {spent:.1?}: {why}",
                self.connection.place, self.made
            )));
        }
        if !pause.is_zero() {
            self.connection.sleep(pause).await;
        }
        self.made += 1;
        Ok(())
    }
}
