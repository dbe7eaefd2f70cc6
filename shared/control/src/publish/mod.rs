//! Publishing: from the state to signed catalogs on every mirror, in an order that no crash, no
//! second publisher and no budget can turn into a step back (design, section 6).
//!
//! 1. Judge the gateways and commit the changes of their states; let an epoch begin if one is due
//!    ([`crate::epochs`]).
//! 2. Look after each mirror, and bring it on towards the head ([`promote`]): first the files that
//!    never change, under names that hold their version or hash, then `timestamp.json` and the
//!    bundles, each only over the older or damaged one that stands there. What stands there
//!    counts as newer only if our own key signed it: whoever can write to a mirror can neither
//!    end publishing nor stay served.
//! 3. Once no mirror that answers is on its way any more, and something changed or grew old: reserve a
//!    version (gaps are allowed; no version is ever signed twice), put its new catalogs on a
//!    mirror, and commit the head, only over the head that the work started from ([`make`]).
//! 4. Bring every mirror on towards the new head, as in step 2.
//!
//! The head holds all that it takes to make the bytes of its version again ([`stock`]). So a run may
//! end after any step, by a crash or because its [`Budget`] of calls is spent: every mirror serves a
//! complete repository then, older or newer, and the next run goes on from the place that the
//! mirror's state keeps. The version after it waits for mirrors that are on their way, and for none
//! that fails: a network that changes all the time is published version by version, whatever the
//! budget. A publisher that slept between two steps finds a newer head or a newer file and gives up.
//!
//! Mirrors are worked on at once, by one task: a slow one costs the others no time, one that
//! fails is asked nothing more in that run, and rests the longer the oftener it fails.

mod assemble;
mod budget;
mod files;
mod make;
mod mirror;
mod offline;
mod promote;
mod served;
mod service;
mod slot;
mod state;
mod stock;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use jiff::Timestamp;
use model::{Actor, CatalogName, Disclosure, GatewayId, GatewayState};
use serde::Serialize;
use store::{Change, CommitError, Expect, Item, Write};

pub use budget::Budget;
pub use mirror::{Etag, Mirror, MirrorError, Object, Replaced};
pub use offline::{Offline, OnlineKeys};
pub use state::{
    Alarm, CatalogPin, Draft, Failing, Floor, Head, MetadataPins, MirrorState, Reserved, UnderWay,
    Whole,
};

use crate::items::Read as _;
use crate::{Context, Error, epochs, items, policy};
use assemble::{Lists, Sealing};
use budget::{Counted, Meter, Target};
use make::{Made, Start};
use slot::{Besides, CameTo, Slot, Work};
use stock::Stock;

/// How many mirrors are worked on at once. Workers allow six connections at once.
const MOST_AT_ONCE: usize = 6;
/// The name under which scheduled publishing stands in the audit.
const ACTOR: &str = "publish";

/// Numbers of the audit events that one run can make, so that each has an id of its own.
mod event {
    pub const PUBLISHED: u32 = 0;
    pub const ALARM: u32 = 1;
    pub const EPOCH: u32 = 2;
    pub const FIRST_CHANGE: u32 = 3;
}

/// One run's means.
pub struct Publisher<'a> {
    /// State, settings and moment.
    pub context: Context<'a>,
    /// What the offline keys have signed.
    pub offline: &'a Offline,
    /// The online keys.
    pub keys: &'a OnlineKeys,
    /// Where the repository is served from.
    pub mirrors: &'a [Arc<dyn Mirror>],
    /// Front doors that the catalogs name.
    pub front_doors: &'a [String],
    /// How many calls the run may make.
    pub budget: Budget,
}

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The version that is published now.
    pub version: u64,
    /// Whether this run made it.
    pub published: bool,
    /// When that was signed; None before there was any.
    pub published_at: Option<Timestamp>,
    /// How many gateways are in service.
    pub listed: usize,
    /// How many were, and miss their heartbeats.
    pub unhealthy: usize,
    /// The gateways whose state changed, and to what.
    pub changes: Vec<(GatewayId, GatewayState)>,
    /// Whether the control plane holds back because too many gateways went quiet at once.
    pub mass_silence: bool,
    /// Mirrors that could not be brought up to date, and why: a later run tries again.
    pub lagging: Vec<(String, String)>,
    /// Whether the budget ended before the work: the next run goes on.
    pub unfinished: bool,
    /// How many calls the run made.
    pub calls: u32,
    /// What its people must do something about: files of the offline keys that expire soon, and signs
    /// that somebody else holds an online key.
    pub warnings: Vec<String>,
}

/// What the store holds of publishing, read at once. The head before the gateways: whoever observed
/// earlier than the head's maker cannot replace that head with what was true before. For the policy
/// the head's commit sees to that.
struct Loaded {
    items: Vec<Option<Item>>,
    head: Option<(Head, u64)>,
    draft: Option<(Draft, u64)>,
    reserved: Option<(Reserved, u64)>,
}

/// The items of [`Loaded`] before those of the mirrors.
const LOADED: usize = 9;

impl Loaded {
    async fn read(context: &Context<'_>, mirrors: &[Arc<dyn Mirror>]) -> Result<Self, Error> {
        let mut keys = vec![
            items::head(),
            items::draft(),
            items::reserved(),
            items::judged(),
            items::alarm(),
            items::policy(),
            items::epochs(),
            items::revocations(),
            items::floor(),
        ];
        debug_assert_eq!(keys.len(), LOADED);
        keys.extend(mirrors.iter().map(|mirror| items::mirror(mirror.name())));
        let items = context.store.get_many(context.moment.now, &keys).await?;
        Ok(Self {
            head: with_version(items[0].as_ref())?,
            draft: with_version(items[1].as_ref())?,
            reserved: with_version(items[2].as_ref())?,
            items,
        })
    }

    fn judged(&self) -> Option<&Item> {
        self.items[3].as_ref()
    }

    fn alarm(&self) -> Option<&Item> {
        self.items[4].as_ref()
    }

    fn policy(&self) -> Option<&Item> {
        self.items[5].as_ref()
    }

    fn epochs(&self) -> Option<&Item> {
        self.items[6].as_ref()
    }

    fn revocations(&self) -> Option<&Item> {
        self.items[7].as_ref()
    }

    /// What was seen of a network that was moved here.
    fn floor(&self) -> Result<Floor, Error> {
        Ok(items::read(self.items[8].as_ref())?.unwrap_or_default())
    }

    fn head(&self) -> Option<&Head> {
        self.head.as_ref().map(|(head, _)| head)
    }

    fn start(&self) -> Start<'_> {
        let policy = self.policy();
        Start {
            head: self.head.as_ref().map(|(head, version)| (head, *version)),
            draft: self
                .draft
                .as_ref()
                .map(|(draft, version)| (draft, *version)),
            reserved: self.reserved.clone(),
            policy: Write {
                key: items::policy(),
                expect: policy.map_or(Expect::Absent, |item| Expect::Version(item.version)),
                change: Change::Check,
            },
        }
    }
}

fn with_version<T: items::Body>(item: Option<&Item>) -> Result<Option<(T, u64)>, Error> {
    let Some(item) = item else {
        return Ok(None);
    };
    Ok(Some((item.read()?, item.version)))
}

impl Publisher<'_> {
    /// Publishes where something changed or grew old, and repairs the mirrors that lag, as far as
    /// the budget goes.
    pub async fn run(&self) -> Result<Report, Error> {
        let meter = self.budget.meter();
        meter.keep(self.mirrors.len());
        let store = Counted {
            store: self.context.store,
            meter: &meter,
        };
        let context = Context {
            store: &store,
            ..self.context
        };
        let targets: Vec<Target<'_>> = self
            .mirrors
            .iter()
            .map(|mirror| Target::new(mirror.as_ref(), &meter))
            .collect();
        let mut report = self.run_within(context, &meter, &targets).await?;
        if report.published {
            // With each version, some times a day: often enough to be seen, and no flood.
            for warning in &report.warnings {
                tracing::warn!("{warning}");
            }
        }
        report.calls = meter.spent();
        Ok(report)
    }

    async fn run_within(
        &self,
        context: Context<'_>,
        meter: &Meter,
        targets: &[Target<'_>],
    ) -> Result<Report, Error> {
        let loaded = Loaded::read(&context, self.mirrors).await?;
        let floor = loaded.floor()?;
        self.check_offline(loaded.head(), floor)?;
        let most_commits = self.budget.changes();
        let judged =
            service::judge(&context, loaded.judged(), loaded.alarm(), most_commits).await?;
        let in_force = policy::in_force(loaded.policy())?;
        let unknown = BTreeMap::new();
        let loads = loaded.head().map_or(&unknown, |head| &head.loads);
        let sealing = self
            .sealing(&context, &loaded, (in_force.policy.disclosure, floor))
            .await?;
        let rules = (&in_force.policy, sealing.as_ref());
        let lists = assemble::lists(self, &judged.observed, rules, loads)?;
        let mut slots = Vec::with_capacity(targets.len());
        for (target, item) in targets.iter().zip(&loaded.items[LOADED..]) {
            slots.push(Slot::new(target, item.as_ref(), &self.keys.timestamp)?);
        }
        let active = |o: &&rules::health::Observed| o.gateway.state == GatewayState::Active;
        let unhealthy = |o: &&rules::health::Observed| o.gateway.state == GatewayState::Unhealthy;
        let mut report = Report {
            version: loaded.head().map_or(0, |head| head.version),
            published: false,
            published_at: loaded.head().map(|head| head.published_at),
            listed: judged.observed.iter().filter(active).count(),
            unhealthy: judged.observed.iter().filter(unhealthy).count(),
            changes: judged.changes,
            mass_silence: judged.mass_silence,
            lagging: Vec::new(),
            unfinished: judged.unfinished,
            calls: 0,
            warnings: self.offline.authority.warnings(context.moment.now),
        };
        let standings = slots.iter().map(Slot::standing).collect();
        let stock = Stock::new(self, targets, standings, &lists);
        let work = Work {
            publisher: self,
            context,
            meter,
            stock: &stock,
            checks: self.budget.checks(targets.len()),
            besides: Besides::Nothing,
            rests: !slots.iter().all(Slot::is_failing),
        };
        let published = self
            .publish(work, &loaded, &lists, &mut slots, &mut report)
            .await;
        let saved = save(work, &mut slots).await;
        published?;
        saved?;
        report.unfinished |= slots.iter().any(|slot| slot.came_to == CameTo::Unfinished);
        report.lagging = slots.iter().filter_map(Slot::lag).collect();
        report.lagging.sort();
        if slots.iter().any(|slot| slot.saw_theft) {
            report.warnings.push(slot::THEFT.to_owned());
        }
        Ok(report)
    }

    /// Steps 2 to 4.
    async fn publish(
        &self,
        work: Work<'_>,
        loaded: &Loaded,
        lists: &Lists<'_>,
        slots: &mut [Slot<'_>],
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut due = loaded.head().is_none_or(|head| self.is_due(head, lists));
        match loaded.head() {
            Some(head) => {
                let mut work = work;
                if due {
                    work.besides = Besides::News;
                } else if slots.iter().any(|slot| slot.holds_up(head)) {
                    work.besides = Besides::Others;
                }
                // Where there is news, those that fail wait for it.
                let some = slots.iter_mut().filter(|slot| !due || !slot.is_failing());
                bring(work, head, some, !due).await?;
                due |= slots
                    .iter()
                    .any(|slot| matches!(slot.came_to, CameTo::Lost(_) | CameTo::Overtaken));
                if !due {
                    return drop_draft(work, loaded).await;
                }
                if slots.iter().any(|slot| slot.holds_up(head)) {
                    report.unfinished = true;
                    return Ok(());
                }
                self.learn(work, lists, head.catalogs.keys(), slots, Some(head))
                    .await;
            }
            None => self.learn(work, lists, [].into_iter(), slots, None).await,
        }
        slots.sort_by_key(Slot::is_failing);
        match make::next(work, &loaded.start(), slots, lists).await? {
            Made::Unfinished => report.unfinished = true,
            Made::Overtaken => {}
            Made::Head(head) => {
                report.version = head.version;
                report.published = true;
                report.published_at = Some(head.published_at);
                work.meter.keep(slots.len());
                // Those first that failed: they have waited, and one call tells whether they still do.
                slots.sort_by_key(|slot| !slot.is_failing());
                bring(work, &head, slots.iter_mut(), true).await?;
            }
        }
        Ok(())
    }

    /// Learns what is served where looking after the mirrors has not told: before the first head, and
    /// where a file of the head is lost. Not only by the catalogs that there are: the bundles of
    /// others stay on the mirrors when no policy makes them any more.
    async fn learn<'n>(
        &self,
        work: Work<'_>,
        lists: &'n Lists<'_>,
        last: impl Iterator<Item = &'n CatalogName>,
        slots: &mut [Slot<'_>],
        head: Option<&Head>,
    ) {
        let cohorts = self.offline.limits.cohorts.iter();
        let mut names: BTreeSet<CatalogName> = cohorts.map(|name| name.clone().into()).collect();
        names.extend(lists.keys().chain(last).cloned());
        for slot in slots {
            let is_told = matches!(slot.came_to, CameTo::End | CameTo::Unfinished);
            if head.is_none() || !is_told {
                slot.learn(work, names.iter()).await;
            }
        }
    }

    /// What slices are sealed with, brought up to now; `None` where the policy leaves them open.
    async fn sealing(
        &self,
        context: &Context<'_>,
        loaded: &Loaded,
        (disclosure, floor): (Disclosure, Floor),
    ) -> Result<Option<Sealing>, Error> {
        let slices = match disclosure {
            Disclosure::Sealed { slices, .. } => Some(slices),
            // What was sealed before opens no longer than it would have.
            Disclosure::Open {} if loaded.epochs().is_some() => None,
            Disclosure::Open {} => return Ok(None),
        };
        let by = (&Actor::Schedule(ACTOR.to_owned()), event::EPOCH);
        let read = (loaded.epochs(), loaded.revocations());
        let epochs = epochs::advanced(context, read, floor.epoch, by).await?;
        Ok(slices.map(|slices| Sealing { slices, epochs }))
    }

    fn is_due(&self, head: &Head, lists: &Lists<'_>) -> bool {
        let changed = |(name, list): (&CatalogName, &assemble::List<'_>)| {
            head.catalogs
                .get(name)
                .is_none_or(|pin| pin.list != list.digest)
        };
        head.renew_at <= self.context.moment.now
            || head.targets_version != self.offline.targets_version
            || head.root_version != self.offline.roots.len() as u64
            || !head.catalogs.keys().eq(lists.keys())
            || lists.iter().any(changed)
    }

    /// Clients refuse a step back of the offline files as they refuse any other.
    fn check_offline(&self, head: Option<&Head>, floor: Floor) -> Result<(), Error> {
        let (root, targets) = (
            self.offline.roots.len() as u64,
            self.offline.targets_version,
        );
        let (least_root, least_targets) = head
            .map_or((floor.root_version, floor.targets_version), |head| {
                (head.root_version, head.targets_version)
            });
        if least_root > root || least_targets > targets {
            return Err(Error::Defect(format!(
                "root {least_root} and targets {least_targets} are published, this publisher holds \
                 {root} and {targets}: give it the newer offline files"
            )));
        }
        self.offline.check_keys(self.keys)
    }
}

/// Removes a draft whose news are none any more: what it holds would be old when there are others.
async fn drop_draft(work: Work<'_>, loaded: &Loaded) -> Result<(), Error> {
    let Some((_, version)) = &loaded.draft else {
        return Ok(());
    };
    if work.meter.spare() == 0 {
        // A later run that has nothing to publish has a call for this.
        return Ok(());
    }
    let write = Write {
        key: items::draft(),
        expect: Expect::Version(*version),
        change: Change::Delete,
    };
    let now = work.context.moment.now;
    match work.context.store.commit(now, vec![write]).await {
        // Another run has changed it.
        Ok(()) | Err(CommitError::Failed(_)) => Ok(()),
        Err(CommitError::Store(error)) => Err(error.into()),
    }
}

/// Brings these mirrors to `head`, all at once; each keeps its place as soon as it is done, if it is
/// to be kept now, so that one that hangs takes no other's place with it.
async fn bring<'s, 'a: 's>(
    work: Work<'_>,
    head: &Head,
    slots: impl Iterator<Item = &'s mut Slot<'a>>,
    keep_place: bool,
) -> Result<(), Error> {
    let one = async |slot: &mut Slot<'a>| {
        slot.bring(work, head).await?;
        if keep_place {
            slot.save(work).await?;
        }
        Ok(())
    };
    at_once(slots.map(one)).await
}

/// Keeps the places that have not been kept.
async fn save(work: Work<'_>, slots: &mut [Slot<'_>]) -> Result<(), Error> {
    at_once(slots.iter_mut().map(|slot| slot.save(work))).await
}

/// Awaits all, a few at once, whatever comes of each; the first error.
async fn at_once(
    work: impl Iterator<Item = impl Future<Output = Result<(), Error>>>,
) -> Result<(), Error> {
    let work: Vec<_> = work.collect();
    let results: Vec<_> = futures_util::stream::iter(work)
        .buffer_unordered(MOST_AT_ONCE)
        .collect()
        .await;
    results.into_iter().collect()
}

/// What was published last and what holds publishing back, for people.
pub async fn show(context: &Context<'_>) -> Result<Option<(Head, Alarm)>, Error> {
    let found = context
        .store
        .get_many(context.moment.now, &[items::head(), items::alarm()])
        .await?;
    let alarm = items::read(found[1].as_ref())?.unwrap_or_default();
    let head: Option<Head> = items::read(found[0].as_ref())?;
    Ok(head.map(|head| (head, alarm)))
}
