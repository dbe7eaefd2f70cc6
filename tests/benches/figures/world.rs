//! A network to measure: its keys, its store, its mirror in a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use api::InviteText;
use api::enroll::DeviceAnswer;
use client::Device;
use control::items::Read as _;
use control::publish::{Budget, Mirror, Offline, OnlineKeys, Publisher, Report};
use control::{Context, Moment, items};
use edge::{Clock, Edge, SystemClock};
use model::gateway::GatewayKeys;
use model::{
    AddressPools, DeviceState, FirstContact, FrontDoor, Gateway, GatewayState, HeldKey,
    IdentityKey, Limits, Network, NetworkId, RecoveryKit, Role, RootPin, Timing, TrustedKeys,
    TunnelKey,
};
use store::{Expect, SqliteStore, Store, Write};
use tuf::key::SigningKey;
use tuf::repository::{Pin, RoleKeys, RootRoles, sign_root, sign_targets};

/// A network in a folder of its own.
pub struct World {
    pub folder: tempfile::TempDir,
    pub store: Arc<dyn Store>,
    pub network: Arc<Network>,
    pub pin: RootPin,
    offline: Offline,
    keys: OnlineKeys,
    mirrors: Vec<Arc<dyn Mirror>>,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let network = Network {
            id: NetworkId::from_random([7; 5]),
            pools: AddressPools::default_with([7; 5]),
            timing: Timing::default(),
            sealed_only: false,
        };
        let keys = OnlineKeys {
            catalogs: key(3),
            snapshot: key(4),
            timestamp: key(5),
        };
        let offline = offline(&network.id, &keys);
        let pin = RootPin {
            version: 1,
            sha256: Pin::of(1, &offline.roots[0]).sha256,
        };
        let site = publish::Folder::new("site", folder.path().join("site")).expect("a folder");
        let store = SqliteStore::open(&folder.path().join("state.sqlite")).expect("a store");
        Self {
            store: Arc::new(store),
            network: Arc::new(network),
            pin,
            offline,
            keys,
            mirrors: vec![Arc::new(site)],
            folder,
        }
    }

    pub fn edge(&self) -> Edge {
        Edge {
            store: self.store.clone(),
            network: self.network.clone(),
            clock: Arc::new(SystemClock),
        }
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            store: self.store.as_ref(),
            network: &self.network,
            moment: moment(),
        }
    }

    /// Puts so many gateways in service, with a heartbeat of just now.
    pub async fn gateways(&self, count: usize) {
        self.gateways_from(0, count).await;
    }

    /// Puts the gateways of these numbers in service.
    pub async fn gateways_from(&self, first: usize, end: usize) {
        let now = moment().now;
        let numbers: Vec<usize> = (first..end).collect();
        for some in numbers.chunks(store::MOST_WRITES / 2) {
            let writes = some
                .iter()
                .flat_map(|number| in_service(*number, now))
                .collect();
            self.store
                .commit(now, writes)
                .await
                .expect("the gateways are written");
        }
    }

    pub fn limits(&self) -> &Limits {
        &self.offline.limits
    }

    pub async fn publish(&self) -> Report {
        let publisher = Publisher {
            context: self.context(),
            offline: &self.offline,
            keys: &self.keys,
            mirrors: &self.mirrors,
            front_doors: &[],
            budget: Budget::UNLIMITED,
        };
        publisher.run().await.expect("publishing works")
    }

    /// An enrolled device that knows the front doors at these URLs and nothing else.
    pub async fn device(&self, doors: &[String]) -> Device {
        let door = |url: &String| FrontDoor {
            url: url.clone(),
            fallback: Vec::new(),
        };
        let invite = InviteText {
            contact: FirstContact {
                network: self.network.id.clone(),
                root: self.pin.clone(),
                front_doors: doors.iter().map(door).collect(),
                control: Vec::new(),
                control_key: None,
            },
            secret: [1; 16],
        };
        let mut device = Device::new(
            &invite,
            &std::array::from_fn(|n| u8::try_from(n).expect("few")),
        );
        let pools = &self.network.pools;
        device.answer = Some(DeviceAnswer {
            device: device.id(),
            state: DeviceState::Active,
            cohort: "default".parse().expect("a cohort"),
            catalog: "default".parse().expect("a catalog"),
            addresses: pools.addresses(&device.id(), model::LeaseIndex(20)),
            enrolled_at: moment().now,
            identity_key: device.identity.public(),
            tunnel_key: device.tunnel.tunnel_key(),
            exit_key: device.exit.exit_key(),
            previous_until: None,
            rotation_wanted_at: None,
            keys: self.device_keys().await,
            next_epoch_at: None,
        });
        device
    }

    /// The bundle that is served now.
    pub fn bundle(&self) -> Vec<u8> {
        std::fs::read(self.site().join("bundles/cohort/default")).expect("it is published")
    }

    /// The keys of a device: those of the one slice that there is by default.
    pub async fn device_keys(&self) -> Vec<HeldKey> {
        let keys = [control::items::epochs()];
        let found = self.store.get_many(moment().now, &keys).await;
        let found = found.expect("the store answers");
        let epochs = found[0].as_ref().expect("something was published");
        let epochs = epochs.read().expect("epochs");
        let name = "default".parse().expect("a name");
        control::epochs::keys_of(&self.network.id, &name, &epochs, (1, &[0]))
    }

    pub fn site(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("site")
    }
}

pub fn moment() -> Moment {
    SystemClock.moment()
}

fn in_service(number: usize, now: jiff::Timestamp) -> [Write; 2] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let keys = GatewayKeys {
        identity: IdentityKey::from_bytes(bytes),
        tunnel: TunnelKey::from_bytes(bytes),
    };
    let [_, _, _, _, _, _, high, low] = number.to_be_bytes();
    let gateway = Gateway {
        id: format!("g-{number:08}").parse().expect("an id"),
        role: if number.is_multiple_of(2) {
            Role::Ingress
        } else {
            Role::Egress
        },
        state: GatewayState::Active,
        region: format!("region-{}", number % 20),
        endpoint: ([10, 1, high, low], 51820).into(),
        pool: (if number.is_multiple_of(2) {
            "ingress"
        } else {
            "egress"
        })
        .parse()
        .expect("a pool"),
        cohorts: vec!["default".parse().expect("a cohort")],
        bootstrap: None,
        keys: Some(keys),
        previous: None,
        rotation_wanted_at: None,
        created_at: now,
        changed_at: now,
    };
    let beat = items::Heartbeat {
        gateway: gateway.id.clone(),
        seen_at: Some(now),
        load: 30,
    };
    [
        Write::put(items::gateway(&gateway.id), Expect::Absent, &gateway),
        Write::put(
            items::heartbeat(&gateway.id, &keys.identity),
            Expect::Absent,
            &beat,
        ),
    ]
}

fn key(number: u8) -> SigningKey {
    SigningKey::ed25519_from_seed([number; 32])
}

fn role(number: u8) -> RoleKeys {
    RoleKeys {
        keys: vec![key(number).public()],
        threshold: 1,
    }
}

fn offline(network: &NetworkId, keys: &OnlineKeys) -> Offline {
    let expires = jiff::Timestamp::constant(4_000_000_000, 0);
    let limits = Limits {
        schema: Limits::SCHEMA.to_owned(),
        network: network.clone(),
        front_door_hosts: vec!["127.0.0.1".to_owned()],
        gateway_networks: vec!["10.0.0.0/8".parse().expect("a network")],
        cohorts: vec!["default".parse().expect("a cohort")],
    };
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
        (
            Limits::PATH.to_owned(),
            serde_json::to_vec(&limits).expect("plain data"),
        ),
        (
            TrustedKeys::PATH.to_owned(),
            serde_json::to_vec(&trust).expect("plain data"),
        ),
        (
            RecoveryKit::PATH.to_owned(),
            serde_json::to_vec(&kit).expect("plain data"),
        ),
    ]);
    let roles = RootRoles {
        root: role(1),
        targets: role(2),
        snapshot: role(4),
        timestamp: role(5),
    };
    let root = sign_root(1, expires, &roles, &[&key(1)]).expect("a root");
    let catalogs = RoleKeys {
        keys: vec![keys.catalogs.public()],
        threshold: 1,
    };
    let targets = sign_targets(1, expires, &files, &catalogs, &[&key(2)]).expect("targets");
    Offline::read(vec![root], targets, files).expect("well signed")
}
