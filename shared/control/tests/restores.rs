//! An older state comes back: nothing that happened since can be taken for what happens from now on.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use api::Kind;
use api::fleet::SetMode;
use common::fleets::hetzner;
use common::nodes::gateway_id;
use common::rosters::Holder;
use common::world::World;
use common::{
    START, Stage, after, device_id, identity, kind, limits, operator, request, secret, tunnel_key,
};
use control::fleet::modes;
use control::items::Read as _;
use control::publish::{Draft, Reserved};
use control::restore::{self, Guarded, Marker, Revival};
use control::{devices, enroll, gateways, invites, items, policy};
use model::{
    Admin, AdminRole, Disclosure, Gateway, IdentityKey, InviteId, Mode, Policy, Role, Shard,
};
use rules::epochs::Epochs;
use store::conformance::{Call, Fate, Watched};
use store::{
    Archive, CommitError, Expect, Item, Key, MOST_WRITES, MemoryStore, Range, Store, StoreError,
    Write,
};

/// When the backup is made, and when it comes back, in seconds.
const TAKEN: i64 = 60;
const RESTORED: i64 = 120;
const GATEWAY: u8 = 1;

/// A stage whose store can be read as a whole.
fn stage() -> (Stage, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    (Stage::memory().through(store.clone()), store)
}

async fn everything(store: &dyn Archive) -> Vec<Item> {
    let mut snapshot = store
        .snapshot(after(TAKEN), items::is_settled)
        .await
        .unwrap();
    let items = snapshot.next(usize::MAX).await.unwrap();
    snapshot.confirm().await.unwrap();
    items
}

fn marker(as_it_was: bool) -> Marker {
    Marker {
        backup: "00".to_owned(),
        taken_at: after(TAKEN),
        restored_at: after(RESTORED),
        as_it_was,
        done_at: None,
    }
}

/// What becomes of these items.
fn revive(backup: &[Item], as_it_was: bool) -> (Vec<Item>, Revival) {
    let mut revival = Revival::new(&marker(as_it_was)).unwrap();
    let mut put = Vec::new();
    for item in backup {
        put.extend(revival.take(item.clone()).unwrap());
    }
    put.extend(revival.finish().unwrap());
    (put, revival)
}

/// A new store with what becomes of these items.
async fn restored(stage: &Stage, backup: &[Item], as_it_was: bool) -> Stage {
    let store = MemoryStore::new();
    let (put, _) = revive(backup, as_it_was);
    for items in put.chunks(MOST_WRITES) {
        store.load(after(RESTORED), items).await.unwrap();
    }
    stage.through(Arc::new(store))
}

async fn read<T: items::Body>(stage: &Stage, key: Key) -> Option<T> {
    let found = stage.store.get_many(after(RESTORED), &[key]).await.unwrap();
    found[0].as_ref().map(|item| item.read().unwrap())
}

fn keys(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<[u8; 32]> {
    let keys = numbers.into_iter().map(|n| *tunnel_key(n).as_bytes());
    keys.collect()
}

/// Two devices of one shard, and of another than the device 0.
fn two_of_a_shard() -> (u32, u32) {
    let shard = |number| Shard::of(&device_id(number));
    let first = 1;
    let second = (2..10_000).find(|number| shard(*number) == shard(first));
    assert_ne!(shard(0), shard(first));
    (first, second.unwrap())
}

#[tokio::test]
async fn a_gateway_forgets_the_roster_of_what_was_undone() {
    let (lost, new) = two_of_a_shard();
    for as_it_was in [false, true] {
        let (stage, store) = stage();
        stage.invite(1, 10).await;
        stage.create_gateway(GATEWAY, Role::Ingress).await;
        stage.register(START, GATEWAY).await.unwrap();
        stage.enroll(START, 1, 0).await.unwrap();
        let backup = everything(&*store).await;
        let mut gateway = Holder::new(GATEWAY);
        stage.enroll(after(TAKEN), 1, lost).await.unwrap();
        gateway.pull(&stage, after(TAKEN)).await;
        assert_eq!(gateway.keys(), keys([0, lost]));

        // The shard gets the version again that the gateway holds, with another device in it.
        let stage = restored(&stage, &backup, as_it_was).await;
        stage.invite(2, 10).await;
        stage.enroll(after(RESTORED), 2, new).await.unwrap();
        gateway.pull(&stage, after(RESTORED)).await;

        // Put as it was, the state is believed to be what the gateway knows: so that is for moves alone.
        let expected = if as_it_was { [0, lost] } else { [0, new] };
        assert_eq!(gateway.keys(), keys(expected));
    }
}

#[tokio::test]
async fn a_gateway_that_took_a_policy_since_pulls_everything_under_the_same_number() {
    let (stage, store) = stage();
    stage.invite(1, 10).await;
    stage.create_gateway(GATEWAY, Role::Ingress).await;
    stage.register(START, GATEWAY).await.unwrap();
    stage.enroll(START, 1, 0).await.unwrap();
    let denies = |name: &str| {
        let rule = serde_json::json!([{"name": name, "effect": "deny"}]);
        common::rosters::policy(&rule, &serde_json::json!([]))
    };
    stage.apply(START, &Policy::default()).await;
    let backup = everything(&*store).await;
    let mut gateway = Holder::new(GATEWAY);
    let lost = stage.apply(after(TAKEN), &denies("lost")).await;
    gateway.pull(&stage, after(TAKEN)).await;
    assert_eq!(gateway.keys(), keys([]));

    let stage = restored(&stage, &backup, false).await;
    let there = policy::show(&stage.context(after(RESTORED))).await.unwrap();
    gateway.pull(&stage, after(RESTORED)).await;

    assert!(there.version > lost.version, "{there:?}");
    assert_eq!(there.policy, Policy::default());
    let record = read::<api::policy::PolicyView>(&stage, items::policy_version(there.version));
    assert_eq!(record.await, Some(there));
    assert_eq!(gateway.keys(), keys([0]));
}

#[tokio::test]
async fn a_recorded_heartbeat_is_refused_and_the_gateway_goes_on() {
    let (stage, store) = stage();
    stage.create_gateway(GATEWAY, Role::Ingress).await;
    let mut version = stage.register(START, GATEWAY).await.unwrap().version;
    version = stage
        .heartbeat(after(1), GATEWAY, version, 5)
        .await
        .unwrap();
    let backup = everything(&*store).await;
    let mut recorded = Vec::new();
    for second in 0..10 {
        recorded.push(version);
        let now = after(TAKEN + second);
        version = stage.heartbeat(now, GATEWAY, version, 9).await.unwrap();
    }

    let stage = restored(&stage, &backup, false).await;
    let now = after(RESTORED);
    for version in recorded {
        let replayed = stage.heartbeat(now, GATEWAY, version, 9).await;
        assert_eq!(kind(replayed.unwrap_err()), Kind::HeartbeatOutOfStep);
    }
    let told = match stage.heartbeat(now, GATEWAY, version, 9).await {
        Err(control::Error::Refused { version, .. }) => version.unwrap(),
        other => panic!("{other:?}"),
    };
    stage.heartbeat(now, GATEWAY, told, 9).await.unwrap();
    let observed = gateways::observe(&stage.context(now)).await.unwrap();
    assert_eq!(observed[0].0.seen_at, Some(now));
}

#[tokio::test]
async fn what_could_be_used_once_is_used_up() {
    let (stage, store) = stage();
    stage.invite(1, 10).await;
    stage.enroll(START, 1, 0).await.unwrap();
    stage.create_gateway(GATEWAY, Role::Ingress).await;
    let challenge = items::challenge("hash");
    let session = items::session(&model::AdminId::of(&identity(5)), "hash");
    for key in [challenge.clone(), session.clone()] {
        let body = serde_json::json!({});
        let put = Write::put_until(key, Expect::Absent, &body, Some(after(3600)));
        stage.store.commit(START, vec![put]).await.unwrap();
    }

    let backup = everything(&*store).await;
    let (_, revival) = revive(&backup, false);
    let stage = restored(&stage, &backup, false).await;
    let now = after(RESTORED);

    let enrolled = stage.enroll(now, 1, 1).await;
    assert_eq!(kind(enrolled.unwrap_err()), Kind::InviteWithdrawn);
    let again = enroll::enroll(&stage.context(now), identity(0), request(1, 0)).await;
    assert_eq!(again.unwrap().device, device_id(0));
    let registered = stage.register(now, GATEWAY).await;
    assert_eq!(kind(registered.unwrap_err()), Kind::BootstrapRefused);
    let found = stage.store.get_many(now, &[challenge, session]).await;
    assert_eq!(found.unwrap(), [None, None]);
    let told = revival.told();
    assert_eq!(told.invites, [InviteId::of(&secret(1)).to_string()]);
    assert_eq!(told.unregistered, [gateway_id(GATEWAY)]);
    assert_eq!(told.active_devices, 1);
}

#[tokio::test]
async fn nothing_is_rented_until_an_owner_approves_again() {
    let (stage, store) = stage();
    let owner = Admin {
        id: model::AdminId::of(&IdentityKey::from_bytes([9; 32])),
        name: "Ada".to_owned(),
        role: AdminRole::Owner,
        key: IdentityKey::from_bytes([9; 32]),
        created_at: START,
        removed_at: None,
    };
    let live = SetMode {
        mode: Mode::Live,
        reason: "it is paid for".to_owned(),
        expires_at: None,
        smoke_most_per_hour: None,
    };
    modes::set(&stage.context(START), &owner, &hetzner(), live)
        .await
        .unwrap();
    let fleet = serde_json::json!({"version": 3});
    let puts = [items::fleet(), items::fleet_accepted(), items::fleet_run()]
        .map(|key| Write::put(key, Expect::Absent, &fleet));
    stage.store.commit(START, puts.to_vec()).await.unwrap();

    let backup = everything(&*store).await;
    let (_, revival) = revive(&backup, false);
    let stage = restored(&stage, &backup, false).await;

    let context = stage.context(after(RESTORED));
    let mode = modes::show(&context, &hetzner()).await.unwrap().policy.mode;
    assert_eq!(mode, Mode::Plan);
    let gone = [items::fleet_accepted(), items::fleet_run()];
    let found = stage.store.get_many(after(RESTORED), &gone).await;
    assert_eq!(found.unwrap(), [None, None]);
    let fleet: api::fleet::FleetView = read(&stage, items::fleet()).await.unwrap();
    assert_eq!(fleet.version, 3 + revival.gap());
    assert_eq!(revival.told().providers, ["hetzner (was live)"]);
    assert!(revival.told().had_accepted_fleet);
}

#[tokio::test]
async fn versions_that_were_reserved_since_are_not_signed_again() {
    let (stage, store) = stage();
    let world = World::on(Arc::new(stage), 1);
    world.stage.bring_up(START, &[1]).await;
    world.publish(START).await;
    let draft = Draft {
        version: 2,
        begun_at: START,
        catalogs: std::collections::BTreeMap::new(),
    };
    let put = Write::put(items::draft(), Expect::Absent, &draft);
    world.stage.store.commit(START, vec![put]).await.unwrap();
    let backup = everything(&*store).await;
    for number in 2..6 {
        world.stage.bring_up(after(TAKEN), &[number]).await;
        world.publish(after(TAKEN)).await;
    }
    let (lost, _) = world.served(after(TAKEN));

    // The mirrors that clients saw these versions on do not answer: another one is all there is.
    let stage = restored(&world.stage, &backup, false).await;
    let reserved: Reserved = read(&stage, items::reserved()).await.unwrap();
    let after_loss = World::on(Arc::new(stage), 1);
    after_loss.stage.bring_up(after(RESTORED), &[9]).await;
    let report = after_loss.publish(after(RESTORED)).await;

    assert!(reserved.version >= lost, "{reserved:?} {lost}");
    assert!(report.published && report.version > lost, "{report:?}");
    assert_eq!(read::<Draft>(&after_loss.stage, items::draft()).await, None);
}

#[tokio::test]
async fn the_next_epoch_begins_at_once_with_a_secret_that_nobody_holds() {
    let (stage, store) = stage();
    let world = World::on(Arc::new(stage), 1);
    let sealed = Policy {
        disclosure: Disclosure::Sealed { slices: 4, held: 2 },
        ..Policy::default()
    };
    world.stage.apply(START, &sealed).await;
    world.stage.invite(1, 10).await;
    world.stage.enroll(START, 1, 0).await.unwrap();
    world.stage.bring_up(START, &[1]).await;
    world.publish(START).await;
    let backup = everything(&*store).await;
    let before: Epochs = read(&world.stage, items::epochs()).await.unwrap();
    // Two revocations, each with another secret for the next epoch.
    let mut lost = before.clone();
    for number in 1..3 {
        world.stage.enroll(after(TAKEN), 1, number).await.unwrap();
        let context = world.stage.context(after(TAKEN));
        devices::revoke(&context, &operator(), &device_id(number))
            .await
            .unwrap();
        world.publish(after(TAKEN)).await;
        lost = read(&world.stage, items::epochs()).await.unwrap();
    }
    assert!(lost.next.number > before.next.number);

    let stage = restored(&world.stage, &backup, false).await;
    let after_loss = World {
        stage: Arc::new(stage),
        ..world
    };
    after_loss.publish(after(RESTORED)).await;

    let now: Epochs = read(&after_loss.stage, items::epochs()).await.unwrap();
    assert_eq!(now.salt, before.salt);
    assert!(now.present.number > lost.next.number, "{now:?}");
    let held = [
        &before.present.secret,
        &before.next.secret,
        &lost.next.secret,
    ];
    assert!(!held.contains(&&now.present.secret));
    assert!(!held.contains(&&now.next.secret));
    let past: Vec<u64> = now.past.iter().map(|epoch| epoch.number).collect();
    assert_eq!(past, [before.present.number], "readable for a grace");
    let context = after_loss.stage.context(after(RESTORED));
    let shown = devices::show(&context, identity(0), &device_id(0)).await;
    let epochs: BTreeSet<u64> = shown.unwrap().keys.iter().map(|key| key.epoch).collect();
    assert!(epochs.contains(&now.present.number));
}

#[tokio::test]
async fn gateways_are_judged_by_what_is_heard_from_now_on() {
    let (stage, store) = stage();
    let world = World::on(Arc::new(stage), 1);
    world.stage.bring_up(START, &[1, 2]).await;
    world.publish(START).await;
    let backup = everything(&*store).await;

    let stage = restored(&world.stage, &backup, false).await;
    let after_loss = World {
        stage: Arc::new(stage),
        ..world
    };
    let first = after_loss.publish(after(RESTORED)).await;
    // The second is never heard again.
    let mut last = first.clone();
    for seconds in (RESTORED..RESTORED + 300).step_by(15) {
        after_loss.stage.beat(after(seconds), &[1]).await;
        last = after_loss.publish(after(seconds)).await;
    }

    assert_eq!((first.listed, first.mass_silence), (2, false));
    assert_eq!((last.listed, last.mass_silence), (1, false));
    let second: Option<Gateway> = read(&after_loss.stage, items::gateway(&gateway_id(2))).await;
    assert_eq!(second.unwrap().state, model::GatewayState::Unhealthy);
}

#[tokio::test]
async fn an_interrupted_restore_makes_the_same_of_everything() {
    let (stage, store) = stage();
    stage.invite(1, 10).await;
    stage.enroll(START, 1, 0).await.unwrap();
    stage.bring_up(START, &[1]).await;
    let backup = everything(&*store).await;

    let (first, _) = revive(&backup, false);
    let (second, _) = revive(&backup, false);
    let mut backwards = backup.clone();
    backwards.reverse();
    let (mut third, _) = revive(&backwards, false);

    assert_eq!(first, second);
    let mut sorted = first.clone();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    third.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(sorted, third);
    let places: BTreeSet<&Key> = first.iter().map(|item| &item.key).collect();
    assert_eq!(places.len(), first.len(), "one item a place");
}

#[tokio::test]
async fn what_is_put_as_it_was_is_as_it_was() {
    let (stage, store) = stage();
    stage.invite(1, 10).await;
    stage.enroll(START, 1, 0).await.unwrap();
    stage.bring_up(START, &[1]).await;
    stage.apply(START, &Policy::default()).await;
    let backup = everything(&*store).await;

    let (put, revival) = revive(&backup, true);

    assert_eq!(put, backup);
    assert_eq!(revival.told().changed, 0);
}

#[tokio::test]
async fn a_second_restore_goes_past_what_came_after_the_first() {
    let (stage, store) = stage();
    stage.apply(START, &Policy::default()).await;
    let backup = everything(&*store).await;

    let first = restored(&stage, &backup, false).await;
    let mut last = 0;
    for second in 0..50 {
        let policy = common::rosters::policy(
            &serde_json::json!([{"name": format!("rule-{second}"), "effect": "allow"}]),
            &serde_json::json!([]),
        );
        last = first.apply(after(RESTORED + second), &policy).await.version;
    }
    let mut again = Revival::new(&Marker {
        restored_at: after(RESTORED + 50),
        ..marker(false)
    })
    .unwrap();
    for item in backup {
        again.take(item).unwrap();
    }
    again.finish().unwrap();

    let second = again.told().policy_version;
    assert!(second > last, "{second} {last}");
}

#[test]
fn a_backup_of_the_future_is_refused() {
    let early = Marker {
        restored_at: after(TAKEN - 1),
        ..marker(false)
    };
    assert!(Revival::new(&early).unwrap_err().contains("clock"));
}

#[tokio::test]
async fn new_invites_can_be_made() {
    let (stage, store) = stage();
    stage.invite(1, 10).await;
    let backup = everything(&*store).await;
    let stage = restored(&stage, &backup, false).await;
    let context = stage.context(after(RESTORED));
    let new = api::admin::NewInvite {
        id: InviteId::of(&secret(2)),
        cohort: "default".parse().unwrap(),
        tags: BTreeSet::new(),
        uses: 1,
        expires_at: after(3600),
        note: String::new(),
    };
    invites::create(&context, &limits(), &operator(), new)
        .await
        .unwrap();

    stage.enroll(after(RESTORED), 2, 3).await.unwrap();
}

/// What a function asks of a store in a minute, each in a call of its own.
async fn ask_all(store: &dyn Store, now: jiff::Timestamp) -> Vec<Result<(), StoreError>> {
    let key = items::lease(model::LeaseIndex(1));
    let read = store.get_many(now, std::slice::from_ref(&key)).await;
    let range = Range::all(items::GATEWAYS);
    let listed = store.query(now, &range, None, 10).await;
    let write = items::put(key, Expect::Any, &items::Taken::by(&"d-somebody"));
    let written = match store.commit(now, vec![write]).await {
        Err(CommitError::Store(error)) => Err(error),
        _ => Ok(()),
    };
    vec![read.map(drop), listed.map(drop), written]
}

/// A function's store in memory, and how often it was called.
fn guarded() -> (Guarded, Arc<MemoryStore>, Arc<AtomicU32>) {
    let (store, calls) = (Arc::new(MemoryStore::new()), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&calls);
    let watched = Watched::new(Arc::clone(&store), move |_: Call<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        Fate::Answered
    });
    (Guarded::new(Arc::new(watched)), store, calls)
}

#[tokio::test]
async fn functions_do_nothing_until_a_restore_has_ended() {
    let (function, store, _) = guarded();
    restore::begin(&*store, START, &marker(false))
        .await
        .unwrap();

    let before = everything(&*store).await;
    for second in 0..3 {
        for refused in ask_all(&function, after(second)).await {
            let Err(StoreError::Unavailable(why)) = refused else {
                panic!("{refused:?}");
            };
            assert!(why.contains("a backup is being restored here"), "{why}");
        }
    }
    assert_eq!(everything(&*store).await, before);

    let (stage, _) = stage();
    let stage = stage.through(store.clone());
    restore::end(&stage.context(after(3)), &marker(false), 1)
        .await
        .unwrap();
    for answered in ask_all(&function, after(4)).await {
        answered.unwrap();
    }
}

#[tokio::test]
async fn a_look_at_the_mark_costs_a_read_a_minute_or_none() {
    let (function, _, calls) = guarded();
    let spent = || calls.swap(0, Ordering::Relaxed);

    // With a read of items it costs no call.
    for answered in ask_all(&function, START).await {
        answered.unwrap();
    }
    assert_eq!(spent(), 3);
    // A heartbeat is one commit: of those in a minute one has a read before it.
    let write = || {
        items::put(
            items::lease(model::LeaseIndex(1)),
            Expect::Any,
            &items::Taken::by(&"g"),
        )
    };
    for second in 0..120 {
        function.commit(after(second), vec![write()]).await.unwrap();
    }
    assert_eq!(spent(), 121);
    let keys: Vec<Key> = (0..100)
        .map(|n| items::lease(model::LeaseIndex(n)))
        .collect();
    let found = function.get_many(after(300), &keys).await.unwrap();
    assert_eq!((found.len(), spent()), (100, 2));
    let found = function.get_many(after(600), &keys[..99]).await.unwrap();
    assert_eq!((found.len(), spent()), (99, 1));
}

#[tokio::test]
async fn a_function_that_works_already_hears_of_a_restore_within_a_minute() {
    let (function, store, _) = guarded();
    for answered in ask_all(&function, START).await {
        answered.unwrap();
    }
    restore::begin(&*store, after(1), &marker(false))
        .await
        .unwrap();

    for refused in ask_all(&function, after(60)).await {
        assert!(
            matches!(refused, Err(StoreError::Unavailable(_))),
            "{refused:?}"
        );
    }
}
