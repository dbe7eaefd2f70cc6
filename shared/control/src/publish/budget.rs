//! What a run may spend. Every call to the store or to a mirror is one call, because that is how
//! platforms count (Cloudflare Workers allow 50 subrequests a run on their free plan, and their
//! clock stands still between calls, so that no deadline can be measured there).
//!
//! Nobody can forget to count: a run reaches its store and its mirrors only through [`Counted`] and
//! [`Target`]. What the run needs in order to end well, a commit for each mirror's state, is
//! kept back from the beginning.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) use crate::calls::{Counted, Meter};

use super::{Etag, Mirror, MirrorError, Object, Replaced};

/// What stays of a run's calls after all that it does.
const UNSPENT: u32 = 4;

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

    /// What counts them.
    pub(super) fn meter(self) -> Meter {
        Meter::new(self.calls)
    }

    /// So many calls.
    pub const fn of(calls: u32) -> Self {
        Self { calls }
    }

    /// What is left of it after so many calls, for what a run does besides. Some stay unspent: calls that the
    /// store made again are counted by platforms and not by us.
    pub fn left(self, spent: u32) -> Meter {
        Meter::new(self.calls.saturating_sub(spent + UNSPENT))
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
        let meter = Meter::new(3);
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
