//! A new version: its catalogs first, because nothing else of it cannot be made again, then the
//! head, which is the promise to serve it. Nothing is signed before all catalogs of the version
//! are on a mirror, and nothing that was signed leaves this program before its hashes are committed.
//!
//! Where the catalogs are too many for the budget, those that are there become a draft, and the next
//! run goes on with it. What a draft holds stays in it, though the network has changed since: so
//! it is finished after so many runs however often that changes, and the version after it says
//! what is new.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use model::{Actor, CatalogName};
use store::{Change, CommitError, Expect, StoreError, Write};
use tuf::repository::{self, Pin};

use super::assemble::{self, Lists};
use super::budget::{Stop, Target};
use super::slot::{Slot, Work};
use super::{ACTOR, CatalogPin, Draft, Head, Reserved, event};
use crate::items::Read as _;
use crate::{Error, audit, items};

/// How often a publisher tries to reserve a version before it leaves the field to the others.
const MOST_RESERVATIONS: u32 = 8;
/// A draft that was begun longer ago, in seconds, says too little of what is true now: the schedule
/// was away meanwhile. A run in which nothing is due removes it at once.
const DRAFT_LIFE: i64 = 6 * 3600;
/// A reservation and a catalog that must be looked at: with less nothing is begun.
const LEAST_CALLS: u32 = 3;

/// What the run starts from, with the versions of the items.
pub(super) struct Start<'a> {
    pub head: Option<(&'a Head, u64)>,
    pub draft: Option<(&'a Draft, u64)>,
    pub reserved: Option<(Reserved, u64)>,
    /// That the policy which the lists were made by is still in force.
    pub policy: Write,
}

/// What came of it.
pub(super) enum Made {
    /// The head is committed.
    Head(Box<Head>),
    /// The next run goes on.
    Unfinished,
    /// Another publisher, or another policy, was faster.
    Overtaken,
}

/// Makes the next version of `lists`.
pub(super) async fn next(
    work: Work<'_>,
    start: &Start<'_>,
    slots: &mut [Slot<'_>],
    lists: &Lists<'_>,
) -> Result<Made, Error> {
    // One more, for the head or the draft.
    work.meter.keep(slots.len() + 1);
    if work.meter.spare() < LEAST_CALLS {
        return Ok(Made::Unfinished);
    }
    let seen = slots.iter().map(|slot| slot.state.seen).max().unwrap_or(0);
    let least = seen.max(start.head.map_or(0, |(head, _)| head.version));
    let now = work.context.moment.now;
    let fresh =
        |draft: &Draft| now.duration_since(draft.begun_at) < SignedDuration::from_secs(DRAFT_LIFE);
    let goes_on = start.draft.map(|(draft, _)| draft);
    let mut draft = match goes_on.filter(|draft| draft.version > least && fresh(draft)) {
        Some(draft) => draft.clone(),
        None => Draft {
            version: reserve(work, start.reserved.as_ref(), least).await?,
            begun_at: now,
            catalogs: BTreeMap::new(),
        },
    };
    draft.catalogs.retain(|name, _| lists.contains_key(name));
    let pins = store_catalogs(work, start, slots, lists, &mut draft).await?;
    work.meter.release();
    let Some(pins) = pins else {
        let write = items::put(items::draft(), expect(start.draft.map(|(_, v)| v)), &draft);
        return match work.context.store.commit(now, vec![write]).await {
            Ok(()) => Ok(Made::Unfinished),
            Err(CommitError::Failed(_)) => Ok(Made::Overtaken),
            Err(error) => Err(error.into()),
        };
    };
    let (head, metadata) = assemble::head(work.publisher, draft.version, lists, pins)?;
    if !commit(work, start, &head).await? {
        tracing::info!(
            version = head.version,
            "another publisher was faster; its version stands"
        );
        return Ok(Made::Overtaken);
    }
    work.stock.keep_metadata(metadata).await;
    Ok(Made::Head(Box::new(head)))
}

/// Takes a version that nobody had and nobody will have, above `least`: a database that was restored
/// from a backup may lag behind what clients have seen.
async fn reserve(
    work: Work<'_>,
    known: Option<&(Reserved, u64)>,
    least: u64,
) -> Result<u64, Error> {
    let now = work.context.moment.now;
    let mut known: Option<(Reserved, u64)> = known.cloned();
    for _ in 0..MOST_RESERVATIONS {
        let (taken, item) = match known {
            Some((reserved, item)) => (reserved.version, Some(item)),
            None => (0, None),
        };
        let highest = taken.max(least);
        let version = highest
            .checked_add(1)
            .ok_or_else(|| Error::Defect(format!("no version follows {highest}")))?;
        let next = Reserved { version };
        let write = items::put(items::reserved(), expect(item), &next);
        match work.context.store.commit(now, vec![write]).await {
            Ok(()) => return Ok(version),
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if work.meter.spare() < LEAST_CALLS {
            break;
        }
        let found = work
            .context
            .store
            .get_many(now, &[items::reserved()])
            .await?;
        known = match &found[0] {
            Some(item) => Some((item.read()?, item.version)),
            None => None,
        };
    }
    Err(Error::Contended)
}

/// Puts each catalog that is new on a mirror, as far as the budget goes; the pins of all catalogs once
/// all are there.
async fn store_catalogs(
    work: Work<'_>,
    start: &Start<'_>,
    slots: &mut [Slot<'_>],
    lists: &Lists<'_>,
    draft: &mut Draft,
) -> Result<Option<BTreeMap<CatalogName, CatalogPin>>, Error> {
    let (network, now) = (work.context.network, work.context.moment.now);
    let mut pins = BTreeMap::new();
    let mut all = true;
    for (name, list) in lists {
        let last = start.head.and_then(|(head, _)| head.catalogs.get(name));
        let same = match last {
            Some(pin) => list.again(network, name, pin)?.map(|bytes| (pin, bytes)),
            None => None,
        };
        if let Some((pin, bytes)) = same {
            work.stock.keep(&pin.sha256, bytes).await;
            pins.insert(name.clone(), pin.clone());
            continue;
        }
        if let Some(pin) = draft.catalogs.get(name) {
            pins.insert(name.clone(), pin.clone());
            continue;
        }
        let bytes = list.catalog(network, name, draft.version, now)?;
        let file = Pin::of(1, &bytes);
        let path = repository::target_paths(&name.path(), &file.sha256).swap_remove(0);
        let Some(at) = store_one(work, slots, &path, &bytes).await? else {
            all = false;
            continue;
        };
        let pin = CatalogPin {
            at,
            sha256: file.sha256,
            length: file.length,
            version: draft.version,
            changed_at: now,
            list: list.digest.clone(),
        };
        work.stock.keep(&pin.sha256, bytes).await;
        draft.catalogs.insert(name.clone(), pin.clone());
        pins.insert(name.clone(), pin);
    }
    Ok(all.then_some(pins))
}

/// Puts a catalog on the first mirror that takes it: its name, or `None` if the budget is spent.
async fn store_one(
    work: Work<'_>,
    slots: &mut [Slot<'_>],
    path: &str,
    bytes: &[u8],
) -> Result<Option<String>, Error> {
    let mut reasons = Vec::new();
    for slot in slots.iter_mut() {
        match take(slot.target, path, bytes).await {
            Ok(true) => {
                slot.put(path.to_owned());
                return Ok(Some(slot.target.name().to_owned()));
            }
            Ok(false) => reasons.push(format!("{}: '{path}' is altered", slot.target.name())),
            Err(Stop::Failed(why)) => {
                reasons.push(format!("{}: {why}", slot.target.name()));
                slot.fail(work, why);
            }
            Err(Stop::Spent) => return Ok(None),
        }
    }
    let reasons = format!("no mirror took the files: {}", reasons.join("; "));
    Err(Error::Store(StoreError::Unavailable(reasons)))
}

/// Whether the mirror has these bytes at `path` now.
async fn take(target: &Target<'_>, path: &str, bytes: &[u8]) -> Result<bool, Stop> {
    if target.create(path, bytes).await? {
        return Ok(true);
    }
    let there = target.get(path).await?;
    Ok(there.is_some_and(|there| there.bytes == bytes))
}

/// Makes `head` the head if the one that this run started from still stands, and the policy too.
async fn commit(work: Work<'_>, start: &Start<'_>, head: &Head) -> Result<bool, Error> {
    let actor = Actor::Schedule(ACTOR.to_owned());
    let detail = format!("{} catalogs", head.catalogs.len());
    let published = audit::write(
        &work.context,
        event::PUBLISHED,
        &actor,
        "catalog.published",
        &head.version,
        detail,
    );
    let over = expect(start.head.map(|(_, version)| version));
    let mut writes = vec![
        items::put(items::head(), over, head),
        start.policy.clone(),
        published,
    ];
    if let Some((_, version)) = start.draft {
        writes.push(Write {
            key: items::draft(),
            expect: Expect::Version(version),
            change: Change::Delete,
        });
    }
    let now = work.context.moment.now;
    match work.context.store.commit(now, writes).await {
        Ok(()) => Ok(true),
        Err(CommitError::Failed(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn expect(version: Option<u64>) -> Expect {
    version.map_or(Expect::Absent, Expect::Version)
}
