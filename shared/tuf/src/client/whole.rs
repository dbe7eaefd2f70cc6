//! A whole repository: everything that its metadata lists, for whoever answers for a mirror.
//!
//! A device reads what it wants and leaves the rest; so a mirror can be broken for others and
//! right for it. Here every delegated role is read and every listed file must be there.

use jiff::Timestamp;
use model::{Catalog, CatalogName, HeldKey, Limits, NetworkId, RecoveryKit, TrustedKeys};

use super::{
    Next, Source, Start, TrustedState, VerifyError, Wanted, Workflow, read_catalog, read_kit,
    read_limits, read_trust,
};
use crate::slices::Sealed;

/// A whole repository, verified.
#[derive(Clone, PartialEq, Debug)]
pub struct Whole {
    /// All its metadata and files.
    pub state: TrustedState,
    /// What online keys may list.
    pub limits: Limits,
    /// Every cohort's catalog, without what lies outside the limits, by the cohort's name, and how many
    /// of its slices are sealed.
    pub catalogs: Vec<(Catalog, Sealed)>,
    /// The recovery kit; None if the network has none, or if this program cannot read it
    /// (`skipped` then says so).
    pub kit: Option<RecoveryKit>,
    /// The keys that sign gateway configs, if the network has any.
    pub trust: Option<TrustedKeys>,
    /// What was left out, and why, a line each.
    pub skipped: Vec<String>,
}

/// Verifies all that `source` must have. A state gives its root and the versions below which
/// nothing is taken ([`Start::Floor`]); `source` must have that root too. `keys` open sealed slices.
pub fn verify_whole(
    start: Start<'_>,
    network: &NetworkId,
    keys: &[HeldKey],
    source: &mut Source<'_>,
    now: Timestamp,
) -> Result<Whole, VerifyError> {
    let mut workflow = Workflow::whole(start, now)?;
    while let Next::Fetch { name, most_bytes } = workflow.next() {
        let bytes = source(&name, most_bytes)?;
        workflow.supply(bytes.as_deref())?;
    }
    let (state, _) = workflow.finish()?;

    let mut skipped = Vec::new();
    let limits = read_limits(&state, network)?;
    let kit = read_kit(&state, network, &mut skipped)?;
    let has_trust = state.file(TrustedKeys::PATH).is_some();
    let trust = has_trust.then(|| read_trust(&state, network)).transpose()?;
    let mut catalogs = Vec::new();
    for path in state.paths() {
        let Some(name) = path.strip_prefix("catalogs/") else {
            continue;
        };
        let catalog: Option<CatalogName> = name
            .strip_suffix(".json")
            .and_then(|name| name.parse().ok());
        match catalog.filter(|name| limits.cohorts.contains(name.cohort())) {
            Some(name) => {
                let wanted = Wanted {
                    network,
                    catalog: Some(&name),
                    keys,
                };
                let read = read_catalog(&state, &limits, &wanted, &name, &mut skipped)?;
                catalogs.push(read);
            }
            None => skipped.push(format!("{path}: of no cohort that the limits name")),
        }
    }
    Ok(Whole {
        state,
        limits,
        catalogs,
        kit,
        trust,
        skipped,
    })
}
