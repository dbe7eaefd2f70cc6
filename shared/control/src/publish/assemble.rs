//! Putting a version together: what the catalogs list, the online metadata, the bundles. No I/O.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use model::{
    Catalog, CatalogGateway, CatalogName, GatewayId, Limits, Network, Policy, RecoveryKit, Slice,
    TrustedKeys, catalog,
};
use rules::epochs::Epochs;
use rules::health::Observed;
use rules::listing;
use serde::Serialize;
use tuf::bundle::Bundle;
use tuf::limits::allows_front_door;
use tuf::repository::{self, Pin};

use super::{CatalogPin, Head, MetadataPins, Offline, OnlineKeys, Publisher};
use crate::Error;

/// The most bytes of loads that a head keeps, of the 390,000 of an item; the rest is for the pins of
/// some 400 catalogs. Gateways beyond that, more than 10,000, may change their listed load at a step's
/// edge with every heartbeat.
const MOST_LOADS_BYTES: usize = 250_000;

/// What each catalog shall list.
pub(super) type Lists<'a> = BTreeMap<CatalogName, List<'a>>;

/// What the slices of all catalogs are sealed with.
pub(super) struct Sealing {
    /// How many slices a catalog has.
    pub slices: u16,
    /// Whose keys open them.
    pub epochs: Epochs,
}

/// The parts of a catalog that change by themselves.
#[derive(Serialize)]
pub(super) struct List<'a> {
    gateways: Vec<CatalogGateway>,
    front_doors: Vec<String>,
    /// How many slices there are, and the epochs whose keys open them; nothing where they are open.
    /// Sealed again with the same, the same bytes come out.
    sealed_for: Option<(u16, Vec<u64>)>,
    #[serde(skip)]
    sealing: Option<&'a Sealing>,
    /// SHA-256 of the others.
    #[serde(skip)]
    pub digest: String,
}

impl<'a> List<'a> {
    fn new(
        gateways: Vec<CatalogGateway>,
        front_doors: Vec<String>,
        sealing: Option<&'a Sealing>,
    ) -> Result<Self, Error> {
        let sealed_for = sealing.map(|sealing| {
            let epochs = sealing.epochs.readable().into_iter();
            (sealing.slices, epochs.map(|(number, _)| number).collect())
        });
        let mut list = Self {
            gateways,
            front_doors,
            sealed_for,
            sealing,
            digest: String::new(),
        };
        let bytes = serde_json::to_vec(&list).map_err(defect)?;
        list.digest = Pin::of(1, &bytes).sha256;
        Ok(list)
    }

    /// The catalog's slices since `version`.
    fn slices(
        &self,
        network: &Network,
        name: &CatalogName,
        version: u64,
    ) -> Result<Vec<Slice>, Error> {
        let Some(sealing) = self.sealing else {
            return Ok(vec![Slice::Open {
                gateways: self.gateways.clone(),
            }]);
        };
        let ids = self.gateways.iter();
        let ids = ids.map(|gateway| (&gateway.id, gateway.role));
        let slices: Vec<Vec<&CatalogGateway>> = rules::slices::place(ids, sealing.slices)
            .into_iter()
            .map(|slice| slice.into_iter().map(|at| &self.gateways[at]).collect())
            .collect();
        let of = (&network.id, name, version);
        let sealed = tuf::slices::seal(of, &sealing.epochs.readable(), &slices).map_err(defect)?;
        Ok(sealed.into_iter().map(Slice::Sealed).collect())
    }

    /// The bytes of the catalog `name` that lists this since `version`.
    pub(super) fn catalog(
        &self,
        network: &Network,
        name: &CatalogName,
        version: u64,
        changed_at: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        let catalog = Catalog {
            schema: catalog::SCHEMA.to_owned(),
            network: network.id.clone(),
            name: name.clone(),
            version,
            changed_at,
            front_doors: self.front_doors.clone(),
            slices: self.slices(network, name, version)?,
        };
        serde_json::to_vec(&catalog).map_err(defect)
    }

    /// The bytes that `pin` stands for, if this is what they list and this program would write them
    /// so.
    pub(super) fn again(
        &self,
        network: &Network,
        name: &CatalogName,
        pin: &CatalogPin,
    ) -> Result<Option<Vec<u8>>, Error> {
        if self.digest != pin.list {
            return Ok(None);
        }
        let bytes = self.catalog(network, name, pin.version, pin.changed_at)?;
        Ok((Pin::of(1, &bytes).sha256 == pin.sha256).then_some(bytes))
    }
}

/// What the catalogs of each cohort of the limits shall list, by the states of the gateways and the
/// policy: one for each combination of the tags that the policy names. Entries outside the
/// limits are left out here too: a client would drop them.
pub(super) fn lists<'a>(
    publisher: &Publisher<'_>,
    observed: &[Observed],
    (policy, sealing): (&Policy, Option<&'a Sealing>),
    loads: &BTreeMap<GatewayId, u8>,
) -> Result<Lists<'a>, Error> {
    let limits = &publisher.offline.limits;
    let is_allowed = |url: &&String| {
        let allowed = allows_front_door(limits, url);
        if !allowed {
            tracing::warn!(door = %url, "left out: its host is outside the signed limits");
        }
        allowed
    };
    let doors = publisher.front_doors.iter().filter(is_allowed);
    let doors: Vec<String> = doors.cloned().collect();
    let list_of = |name: &CatalogName| {
        let mut gateways = listing::list(observed, policy, name, loads);
        gateways.retain(|gateway| {
            let allowed = limits.allow_gateway_at(gateway.endpoint.ip());
            if !allowed {
                tracing::warn!(gateway = %gateway.id, endpoint = %gateway.endpoint,
                    "left out: its address is outside the signed limits");
            }
            allowed
        });
        List::new(gateways, doors.clone(), sealing)
    };
    limits
        .cohorts
        .iter()
        .flat_map(|cohort| rules::policy::catalogs(policy, cohort))
        .map(|name| Ok((name.clone(), list_of(&name)?)))
        .collect()
}

/// The loads that `lists` give, as far as a head can keep them.
pub(super) fn loads(lists: &Lists<'_>) -> BTreeMap<GatewayId, u8> {
    let mut loads = BTreeMap::new();
    let mut bytes = 0;
    for gateway in lists.values().flat_map(|list| &list.gateways) {
        let before = loads.insert(gateway.id.clone(), gateway.load);
        if before.is_none() {
            // Quotes, a colon, a digit and a comma are around the id.
            bytes += gateway.id.as_str().len() + 5;
        }
        if bytes > MOST_LOADS_BYTES {
            break;
        }
    }
    loads
}

/// The head of `version` and its metadata, signed at `now`.
pub(super) fn head(
    publisher: &Publisher<'_>,
    version: u64,
    lists: &Lists<'_>,
    catalogs: BTreeMap<CatalogName, CatalogPin>,
) -> Result<(Head, Metadata), Error> {
    let network = &publisher.context.network;
    let now = publisher.context.moment.now;
    let metadata = Metadata::sign(publisher, version, now, &catalogs)?;
    let quarter = SignedDuration::from_secs(i64::from(network.timing.timestamp / 4));
    let head = Head {
        version,
        published_at: now,
        renew_at: now.checked_add(quarter).unwrap_or(now),
        root_version: publisher.offline.roots.len() as u64,
        targets_version: publisher.offline.targets_version,
        root_expires: Some(publisher.offline.authority.root.expires),
        targets_expires: Some(publisher.offline.authority.targets.expires),
        catalogs,
        metadata: metadata.pins(),
        loads: loads(lists),
    };
    Ok((head, metadata))
}

/// The signed metadata of one version.
pub(super) struct Metadata {
    pub version: u64,
    pub catalogs: Vec<u8>,
    pub snapshot: Vec<u8>,
    pub timestamp: Vec<u8>,
}

impl Metadata {
    /// The metadata that was signed for `head`, made again; `None` if this publisher would sign
    /// other bytes: its keys, its offline files or its settings are not those of then.
    pub(super) fn again(publisher: &Publisher<'_>, head: &Head) -> Result<Option<Self>, Error> {
        let offline = publisher.offline;
        if (head.root_version, head.targets_version)
            != (offline.roots.len() as u64, offline.targets_version)
        {
            return Ok(None);
        }
        let metadata = Self::sign(publisher, head.version, head.published_at, &head.catalogs)?;
        Ok((metadata.pins() == head.metadata).then_some(metadata))
    }

    fn sign(
        publisher: &Publisher<'_>,
        version: u64,
        now: Timestamp,
        catalogs: &BTreeMap<CatalogName, CatalogPin>,
    ) -> Result<Self, Error> {
        let timing = &publisher.context.network.timing;
        let OnlineKeys {
            catalogs: catalogs_key,
            snapshot: snapshot_key,
            timestamp: timestamp_key,
        } = publisher.keys;
        let expiry = |seconds: u32| {
            let life = SignedDuration::from_secs(i64::from(seconds));
            now.checked_add(life).unwrap_or(Timestamp::MAX)
        };
        let lasting = expiry(timing.catalog);
        let pin = |(name, pin): (&CatalogName, &CatalogPin)| {
            let target = Pin {
                version: 1,
                length: pin.length,
                sha256: pin.sha256.clone(),
            };
            (name.path(), target)
        };
        let targets = catalogs.iter().map(pin).collect();
        let catalogs = repository::sign_catalogs_of(version, lasting, &targets, &[catalogs_key])
            .map_err(defect)?;
        let offline = publisher.offline;
        let snapshot = repository::sign_snapshot(
            version,
            lasting,
            &Pin::of(offline.targets_version, &offline.targets),
            &Pin::of(version, &catalogs),
            &[snapshot_key],
        )
        .map_err(defect)?;
        let timestamp = repository::sign_timestamp(
            version,
            expiry(timing.timestamp),
            &Pin::of(version, &snapshot),
            &[timestamp_key],
        )
        .map_err(defect)?;
        Ok(Self {
            version,
            catalogs,
            snapshot,
            timestamp,
        })
    }

    fn pins(&self) -> MetadataPins {
        MetadataPins {
            catalogs: Pin::of(1, &self.catalogs).sha256,
            snapshot: Pin::of(1, &self.snapshot).sha256,
            timestamp: Pin::of(1, &self.timestamp).sha256,
        }
    }

    /// The bundle for the devices of a catalog, given with its bytes, or the one for gateways.
    pub(super) fn bundle(
        &self,
        offline: &Offline,
        catalog: Option<(&CatalogName, &[u8])>,
    ) -> Result<Vec<u8>, Error> {
        let mut parts: Vec<(String, &[u8])> = (1..)
            .zip(&offline.roots)
            .map(|(number, root)| (repository::root_path(number), root.as_slice()))
            .collect();
        let targets_path = repository::targets_path(offline.targets_version);
        parts.push((repository::TIMESTAMP_PATH.to_owned(), &self.timestamp));
        parts.push((repository::snapshot_path(self.version), &self.snapshot));
        parts.push((targets_path, &offline.targets));
        parts.push((repository::catalogs_path(self.version), &self.catalogs));
        let mut target = |path: String, bytes| {
            let place = repository::target_paths(&path, &Pin::of(1, bytes).sha256).swap_remove(0);
            parts.push((place, bytes));
        };
        let for_gateways = catalog.is_none().then_some(TrustedKeys::PATH);
        for path in [Limits::PATH, RecoveryKit::PATH]
            .into_iter()
            .chain(for_gateways)
        {
            let bytes = offline.files.get(path).ok_or_else(|| {
                Error::Defect(format!("the offline keys have not signed '{path}'"))
            })?;
            target(path.to_owned(), bytes);
        }
        if let Some((name, bytes)) = catalog {
            target(name.path(), bytes);
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
