//! Putting a version together: catalogs, the online metadata, the bundles. No I/O.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use model::{
    Catalog, CatalogGateway, CatalogName, Limits, Policy, RecoveryKit, Slice, TrustedKeys, catalog,
};
use rules::health::Observed;
use rules::listing;
use tuf::bundle::Bundle;
use tuf::repository::{self, Pin};

use super::{Assembled, Head, Publisher};
use crate::Error;

/// What each catalog shall list.
pub(super) type Lists = BTreeMap<CatalogName, List>;

/// The parts of a catalog that change by themselves.
pub(super) struct List {
    gateways: Vec<CatalogGateway>,
    front_doors: Vec<String>,
}

impl List {
    /// Whether `catalog` says just this.
    pub(super) fn is_in(&self, catalog: &Catalog) -> bool {
        catalog.front_doors == self.front_doors && catalog.gateways().eq(&self.gateways)
    }
}

/// What the catalogs of each cohort of the limits shall list, by the states of the gateways and the
/// policy: one for each combination of the tags that the policy names. Entries outside the
/// limits are left out here too: a client would drop them.
pub(super) fn lists(
    publisher: &Publisher<'_>,
    observed: &[Observed],
    policy: &Policy,
    last: &BTreeMap<CatalogName, Catalog>,
) -> Lists {
    let limits = &publisher.offline.limits;
    let list_of = |name: &CatalogName| {
        let loads = last.get(name).into_iter().flat_map(Catalog::gateways);
        let loads = loads
            .map(|gateway| (gateway.id.clone(), gateway.load))
            .collect();
        let mut gateways = listing::list(observed, policy, name, &loads);
        gateways.retain(|gateway| {
            let allowed = limits.allow_gateway_at(gateway.endpoint.ip());
            if !allowed {
                tracing::warn!(gateway = %gateway.id, endpoint = %gateway.endpoint,
                    "left out: its address is outside the signed limits");
            }
            allowed
        });
        List {
            gateways,
            front_doors: publisher.front_doors.to_vec(),
        }
    };
    limits
        .cohorts
        .iter()
        .flat_map(|cohort| rules::policy::catalogs(policy, cohort))
        .map(|name| (name.clone(), list_of(&name)))
        .collect()
}

/// The files of `version`, signed.
pub(super) fn version(
    publisher: &Publisher<'_>,
    version: u64,
    lists: Lists,
    last: &BTreeMap<CatalogName, Catalog>,
) -> Result<Assembled, Error> {
    let network = &publisher.context.network;
    let now = publisher.context.moment.now;
    let mut catalogs = BTreeMap::new();
    for (name, list) in lists {
        let catalog = match last.get(&name).filter(|last| list.is_in(last)) {
            Some(last) => last.clone(),
            None => Catalog {
                schema: catalog::SCHEMA.to_owned(),
                network: network.id.clone(),
                name: name.clone(),
                version,
                changed_at: now,
                front_doors: list.front_doors,
                slices: vec![Slice::Open {
                    gateways: list.gateways,
                }],
            },
        };
        let bytes = serde_json::to_vec(&catalog).map_err(defect)?;
        catalogs.insert(name, bytes);
    }

    let metadata = Metadata::sign(publisher, version, &catalogs)?;
    let mut files = BTreeMap::new();
    for (number, root) in (1..).zip(&publisher.offline.roots) {
        files.insert(repository::root_path(number), root.clone());
    }
    files.insert(
        metadata.targets_path.clone(),
        publisher.offline.targets.clone(),
    );
    files.insert(
        repository::catalogs_path(version),
        metadata.catalogs.clone(),
    );
    files.insert(
        repository::snapshot_path(version),
        metadata.snapshot.clone(),
    );
    files.insert(
        repository::timestamp_copy_path(version),
        metadata.timestamp.clone(),
    );
    let targets = publisher
        .offline
        .files
        .iter()
        .map(|(path, bytes)| (path.clone(), bytes));
    let catalog_targets = catalogs
        .iter()
        .map(|(cohort, bytes)| (cohort.path(), bytes));
    for (path, bytes) in targets.chain(catalog_targets) {
        for place in repository::target_paths(&path, &Pin::of(1, bytes).sha256) {
            files.insert(place, bytes.clone());
        }
    }
    for (cohort, bytes) in &catalogs {
        let bundle = metadata.bundle(
            publisher,
            &[
                (Limits::PATH.to_owned(), None),
                (RecoveryKit::PATH.to_owned(), None),
                (cohort.path(), Some(bytes)),
            ],
        )?;
        files.insert(repository::bundle_copy_path(version, Some(cohort)), bundle);
    }
    let trust = [
        (Limits::PATH.to_owned(), None),
        (TrustedKeys::PATH.to_owned(), None),
    ];
    let trust = metadata.bundle(publisher, &trust)?;
    files.insert(repository::bundle_copy_path(version, None), trust);

    let quarter = SignedDuration::from_secs(i64::from(network.timing.timestamp / 4));
    let hash =
        |(cohort, bytes): (&CatalogName, &Vec<u8>)| (cohort.clone(), Pin::of(1, bytes).sha256);
    let head = Head {
        version,
        published_at: now,
        renew_at: now.checked_add(quarter).unwrap_or(now),
        root_version: publisher.offline.roots.len() as u64,
        targets_version: publisher.offline.targets_version,
        catalogs: catalogs.iter().map(hash).collect(),
        files: files
            .iter()
            .map(|(path, bytes)| (path.clone(), Pin::of(1, bytes).sha256))
            .collect(),
    };
    Ok(Assembled { head, files })
}

/// The signed metadata of one version.
struct Metadata {
    version: u64,
    targets_path: String,
    catalogs: Vec<u8>,
    snapshot: Vec<u8>,
    timestamp: Vec<u8>,
}

impl Metadata {
    fn sign(
        publisher: &Publisher<'_>,
        version: u64,
        catalogs: &BTreeMap<CatalogName, Vec<u8>>,
    ) -> Result<Self, Error> {
        let timing = &publisher.context.network.timing;
        let (offline, keys) = (publisher.offline, publisher.keys);
        let files = catalogs
            .iter()
            .map(|(cohort, bytes)| (cohort.path(), bytes.clone()))
            .collect();
        let lasting = publisher.expiry(timing.catalog);
        let catalogs = repository::sign_catalogs(version, lasting, &files, &[&keys.catalogs])
            .map_err(defect)?;
        let targets_pin = Pin::of(offline.targets_version, &offline.targets);
        let catalogs_pin = Pin::of(version, &catalogs);
        let snapshot = repository::sign_snapshot(
            version,
            lasting,
            &targets_pin,
            &catalogs_pin,
            &[&keys.snapshot],
        )
        .map_err(defect)?;
        let expires = publisher.expiry(timing.timestamp);
        let timestamp = repository::sign_timestamp(
            version,
            expires,
            &Pin::of(version, &snapshot),
            &[&keys.timestamp],
        )
        .map_err(defect)?;
        let targets_path = repository::targets_path(offline.targets_version);
        Ok(Self {
            version,
            targets_path,
            catalogs,
            snapshot,
            timestamp,
        })
    }

    /// A bundle with the metadata and some targets; those without bytes are the offline ones.
    fn bundle(
        &self,
        publisher: &Publisher<'_>,
        targets: &[(String, Option<&Vec<u8>>)],
    ) -> Result<Vec<u8>, Error> {
        let offline = publisher.offline;
        let mut parts: Vec<(String, &[u8])> = (1..)
            .zip(&offline.roots)
            .map(|(number, root)| (repository::root_path(number), root.as_slice()))
            .collect();
        parts.push((repository::TIMESTAMP_PATH.to_owned(), &self.timestamp));
        parts.push((repository::snapshot_path(self.version), &self.snapshot));
        parts.push((self.targets_path.clone(), &offline.targets));
        parts.push((repository::catalogs_path(self.version), &self.catalogs));
        for (path, bytes) in targets {
            let bytes = bytes.or_else(|| offline.files.get(path)).ok_or_else(|| {
                Error::Defect(format!("the offline keys have not signed '{path}'"))
            })?;
            let place = repository::target_paths(path, &Pin::of(1, bytes).sha256).swap_remove(0);
            parts.push((place, bytes));
        }
        let parts: Vec<(&str, &[u8])> = parts
            .iter()
            .map(|(name, bytes)| (name.as_str(), *bytes))
            .collect();
        Ok(Bundle::write(&parts))
    }
}

fn defect(error: impl std::fmt::Display) -> Error {
    Error::Defect(format!("the repository cannot be signed: {error}"))
}
