//! What the tests of the control plane share: stores, moments, devices and invites.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod board;
pub mod board_provider;
pub mod client;
pub mod documents;
#[path = "../../../store/tests/common/dynamodb.rs"]
pub mod dynamodb;
pub mod fleets;
pub mod mirror;
pub mod nodes;
#[path = "../../../store/tests/common/postgres.rs"]
pub mod postgres;
pub mod rosters;
pub mod scheduled;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::Kind;
use api::admin::NewInvite;
use api::enroll::{DeviceAnswer, EnrollRequest, InviteSecret};
use control::items::Read as _;
use control::items::{self, Taken};
use control::{Context, Error, Moment, audit, enroll, invites};
use emulator::Faults;
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use model::{
    Actor, AddressPools, AuditEvent, CatalogName, Device, DeviceId, Disclosure, ExitKey, HeldKey,
    IdentityKey, InviteId, LeaseIndex, Limits, Network, NetworkId, Policy, Timing, TunnelKey,
};
use rules::epochs::Epochs;
use store::conformance::{Kept, Watched};
use store::{MemoryStore, Range, SqliteStore, Store};

/// When every test begins.
pub const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// So many seconds after [`START`].
pub fn after(seconds: i64) -> Timestamp {
    START + SignedDuration::from_secs(seconds)
}

/// A store and a network of its own.
pub struct Stage {
    pub store: Arc<dyn Store>,
    pub network: Network,
}

impl Stage {
    /// An empty store in memory, and pools of 239 usable indexes.
    pub fn memory() -> Self {
        Self::on(Arc::new(MemoryStore::new()), 24)
    }

    /// The keys of every slice of the catalog `name`, in every epoch whose secret is kept: what the
    /// publisher itself could open.
    pub fn keys(&self, name: &CatalogName) -> Vec<HeldKey> {
        let keys = [items::policy(), items::epochs()];
        let read = || self.store.get_many(START, &keys);
        // A store in memory answers at once; tests on others have a runtime of several threads.
        let found = read().now_or_never().unwrap_or_else(|| {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(read()))
        });
        let found = found.unwrap();
        let policy = found[0].as_ref();
        let policy = policy.map_or_else(Policy::default, |item| {
            item.read::<api::policy::PolicyView>().unwrap().policy
        });
        let (Disclosure::Sealed { slices, .. }, Some(epochs)) = (policy.disclosure, &found[1])
        else {
            return Vec::new();
        };
        let epochs: Epochs = epochs.read().unwrap();
        let all: Vec<u16> = (0..slices).collect();
        control::epochs::keys_of(&self.network.id, name, &epochs, (slices, &all))
    }

    /// An empty store of each kind, and pools with this prefix length.
    pub fn of_each_kind(prefix: u8) -> [Arc<Self>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::open(&folder.path().join("state.db")).unwrap();
        let sqlite = Watched::new(sqlite, Kept(folder));
        [
            Arc::new(Self::on(Arc::new(MemoryStore::new()), prefix)),
            Arc::new(Self::on(Arc::new(sqlite), prefix)),
        ]
    }

    /// As [`Stage::of_each_kind`], and a DynamoDB table behind faults where the emulator is installed.
    pub async fn of_each_kind_and_dynamodb(prefix: u8) -> Vec<Arc<Self>> {
        let mut stages = Self::of_each_kind(prefix).to_vec();
        let behind = dynamodb::fresh_behind("control on DynamoDB", Faults::HARSH).await;
        if let Some(behind) = behind {
            let store = Watched::new(behind.store, Kept(behind.proxy));
            stages.push(Arc::new(Self::on(Arc::new(store), prefix)));
        }
        stages
    }

    /// The same state, reached through `store`.
    pub fn through(&self, store: Arc<dyn Store>) -> Self {
        Self {
            store,
            network: self.network.clone(),
        }
    }

    fn on(store: Arc<dyn Store>, prefix: u8) -> Self {
        let pool = |third: u8| format!("10.0.{third}.0/{prefix}").parse().unwrap();
        let ula = "fd00:1:2::/48".parse().unwrap();
        let network = Network {
            id: network_id(),
            pools: AddressPools::new(pool(0), pool(1), ula).unwrap(),
            timing: Timing::default(),
            sealed_only: false,
        };
        Self { store, network }
    }

    /// A request that arrives at `now`.
    pub fn context(&self, now: Timestamp) -> Context<'_> {
        Context {
            store: self.store.as_ref(),
            network: &self.network,
            moment: moment(now),
        }
    }

    /// Makes the invite of [`secret`]`(number)`, valid for an hour.
    pub async fn invite(&self, number: u8, uses: u32) -> InviteId {
        let id = InviteId::of(&secret(number));
        let new = NewInvite {
            id: id.clone(),
            cohort: "default".parse().unwrap(),
            tags: std::collections::BTreeSet::new(),
            uses,
            expires_at: after(3600),
            note: String::new(),
        };
        invites::create(&self.context(START), &limits(), &operator(), new)
            .await
            .unwrap();
        id
    }

    /// Enrolls the device `number` with the invite of [`secret`]`(invite)`.
    pub async fn enroll(
        &self,
        now: Timestamp,
        invite: u8,
        number: u32,
    ) -> Result<DeviceAnswer, Error> {
        enroll::enroll(
            &self.context(now),
            identity(number),
            request(invite, number),
        )
        .await
    }

    /// All events of the day of [`START`], newest first.
    pub async fn events(&self) -> Vec<AuditEvent> {
        let mut events = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let context = self.context(START);
            let (page, next) = audit::list(&context, audit::day_of(START), before.as_deref())
                .await
                .unwrap();
            events.extend(page);
            let Some(next) = next else {
                return events;
            };
            before = Some(next);
        }
    }

    /// The subjects of all events with this action, in order.
    pub async fn subjects(&self, action: &str) -> Vec<String> {
        let events = self.events().await.into_iter();
        let events = events.filter(|event| event.action == action);
        let mut subjects: Vec<String> = events.map(|event| event.subject).collect();
        subjects.sort();
        subjects
    }

    /// All devices, read partition by partition.
    pub async fn devices(&self, now: Timestamp) -> Vec<Device> {
        let mut devices = Vec::new();
        for first in items::DEVICE_PARTITIONS.chars() {
            let range = Range::all(items::devices(first));
            let items = store::query_all(self.store.as_ref(), now, &range)
                .await
                .unwrap();
            devices.extend(items.iter().map(|item| item.read::<Device>().unwrap()));
        }
        devices
    }

    /// Who holds which index, of the whole pool.
    pub async fn leases(&self, now: Timestamp) -> BTreeMap<u32, String> {
        let all: Vec<u32> = (0..self.network.pools.size()).collect();
        let mut holders = BTreeMap::new();
        for some in all.chunks(store::MOST_KEYS) {
            let keys: Vec<_> = some.iter().map(|n| items::lease(LeaseIndex(*n))).collect();
            let found = self.store.get_many(now, &keys).await.unwrap();
            for (index, item) in some.iter().zip(found) {
                if let Some(item) = item {
                    holders.insert(*index, item.read::<Taken>().unwrap().by);
                }
            }
        }
        holders
    }

    /// Who holds which use of `invite`.
    pub async fn slots(&self, now: Timestamp, invite: &InviteId) -> BTreeMap<String, String> {
        let range = Range::all(items::slots(invite));
        let items = store::query_all(self.store.as_ref(), now, &range)
            .await
            .unwrap();
        let holder = |item: store::Item| {
            let by = item.read::<Taken>().unwrap().by;
            (item.key.sk, by)
        };
        items.into_iter().map(holder).collect()
    }

    /// Asserts that the devices `numbers`, and nobody else, are enrolled with `invites`, each with
    /// all that belongs to it: one lease, one use, both keys, one event. The devices `without`
    /// must have left nothing at all.
    pub async fn assert_enrolled(
        &self,
        invites: &[&InviteId],
        numbers: &BTreeSet<u32>,
        without: &BTreeSet<u32>,
    ) {
        let ids: Vec<String> = sorted(numbers.iter().map(|n| device_id(*n).to_string()));
        let devices = self.devices(START).await;
        assert_eq!(sorted(devices.iter().map(|d| d.id.to_string())), ids);

        let leases = self.leases(START).await;
        assert_eq!(sorted(leases.values().cloned()), ids, "one lease each");
        for device in &devices {
            assert_eq!(leases[&device.lease.0], device.id.as_str());
        }
        let mut users = Vec::new();
        for invite in invites {
            users.extend(self.slots(START, invite).await.into_values());
        }
        assert_eq!(sorted(users.into_iter()), ids, "one use each");
        assert_eq!(self.subjects("device.enrolled").await, ids);

        for number in numbers.iter().chain(without) {
            let there = numbers.contains(number);
            let expected = there.then(|| device_id(*number).to_string());
            for (key, holder) in self.key_holders(*number).await {
                assert_eq!(holder, expected, "the holder of {key} of device {number}");
            }
        }
    }

    async fn key_holders(&self, number: u32) -> [(&'static str, Option<String>); 2] {
        let keys = [
            items::wireguard_key(tunnel_key(number).as_bytes()),
            items::wireguard_key(exit_key(number).as_bytes()),
        ];
        let found = self.store.get_many(START, &keys).await.unwrap();
        let holder = |item: &Option<store::Item>| {
            let item = item.as_ref()?;
            Some(item.read::<Taken>().unwrap().by)
        };
        [
            ("the tunnel key", holder(&found[0])),
            ("the exit key", holder(&found[1])),
        ]
    }
}

/// What came of enrolling several devices at once.
pub struct Enrolled {
    pub answers: BTreeMap<u32, DeviceAnswer>,
    pub refused: BTreeMap<u32, Kind>,
}

/// Enrolls the devices `numbers` with one invite, all at once.
pub async fn enroll_at_once(
    stage: &Arc<Stage>,
    invite: u8,
    numbers: std::ops::Range<u32>,
) -> Enrolled {
    let mut tasks = tokio::task::JoinSet::new();
    for number in numbers {
        let stage = Arc::clone(stage);
        tasks.spawn(async move { (number, stage.enroll(START, invite, number).await) });
    }
    let mut enrolled = Enrolled {
        answers: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (number, Ok(answer)) => drop(enrolled.answers.insert(number, answer)),
            (number, Err(error)) => drop(enrolled.refused.insert(number, kind(error))),
        }
    }
    enrolled
}

/// A moment at `now` with a seed that no other moment of this process has.
pub fn moment(now: Timestamp) -> Moment {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    Moment::new(now, seed)
}

pub fn network_id() -> NetworkId {
    NetworkId::from_random([7; 5])
}

/// What the offline keys allow: one door, gateways on this machine, one cohort.
pub fn limits() -> Limits {
    Limits {
        schema: Limits::SCHEMA.to_owned(),
        network: network_id(),
        front_door_hosts: vec!["door.example".to_owned()],
        gateway_networks: vec!["127.0.0.0/8".parse().unwrap()],
        cohorts: vec!["default".parse().unwrap()],
    }
}

pub fn operator() -> Actor {
    Actor::Admin(model::AdminId::of(&IdentityKey::from_bytes([9; 32])))
}

pub fn secret(invite: u8) -> [u8; 16] {
    [invite; 16]
}

/// 32 bytes that only `kind` and `number` give.
fn bytes(kind: u8, number: u32) -> [u8; 32] {
    let mut bytes = [kind; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub fn identity(number: u32) -> IdentityKey {
    IdentityKey::from_bytes(bytes(1, number))
}

pub fn device_id(number: u32) -> DeviceId {
    DeviceId::of(&identity(number))
}

pub fn tunnel_key(number: u32) -> TunnelKey {
    TunnelKey::from_bytes(bytes(2, number))
}

pub fn exit_key(number: u32) -> ExitKey {
    ExitKey::from_bytes(bytes(3, number))
}

pub fn request(invite: u8, number: u32) -> EnrollRequest {
    EnrollRequest {
        invite: InviteSecret::new(&secret(invite)),
        tunnel_key: tunnel_key(number),
        exit_key: exit_key(number),
    }
}

/// The kind of a refusal.
///
/// # Panics
///
/// If `error` is none.
pub fn kind(error: Error) -> Kind {
    match error {
        Error::Refused { kind, .. } => kind,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

pub fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    texts
}
