//! The TUF client workflow (specification, sections 5.3 to 5.7) without I/O.
//!
//! Verifications are [`TrustedMetadataSet`]'s, but for what it does not know: `bins`, and what
//! `delegators` asks of whoever names keys. This module decides which file comes next, what
//! of what is known can stand in for a fetch, and where delegations lead. A known file stands in
//! only if it is the pinned one (by length and hash, or by version where no hash is pinned), and
//! it is verified again like a fetched one; after [`Start::Floor`], none does.
//!
//! What was verified is kept as it goes ([`Workflow::verified`]): a client that shows its trusted
//! metadata file by file has a new root even if the timestamp after it was refused.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use model::RootPin;
use sigstore_tuf::{Error, MetaFile, Metadata, TargetFile, Targets, TrustedMetadataSet};

use super::cache::Floor;
use super::pins::{encode, fits_pin, fits_target, within};
use super::search::Search;
use super::{Cache, Start, TrustedState, VerifyError, delegators};
use crate::bundle::MOST_BUNDLE_BYTES;
use crate::crypto;
use crate::repository::{TIMESTAMP_PATH, root_path, target_paths};

// The most bytes of each role: python-tuf's `UpdaterConfig`, so that what any client takes, all do.
const MOST_ROOT_BYTES: u64 = 512_000;
const MOST_TIMESTAMP_BYTES: u64 = 16_384;
const MOST_SNAPSHOT_BYTES: u64 = 2_000_000;
const MOST_TARGETS_BYTES: u64 = 5_000_000;
/// The most roots in one go: a year of root rotations every nine hours.
const MOST_ROOTS: u32 = 1_000;
pub(super) const TARGETS: &str = "targets";

/// What a [`Workflow`] needs next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// This file: give it to [`Workflow::supply`].
    Fetch {
        /// Its name, relative to a front door's base URL.
        name: String,
        /// The most bytes that it may have: stop reading there.
        most_bytes: u64,
    },
    /// Nothing: call [`Workflow::finish`].
    Done,
}

/// The client workflow. After an error it is over.
#[derive(Debug)]
pub struct Workflow {
    pub(super) now: Timestamp,
    known: Option<Cache>,
    /// When the known timestamp was verified, if that is known.
    known_at: Option<Timestamp>,
    known_is: Known,
    floor: Floor,
    /// Whether a wanted file that no role lists is an error.
    pub(super) all_listed: bool,
    /// Whether everything is wanted that is listed, and not yet in `wanted`.
    pub(super) whole: bool,
    set: Option<TrustedMetadataSet>,
    pub(super) step: Step,
    next: Next,
    roots: u32,
    verified: Cache,
    verified_at: Timestamp,
    pub(super) wanted: VecDeque<String>,
    pub(super) search: Option<Search>,
    pub(super) bins: BTreeMap<String, Metadata<Targets>>,
}

/// What is known, and what may be made of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// A whole state: it stands in for fetches, and must verify.
    State,
    /// A floor and nothing else. What is damaged is no floor: whoever can damage it could take it
    /// away.
    Floor,
    /// What there is: it stands in for fetches where it verifies.
    Cache,
}

/// What is being worked on.
#[derive(Clone, Debug)]
pub(super) enum Step {
    PinnedRoot(RootPin),
    NextRoot,
    Timestamp,
    Snapshot,
    Role { role: String, delegator: String },
    Search,
    File { path: String, file: TargetFile },
    Done,
    Failed,
}

impl Workflow {
    /// Starts. `wanted` are target paths; one that no role lists is left out without an error.
    pub fn new(start: Start<'_>, wanted: &[String], now: Timestamp) -> Result<Self, VerifyError> {
        crypto::install();
        let mut workflow = match start {
            Start::Pin(pin) => Self::at(Step::PinnedRoot(pin.clone()), now),
            Start::State(state) => Self::from_root(Cache::of(state), Known::State, now)?,
            Start::Floor(state) => Self::from_root(Cache::of(state), Known::Floor, now)?,
            Start::Cache(cache) => Self::from_root(cache.clone(), Known::Cache, now)?,
        };
        if let Start::State(state) | Start::Floor(state) = start {
            workflow.known_at = Some(state.verified_at());
        }
        workflow.wanted.extend(wanted.iter().cloned());
        workflow.go_on()?;
        Ok(workflow)
    }

    /// The same, but every wanted file must be listed: the first that is not ends the workflow, and
    /// those after it are not looked for.
    pub fn for_all(
        start: Start<'_>,
        wanted: &[String],
        now: Timestamp,
    ) -> Result<Self, VerifyError> {
        let mut workflow = Self::new(start, &[], now)?;
        workflow.all_listed = true;
        workflow.wanted.extend(wanted.iter().cloned());
        Ok(workflow)
    }

    /// Starts, wanting all roles and files that the repository lists. A state is a floor, and its
    /// root is asked for like a pinned one.
    pub(super) fn whole(start: Start<'_>, now: Timestamp) -> Result<Self, VerifyError> {
        crypto::install();
        let (pin, known) = match start {
            Start::Pin(pin) => (pin.clone(), None),
            Start::State(state) | Start::Floor(state) => {
                (pin_of(state.root().as_bytes())?, Some(Cache::of(state)))
            }
            Start::Cache(cache) => (pin_of(&cache.root)?, Some(cache.clone())),
        };
        let mut workflow = Self {
            whole: true,
            known,
            ..Self::at(Step::PinnedRoot(pin), now)
        };
        if let Start::State(state) | Start::Floor(state) = start {
            workflow.known_at = Some(state.verified_at());
        }
        workflow.go_on()?;
        Ok(workflow)
    }

    fn from_root(cache: Cache, known_is: Known, now: Timestamp) -> Result<Self, VerifyError> {
        let set = TrustedMetadataSet::from_root(&cache.root)?;
        delegators::check_root(set.root())?;
        let mut workflow = Self::at(Step::NextRoot, now);
        workflow.verified.root.clone_from(&cache.root);
        workflow.known = Some(cache);
        workflow.known_is = known_is;
        workflow.set = Some(set);
        Ok(workflow)
    }

    fn at(step: Step, now: Timestamp) -> Self {
        Self {
            now,
            known: None,
            known_at: None,
            known_is: Known::Floor,
            floor: Floor::default(),
            all_listed: false,
            whole: false,
            set: None,
            step,
            next: Next::Done,
            roots: 0,
            verified: Cache::default(),
            verified_at: now,
            wanted: VecDeque::new(),
            search: None,
            bins: BTreeMap::new(),
        }
    }

    /// What is needed next. Asking twice gives the same answer.
    #[allow(clippy::should_implement_trait, reason = "`supply` advances, not this")]
    pub fn next(&self) -> Next {
        self.next.clone()
    }

    /// Takes the file that [`Workflow::next`] asked for; `None` where the source has none.
    pub fn supply(&mut self, bytes: Option<&[u8]>) -> Result<(), VerifyError> {
        let result = self.accept(bytes).and_then(|()| self.go_on());
        if result.is_err() {
            self.step = Step::Failed;
            self.next = Next::Done;
        }
        result
    }

    /// The new state, and whether it differs from the one that was started from.
    pub fn finish(self) -> Result<(TrustedState, bool), VerifyError> {
        if !matches!(self.step, Step::Done) {
            return Err(VerifyError::Missing(match self.next {
                Next::Fetch { name, .. } => name,
                Next::Done => "what the failed workflow still wanted".to_owned(),
            }));
        }
        let same =
            self.known.as_ref() == Some(&self.verified) && self.known_at == Some(self.verified_at);
        let state = TrustedState::of(self.verified, self.verified_at)?;
        Ok((state, !same))
    }

    /// What was verified so far, also by a workflow that has failed since. Where the known timestamp
    /// is still the newest, it is that one.
    pub fn verified(&self) -> &Cache {
        &self.verified
    }

    /// The roles whose metadata from before is to be removed by a client that keeps files, in this
    /// order, before it keeps what is verified next: a root has rotated their keys (specification,
    /// section 5.3.11), and nothing newer is verified yet.
    pub fn fallen(&self) -> Vec<&'static str> {
        let fallen = self.floor.fallen.iter().copied();
        let verified = &self.verified;
        fallen
            .filter(|role| match *role {
                "timestamp" => verified.timestamp.is_none(),
                _ => verified.snapshot.is_none(),
            })
            .collect()
    }

    /// Verifies the file that was asked for.
    fn accept(&mut self, bytes: Option<&[u8]>) -> Result<(), VerifyError> {
        let Next::Fetch { name, most_bytes } = self.next.clone() else {
            return Err(VerifyError::Malformed("nothing was asked for".to_owned()));
        };
        let Some(bytes) = bytes else {
            if matches!(self.step, Step::NextRoot) {
                return self.accept_last_root();
            }
            return Err(VerifyError::Missing(name));
        };
        if bytes.len() as u64 > most_bytes {
            let most = most_bytes;
            return Err(VerifyError::TooLarge { name, most });
        }
        match self.step.clone() {
            Step::PinnedRoot(pin) => self.accept_pinned_root(&pin, bytes),
            Step::NextRoot => self.accept_next_root(bytes),
            Step::Timestamp => self.accept_timestamp(bytes),
            Step::Snapshot => self.accept_snapshot(bytes),
            Step::Role { role, delegator } => self.accept_role(&role, &delegator, bytes),
            Step::File { path, file } => self.accept_file(path, &file, bytes),
            Step::Search | Step::Done | Step::Failed => Ok(()),
        }
    }

    /// Goes on with what is known, until something must be fetched.
    fn go_on(&mut self) -> Result<(), VerifyError> {
        loop {
            let fetch = match self.step.clone() {
                Step::PinnedRoot(pin) => Some((root_path(pin.version), MOST_ROOT_BYTES)),
                Step::NextRoot => {
                    let version = self.set()?.root().version;
                    Some((root_path(version.saturating_add(1)), MOST_ROOT_BYTES))
                }
                Step::Timestamp => Some((TIMESTAMP_PATH.to_owned(), MOST_TIMESTAMP_BYTES)),
                Step::Snapshot => self.want_snapshot()?,
                Step::Role { role, delegator } => self.want_role(&role, &delegator)?,
                Step::Search => self.search()?,
                Step::File { path, file } => self.want_file(path, &file)?,
                Step::Done | Step::Failed => {
                    self.next = Next::Done;
                    return Ok(());
                }
            };
            if let Some((name, most_bytes)) = fetch {
                self.next = Next::Fetch { name, most_bytes };
                return Ok(());
            }
        }
    }

    fn accept_pinned_root(&mut self, pin: &RootPin, bytes: &[u8]) -> Result<(), VerifyError> {
        let wrong = || VerifyError::WrongRoot {
            version: pin.version,
            expected: pin.sha256.clone(),
            found: crypto::sha256_hex(bytes),
        };
        if crypto::sha256_hex(bytes) != pin.sha256 {
            return Err(wrong());
        }
        let set = TrustedMetadataSet::from_root(bytes)?;
        if set.root().version != pin.version {
            return Err(wrong());
        }
        delegators::check_root(set.root())?;
        self.set = Some(set);
        self.verified.root = bytes.to_vec();
        self.step = Step::NextRoot;
        Ok(())
    }

    fn accept_next_root(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        self.roots += 1;
        if self.roots > MOST_ROOTS {
            return Err(VerifyError::TooLarge {
                name: format!("the chain of roots, which may have {MOST_ROOTS},"),
                most: MOST_ROOT_BYTES,
            });
        }
        let set = self.set_mut()?;
        set.update_root(bytes)?;
        delegators::check_root(set.root())?;
        self.verified.root = bytes.to_vec();
        Ok(())
    }

    fn accept_last_root(&mut self) -> Result<(), VerifyError> {
        let now = self.now;
        self.set()?.check_root_expired(now)?;
        self.feed_known()?;
        self.step = Step::Timestamp;
        Ok(())
    }

    /// Makes the known timestamp and snapshot the floor: nothing older is taken from here on.
    fn feed_known(&mut self) -> Result<(), VerifyError> {
        let (Some(known), Some(set)) = (&self.known, &mut self.set) else {
            return Ok(());
        };
        let same_root = set.root_bytes() == known.root;
        self.floor = known.floor(set, self.known_is == Known::Cache);
        let whole = set.timestamp().is_some() && set.snapshot().is_some();
        if self.known_is == Known::State && same_root && !whole {
            return Err(VerifyError::Malformed(
                "the trusted state does not verify".to_owned(),
            ));
        }
        Ok(())
    }

    fn accept_timestamp(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        let now = self.now;
        let set = self.set_mut()?;
        match set.update_timestamp(bytes, now) {
            Ok(()) => self.verified.timestamp = Some(bytes.to_vec()),
            Err(Error::EqualVersion { .. }) => {
                // Not news: ours stays, if it can still be used.
                set.check_timestamp_expired(now)?;
                let known = self.known.as_ref().and_then(|it| it.timestamp.clone());
                if self.known_is == Known::Floor && known.as_deref() != Some(bytes) {
                    return Err(VerifyError::Altered(
                        "the timestamp is not the known one of its version".to_owned(),
                    ));
                }
                self.verified.timestamp = known;
                self.verified_at = self.known_at.unwrap_or(now);
            }
            Err(error) => return Err(error.into()),
        }
        self.step = Step::Snapshot;
        Ok(())
    }

    fn want_snapshot(&mut self) -> Result<Option<(String, u64)>, VerifyError> {
        let pin = self
            .set()?
            .timestamp()
            .and_then(|timestamp| timestamp.snapshot_meta())
            .ok_or_else(|| VerifyError::Malformed("the timestamp pins no snapshot".to_owned()))?
            .clone();
        let known = self.at_hand().and_then(|known| known.snapshot.clone());
        if let Some(known) = known.filter(|known| fits_pin(known, &pin)) {
            match self.accept_snapshot(&known) {
                Err(error) if pin.hashes.is_some() => return Err(error),
                // Its keys may have been rotated since: the repository has it signed anew.
                Err(_) => {}
                Ok(()) => return Ok(None),
            }
        }
        let name = self.metadata_name("snapshot", pin.version)?;
        within(name, pin.length, MOST_SNAPSHOT_BYTES).map(Some)
    }

    fn accept_snapshot(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        let now = self.now;
        self.set_mut()?.update_snapshot(bytes, now)?;
        self.floor.check(self.set()?)?;
        self.verified.snapshot = Some(bytes.to_vec());
        self.step = Step::Role {
            role: TARGETS.to_owned(),
            delegator: "root".to_owned(),
        };
        Ok(())
    }

    fn want_role(
        &mut self,
        role: &str,
        delegator: &str,
    ) -> Result<Option<(String, u64)>, VerifyError> {
        let pin = self
            .pin_of_role(role)?
            .ok_or_else(|| VerifyError::Malformed(format!("the snapshot pins no {role}.json")))?;
        let known = self.at_hand().and_then(|known| known.roles.get(role));
        if let Some(known) = known.filter(|known| fits_pin(known, &pin)).cloned() {
            match self.accept_role(role, delegator, &known) {
                Err(error) if pin.hashes.is_some() => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(None),
            }
        }
        let name = self.metadata_name(role, pin.version)?;
        within(name, pin.length, MOST_TARGETS_BYTES).map(Some)
    }

    fn accept_role(
        &mut self,
        role: &str,
        delegator: &str,
        bytes: &[u8],
    ) -> Result<(), VerifyError> {
        let now = self.now;
        let targets = if role == TARGETS {
            self.set_mut()?.update_targets(bytes, now)?
        } else if self.bins_of(delegator)?.is_some() {
            self.update_bin(bytes, role, delegator)?
        } else {
            let set = self.set_mut()?;
            set.update_delegated_targets(bytes, role, delegator, now)?
        };
        delegators::check_targets(role, targets)?;
        self.verified.roles.insert(role.to_owned(), bytes.to_vec());
        self.step = Step::Search;
        Ok(())
    }

    fn want_file(
        &mut self,
        path: String,
        file: &TargetFile,
    ) -> Result<Option<(String, u64)>, VerifyError> {
        let known = self.at_hand().and_then(|known| known.files.get(&path));
        // A name may be wanted twice.
        let known = known.or_else(|| self.verified.files.get(&path));
        if let Some(known) = known.filter(|known| fits_target(known, file)).cloned() {
            self.verified.files.insert(path, known);
            self.step = Step::Search;
            return Ok(None);
        }
        let hash = ["sha256", "sha512"]
            .iter()
            .find_map(|algorithm| file.hashes.get(*algorithm));
        let name = match hash {
            Some(hash) if self.set()?.root().consistent_snapshot => {
                target_paths(&path, hash).swap_remove(0)
            }
            _ => format!("targets/{path}"),
        };
        within(name, Some(file.length), MOST_BUNDLE_BYTES).map(Some)
    }

    fn accept_file(
        &mut self,
        path: String,
        file: &TargetFile,
        bytes: &[u8],
    ) -> Result<(), VerifyError> {
        if !fits_target(bytes, file) {
            return Err(VerifyError::Altered(format!(
                "{path} does not have its signed length and hash"
            )));
        }
        self.verified.files.insert(path, bytes.to_vec());
        self.step = Step::Search;
        Ok(())
    }

    /// What is known, if it stands in for a fetch.
    fn at_hand(&self) -> Option<&Cache> {
        let known = self.known.as_ref();
        known.filter(|_| self.known_is != Known::Floor)
    }

    /// The targets roles that were read.
    pub(super) fn role_names(&self) -> impl Iterator<Item = &str> {
        self.verified.roles.keys().map(String::as_str)
    }

    pub(super) fn set(&self) -> Result<&TrustedMetadataSet, VerifyError> {
        self.set.as_ref().ok_or_else(no_root)
    }

    fn set_mut(&mut self) -> Result<&mut TrustedMetadataSet, VerifyError> {
        self.set.as_mut().ok_or_else(no_root)
    }

    pub(super) fn pin_of_role(&self, role: &str) -> Result<Option<MetaFile>, VerifyError> {
        let snapshot = self.set()?.snapshot();
        Ok(snapshot.and_then(|snapshot| snapshot.meta.get(&format!("{role}.json")).cloned()))
    }

    fn metadata_name(&self, role: &str, version: u64) -> Result<String, VerifyError> {
        let role = encode(role);
        Ok(if self.set()?.root().consistent_snapshot {
            format!("metadata/{version}.{role}.json")
        } else {
            format!("metadata/{role}.json")
        })
    }
}

fn no_root() -> VerifyError {
    VerifyError::Malformed("no root is trusted yet".to_owned())
}

/// Names a root that is already trusted, so that its source must have it, too.
fn pin_of(root: &[u8]) -> Result<RootPin, VerifyError> {
    Ok(RootPin {
        version: TrustedMetadataSet::from_root(root)?.root().version,
        sha256: crypto::sha256_hex(root),
    })
}
