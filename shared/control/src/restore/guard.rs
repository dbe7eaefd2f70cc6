//! Nothing works on a state while a backup is being put there.
//!
//! A half of a state gives wrong answers that last: a device that is not there yet is told that it is unknown, and
//! a heartbeat that is written meanwhile makes the restore fail in the end. So functions reach their store through
//! [`Guarded`], which looks at the restore's mark ([`super::Marker`]) and refuses every call while it has not ended.
//!
//! A look costs no call where the call is a read of items: the mark is read with them. Else it is one more read,
//! once in [`EVERY`], which is nothing beside a minute of heartbeats. So a function that has looked may go on for
//! as long after a restore has begun: the runbook stops functions first, and the restore notices in its end what
//! was written beside it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use store::{CommitError, Item, Key, MOST_KEYS, Page, Range, Store, StoreError, Write};

use super::Marker;
use crate::items;

/// How long a look at the mark holds.
pub const EVERY: SignedDuration = SignedDuration::from_mins(1);
/// In the place of a look that there was none of.
const NEVER: i64 = i64::MAX;

/// A store that refuses every call, as unavailable, while a restore into it has not ended.
pub struct Guarded {
    store: Arc<dyn Store>,
    /// When no unfinished restore was seen last, in milliseconds of the epoch.
    looked_at: AtomicI64,
}

impl Guarded {
    /// Before `store`; the first call looks.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            looked_at: AtomicI64::new(NEVER),
        }
    }

    fn must_look(&self, now: Timestamp) -> bool {
        let now = now.as_millisecond();
        let looked_at = self.looked_at.load(Ordering::Relaxed);
        // A clock that was set back starts anew.
        now < looked_at || i128::from(now) - i128::from(looked_at) >= EVERY.as_millis()
    }

    /// Looks at the mark by itself, if it is time.
    async fn look(&self, now: Timestamp) -> Result<(), StoreError> {
        if !self.must_look(now) {
            return Ok(());
        }
        let found = self.store.get_many(now, &[items::restored()]).await?;
        self.judge(now, found[0].as_ref())
    }

    /// Takes note of the mark as it was read at `now`.
    fn judge(&self, now: Timestamp, mark: Option<&Item>) -> Result<(), StoreError> {
        let mark: Option<Marker> = items::read(mark)?;
        if mark.is_some_and(|mark| mark.done_at.is_none()) {
            let why = "a backup is being restored here: nothing works on it until 'posternctl restore' has ended";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        self.looked_at
            .store(now.as_millisecond(), Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Guarded {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        if !self.must_look(now) {
            return self.store.get_many(now, keys).await;
        }
        if keys.len() >= MOST_KEYS {
            self.look(now).await?;
            return self.store.get_many(now, keys).await;
        }
        let with_mark: Vec<Key> = keys.iter().cloned().chain([items::restored()]).collect();
        let mut found = self.store.get_many(now, &with_mark).await?;
        let mark = found.pop().flatten();
        self.judge(now, mark.as_ref())?;
        Ok(found)
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.look(now).await?;
        self.store.query(now, range, after, limit).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        self.look(now).await?;
        self.store.commit(now, writes).await
    }
}
