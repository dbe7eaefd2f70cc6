//! What a run may spend. Every call to the store or to a mirror is one call, because that is how
//! platforms count (Cloudflare Workers allow 50 subrequests a run on their free plan, and their
//! clock stands still between calls, so that no deadline can be measured there).
//!
//! Nobody can forget to count: a run reaches its store and its mirrors only through [`Counted`] and
//! [`Target`]. What the run needs in order to end well, a commit for each mirror's state, is
//! kept back from the beginning.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use store::{CommitError, Item, Key, Page, Range, Store, StoreError, Write};

use super::{Etag, Mirror, MirrorError, Object, Replaced};

/// How many calls a run may make.
///
/// The least with which every repair gets to its end is 10 and 4 a mirror, and two more for each
/// thousand gateways (a page of them and one of their heartbeats); what is left is work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    calls: u32,
}

impl Budget {
    /// For where calls cost nothing: a run does all there is to do.
    pub const UNLIMITED: Self = Self { calls: u32::MAX };

    /// So many calls.
    pub const fn of(calls: u32) -> Self {
        Self { calls }
    }

    /// How many files a run looks at on each of so many mirrors that seem to be well: a quarter of
    /// all calls goes there.
    pub(super) fn checks(self, mirrors: usize) -> usize {
        let mirrors = u32::try_from(mirrors.max(1)).unwrap_or(u32::MAX);
        usize::try_from(self.calls / 4 / mirrors).unwrap_or(usize::MAX)
    }

    /// How many commits a run makes at most for gateways whose states change: a quarter of all
    /// calls. One commit is fifty gateways.
    pub(super) fn changes(self) -> u32 {
        (self.calls / 4).max(1)
    }
}

/// Counts one run's calls.
pub(super) struct Meter {
    budget: Budget,
    spent: AtomicU32,
    kept: AtomicU32,
}

impl Meter {
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            spent: AtomicU32::new(0),
            kept: AtomicU32::new(0),
        }
    }

    pub fn spent(&self) -> u32 {
        self.spent.load(Ordering::Relaxed)
    }

    /// How many calls there are for work: what is left without what is kept back.
    pub fn spare(&self) -> u32 {
        let kept = self.kept.load(Ordering::Relaxed);
        self.budget
            .calls
            .saturating_sub(self.spent())
            .saturating_sub(kept)
    }

    /// Keeps back so many calls, and no others.
    pub fn keep(&self, calls: usize) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        self.kept.store(calls, Ordering::Relaxed);
    }

    /// Gives up one of the calls that were kept back.
    pub fn release(&self) {
        let less = |kept: u32| Some(kept.saturating_sub(1));
        let _ = self
            .kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Takes a call for work, if there is one.
    fn take_spare(&self) -> bool {
        self.spare() > 0 && self.take()
    }

    fn take(&self) -> bool {
        let one = |spent: u32| (spent < self.budget.calls).then(|| spent + 1);
        let taken = self
            .spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one);
        taken.is_ok()
    }
}

/// A store whose calls are counted. A run asks [`Meter::spare`] before it begins what it can leave
/// for later; what remains is reading the state, and fails where the budget does not hold it.
pub(super) struct Counted<'a> {
    pub store: &'a dyn Store,
    pub meter: &'a Meter,
}

impl Counted<'_> {
    fn take(&self) -> Result<(), StoreError> {
        if self.meter.take() {
            return Ok(());
        }
        Err(StoreError::Unavailable(
            "the run's budget of calls is spent: it is too small for this network".to_owned(),
        ))
    }
}

#[async_trait]
impl Store for Counted<'_> {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        self.take()?;
        self.store.get_many(now, keys).await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.take()?;
        self.store.query(now, range, after, limit).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        self.take()?;
        self.store.commit(now, writes).await
    }
}

/// Why a call to a mirror was not made or came to nothing.
#[derive(Debug)]
pub(super) enum Stop {
    /// The budget is spent.
    Spent,
    /// The mirror failed, in this call or earlier in this run.
    Failed(String),
}

/// A mirror whose calls are counted, and which is asked nothing more in a run in which it failed.
pub(super) struct Target<'a> {
    mirror: &'a dyn Mirror,
    meter: &'a Meter,
    failed: Mutex<Option<String>>,
}

impl<'a> Target<'a> {
    pub fn new(mirror: &'a dyn Mirror, meter: &'a Meter) -> Self {
        Self {
            mirror,
            meter,
            failed: Mutex::default(),
        }
    }

    pub fn name(&self) -> &str {
        self.mirror.name()
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.failed().clone()
    }

    pub async fn get(&self, path: &str) -> Result<Option<Object>, Stop> {
        self.begin()?;
        let got = self.mirror.get(path).await;
        got.map_err(|error| self.fail(path, &error))
    }

    /// Writes a file that never changes; `false` if one stands there already, with whatever bytes.
    pub async fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, Stop> {
        self.begin()?;
        match self.mirror.create(path, bytes).await {
            Ok(()) => Ok(true),
            Err(MirrorError::Changed(_) | MirrorError::Taken(_)) => Ok(false),
            Err(error) => Err(self.fail(path, &error)),
        }
    }

    pub async fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        over: Option<&Etag>,
    ) -> Result<Replaced, Stop> {
        self.begin()?;
        let replaced = self.mirror.replace(path, bytes, over).await;
        replaced.map_err(|error| self.fail(path, &error))
    }

    fn begin(&self) -> Result<(), Stop> {
        if let Some(why) = self.failure() {
            return Err(Stop::Failed(why));
        }
        if self.meter.take_spare() {
            return Ok(());
        }
        Err(Stop::Spent)
    }

    fn fail(&self, path: &str, error: &MirrorError) -> Stop {
        tracing::warn!(mirror = self.name(), path, %error, "the mirror failed");
        let why = error.to_string();
        *self.failed() = Some(why.clone());
        Stop::Failed(why)
    }

    fn failed(&self) -> MutexGuard<'_, Option<String>> {
        // A text that a panic cannot leave half-written.
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_back_is_not_spent_on_work() {
        let meter = Meter::new(Budget::of(3));
        meter.keep(2);

        assert!(meter.take_spare());
        assert!(!meter.take_spare(), "two are kept back");
        assert!(meter.take(), "for this");
        meter.release();

        assert_eq!((meter.spent(), meter.spare()), (2, 0));
        meter.release();
        assert_eq!(meter.spare(), 1);
        assert!(meter.take_spare() && !meter.take(), "and no fourth");
    }

    #[test]
    fn checks_take_a_quarter_of_the_calls() {
        assert_eq!(Budget::of(50).checks(3), 4);
        assert_eq!(Budget::of(50).checks(1), 12);
        assert!(Budget::UNLIMITED.checks(100) > 1_000_000);
    }
}
