//! One run at a time: two that see the same lists would both rent what is missing.
//!
//! The lease is an item that expires, so that a run that died keeps nobody out for long.

use jiff::SignedDuration;
use store::{Change, CommitError, Expect, Write};

use super::Run;
use crate::items::Taken;
use crate::{Error, items};

/// How long a lease outlives the longest run, in seconds: clocks of functions differ.
const MARGIN_SECONDS: u32 = 30;

/// Takes the lease; false if another run has it.
pub(super) async fn take(run: &Run<'_>) -> Result<bool, Error> {
    let now = run.context.moment.now;
    let seconds = i64::from(run.seconds.saturating_add(MARGIN_SECONDS));
    let until = now + SignedDuration::from_secs(seconds);
    let holder = Taken::by(&run.context.moment.uuid(u32::MAX));
    let take = items::put_until(items::fleet_run(), Expect::Absent, &holder, Some(until));
    match run.context.store.commit(now, vec![take]).await {
        Ok(()) => Ok(true),
        Err(CommitError::Failed(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives it back. If that fails, or the run was so late that it may be another's by now, it ends by
/// itself.
pub(super) async fn give_back(run: &Run<'_>) {
    if (run.is_late)() {
        return;
    }
    let now = run.context.moment.now;
    let delete = Write {
        key: items::fleet_run(),
        expect: Expect::Present,
        change: Change::Delete,
    };
    if let Err(error) = run.context.store.commit(now, vec![delete]).await {
        tracing::warn!(%error, "the lease of the run ends by itself");
    }
}
