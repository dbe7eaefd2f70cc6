//! The client: from a front door's bytes to a catalog that can be believed.
//!
//! [`Workflow`] is the TUF client workflow (specification, section 5.3) as a state machine without
//! I/O: it says which file it wants next and is given its bytes. [`verify_bundle`] feeds it from a
//! bundle, [`verify_source`] from anything else. What comes out is a [`TrustedState`] to keep, and
//! the files in it, read and held to the [limits].
//!
//! - **Trust starts** from a pinned root ([`Start::Pin`], first contact) or from what was verified
//!   before ([`Start::State`]). A failure never changes the state that was passed in. Where the
//!   question is what the *source* has ([`verify_whole`]), or where the state's own files are
//!   damaged, the state gives its root and its versions and no bytes ([`Start::Floor`]). A client
//!   that keeps files and not states starts from those that it has ([`Start::Cache`]).
//! - **Nothing gets older.** The state's files are fed back at the time at which they were
//!   verified, so that even an expired state is a floor against rollback. When a new root has
//!   rotated the keys of the timestamp or the snapshot, that floor falls, as section 5.3.11 wants:
//!   it is how a network recovers from a thief who signed enormous versions.
//! - **Nothing new is expired.** An equal timestamp is not news and not an error, unless it has
//!   expired.
//! - **A key counts once.** One that a role lists under two ids is a mistake that would let one
//!   holder reach a threshold of two: such metadata is refused.
//! - **Only delegated paths.** A file is looked for in the top-level targets first, then where they
//!   delegate its path. `limits.json`, `trust.json` and `recovery-kit.json` are never delegated, so
//!   a stolen online key cannot make them.

use jiff::Timestamp;
use model::{Catalog, CatalogName, HeldKey, Limits, NetworkId, RecoveryKit, RootPin, TrustedKeys};
use serde::de::DeserializeOwned;

pub use self::cache::Cache;
pub use self::pins::encode;
pub use self::state::{LONGEST_LIFE, TrustedState};
pub use self::whole::{Whole, verify_whole};
pub use self::workflow::{Next, Workflow};
use crate::bundle::Bundle;
pub use crate::error::VerifyError;
use crate::slices::{self, Opened, Sealed};
use crate::{limits, repository};

mod bins;
mod cache;
mod delegators;
mod pins;
mod search;
mod state;
mod whole;
mod workflow;

/// Where trust starts.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// From the root that came with the first contact.
    Pin(&'a RootPin),
    /// From what was verified before; a file of it that is still the right one is not fetched again.
    State(&'a TrustedState),
    /// From the root of what was verified before, which also says what is too old. Every file is
    /// fetched.
    Floor(&'a TrustedState),
    /// From what there is of what was verified before.
    Cache(&'a Cache),
}

/// What the caller wants of a repository.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The network that all files must belong to.
    pub network: &'a NetworkId,
    /// A device's catalog: limits, recovery kit and that catalog are wanted. None, for a gateway: limits,
    /// recovery kit and the keys that sign configs are.
    pub catalog: Option<&'a CatalogName>,
    /// The keys that the device holds of sealed slices.
    pub keys: &'a [HeldKey],
}

/// What was verified.
#[derive(Clone, PartialEq, Debug)]
pub struct Verified {
    /// What to keep for the next time.
    pub state: TrustedState,
    /// Whether `state` differs from the one that was started from.
    pub changed: bool,
    /// What online keys may list.
    pub limits: Limits,
    /// The cohort's catalog: its open slices and those that the keys opened, without what lies outside
    /// the limits. None without a cohort.
    pub catalog: Option<Catalog>,
    /// How many of its slices are sealed, and were opened.
    pub sealed: Sealed,
    /// The recovery kit; None if the network has none, or if this program cannot read it (`skipped`
    /// then says so).
    pub kit: Option<RecoveryKit>,
    /// The keys that sign gateway configs. None with a cohort.
    pub trust: Option<TrustedKeys>,
    /// What was left out, and why, a line each.
    pub skipped: Vec<String>,
}

/// What was verified, with its catalog opened and not read yet: enough to know that it is right, and to keep it.
#[derive(Debug)]
pub struct Unread {
    /// What to keep for the next time.
    pub state: TrustedState,
    /// Whether `state` differs from the one that was started from.
    pub changed: bool,
    /// The recovery kit, as in [`Verified`].
    pub kit: Option<RecoveryKit>,
    limits: Limits,
    /// Apart from it what was sealed in it; neither is held to the limits yet.
    catalog: Option<(Catalog, Opened)>,
    trust: Option<TrustedKeys>,
    skipped: Vec<String>,
}

/// A source of files: called with a file's name (relative to a front door's base URL) and the most
/// bytes that it may return, it answers `None` where it has no such file.
pub type Source<'a> = dyn FnMut(&str, u64) -> Result<Option<Vec<u8>>, VerifyError> + 'a;

/// Verifies a bundle.
pub fn verify_bundle(
    start: Start<'_>,
    wanted: &Wanted<'_>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    verify_bundle_unread(start, wanted, bytes, now).map(Unread::read)
}

/// Verifies a bundle, and leaves its catalog to be read later.
pub fn verify_bundle_unread(
    start: Start<'_>,
    wanted: &Wanted<'_>,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Unread, VerifyError> {
    let bundle = Bundle::read(bytes)?;
    let mut workflow = Workflow::new(start, &wanted.paths(), now)?;
    while let Next::Fetch { name, .. } = workflow.next() {
        workflow.supply(bundle.get(&name))?;
    }
    let (state, changed) = workflow.finish()?;
    check(state, changed, wanted)
}

/// Verifies what `source` has.
pub fn verify_source(
    start: Start<'_>,
    wanted: &Wanted<'_>,
    source: &mut Source<'_>,
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    let mut workflow = Workflow::new(start, &wanted.paths(), now)?;
    while let Next::Fetch { name, most_bytes } = workflow.next() {
        let bytes = source(&name, most_bytes)?;
        workflow.supply(bytes.as_deref())?;
    }
    let (state, changed) = workflow.finish()?;
    check(state, changed, wanted).map(Unread::read)
}

/// Reads what `state` already holds, with the same checks of signatures, hashes, network and
/// limits, so that a damaged file of a device is found. Expiry is not checked: an old catalog is
/// the caller's to judge.
pub fn read_state(state: &TrustedState, wanted: &Wanted<'_>) -> Result<Verified, VerifyError> {
    // The state was verified at that time, so it verifies again at that time.
    let mut workflow = Workflow::new(Start::State(state), &wanted.paths(), state.verified_at())?;
    while let Next::Fetch { name, .. } = workflow.next() {
        let known = (name == repository::TIMESTAMP_PATH).then(|| state.timestamp().as_bytes());
        workflow.supply(known)?;
    }
    let (state, changed) = workflow.finish()?;
    check(state, changed, wanted).map(Unread::read)
}

impl Wanted<'_> {
    /// The target paths that are wanted, for [`Workflow::new`].
    pub fn paths(&self) -> Vec<String> {
        let own = match self.catalog {
            Some(name) => name.path(),
            None => TrustedKeys::PATH.to_owned(),
        };
        vec![Limits::PATH.to_owned(), RecoveryKit::PATH.to_owned(), own]
    }
}

/// Reads the files of a verified state, but for what is sealed in the catalog.
fn check(state: TrustedState, changed: bool, wanted: &Wanted<'_>) -> Result<Unread, VerifyError> {
    let mut skipped = Vec::new();
    let limits = read_limits(&state, wanted.network)?;

    let kit = read_kit(&state, wanted.network, &mut skipped)?;
    let (mut catalog, mut trust) = (None, None);
    if let Some(name) = wanted.catalog {
        limits::check_cohort(&limits, name.cohort())?;
        catalog = Some(open_catalog(&state, wanted, name, &mut skipped)?);
    } else {
        trust = Some(read_trust(&state, wanted.network)?);
    }
    Ok(Unread {
        state,
        changed,
        kit,
        limits,
        catalog,
        trust,
        skipped,
    })
}

impl Unread {
    /// How many slices of the catalog are sealed, and were opened.
    pub fn sealed(&self) -> Sealed {
        let opened = self.catalog.as_ref().map(|(_, opened)| opened.sealed);
        opened.unwrap_or_default()
    }

    /// When the catalog last changed. None without one.
    pub fn changed_at(&self) -> Option<Timestamp> {
        self.catalog.as_ref().map(|(catalog, _)| catalog.changed_at)
    }

    /// Reads the catalog, and holds what it lists to the limits.
    pub fn read(mut self) -> Verified {
        let sealed = self.sealed();
        let catalog = self
            .catalog
            .map(|opened| read_opened(opened, &self.limits, &mut self.skipped));
        Verified {
            state: self.state,
            changed: self.changed,
            limits: self.limits,
            catalog,
            sealed,
            kit: self.kit,
            trust: self.trust,
            skipped: self.skipped,
        }
    }
}

fn read_limits(state: &TrustedState, network: &NetworkId) -> Result<Limits, VerifyError> {
    let limits: Limits = parse(Limits::PATH, required(state, Limits::PATH)?)?;
    check_schema(Limits::PATH, &limits.schema, Limits::SCHEMA)?;
    limits::check_network(Limits::PATH, network, &limits.network)?;
    Ok(limits)
}

fn read_trust(state: &TrustedState, network: &NetworkId) -> Result<TrustedKeys, VerifyError> {
    let keys: TrustedKeys = parse(TrustedKeys::PATH, required(state, TrustedKeys::PATH)?)?;
    check_schema(TrustedKeys::PATH, &keys.schema, TrustedKeys::SCHEMA)?;
    limits::check_network(TrustedKeys::PATH, network, &keys.network)?;
    Ok(keys)
}

fn read_catalog(
    state: &TrustedState,
    limits: &Limits,
    wanted: &Wanted<'_>,
    name: &CatalogName,
    skipped: &mut Vec<String>,
) -> Result<(Catalog, Sealed), VerifyError> {
    let opened = open_catalog(state, wanted, name, skipped)?;
    let sealed = opened.1.sealed;
    Ok((read_opened(opened, limits, skipped), sealed))
}

/// The catalog `name`, and apart from it what was sealed in it. Neither is held to the limits yet.
fn open_catalog(
    state: &TrustedState,
    wanted: &Wanted<'_>,
    name: &CatalogName,
    skipped: &mut Vec<String>,
) -> Result<(Catalog, Opened), VerifyError> {
    let path = name.path();
    let text = required(state, &path)?;
    let (mut catalog, unreadable) = Catalog::from_json(text)
        .map_err(|error| VerifyError::Malformed(format!("{path}: {error}")))?;
    skipped.extend(unreadable);
    limits::check_network(&path, wanted.network, &catalog.network)?;
    if catalog.name != *name {
        return Err(VerifyError::OutsideLimits(format!(
            "{path} holds the catalog '{}'",
            catalog.name
        )));
    }
    let opened = slices::unseal(&mut catalog, wanted.keys, skipped);
    Ok((catalog, opened))
}

/// The whole catalog, held to the limits: what was sealed in it like all else.
fn read_opened(
    (mut catalog, opened): (Catalog, Opened),
    limits: &Limits,
    skipped: &mut Vec<String>,
) -> Catalog {
    opened.read(&mut catalog, skipped);
    limits::enforce(limits, &mut catalog, skipped);
    catalog
}

/// The kit, if there is one. One that a later program wrote is no reason to do without the
/// catalog: it is skipped and named.
fn read_kit(
    state: &TrustedState,
    network: &NetworkId,
    skipped: &mut Vec<String>,
) -> Result<Option<RecoveryKit>, VerifyError> {
    let Some(text) = state.file(RecoveryKit::PATH) else {
        return Ok(None);
    };
    let kit = parse(RecoveryKit::PATH, text).and_then(|kit: RecoveryKit| {
        check_schema(RecoveryKit::PATH, &kit.schema, RecoveryKit::SCHEMA)?;
        Ok(kit)
    });
    match kit {
        Ok(kit) => {
            limits::check_network(RecoveryKit::PATH, network, &kit.network)?;
            Ok(Some(kit))
        }
        Err(error) => {
            skipped.push(error.to_string());
            Ok(None)
        }
    }
}

fn required<'a>(state: &'a TrustedState, path: &str) -> Result<&'a str, VerifyError> {
    state
        .file(path)
        .ok_or_else(|| VerifyError::Missing(format!("{path} is not in the signed repository")))
}

fn parse<T: DeserializeOwned>(path: &str, text: &str) -> Result<T, VerifyError> {
    serde_json::from_str(text).map_err(|error| VerifyError::Malformed(format!("{path}: {error}")))
}

fn check_schema(path: &str, found: &str, expected: &str) -> Result<(), VerifyError> {
    if found != expected {
        return Err(VerifyError::Malformed(format!(
            "{path}: its schema is '{found}', this program reads '{expected}': update it"
        )));
    }
    Ok(())
}
