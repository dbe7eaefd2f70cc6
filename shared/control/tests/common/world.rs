//! A whole network to publish for: its keys, its state, its mirrors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use control::publish::{Budget, Mirror, Offline, OnlineKeys, Publisher, Report};
use control::{Context, Error};
use jiff::{SignedDuration, Timestamp};
use model::{CohortName, Limits, NetworkId, RecoveryKit, RootPin, TrustedKeys};
use tuf::key::SigningKey;
use tuf::repository::{Pin, RoleKeys, RootRoles, sign_root, sign_targets};

use super::board::{Board, BoardMirror, BoardStore};
use super::client::{assert_never_back, clients, cohort};
use super::mirror::MemoryMirror;
use super::{START, Stage, after, limits, moment, sorted};

/// A network with its state and its mirrors.
pub struct World {
    pub stage: Arc<Stage>,
    pub offline: Offline,
    pub keys: OnlineKeys,
    pub pin: RootPin,
    pub mirrors: Vec<Arc<MemoryMirror>>,
    /// What each run may spend.
    pub budget: Budget,
}

impl World {
    /// A network with an empty store and so many empty mirrors.
    pub fn new(mirrors: usize) -> Self {
        Self::on(Arc::new(Stage::memory()), mirrors)
    }

    /// A network with this store and so many empty mirrors.
    pub fn on(stage: Arc<Stage>, mirrors: usize) -> Self {
        Self::within(stage, mirrors, &limits())
    }

    /// A network of these cohorts with an empty store and so many empty mirrors.
    pub fn of_cohorts(mirrors: usize, cohorts: &[CohortName]) -> Self {
        let mut limits = limits();
        limits.cohorts = cohorts.to_vec();
        Self::within(Arc::new(Stage::memory()), mirrors, &limits)
    }

    fn within(stage: Arc<Stage>, mirrors: usize, limits: &Limits) -> Self {
        let keys = OnlineKeys {
            catalogs: key(10),
            snapshot: key(11),
            timestamp: key(12),
        };
        let offline = offline_of(limits, &keys, 1);
        let pin = Pin::of(1, &offline.roots[0]);
        Self {
            stage,
            offline,
            keys,
            pin: RootPin {
                version: 1,
                sha256: pin.sha256,
            },
            mirrors: (0..mirrors)
                .map(|number| Arc::new(MemoryMirror::new(&format!("mirror-{number}"))))
                .collect(),
            budget: Budget::UNLIMITED,
        }
    }

    /// A network with these gateways in service and its first version on all mirrors.
    pub async fn published(mirrors: usize, gateways: &[u8]) -> Self {
        let world = Self::new(mirrors);
        world.stage.bring_up(START, gateways).await;
        let report = world.publish(START).await;
        assert_eq!((report.published, report.listed), (true, gateways.len()));
        world
    }

    /// Runs every 10 seconds from `from` on until `until`, as a schedule would: the last report.
    pub async fn listen(&self, from: i64, until: i64) -> Report {
        let mut last = self.publish(after(from)).await;
        for second in (from..=until).step_by(10).skip(1) {
            last = self.publish(after(second)).await;
        }
        last
    }

    /// A run at `now` that must succeed.
    pub async fn publish(&self, now: Timestamp) -> Report {
        self.run(now).await.unwrap()
    }

    /// A run at `now`.
    pub async fn run(&self, now: Timestamp) -> Result<Report, Error> {
        self.run_with(&self.offline, now).await
    }

    /// A run at `now` all of whose calls go through `board`.
    pub async fn run_through(&self, board: &Arc<Board>, now: Timestamp) -> Result<Report, Error> {
        self.run_within(self.budget, board, now).await
    }

    /// A run at `now` within `budget` all of whose calls go through `board`.
    pub async fn run_within(
        &self,
        budget: Budget,
        board: &Arc<Board>,
        now: Timestamp,
    ) -> Result<Report, Error> {
        let store = BoardStore {
            board: Arc::clone(board),
            store: Arc::clone(&self.stage.store),
        };
        let context = Context {
            store: &store,
            network: &self.stage.network,
            moment: moment(now),
        };
        let behind = |mirror: &Arc<MemoryMirror>| {
            let mirror = BoardMirror {
                board: Arc::clone(board),
                mirror: Arc::clone(mirror) as Arc<dyn Mirror>,
            };
            Arc::new(mirror) as Arc<dyn Mirror>
        };
        let mirrors: Vec<_> = self.mirrors.iter().map(behind).collect();
        self.run_on(context, budget, &mirrors, &self.offline).await
    }

    /// A run at `now` on these mirrors in the place of its own.
    pub async fn run_over(
        &self,
        mirrors: &[Arc<dyn Mirror>],
        now: Timestamp,
    ) -> Result<Report, Error> {
        self.run_on(self.stage.context(now), self.budget, mirrors, &self.offline)
            .await
    }

    /// A run by a publisher that was given `offline`.
    pub async fn run_with(&self, offline: &Offline, now: Timestamp) -> Result<Report, Error> {
        let mirrors: Vec<Arc<dyn Mirror>> = self
            .mirrors
            .iter()
            .map(|mirror| Arc::clone(mirror) as Arc<dyn Mirror>)
            .collect();
        self.run_on(self.stage.context(now), self.budget, &mirrors, offline)
            .await
    }

    async fn run_on(
        &self,
        context: Context<'_>,
        budget: Budget,
        mirrors: &[Arc<dyn Mirror>],
        offline: &Offline,
    ) -> Result<Report, Error> {
        let publisher = Publisher {
            context,
            offline,
            keys: &self.keys,
            mirrors,
            front_doors: &["https://door.example".to_owned()],
            budget,
        };
        publisher.run().await
    }

    /// What new clients of each kind verify at every mirror: the version, which must be the same
    /// everywhere, and the ids of the gateways in the catalog.
    pub fn served(&self, now: Timestamp) -> (u64, Vec<String>) {
        let mut found = BTreeSet::new();
        let mut versions = BTreeSet::new();
        for number in 0..self.mirrors.len() {
            let (version, ids) = self.served_by(number, now);
            versions.insert(version);
            found.insert(ids);
        }
        assert_eq!((versions.len(), found.len()), (1, 1), "the mirrors differ");
        (versions.pop_first().unwrap(), found.pop_first().unwrap())
    }

    /// What new clients of each kind verify at one mirror.
    pub fn served_by(&self, number: usize, now: Timestamp) -> (u64, Vec<String>) {
        let files = self.mirrors[number].files();
        let mut versions = BTreeSet::new();
        let mut listed = BTreeSet::new();
        for mut client in clients(&self.stage.network.id, &self.pin) {
            client.keys = self.stage.keys(&cohort());
            let verified = client
                .sync(&files, now)
                .unwrap_or_else(|error| panic!("mirror {number}, {}: {error}", client.path()));
            assert_eq!(verified.skipped, Vec::<String>::new());
            versions.insert(verified.state.timestamp_version());
            if let Some(catalog) = verified.catalog {
                listed.insert(sorted(catalog.gateways().map(|g| g.id.to_string())));
            }
        }
        assert_eq!((versions.len(), listed.len()), (1, 1), "the clients differ");
        (versions.pop_first().unwrap(), listed.pop_first().unwrap())
    }

    /// Asserts of the mirrors' whole life: no step back, nothing half-done, and no file that never
    /// changes (so no version of the metadata) was ever signed in two ways.
    pub fn assert_history(&self, now: Timestamp) {
        for mirror in &self.mirrors {
            let moments = assert_never_back(mirror, &self.stage.network.id, &self.pin, now);
            assert!(moments > 0, "nothing was ever served");
        }
        self.assert_signed_once();
    }

    /// Asserts that no file that never changes, and no version of one that does, was ever made in two
    /// ways, whether a mirror took it or not.
    pub fn assert_signed_once(&self) {
        let mut signed: BTreeMap<String, BTreeSet<Bytes>> = BTreeMap::new();
        for mirror in &self.mirrors {
            for (path, bytes) in mirror.offered() {
                signed.entry(path).or_default().extend(bytes);
            }
        }
        assert!(
            signed
                .keys()
                .any(|path| path.starts_with("metadata/timestamp.json of "))
        );
        for (path, bytes) in &signed {
            assert_eq!(bytes.len(), 1, "{path} was made in two ways");
        }
    }
}

/// The signing key of a small number.
pub fn key(number: u8) -> SigningKey {
    SigningKey::ed25519_from_seed([number; 32])
}

/// What the offline keys sign, with targets of this version.
pub fn offline(network: &NetworkId, keys: &OnlineKeys, targets_version: u64) -> Offline {
    let limits = limits();
    assert_eq!(limits.network, *network);
    offline_of(&limits, keys, targets_version)
}

fn offline_of(limits: &Limits, keys: &OnlineKeys, targets_version: u64) -> Offline {
    let network = &limits.network;
    let trust = TrustedKeys {
        schema: TrustedKeys::SCHEMA.to_owned(),
        network: network.clone(),
        config_keys: Vec::new(),
        control_key: None,
    };
    let kit = RecoveryKit {
        schema: RecoveryKit::SCHEMA.to_owned(),
        network: network.clone(),
        front_doors: Vec::new(),
        control: Vec::new(),
        control_key: None,
    };
    let files = BTreeMap::from([
        (Limits::PATH.to_owned(), serde_json::to_vec(limits).unwrap()),
        (
            TrustedKeys::PATH.to_owned(),
            serde_json::to_vec(&trust).unwrap(),
        ),
        (
            RecoveryKit::PATH.to_owned(),
            serde_json::to_vec(&kit).unwrap(),
        ),
    ]);
    let single = |key: &SigningKey| RoleKeys {
        keys: vec![key.public()],
        threshold: 1,
    };
    let (root, targets) = (key(1), key(2));
    let roles = RootRoles {
        root: single(&root),
        targets: single(&targets),
        snapshot: single(&keys.snapshot),
        timestamp: single(&keys.timestamp),
    };
    let expires = START + SignedDuration::from_hours(365 * 24);
    let catalogs = single(&keys.catalogs);
    let root = sign_root(1, expires, &roles, &[&root]).unwrap();
    let targets = sign_targets(targets_version, expires, &files, &catalogs, &[&targets]).unwrap();
    Offline::read(vec![root], targets, files).unwrap()
}
