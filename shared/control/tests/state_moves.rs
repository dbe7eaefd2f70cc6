//! Moves: from a document to a store, from there to the next one, and back to the same bytes; and that what
//! was moved goes on working.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::enroll::{DeviceAnswer, EnrollRequest, InviteSecret};
use api::policy::ApplyPolicy;
use api::rotation::RotateDevice;
use api::{IdentitySecret, Kind, WireGuardSecret};
use common::documents::{OF_FIXTURE, check, export, fixture, import};
use common::rosters::Holder;
use common::world::World;
use common::{START, Stage, after, dynamodb, kind, network_id, operator, postgres, secret};
use control::state::StateError;
use control::{Error, devices, enroll, items, policy};
use jiff::Timestamp;
use model::{DeviceId, Disclosure, Policy, Role};
use store::conformance::{Kept, Watched};
use store::{Archive, Expect, Key, MemoryStore, SqliteStore, Write};

/// An empty store of each kind that is there. One more kind is one more line.
async fn backends() -> Vec<(&'static str, Arc<dyn Archive>)> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("state.db")).unwrap();
    let mut all: Vec<(&'static str, Arc<dyn Archive>)> = vec![
        ("memory", Arc::new(MemoryStore::new())),
        ("SQLite", Arc::new(Watched::new(sqlite, Kept(folder)))),
    ];
    if let Some(postgres) = postgres::fresh("documents on PostgreSQL").await {
        all.push(("PostgreSQL", Arc::new(postgres)));
    }
    if let Some(dynamodb) = dynamodb::fresh("documents on DynamoDB").await {
        all.push(("DynamoDB", Arc::new(dynamodb)));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fixture_moved_from_store_to_store_is_the_same_document_each_time() {
    let mut document = fixture();
    let mut exports = Vec::new();
    for (name, store) in backends().await {
        import(store.as_ref(), OF_FIXTURE, &document).await.unwrap();
        let (text, exported, told) = export(store.as_ref(), OF_FIXTURE, None).await.unwrap();
        assert_eq!(exported.counts.rejected, 0, "{name}: {:#?}", told.findings);
        document = text.clone().into_bytes();
        exports.push((name, text));
    }

    let (_, first) = &exports[0];
    for (name, text) in &exports[1..] {
        assert!(text == first, "{name} gives another document");
    }
    // What matters of it is there: keys that may not come back, uses, rest, states, versions.
    for part in [
        "retired_keys",
        "\"slot\":",
        "\"until\":",
        "\"accepted\":true",
        "setup_codes",
        "draining",
    ] {
        assert!(first.contains(part), "{part}");
    }
    let lines = first.lines().count();
    assert!(lines > 140, "a line a record, not {lines}");
}

/// The `n`th keys of the device `number`.
struct Keys {
    identity: IdentitySecret,
    tunnel: WireGuardSecret,
    exit: WireGuardSecret,
}

fn keys(number: u8, n: u8) -> Keys {
    let seed = |kind: u8| {
        let mut seed = [kind; 32];
        // Not in the first byte, three bits of which an X25519 secret has not.
        (seed[4], seed[5]) = (number, n);
        seed
    };
    Keys {
        identity: IdentitySecret::from_seed(seed(1)),
        tunnel: WireGuardSecret::from_random(seed(2)),
        exit: WireGuardSecret::from_random(seed(3)),
    }
}

fn id(number: u8) -> DeviceId {
    DeviceId::of(&keys(number, 0).identity.public())
}

async fn enrolls(stage: &Stage, now: Timestamp, number: u8) -> Result<DeviceAnswer, Error> {
    enrolls_with(stage, now, &keys(number, 0)).await
}

async fn enrolls_with(stage: &Stage, now: Timestamp, keys: &Keys) -> Result<DeviceAnswer, Error> {
    let request = EnrollRequest {
        invite: InviteSecret::new(&secret(1)),
        tunnel_key: keys.tunnel.tunnel_key(),
        exit_key: keys.exit.exit_key(),
    };
    enroll::enroll(&stage.context(now), keys.identity.public(), request).await
}

async fn rotates(stage: &Stage, now: Timestamp, number: u8, to: u8) -> Result<DeviceAnswer, Error> {
    let (old, new) = (keys(number, to - 1), keys(number, to));
    let wireguard = (new.tunnel.tunnel_key(), new.exit.exit_key());
    let signer = new.identity.public();
    let request = RotateDevice::new(&network_id(), &id(number), &old.identity, signer, wireguard);
    devices::rotation::rotate(&stage.context(now), signer, &id(number), &request).await
}

/// How many devices the network has, of which 3 is revoked and 5 has rotated twice.
const DEVICES: u8 = 40;
/// How many may enroll in all.
const USES: u32 = 45;

/// A network that ran for a while, published too: its world, and its store.
async fn ran() -> (World, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let stage = Stage::memory().through(store.clone());
    let world = World::on(Arc::new(stage), 2);
    let stage = &world.stage;
    stage.invite(1, USES).await;
    stage.bring_up(START, &[1, 2]).await;
    stage.create_gateway(3, Role::Ingress).await;
    for number in 0..DEVICES {
        enrolls(stage, after(10), number).await.unwrap();
    }
    rotates(stage, after(20), 5, 1).await.unwrap();
    rotates(stage, after(30), 5, 2).await.unwrap();
    devices::rotation::want(&stage.context(after(40)), &operator(), &id(6))
        .await
        .unwrap();
    devices::revoke(&stage.context(after(50)), &operator(), &id(3))
        .await
        .unwrap();
    let request = ApplyPolicy {
        expected_version: 0,
        policy: Policy {
            disclosure: Disclosure::Sealed { slices: 2, held: 1 },
            ..Policy::default()
        },
    };
    policy::apply(&stage.context(after(55)), &operator(), request)
        .await
        .unwrap();
    stage.beat(after(60), &[1, 2]).await;
    world.publish(after(60)).await;
    (world, store)
}

/// The same network in a store of its own, by way of a document.
async fn moved(
    world: &World,
    from: &MemoryStore,
    now: Timestamp,
) -> (World, Arc<MemoryStore>, String) {
    let network = &world.stage.network;
    let (text, exported, told) = export(from, now, Some(network)).await.unwrap();
    assert_eq!(exported.counts.rejected, 0, "{:#?}", told.findings);
    let store = Arc::new(MemoryStore::new());
    import(store.as_ref(), now, text.as_bytes()).await.unwrap();
    let there = World {
        stage: Arc::new(world.stage.through(store.clone())),
        offline: world.offline.clone(),
        keys: world.keys.clone(),
        pin: world.pin.clone(),
        mirrors: world.mirrors.clone(),
        budget: world.budget,
    };
    (there, store, text)
}

#[tokio::test]
async fn a_network_that_ran_is_the_same_after_a_move() {
    let (world, store) = ran().await;

    let (_, there, text) = moved(&world, &store, after(70)).await;
    let network = Some(&world.stage.network);
    let (again, exported, _) = export(there.as_ref(), after(70), network).await.unwrap();

    assert!(text == again, "first\n{text}\nthen\n{again}");
    let taken = check(text.as_bytes()).unwrap().settled.taken;
    let devices = u64::from(DEVICES);
    let expected = [
        ("devices", devices),
        ("gateways", 3),
        ("leases", devices),
        ("policies", 1),
    ];
    for (section, count) in expected {
        assert_eq!(taken[section], count, "{section}");
    }
    assert_eq!(taken.values().sum::<u64>(), exported.records);
    let events = world.stage.events().await.len();
    assert_eq!(usize::try_from(taken["audit"]).unwrap(), events);
}

#[tokio::test]
async fn a_network_that_was_moved_goes_on_where_it_was() {
    let (world, store) = ran().await;
    let (world, _, _) = moved(&world, &store, after(70)).await;
    let stage = &world.stage;

    // Devices: known, with the keys that they have; shut out, if they were.
    let told = devices::show(
        &stage.context(after(80)),
        keys(5, 2).identity.public(),
        &id(5),
    )
    .await
    .unwrap();
    assert_eq!(told.tunnel_key, keys(5, 2).tunnel.tunnel_key());
    rotates(stage, after(80), 6, 1).await.unwrap();
    let shut = enrolls(stage, after(80), 3).await;
    assert_eq!(kind(shut.unwrap_err()), Kind::DeviceRevoked);
    // Keys that somebody once had do not come back.
    for (number, n) in [(5, 0), (5, 1), (6, 0), (3, 0)] {
        let thief = Keys {
            identity: IdentitySecret::from_seed([200; 32]),
            ..keys(number, n)
        };
        let refused = enrolls_with(stage, after(80), &thief).await;
        assert_eq!(
            kind(refused.unwrap_err()),
            Kind::KeyInUse,
            "device {number}, keys {n}"
        );
    }
    // The invite has as many uses left as before, and no address is given twice.
    let left = u8::try_from(USES).unwrap() - DEVICES;
    for number in 100..100 + left {
        enrolls(stage, after(90), number).await.unwrap();
    }
    let more = enrolls(stage, after(90), 150).await;
    assert_eq!(kind(more.unwrap_err()), Kind::InviteUsedUp);
    let all = stage.devices(after(90)).await;
    let indexes: BTreeSet<u32> = all.iter().map(|device| device.lease.0).collect();
    assert_eq!(indexes.len(), usize::from(DEVICES + left));
    assert_eq!(stage.leases(after(90)).await.len(), indexes.len());
    // The revoked device's address rests as long as it would have.
    let rest = i64::from(stage.network.timing.lease_rest);
    assert_eq!(
        stage.leases(after(50 + rest)).await.len(),
        indexes.len() - 1
    );
}

#[tokio::test]
async fn gateways_go_on_with_what_they_hold_of_rosters() {
    let (world, store) = ran().await;
    let mut holder = Holder::new(1);
    while holder.pull_one(&world.stage, after(61)).await.unwrap().more {}
    let (world, _, _) = moved(&world, &store, after(70)).await;
    let stage = &world.stage;

    // The next heartbeat is told where to go on.
    let out_of_step = stage.heartbeat(after(71), 1, 9, 0).await;
    let Err(Error::Refused { kind, version, .. }) = out_of_step else {
        panic!("{out_of_step:?}");
    };
    assert_eq!(kind, Kind::HeartbeatOutOfStep);
    stage
        .heartbeat(after(71), 1, version.unwrap(), 0)
        .await
        .unwrap();
    let unchanged = holder.pull_one(stage, after(72)).await.unwrap();
    assert!(
        unchanged.shards.is_empty(),
        "{} shards again",
        unchanged.shards.len()
    );
    devices::revoke(&stage.context(after(73)), &operator(), &id(9))
        .await
        .unwrap();
    let changed = holder.pull_one(stage, after(74)).await.unwrap();
    assert_eq!(changed.shards.len(), 1);
    // One that waits for its first contact still may have it.
    stage.register(after(75), 3).await.unwrap();
}

#[tokio::test]
async fn nothing_is_published_below_what_clients_have_seen() {
    let (world, store) = ran().await;
    let seen = world.served(after(61)).0;
    let epochs = control::epochs::show(&world.stage.context(after(61)))
        .await
        .unwrap();
    let given = epochs.next.unwrap().number;
    let (world, _, _) = moved(&world, &store, after(70)).await;

    world.stage.beat(after(71), &[1, 2]).await;
    let report = world.publish(after(72)).await;

    assert!(
        report.published && report.version > seen,
        "{} after {seen}",
        report.version
    );
    let epochs = control::epochs::show(&world.stage.context(after(73)))
        .await
        .unwrap();
    assert!(epochs.present.unwrap().number > given);
}

#[tokio::test]
async fn older_offline_files_are_refused_where_clients_have_seen_newer_ones() {
    let text = String::from_utf8(fixture()).unwrap();
    let store = Arc::new(MemoryStore::new());
    import(store.as_ref(), OF_FIXTURE, text.as_bytes())
        .await
        .unwrap();
    let world = World::on(Arc::new(Stage::memory().through(store)), 1);

    let error = world.run(OF_FIXTURE).await.unwrap_err().to_string();

    assert!(
        error.contains("root 2 and targets 5 are published"),
        "{error}"
    );
}

#[tokio::test]
async fn what_no_record_can_carry_is_reported_and_not_lost_in_silence() {
    let (world, store) = ran().await;
    let network = Some(&world.stage.network);
    let lost = Write::put(
        items::wireguard_key(&[77; 32]),
        Expect::Absent,
        &items::Taken {
            by: "d-gone".to_owned(),
        },
    );
    store::Store::commit(store.as_ref(), START, vec![lost])
        .await
        .unwrap();

    let (_, exported, told) = export(store.as_ref(), after(70), network).await.unwrap();
    assert_eq!(exported.counts.rejected, 1, "{:#?}", told.findings);
    assert!(
        told.findings[0].to_string().contains("'d-gone key 4d4d"),
        "{:?}",
        told.findings[0]
    );

    let unknown = Write::put(
        Key::new("bookmark", "1"),
        Expect::Absent,
        &serde_json::json!({}),
    );
    store::Store::commit(store.as_ref(), START, vec![unknown])
        .await
        .unwrap();
    let error = export(store.as_ref(), after(70), network)
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("bookmark/1"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_in_use_takes_no_document() {
    let (world, store) = ran().await;
    let network = &world.stage.network;
    let (text, ..) = export(store.as_ref(), after(70), Some(network))
        .await
        .unwrap();

    let into = import(store.as_ref(), after(71), text.as_bytes()).await;

    assert!(matches!(into, Err(StateError::Refused(why)) if why.contains("not empty")));
    let empty = export(&MemoryStore::new(), START, Some(network)).await;
    assert!(matches!(empty, Err(StateError::Refused(why)) if why.contains("is empty")));
}
