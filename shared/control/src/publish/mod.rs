//! Publishing: from the state to signed catalogs on every mirror, in an order that no crash and no
//! second publisher can turn into a step back (design, section 6).
//!
//! 1. Judge the gateways and commit the changes of their states.
//! 2. Reserve a version. Gaps are allowed; no version is ever signed twice.
//! 3. Write all files of that version under names that hold the version or the hash: nobody reads
//!    them yet, nobody overwrites them.
//! 4. Commit the head (version and file names), only over the head that the work started from.
//! 5. Put `timestamp.json` and the bundles on every mirror, each only over the older or damaged one
//!    that was seen there ([`promote`]). What stands there counts as newer only if our own key
//!    signed it: whoever can write to a mirror can neither end publishing nor stay served.
//!
//! A crash between any two steps leaves every mirror serving a complete, older repository, and the
//! next run repairs what lags. A publisher that slept between two steps finds a newer head or a
//! newer file and gives up.

mod assemble;
mod mirror;
mod promote;
mod served;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::{Actor, Catalog, CatalogName, GatewayId, GatewayState, Limits};
use serde::{Deserialize, Serialize};
use store::{CommitError, Expect, Write};
use tuf::key::SigningKey;

pub use mirror::{Etag, Mirror, MirrorError, Object, Replaced};

use crate::{Context, Error, audit, items, policy};

/// How often a publisher tries to reserve a version before it leaves the field to the others.
const MOST_RESERVATIONS: u32 = 8;
/// The name under which scheduled publishing stands in the audit.
const ACTOR: &str = "publish";

/// Numbers of the audit events that one run can make, so that each has an id of its own.
mod event {
    pub const PUBLISHED: u32 = 0;
    pub const ALARM: u32 = 1;
    pub const FIRST_CHANGE: u32 = 2;
}

/// What the offline keys have signed: files that this function only passes on.
#[derive(Clone)]
pub struct Offline {
    /// The whole chain of roots, from version 1.
    pub roots: Vec<Vec<u8>>,
    /// The version of `targets`.
    pub targets_version: u64,
    /// The signed top-level targets.
    pub targets: Vec<u8>,
    /// The files that they list, by target path: limits, trust, recovery kit.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The limits among those files.
    pub limits: Limits,
}

/// The keys that only this function holds.
pub struct OnlineKeys {
    /// Signs the delegated role `catalogs`.
    pub catalogs: SigningKey,
    /// Signs `snapshot`.
    pub snapshot: SigningKey,
    /// Signs `timestamp`.
    pub timestamp: SigningKey,
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
}

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The version that is published now.
    pub version: u64,
    /// Whether this run made it.
    pub published: bool,
    /// How many gateways are in service.
    pub listed: usize,
    /// The gateways whose state changed, and to what.
    pub changes: Vec<(GatewayId, GatewayState)>,
    /// Whether the control plane holds back because too many gateways went quiet at once.
    pub mass_silence: bool,
    /// Mirrors that could not be brought up to date, and why: the next run tries again.
    pub lagging: Vec<(String, String)>,
}

/// What was published last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The version of `timestamp`, `snapshot` and `catalogs`.
    pub version: u64,
    /// When.
    pub published_at: Timestamp,
    /// From when on it is signed anew although nothing changed.
    pub renew_at: Timestamp,
    /// The last root's version.
    pub root_version: u64,
    /// The version of the offline targets.
    pub targets_version: u64,
    /// SHA-256 of each catalog, lowercase hexadecimal.
    pub catalogs: BTreeMap<CatalogName, String>,
    /// All files of this version, none of which ever changes: SHA-256 (lowercase hexadecimal) by
    /// path. A mirror is repaired from others, and what those hold is not believed without it.
    pub files: BTreeMap<String, String>,
}

/// The last version that a publisher took for itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reserved {
    /// The version.
    pub version: u64,
}

/// Why the control plane holds back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Alarm {
    /// Active gateways that went quiet at once; empty while all is well.
    pub quiet: Vec<GatewayId>,
    /// How many gateways are active.
    pub active: usize,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What a mirror serves, as far as this program brought it there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MirrorState {
    /// The version of its `timestamp.json` and bundles.
    pub version: u64,
}

/// A version with all its files, not yet published.
struct Assembled {
    head: Head,
    /// Every file by path.
    files: BTreeMap<String, Vec<u8>>,
}

impl Publisher<'_> {
    /// Publishes where something changed or grew old, and repairs the mirrors that lag.
    pub async fn run(&self) -> Result<Report, Error> {
        // The head before the gateways and the policy: whoever observed earlier than the head's
        // maker cannot replace that head with what was true before.
        let head = self.head().await?;
        self.check_offline(head.as_ref().map(|(head, _)| head))?;
        let (observed, changes, mass_silence) = service::judge(&self.context).await?;
        let last = self
            .last_catalogs(head.as_ref().map(|(head, _)| head))
            .await;
        let (in_force, _) = policy::current(&self.context).await?;
        let lists = assemble::lists(self, &observed, &in_force.policy, &last);
        let mut report = Report {
            version: head.as_ref().map_or(0, |(head, _)| head.version),
            published: false,
            listed: observed
                .iter()
                .filter(|o| o.gateway.state == GatewayState::Active)
                .count(),
            changes,
            mass_silence,
            lagging: Vec::new(),
        };
        let due = head
            .as_ref()
            .is_none_or(|(head, _)| self.is_due(head, &lists, &last));
        if !due {
            let (head, _) = head.as_ref().ok_or(Error::Contended)?;
            let repair = promote::all(self, head, None).await?;
            report.lagging = repair.lagging;
            if !repair.beyond_repair {
                return Ok(report);
            }
        }
        // Those that the head names, too: their bundles stay on the mirrors when no policy makes
        // them any more.
        let published = head.iter().flat_map(|(head, _)| head.catalogs.keys());
        let names = published.chain(lists.keys()).cloned().collect();
        let version = self.reserve(&names).await?;
        let assembled = assemble::version(self, version, lists, &last)?;
        let wrote = promote::write_files(self, &assembled.files).await;
        if wrote.len() == self.mirrors.len() {
            let reasons: Vec<_> = wrote
                .iter()
                .map(|(name, why)| format!("{name}: {why}"))
                .collect();
            let reasons = format!("no mirror took the files: {}", reasons.join("; "));
            return Err(Error::Store(store::StoreError::Unavailable(reasons)));
        }
        if !self
            .commit_head(&assembled.head, head.map(|(_, version)| version))
            .await?
        {
            tracing::info!(version, "another publisher was faster; its version stands");
            return Ok(report);
        }
        let promoted = promote::all(self, &assembled.head, Some(&assembled.files)).await?;
        report.lagging = promoted.lagging;
        report.version = version;
        report.published = true;
        Ok(report)
    }

    fn is_due(
        &self,
        head: &Head,
        lists: &assemble::Lists,
        last: &BTreeMap<CatalogName, Catalog>,
    ) -> bool {
        let changed = |(cohort, list): (&CatalogName, &assemble::List)| {
            last.get(cohort).is_none_or(|last| !list.is_in(last))
        };
        head.renew_at <= self.context.moment.now
            || head.targets_version != self.offline.targets_version
            || head.root_version != self.offline.roots.len() as u64
            || !head.catalogs.keys().eq(lists.keys())
            || lists.iter().any(changed)
    }

    /// Clients refuse a step back of the offline files as they refuse any other.
    fn check_offline(&self, head: Option<&Head>) -> Result<(), Error> {
        let (root, targets) = (
            self.offline.roots.len() as u64,
            self.offline.targets_version,
        );
        match head {
            Some(head) if head.root_version > root || head.targets_version > targets => {
                Err(Error::Defect(format!(
                    "root {} and targets {} are published, this publisher holds {root} and \
                     {targets}: give it the newer offline files",
                    head.root_version, head.targets_version
                )))
            }
            _ => Ok(()),
        }
    }

    async fn head(&self) -> Result<Option<(Head, u64)>, Error> {
        read_head(&self.context).await
    }

    /// The catalogs that were published last, as far as a mirror still has them.
    async fn last_catalogs(&self, head: Option<&Head>) -> BTreeMap<CatalogName, Catalog> {
        let mut last = BTreeMap::new();
        for (cohort, hash) in head.iter().flat_map(|head| &head.catalogs) {
            let paths = tuf::repository::target_paths(&cohort.path(), hash);
            let Some(bytes) = promote::find(self.mirrors, &paths[0], hash).await else {
                tracing::warn!(%cohort, "no mirror has the last catalog; it is made anew");
                continue;
            };
            match Catalog::from_json(&bytes) {
                Ok((catalog, _)) => drop(last.insert(cohort.clone(), catalog)),
                Err(error) => tracing::warn!(%cohort, %error, "the last catalog is made anew"),
            }
        }
        last
    }

    /// Takes a version that nobody had and nobody will have.
    async fn reserve(&self, names: &BTreeSet<CatalogName>) -> Result<u64, Error> {
        let now = self.context.moment.now;
        // A database that was restored from a backup may lag behind what clients have seen.
        let served = served::newest_version(self, names).await;
        for _ in 0..MOST_RESERVATIONS {
            let found = self
                .context
                .store
                .get_many(now, &[items::reserved()])
                .await?;
            let last: u64 =
                items::read::<Reserved>(found[0].as_ref())?.map_or(0, |last| last.version);
            let version = last
                .max(served)
                .checked_add(1)
                .ok_or_else(|| Error::Defect(format!("no version follows {}", last.max(served))))?;
            let next = Reserved { version };
            let expect = found[0]
                .as_ref()
                .map_or(Expect::Absent, |item| Expect::Version(item.version));
            let write = Write::put(items::reserved(), expect, &next);
            match self.context.store.commit(now, vec![write]).await {
                Ok(()) => return Ok(next.version),
                Err(CommitError::Failed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }

    /// Makes `head` the head if the one that this run started from still stands.
    async fn commit_head(&self, head: &Head, over: Option<u64>) -> Result<bool, Error> {
        let actor = Actor::Schedule(ACTOR.to_owned());
        let detail = format!("{} catalogs", head.catalogs.len());
        let writes = vec![
            Write::put(
                items::head(),
                over.map_or(Expect::Absent, Expect::Version),
                head,
            ),
            audit::write(
                &self.context,
                event::PUBLISHED,
                &actor,
                "catalog.published",
                &head.version,
                detail,
            ),
        ];
        match self
            .context
            .store
            .commit(self.context.moment.now, writes)
            .await
        {
            Ok(()) => Ok(true),
            Err(CommitError::Failed(0)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// When something that is signed now for so many seconds ends.
    fn expiry(&self, seconds: u32) -> Timestamp {
        let life = SignedDuration::from_secs(i64::from(seconds));
        self.context
            .moment
            .now
            .checked_add(life)
            .unwrap_or(Timestamp::MAX)
    }
}

/// What was published last, with the version of its item.
async fn read_head(context: &Context<'_>) -> Result<Option<(Head, u64)>, Error> {
    let found = context
        .store
        .get_many(context.moment.now, &[items::head()])
        .await?;
    let Some(item) = &found[0] else {
        return Ok(None);
    };
    Ok(Some((item.read()?, item.version)))
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
