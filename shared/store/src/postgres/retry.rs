//! The attempts of a call.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Database;
use super::failure::{Trouble, trouble};
use crate::StoreError;
use crate::retries::part;

/// The attempts of one call.
pub(super) struct Tries<'a> {
    database: &'a Database,
    made: u32,
    begun: Instant,
}

impl<'a> Tries<'a> {
    pub fn begin(database: &'a Database) -> Self {
        Self {
            database,
            made: 1,
            begun: Instant::now(),
        }
    }

    /// Waits until the next attempt may begin. Fails, with the `trouble` of the last one, where there is
    /// none.
    pub async fn pause(&mut self, trouble: Trouble) -> Result<(), StoreError> {
        let (why, is_cut) = match trouble {
            Trouble::Lasting(error) => return Err(error),
            Trouble::Passing { why, is_cut } => (why, is_cut),
        };
        if is_cut {
            self.database.pool.forget_idle();
        }
        let retries = &self.database.retries;
        let pause = part(retries.window(self.made), (self.database.randomness)());
        let spent = self.begun.elapsed();
        if self.made >= retries.most_attempts || spent + pause > retries.most_time {
            return Err(StoreError::Unavailable(format!(
                "{}: given up after {} attempts in {spent:.1?}: {why}",
                self.database.place, self.made
            )));
        }
        sleep(pause).await;
        self.made += 1;
        Ok(())
    }
}

impl Database {
    /// What `work` gives, if it does within the time of an attempt.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Trouble> {
        match self.in_time(work).await {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => Err(trouble(&self.place, &error)),
            None => Err(Trouble::late()),
        }
    }

    /// What `work` gives; `None` if it does not within the time of an attempt.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let most: Duration = self.retries.most_attempt_time;
        timeout(most, work).await.ok()
    }
}
