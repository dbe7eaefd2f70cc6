//! For tests: a tiny signed network, devices of it, and front doors on loopback.

use std::collections::BTreeMap;
use std::sync::Mutex;

use api::enroll::DeviceAnswer;
use api::{InviteText, WireGuardSecret};
use axum::Router;
use jiff::{SignedDuration, Timestamp};
use model::{
    Addresses, Catalog, CatalogGateway, ControlKey, DeviceState, EpochSecret, FirstContact,
    FrontDoor, HeldKey, Limits, RecoveryKit, Role, RootPin, Slice, TrustedKeys, catalog,
};
use serde_json::json;
use tuf::repository::{self, Pin, RoleKeys, RootRoles};
use tuf::{Bundle, SigningKey};

use crate::{Clock, Device};

/// How long a test waits for a device file that nobody else has: a child that another test of this
/// process starts holds its lock until it runs its program.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The time in tests, until a [`Hand`] moves.
pub const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// A clock that stands still until it is set.
pub struct Hand(Mutex<Timestamp>);

impl Hand {
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap() = now;
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub fn later(hours: i64) -> Timestamp {
    NOW.checked_add(SignedDuration::from_hours(hours)).unwrap()
}

/// A repository that is signed by the keys of `seed`.
pub struct Repository {
    pub network: &'static str,
    pub seed: u8,
    pub version: u64,
    pub expires: Timestamp,
    pub gateways: Vec<CatalogGateway>,
    pub doors: Vec<String>,
    /// How many slices the catalog has, and the epochs whose keys open them; open, if there are none.
    pub sealed: (u16, &'static [u64]),
    /// Whether a second root has ended the keys of snapshot and timestamp, and named others.
    pub rotated: bool,
    /// The control key in the recovery kit.
    pub control_key: Option<ControlKey>,
}

impl Default for Repository {
    /// Two gateways of each role; the timestamp lives for a day from [`NOW`].
    fn default() -> Self {
        Self {
            network: "n-abcdefgh",
            seed: 1,
            version: 3,
            expires: later(24),
            gateways: vec![
                gateway("g-in1a", Role::Ingress, "192.0.2.1"),
                gateway("g-in2a", Role::Ingress, "192.0.2.2"),
                gateway("g-out1", Role::Egress, "192.0.2.11"),
                gateway("g-out2", Role::Egress, "192.0.2.12"),
            ],
            doors: Vec::new(),
            sealed: (1, &[]),
            rotated: false,
            control_key: None,
        }
    }
}

impl Repository {
    fn key(&self, role: u8) -> SigningKey {
        SigningKey::ed25519_from_seed([self.seed * 16 + role; 32])
    }

    fn keys(&self, role: u8) -> RoleKeys {
        RoleKeys {
            keys: vec![self.key(role).public()],
            threshold: 1,
        }
    }

    /// The numbers of the keys of snapshot and timestamp below the root of this version.
    fn online(version: u64) -> [u8; 2] {
        if version == 1 { [3, 4] } else { [11, 12] }
    }

    fn root(&self, version: u64) -> Vec<u8> {
        let [snapshot, timestamp] = Self::online(version).map(|number| self.keys(number));
        let roles = RootRoles {
            root: self.keys(1),
            targets: self.keys(2),
            snapshot,
            timestamp,
        };
        repository::sign_root(version, later(10_000), &roles, &[&self.key(1)]).unwrap()
    }

    pub fn pin(&self) -> RootPin {
        RootPin {
            version: 1,
            sha256: Pin::of(1, &self.root(1)).sha256,
        }
    }

    fn slices(&self) -> Vec<Slice> {
        let (count, epochs) = self.sealed;
        if epochs.is_empty() {
            return vec![Slice::Open {
                gateways: self.gateways.clone(),
            }];
        }
        let ids = self.gateways.iter();
        let ids = ids.map(|gateway| (&gateway.id, gateway.role));
        let slices: Vec<Vec<_>> = rules::slices::place(ids, count)
            .iter()
            .map(|slice| slice.iter().map(|at| &self.gateways[*at]).collect())
            .collect();
        let secrets: Vec<_> = epochs
            .iter()
            .map(|epoch| (*epoch, secret(*epoch)))
            .collect();
        let secrets: Vec<_> = secrets
            .iter()
            .map(|(epoch, secret)| (*epoch, secret))
            .collect();
        let network = self.network.parse().unwrap();
        let of = (&network, &"default".parse().unwrap(), self.version);
        let sealed = tuf::slices::seal(of, &secrets, &slices).unwrap();
        sealed.into_iter().map(Slice::Sealed).collect()
    }

    /// All files, by path.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let limits = json!({"schema": Limits::SCHEMA, "network": self.network,
            "front_door_hosts": ["127.0.0.1"], "gateway_networks": ["192.0.2.0/24"],
            "cohorts": ["default"]});
        let kit = json!({"schema": RecoveryKit::SCHEMA, "network": self.network,
            "front_doors": [], "control": [], "control_key": self.control_key});
        let trust = json!({"schema": TrustedKeys::SCHEMA, "network": self.network,
            "config_keys": []});
        let catalog = Catalog {
            schema: catalog::SCHEMA.to_owned(),
            network: self.network.parse().unwrap(),
            name: "default".parse().unwrap(),
            version: self.version,
            changed_at: NOW,
            front_doors: self.doors.clone(),
            slices: self.slices(),
        };
        let offline = BTreeMap::from([
            (
                Limits::PATH.to_owned(),
                serde_json::to_vec(&limits).unwrap(),
            ),
            (
                RecoveryKit::PATH.to_owned(),
                serde_json::to_vec(&kit).unwrap(),
            ),
            (
                TrustedKeys::PATH.to_owned(),
                serde_json::to_vec(&trust).unwrap(),
            ),
        ]);
        let online = BTreeMap::from([(
            "catalogs/default.json".to_owned(),
            serde_json::to_vec(&catalog).unwrap(),
        )]);

        let (version, far) = (self.version, later(10_000));
        let newest = if self.rotated { 2 } else { 1 };
        let [for_snapshot, for_timestamp] = Self::online(newest).map(|number| self.key(number));
        let key = self.key(2);
        let targets = repository::sign_targets(1, far, &offline, &self.keys(5), &[&key]).unwrap();
        let catalogs = repository::sign_catalogs(version, far, &online, &[&self.key(5)]).unwrap();
        let snapshot = repository::sign_snapshot(
            version,
            far,
            &Pin::of(1, &targets),
            &Pin::of(version, &catalogs),
            &[&for_snapshot],
        )
        .unwrap();
        let pin = Pin::of(version, &snapshot);
        let timestamp =
            repository::sign_timestamp(version, self.expires, &pin, &[&for_timestamp]).unwrap();

        let mut files = BTreeMap::from([
            (repository::TIMESTAMP_PATH.to_owned(), timestamp),
            (repository::snapshot_path(version), snapshot),
            (repository::targets_path(1), targets),
            (repository::catalogs_path(version), catalogs),
        ]);
        files.extend(
            (1..=newest).map(|version| (repository::root_path(version), self.root(version))),
        );
        for (path, bytes) in offline.into_iter().chain(online) {
            let hash = Pin::of(1, &bytes).sha256;
            files.insert(repository::target_paths(&path, &hash)[0].clone(), bytes);
        }
        files
    }

    pub fn bundle(&self) -> Vec<u8> {
        let files = self.files();
        let parts: Vec<_> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        Bundle::write(&parts)
    }

    pub fn invite(&self, doors: &[String], control: &[String]) -> InviteText {
        let door = |url: &String| FrontDoor {
            url: url.clone(),
            fallback: Vec::new(),
        };
        InviteText {
            contact: FirstContact {
                network: self.network.parse().unwrap(),
                root: self.pin(),
                front_doors: doors.iter().map(door).collect(),
                control: control.to_vec(),
                control_key: None,
            },
            secret: [7; 16],
        }
    }

    /// An enrolled device that knows these doors.
    pub fn device(&self, doors: &[String]) -> Device {
        let mut device = Device::new(&self.invite(doors, &[]), &random());
        device.answer = Some(answer(&device));
        device
    }

    /// An enrolled device that has verified this repository.
    pub fn synced_device(&self) -> Device {
        let mut device = self.device(&[]);
        let wanted = tuf::Wanted {
            network: &device.contact.network,
            catalog: Some(&"default".parse().unwrap()),
            keys: &[],
        };
        let start = tuf::Start::Pin(&device.contact.root);
        let verified = tuf::verify_bundle(start, &wanted, &self.bundle(), NOW).unwrap();
        device.trusted = Some(verified.state);
        device
    }
}

pub fn gateway(id: &str, role: Role, address: &str) -> CatalogGateway {
    let byte = id.bytes().last().unwrap();
    CatalogGateway {
        id: id.parse().unwrap(),
        role,
        region: format!("r-{}", &id[id.len() - 2..]),
        endpoint: format!("{address}:51820").parse().unwrap(),
        tunnel_key: WireGuardSecret::from_random([byte; 32]).tunnel_key(),
        load: 0,
    }
}

/// 96 bytes that differ from one another.
pub fn random() -> [u8; crate::device::RANDOM_BYTES] {
    std::array::from_fn(|index| u8::try_from(index).unwrap())
}

pub fn answer(device: &Device) -> DeviceAnswer {
    DeviceAnswer {
        device: device.id(),
        state: DeviceState::Active,
        cohort: "default".parse().unwrap(),
        catalog: "default".parse().unwrap(),
        addresses: Addresses {
            outer: "100.64.1.44".parse().unwrap(),
            inner: "100.96.1.44".parse().unwrap(),
            outer6: "fd00::1".parse().unwrap(),
            inner6: "fd00::8001".parse().unwrap(),
        },
        enrolled_at: NOW,
        identity_key: device.identity.public(),
        tunnel_key: device.tunnel.tunnel_key(),
        exit_key: device.exit.exit_key(),
        previous_until: None,
        rotation_wanted_at: None,
        keys: Vec::new(),
        next_epoch_at: None,
    }
}

/// Serves `router` on loopback until the test ends, and gives its base URL.
pub async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// The URL of a port at which nobody listens.
pub async fn refused() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn secret(epoch: u64) -> EpochSecret {
    EpochSecret::from_bytes([u8::try_from(epoch).unwrap(); 32])
}

/// The key of one of so many slices in an epoch.
pub fn held(epoch: u64, (slice, slices): (u16, u16)) -> HeldKey {
    let (network, catalog) = ("n-abcdefgh".parse().unwrap(), "default".parse().unwrap());
    let of = tuf::slices::Of {
        network: &network,
        catalog: &catalog,
        slices,
        slice,
    };
    HeldKey {
        key: of.key(epoch, &secret(epoch)),
        catalog,
        epoch,
        slices,
        slice,
    }
}
