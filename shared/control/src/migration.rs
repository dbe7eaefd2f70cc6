//! Items of older forms are written anew in the background, until none is left.
//!
//! A run goes through the partitions of the kinds that may have older items, some pages of them, and rewrites each
//! as [`forms`](crate::items::forms) reads it, expecting the version that it has read: a write that loses against
//! somebody else's is left for the next pass. How far it is stands in an item of its own ([`Progress`]), so that
//! the next run goes on there; where nothing is left to do, a run is one read.
//!
//! A kind is done when a pass has found nothing of it to rewrite. While functions of two releases work side by
//! side, those of before may write their form behind a pass: so the pass that counts begins no sooner than
//! [`SETTLE`] after the first one.
//!
//! Nothing is decided here and nothing is lost by doing it twice, so that runs need no lock: of two at once, the
//! writes of one expect versions that the other has changed.

mod census;

pub use census::{Census, Row, Standing};

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    Change, CommitError, Expect, Item, MOST_BODY_BYTES, MOST_COMMIT_BYTES, MOST_WRITES, Range,
    Store, StoreError, Write,
};

use crate::Error;
use crate::calls::{Counted, Meter};
use crate::items;
use crate::items::forms::{self, Kind};
use crate::restore::Marker;
use crate::state::Cursor;

/// The partition of what the background keeps of itself.
pub const PARTITION: &str = "migration";
/// How long after the first pass the one begins that counts: an hour is longer than any function of the release
/// before still works (Lambda ends one after 15 minutes at the most).
pub const SETTLE: SignedDuration = SignedDuration::from_hours(1);
/// Items of a page: each may be a write of one commit.
const PAGE: usize = MOST_WRITES;
/// Bodies of a commit, so that one with the largest next item stays within its limit.
const MOST_BYTES: usize = MOST_COMMIT_BYTES - MOST_BODY_BYTES;
/// What a run must have left to begin a page: the query, a commit of what it has found, and the progress.
const CALLS_OF_A_PAGE: u32 = 3;
/// The least that a run is worth: to see how far it is, a page, and to keep how far it is then.
pub const LEAST_CALLS: u32 = 1 + CALLS_OF_A_PAGE;
/// How many items that cannot be read a report names.
const MOST_NAMED: usize = 20;

/// How far the background is: the body of [`crate::items::migration`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Kinds of items, and the form of which all of them are; the first, if a kind is not here.
    #[serde(default)]
    pub done: BTreeMap<String, u32>,
    /// The pass that goes on, or that waits for the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
}

/// One way through all items of some kinds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pass {
    /// The kinds, and the form that their items shall have.
    pub to: BTreeMap<String, u32>,
    /// Since when they shall.
    pub since: Timestamp,
    /// When this pass began.
    pub began_at: Timestamp,
    /// Where it goes on; none once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// How many items it has seen, of whatever kind.
    pub read: u64,
    /// How many it wrote anew.
    pub rewritten: u64,
    /// How many somebody else changed meanwhile.
    pub lost: u64,
    /// How many it could not read.
    pub unreadable: u64,
}

/// A place on the way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The partition.
    pub partition: String,
    /// The sort key behind which to go on; empty for the beginning.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub after: String,
}

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Migrated {
    /// What is left to do.
    pub left: Left,
    /// How many items it read.
    pub read: u64,
    /// How many it wrote anew.
    pub rewritten: u64,
    /// How many somebody else changed meanwhile: they are left for the next pass.
    pub lost: u64,
    /// Items that have no form of their kind, and why; they stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// What is left to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Left {
    /// Nothing: every item has the form that this program writes.
    Nothing,
    /// A last look, at this time.
    Waits {
        /// When.
        until: Timestamp,
    },
    /// The next run goes on.
    More,
    /// A restore or an import is not over: until then nothing is touched.
    Held,
}

/// One run's means.
pub struct Run<'a> {
    /// The state.
    pub store: &'a dyn Store,
    /// What the run may spend: every call to the store counts.
    pub meter: &'a Meter,
    /// The time.
    pub now: Timestamp,
    /// Whether the run's time is over.
    pub is_late: &'a (dyn Fn() -> bool + Send + Sync),
}

/// Rewrites what is older than what this program writes, as far as that gets in one run.
pub async fn run(run: &Run<'_>) -> Result<Migrated, Error> {
    let store = Counted {
        store: run.store,
        meter: run.meter,
    };
    let keys = [
        items::migration(),
        items::restored(),
        items::import_cursor(),
    ];
    let found = store.get_many(run.now, &keys).await?;
    let marker: Option<Marker> = items::read(found[1].as_ref())?;
    let import: Option<Cursor> = items::read(found[2].as_ref())?;
    let mut work = Work::default();
    if marker.is_some_and(|marker| marker.done_at.is_none())
        || import.is_some_and(|import| import.done_at.is_none())
    {
        return Ok(work.done(Left::Held));
    }
    let progress: Progress = items::read(found[0].as_ref())?.unwrap_or_default();
    let mut pass = match plan(&progress, wanted(), run.now) {
        Plan::Rest => return Ok(work.done(Left::Nothing)),
        Plan::Wait(until) => return Ok(work.done(Left::Waits { until })),
        Plan::Go(pass) => pass,
    };
    work.walk(run, &store, &mut pass).await?;
    let (progress, left) = after(progress, pass, run.now);
    let expect = match &found[0] {
        Some(item) => Expect::Version(item.version),
        None => Expect::Absent,
    };
    let write = items::put(items::migration(), expect, &progress);
    match store.commit(run.now, vec![write]).await {
        // Another run was at the same place: where it goes on is as good as where this one would.
        Ok(()) | Err(CommitError::Failed(_)) => Ok(work.done(left)),
        Err(CommitError::Store(error)) => Err(error.into()),
    }
}

/// How far the background is with `store`.
pub async fn progress(store: &dyn Store, now: Timestamp) -> Result<Progress, StoreError> {
    let found = store.get_many(now, &[items::migration()]).await?;
    Ok(items::read(found[0].as_ref())?.unwrap_or_default())
}

/// What is left to do after `progress`, where nothing holds a run back.
pub fn left(progress: &Progress, now: Timestamp) -> Left {
    match plan(progress, wanted(), now) {
        Plan::Rest => Left::Nothing,
        Plan::Wait(until) => Left::Waits { until },
        Plan::Go(_) => Left::More,
    }
}

/// The kinds whose items may have older forms, and the form that this program writes.
fn wanted() -> BTreeMap<String, u32> {
    let kinds = forms::ALL.iter();
    kinds
        .filter(|kind| !kind.partitions().is_empty())
        .map(|kind| (kind.name.to_owned(), kind.writes))
        .collect()
}

/// What a run does.
#[derive(PartialEq, Eq, Debug)]
enum Plan {
    Rest,
    Wait(Timestamp),
    Go(Pass),
}

fn plan(progress: &Progress, wanted: BTreeMap<String, u32>, now: Timestamp) -> Plan {
    // Where a release was taken back, less is done than was: it writes the form of before again.
    let is_due = |name: &String, number: u32| progress.done.get(name).unwrap_or(&1) != &number;
    let due: BTreeMap<String, u32> = wanted
        .into_iter()
        .filter(|(name, number)| is_due(name, *number))
        .collect();
    if due.is_empty() {
        return Plan::Rest;
    }
    match &progress.pass {
        Some(pass) if pass.to == due && pass.at.is_some() => Plan::Go(pass.clone()),
        Some(pass) if pass.to == due => {
            let until = pass.since + SETTLE;
            if now < until {
                return Plan::Wait(until);
            }
            Plan::Go(Pass::new(due, pass.since, now))
        }
        _ => Plan::Go(Pass::new(due, now, now)),
    }
}

/// How far the work is after a run of `pass`, and what is left.
fn after(mut progress: Progress, pass: Pass, now: Timestamp) -> (Progress, Left) {
    let settled = pass.since + SETTLE;
    let left = if pass.at.is_some() {
        Left::More
    } else if pass.began_at >= settled && pass.rewritten == 0 && pass.lost == 0 {
        progress.done.extend(pass.to);
        progress.pass = None;
        return (progress, Left::Nothing);
    } else if now < settled {
        Left::Waits { until: settled }
    } else {
        Left::More
    };
    progress.pass = Some(pass);
    (progress, left)
}

impl Pass {
    fn new(to: BTreeMap<String, u32>, since: Timestamp, now: Timestamp) -> Self {
        let mut pass = Self {
            to,
            since,
            began_at: now,
            at: None,
            read: 0,
            rewritten: 0,
            lost: 0,
            unreadable: 0,
        };
        pass.at = pass.partitions().into_iter().next().map(Place::begin);
        pass
    }

    /// All that it goes through, in order.
    fn partitions(&self) -> BTreeSet<String> {
        let kinds = forms::ALL.iter();
        kinds
            .filter(|kind| self.to.contains_key(kind.name))
            .flat_map(|kind| kind.partitions())
            .collect()
    }

    /// Whether `item` is to be written anew, and as what kind.
    fn wants(&self, item: &Item) -> Result<Option<&'static Kind>, StoreError> {
        let kind = forms::of(&item.key);
        let Some((kind, to)) = kind.and_then(|kind| Some((kind, self.to.get(kind.name)?))) else {
            return Ok(None);
        };
        Ok((forms::number(item)? < *to).then_some(kind))
    }
}

impl Place {
    fn begin(partition: String) -> Self {
        Self {
            partition,
            after: String::new(),
        }
    }
}

/// What a run has done so far.
#[derive(Default)]
struct Work {
    read: u64,
    rewritten: u64,
    lost: u64,
    unreadable: Vec<String>,
}

impl Work {
    fn done(self, left: Left) -> Migrated {
        Migrated {
            left,
            read: self.read,
            rewritten: self.rewritten,
            lost: self.lost,
            unreadable: self.unreadable,
        }
    }

    /// Goes on with `pass` until it is over, or the run's calls or its time are.
    async fn walk(
        &mut self,
        run: &Run<'_>,
        store: &Counted<'_>,
        pass: &mut Pass,
    ) -> Result<(), StoreError> {
        while let Some(place) = pass.at.clone() {
            if run.meter.spare() < CALLS_OF_A_PAGE || (run.is_late)() {
                return Ok(());
            }
            let range = Range::all(&place.partition);
            let behind = (!place.after.is_empty()).then_some(place.after.as_str());
            let page = store.query(run.now, &range, behind, PAGE).await?;
            if !self.page(run, store, pass, &page.items).await? {
                return Ok(());
            }
            pass.at = if let Some(after) = page.next {
                Some(Place { after, ..place })
            } else {
                let mut rest = pass.partitions().into_iter();
                rest.find(|next| *next > place.partition).map(Place::begin)
            };
        }
        Ok(())
    }

    /// Rewrites what is old on a page; false where the run's calls ended before the page did.
    async fn page(
        &mut self,
        run: &Run<'_>,
        store: &Counted<'_>,
        pass: &mut Pass,
        page: &[Item],
    ) -> Result<bool, StoreError> {
        let (mut writes, mut bytes) = (Vec::new(), 0);
        for item in page {
            self.read += 1;
            pass.read += 1;
            let rewritten = pass.wants(item).and_then(|kind| {
                let body = kind.map(|kind| kind.rewritten(item));
                body.transpose()
            });
            let body: Value = match rewritten {
                Ok(Some(body)) => body,
                Ok(None) => continue,
                Err(error) => {
                    pass.unreadable += 1;
                    if self.unreadable.len() < MOST_NAMED {
                        self.unreadable.push(error.to_string());
                    }
                    continue;
                }
            };
            bytes += body.to_string().len();
            writes.push(Write {
                key: item.key.clone(),
                expect: Expect::Version(item.version),
                change: Change::Put {
                    body,
                    expires_at: item.expires_at,
                },
            });
            if bytes > MOST_BYTES {
                let full = std::mem::take(&mut writes);
                if !self.commit(run, store, pass, full).await? {
                    return Ok(false);
                }
                bytes = 0;
            }
        }
        self.commit(run, store, pass, writes).await
    }

    /// Commits `writes` without those that somebody else was faster with; false where the run's calls ended
    /// before.
    async fn commit(
        &mut self,
        run: &Run<'_>,
        store: &Counted<'_>,
        pass: &mut Pass,
        mut writes: Vec<Write>,
    ) -> Result<bool, StoreError> {
        while !writes.is_empty() {
            // The last call is for the progress.
            if run.meter.spare() < 2 {
                return Ok(false);
            }
            match store.commit(run.now, writes.clone()).await {
                Ok(()) => {
                    self.rewritten += writes.len() as u64;
                    pass.rewritten += writes.len() as u64;
                    return Ok(true);
                }
                Err(CommitError::Failed(lost)) => {
                    writes.remove(lost);
                    self.lost += 1;
                    pass.lost += 1;
                }
                Err(CommitError::Store(error)) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
