//! A network's repository to test with: one release after the other, into a map of files.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use model::{CatalogName, NetworkId, RootPin};
use serde_json::{Value, json};
use tuf::repository::{
    Pin, RoleKeys, RootRoles, TIMESTAMP_PATH, catalogs_path, root_path, sign_catalogs, sign_root,
    sign_snapshot, sign_targets, sign_timestamp, snapshot_path, target_paths, targets_path,
};
use tuf::{Bundle, SigningKey, Start, TrustedState, Verified, VerifyError, Wanted};

pub const NETWORK: &str = "n-abcdefgh";
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn network() -> NetworkId {
    NETWORK.parse().unwrap()
}

pub fn cohort() -> CatalogName {
    "default".parse().unwrap()
}

/// The start of every test.
pub fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

pub fn hours(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

pub fn ed25519(seed: u8) -> SigningKey {
    SigningKey::ed25519_from_seed([seed; 32])
}

pub fn role(keys: &[SigningKey], threshold: u32) -> RoleKeys {
    RoleKeys {
        keys: keys.iter().map(SigningKey::public).collect(),
        threshold,
    }
}

/// What signs and what is said. Change a field, then [`Repo::release`].
pub struct Repo {
    pub root_keys: Vec<SigningKey>,
    pub root_threshold: u32,
    pub targets_key: SigningKey,
    pub catalogs_key: SigningKey,
    pub snapshot_key: SigningKey,
    pub timestamp_key: SigningKey,
    pub root_expires: Timestamp,
    pub targets_expires: Timestamp,
    pub snapshot_expires: Timestamp,
    pub timestamp_expires: Timestamp,
    pub root_version: u64,
    pub targets_version: u64,
    pub catalogs_version: u64,
    pub snapshot_version: u64,
    pub timestamp_version: u64,
    /// Target files of the offline role.
    pub offline: BTreeMap<String, Value>,
    /// Target files of the online role.
    pub online: BTreeMap<String, Value>,
    /// All that was ever published.
    pub files: Files,
}

impl Repo {
    /// A network with its first root and first release, valid for a day.
    pub fn new() -> Self {
        let mut repo = Self {
            root_keys: vec![ed25519(1)],
            root_threshold: 1,
            targets_key: ed25519(11),
            catalogs_key: ed25519(12),
            snapshot_key: ed25519(13),
            timestamp_key: ed25519(14),
            root_expires: hours(10_000),
            targets_expires: hours(10_000),
            snapshot_expires: hours(1_000),
            timestamp_expires: hours(24),
            root_version: 0,
            targets_version: 1,
            catalogs_version: 0,
            snapshot_version: 0,
            timestamp_version: 0,
            offline: BTreeMap::from([
                ("limits.json".to_owned(), limits()),
                ("trust.json".to_owned(), trust()),
                ("recovery-kit.json".to_owned(), kit()),
            ]),
            online: BTreeMap::from([(
                "catalogs/default.json".to_owned(),
                catalog("default", &["192.0.2.1:51820"]),
            )]),
            files: Files::new(),
        };
        repo.new_root(&[]);
        repo.release();
        repo
    }

    /// Publishes the next root with the present keys, signed also by `before`.
    pub fn new_root(&mut self, before: &[&SigningKey]) {
        self.root_version += 1;
        let roles = RootRoles {
            root: role(&self.root_keys, self.root_threshold),
            targets: role(std::slice::from_ref(&self.targets_key), 1),
            snapshot: role(std::slice::from_ref(&self.snapshot_key), 1),
            timestamp: role(std::slice::from_ref(&self.timestamp_key), 1),
        };
        let signers: Vec<&SigningKey> = self
            .root_keys
            .iter()
            .chain(before.iter().copied())
            .collect();
        let bytes = sign_root(self.root_version, self.root_expires, &roles, &signers).unwrap();
        self.files.insert(root_path(self.root_version), bytes);
    }

    /// Publishes the next version of catalogs, snapshot and timestamp (and targets as they are).
    pub fn release(&mut self) {
        self.catalogs_version += 1;
        self.snapshot_version += 1;
        self.timestamp_version += 1;
        self.publish();
    }

    /// Publishes with the versions as they are.
    pub fn publish(&mut self) {
        let offline = to_bytes(&self.offline);
        let online = to_bytes(&self.online);
        for (path, bytes) in offline.iter().chain(&online) {
            for name in target_paths(path, &Pin::of(1, bytes).sha256) {
                self.files.insert(name, bytes.clone());
            }
        }
        let targets = sign_targets(
            self.targets_version,
            self.targets_expires,
            &offline,
            &role(std::slice::from_ref(&self.catalogs_key), 1),
            &[&self.targets_key],
        )
        .unwrap();
        let catalogs = sign_catalogs(
            self.catalogs_version,
            self.snapshot_expires,
            &online,
            &[&self.catalogs_key],
        )
        .unwrap();
        self.publish_online(targets, catalogs);
    }

    /// Publishes these two, with a snapshot and a timestamp of them.
    pub fn publish_online(&mut self, targets: Vec<u8>, catalogs: Vec<u8>) {
        let snapshot = sign_snapshot(
            self.snapshot_version,
            self.snapshot_expires,
            &Pin::of(self.targets_version, &targets),
            &Pin::of(self.catalogs_version, &catalogs),
            &[&self.snapshot_key],
        )
        .unwrap();
        let timestamp = sign_timestamp(
            self.timestamp_version,
            self.timestamp_expires,
            &Pin::of(self.snapshot_version, &snapshot),
            &[&self.timestamp_key],
        )
        .unwrap();
        self.files
            .insert(targets_path(self.targets_version), targets);
        self.files
            .insert(catalogs_path(self.catalogs_version), catalogs);
        self.files
            .insert(snapshot_path(self.snapshot_version), snapshot);
        self.files.insert(TIMESTAMP_PATH.to_owned(), timestamp);
    }

    /// The bundle of the latest release. What a cohort's bundle holds is all that it may want.
    pub fn bundle(&self) -> Vec<u8> {
        bundle_of(&self.bundle_files())
    }

    pub fn bundle_files(&self) -> Files {
        let mut names: Vec<String> = (1..=self.root_version).map(root_path).collect();
        names.extend([
            TIMESTAMP_PATH.to_owned(),
            snapshot_path(self.snapshot_version),
            targets_path(self.targets_version),
            catalogs_path(self.catalogs_version),
        ]);
        for (path, bytes) in to_bytes(&self.offline)
            .iter()
            .chain(&to_bytes(&self.online))
        {
            names.push(target_paths(path, &Pin::of(1, bytes).sha256).swap_remove(0));
        }
        names
            .into_iter()
            .map(|name| (name.clone(), self.files[&name].clone()))
            .collect()
    }

    /// The pin of the first root.
    pub fn pin(&self) -> RootPin {
        self.pin_of(1)
    }

    pub fn pin_of(&self, version: u64) -> RootPin {
        RootPin {
            version,
            sha256: Pin::of(version, &self.files[&root_path(version)]).sha256,
        }
    }

    /// A first sync by bundle, which must work.
    pub fn first_sync(&self) -> TrustedState {
        self.sync(&self.bundle(), now()).unwrap().state
    }

    /// A device that starts from the pin of the first root.
    pub fn sync(&self, bundle: &[u8], now: Timestamp) -> Result<Verified, VerifyError> {
        verify(Start::Pin(&self.pin()), bundle, now)
    }
}

/// A device that wants its cohort's catalog.
pub fn verify(start: Start<'_>, bundle: &[u8], now: Timestamp) -> Result<Verified, VerifyError> {
    let (network, cohort) = (network(), cohort());
    let wanted = Wanted {
        network: &network,
        catalog: Some(&cohort),
        keys: &[],
    };
    tuf::verify_bundle(start, &wanted, bundle, now)
}

/// A gateway: limits and trust.
pub fn verify_gateway(
    start: Start<'_>,
    bundle: &[u8],
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    let network = network();
    let wanted = Wanted {
        network: &network,
        catalog: None,
        keys: &[],
    };
    tuf::verify_bundle(start, &wanted, bundle, now)
}

pub fn bundle_of(files: &Files) -> Vec<u8> {
    let parts: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    Bundle::write(&parts)
}

fn to_bytes(files: &BTreeMap<String, Value>) -> Files {
    files
        .iter()
        .map(|(path, value)| (path.clone(), serde_json::to_vec(value).unwrap()))
        .collect()
}

pub fn limits() -> Value {
    json!({
        "schema": "postern-limits/1", "network": NETWORK,
        "front_door_hosts": ["cdn.example.org"], "gateway_networks": ["192.0.2.0/24"],
        "cohorts": ["default"],
    })
}

pub fn trust() -> Value {
    json!({"schema": "postern-trust/1", "network": NETWORK,
           "config_keys": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]})
}

pub fn kit() -> Value {
    json!({"schema": "postern-recovery-kit/1", "network": NETWORK,
           "front_doors": [{"url": "https://cdn.example.org"}], "control": []})
}

pub fn catalog(cohort: &str, endpoints: &[&str]) -> Value {
    let gateways: Vec<Value> = endpoints
        .iter()
        .enumerate()
        .map(|(number, endpoint)| {
            json!({"id": format!("g-000{number}"), "role": "ingress", "region": "r", "load": 0,
                   "endpoint": endpoint,
                   "tunnel_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})
        })
        .collect();
    json!({"schema": "postern-catalog/1", "network": NETWORK, "name": cohort, "version": 1,
           "changed_at": "2026-11-22T00:00:00Z", "front_doors": ["https://cdn.example.org"],
           "slices": [{"kind": "open", "gateways": gateways}]})
}
