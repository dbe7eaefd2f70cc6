//! Rosters: gateways let in exactly the devices that are enrolled, and fetch only what changed.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Kind;
use common::nodes::{gateway_id, gateway_identity, new_gateway};
use common::rosters::{Holder, policy};
use common::{
    START, Stage, after, device_id, enroll_at_once, exit_key, identity, kind, limits, operator,
    tunnel_key,
};
use control::items::Read as _;
use control::{devices, gateways, items, roster};
use model::gateway::{GatewayKeys, PreviousGatewayKeys};
use model::{Gateway, GatewayState, IdentityKey, Policy, Role, Shard, TunnelKey};
use serde_json::json;
use store::{Expect, Write};

const INGRESS: u8 = 1;
const EGRESS: u8 = 2;

/// A stage with an invite and a registered gateway of each role.
async fn prepare(stage: &Stage) {
    stage.invite(1, 1000).await;
    for (number, role) in [(INGRESS, Role::Ingress), (EGRESS, Role::Egress)] {
        stage.create_gateway(number, role).await;
        stage.register(START, number).await.unwrap();
    }
}

fn tunnel_keys(numbers: impl IntoIterator<Item = u32>) -> BTreeSet<[u8; 32]> {
    let keys = numbers.into_iter().map(|n| *tunnel_key(n).as_bytes());
    keys.collect()
}

#[tokio::test]
async fn a_gateway_learns_of_a_device_what_its_role_must_know() {
    let stage = Stage::memory();
    prepare(&stage).await;
    let answer = stage.enroll(START, 1, 7).await.unwrap();
    let (mut ingress, mut egress) = (Holder::new(INGRESS), Holder::new(EGRESS));

    assert_eq!(ingress.pull(&stage, after(1)).await, 1);
    assert_eq!(egress.pull(&stage, after(1)).await, 1);

    let [peer] = ingress.ingress()[..] else {
        panic!("one device is enrolled")
    };
    assert_eq!(peer.tunnel_key, tunnel_key(7));
    assert_eq!(
        (peer.outer, peer.outer6),
        (answer.addresses.outer, answer.addresses.outer6)
    );
    let [(peer, rules)] = egress.egress()[..] else {
        panic!("one device is enrolled")
    };
    assert_eq!(peer.exit_key, exit_key(7));
    assert_eq!(
        (peer.inner, peer.inner6),
        (answer.addresses.inner, answer.addresses.inner6)
    );
    let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["no-private-ranges", "no-mail", "internet"]);
    assert!(
        rules.iter().all(|rule| rule.pools.is_empty()),
        "for whoever is here"
    );
    // Nothing in a part names a device.
    let part = Holder::new(INGRESS).pull_one(&stage, after(1)).await;
    let text = serde_json::to_string(&part.unwrap()).unwrap();
    assert!(!text.contains(device_id(7).as_str()));
}

#[tokio::test]
async fn only_the_shards_that_changed_travel() {
    let [memory, sqlite] = Stage::of_each_kind(24);
    for stage in [memory, sqlite] {
        prepare(&stage).await;
        enroll_at_once(&stage, 1, 0..20).await;
        let mut gateway = Holder::new(INGRESS);
        gateway.pull(&stage, START).await;
        assert_eq!(gateway.pull(&stage, START).await, 0, "nothing changed");

        stage.enroll(START, 1, 20).await.unwrap();
        let part = gateway.pull_one(&stage, START).await.unwrap();

        let shards: Vec<_> = part.shards.iter().map(|shard| shard.shard).collect();
        assert_eq!(shards, [Shard::of(&device_id(20))]);
        assert_eq!(gateway.keys(), tunnel_keys(0..=20));
    }
}

#[tokio::test]
async fn a_revoked_device_leaves_every_roster_with_the_next_pull() {
    let stage = Arc::new(Stage::memory());
    prepare(&stage).await;
    enroll_at_once(&stage, 1, 0..10).await;
    let (mut ingress, mut egress) = (Holder::new(INGRESS), Holder::new(EGRESS));
    ingress.pull(&stage, START).await;
    egress.pull(&stage, START).await;
    assert!(egress.keys().contains(exit_key(7).as_bytes()));

    let context = stage.context(after(1));
    devices::revoke(&context, &operator(), &device_id(7))
        .await
        .unwrap();

    assert_eq!(ingress.pull(&stage, after(2)).await, 1);
    assert_eq!(egress.pull(&stage, after(2)).await, 1);
    assert_eq!(ingress.keys(), tunnel_keys((0..10).filter(|n| *n != 7)));
    assert!(!egress.keys().contains(exit_key(7).as_bytes()));
    // The same request again changes nothing, and neither does a refused enrollment.
    devices::revoke(&context, &operator(), &device_id(7))
        .await
        .unwrap();
    assert!(stage.enroll(after(3), 1, 7).await.is_err());
    assert_eq!(ingress.pull(&stage, after(3)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_at_once_none_is_missed_and_no_version_goes_back() {
    for stage in Stage::of_each_kind(24) {
        prepare(&stage).await;
        let gateway = {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move {
                let mut gateway = Holder::new(INGRESS);
                let mut last: BTreeMap<Shard, u64> = BTreeMap::new();
                while gateway.keys().len() < 64 {
                    gateway.pull(&stage, START).await;
                    let versions = gateway.versions();
                    for (shard, version) in &last {
                        assert!(versions[shard] >= *version, "{shard} went back");
                    }
                    last = versions;
                    tokio::task::yield_now().await;
                }
                gateway
            })
        };

        let enrolled = enroll_at_once(&stage, 1, 0..64).await;
        let limit = std::time::Duration::from_mins(1);
        let mut watched = tokio::time::timeout(limit, gateway).await.unwrap().unwrap();

        assert_eq!(enrolled.answers.len(), 64);
        let mut fresh = Holder::new(INGRESS);
        fresh.pull(&stage, START).await;
        assert_eq!(watched.pull(&stage, START).await, 0);
        assert_eq!(watched.keys(), tunnel_keys(0..64));
        assert_eq!(fresh.keys(), watched.keys());
        let mut expected: BTreeMap<Shard, u64> = BTreeMap::new();
        for number in 0..64 {
            *expected.entry(Shard::of(&device_id(number))).or_default() += 1;
        }
        assert_eq!(fresh.versions(), expected, "every change counted once");
    }
}

#[tokio::test]
async fn a_long_roster_comes_in_parts() {
    let stage = Arc::new(Stage::memory());
    prepare(&stage).await;
    enroll_at_once(&stage, 1, 0..100).await;
    let shards: BTreeSet<_> = (0..100).map(|n| Shard::of(&device_id(n))).collect();
    let mut gateway = Holder::new(INGRESS);

    let first = gateway.pull_one(&stage, START).await.unwrap();
    let rest = gateway.pull(&stage, START).await;

    assert_eq!((first.shards.len(), first.more), (32, true));
    assert_eq!(rest, shards.len() - 32, "no shard came twice");
    assert_eq!(gateway.keys(), tunnel_keys(0..100));
}

#[tokio::test]
async fn a_policy_that_was_applied_moves_devices_in_and_out() {
    let stage = Stage::memory();
    prepare(&stage).await;
    stage.invite_for(2, "default", &["staff"]).await;
    stage.enroll(START, 1, 1).await.unwrap();
    stage.enroll(START, 2, 2).await.unwrap();
    let (mut ingress, mut egress) = (Holder::new(INGRESS), Holder::new(EGRESS));
    ingress.pull(&stage, START).await;
    egress.pull(&stage, START).await;
    assert_eq!((ingress.keys().len(), egress.keys().len()), (2, 2));

    let staff_only = policy(
        &json!([{"name": "staff", "effect": "allow", "who": {"tags": ["staff"]}}]),
        &json!([{"name": "web", "effect": "allow", "ports": [443]}]),
    );
    stage.apply(after(1), &staff_only).await;
    ingress.pull(&stage, after(2)).await;
    egress.pull(&stage, after(2)).await;

    assert_eq!(ingress.keys(), tunnel_keys([2]));
    let rules = egress
        .egress()
        .into_iter()
        .map(|(_, rules)| rules[0].name.as_str());
    assert_eq!(rules.collect::<Vec<_>>(), ["web", "web"]);

    stage.apply(after(3), &Policy::default()).await;
    ingress.pull(&stage, after(4)).await;
    assert_eq!(ingress.keys(), tunnel_keys([1, 2]));
}

#[tokio::test]
async fn a_gateway_is_given_the_devices_of_its_cohorts_and_no_others() {
    let stage = Stage::memory();
    prepare(&stage).await;
    stage.invite_for(2, "canary", &[]).await;
    stage.enroll(START, 1, 1).await.unwrap();
    stage.enroll(START, 2, 2).await.unwrap();
    let mut new = new_gateway(3, Role::Ingress);
    new.cohorts = vec!["canary".parse().unwrap()];
    let mut limits = limits();
    limits.cohorts = new.cohorts.clone();
    gateways::create(&stage.context(START), &limits, &operator(), new)
        .await
        .unwrap();
    stage.register(START, 3).await.unwrap();

    let (mut default, mut canary) = (Holder::new(INGRESS), Holder::new(3));
    default.pull(&stage, START).await;
    canary.pull(&stage, START).await;

    assert_eq!(default.keys(), tunnel_keys([1]));
    assert_eq!(canary.keys(), tunnel_keys([2]));
}

/// Changes the record of the ingress gateway.
async fn change(stage: &Stage, change: impl FnOnce(&mut Gateway)) {
    let key = items::gateway(&gateway_id(INGRESS));
    let found = stage
        .store
        .get_many(START, std::slice::from_ref(&key))
        .await
        .unwrap();
    let mut gateway: Gateway = found[0].as_ref().unwrap().read().unwrap();
    change(&mut gateway);
    let write = Write::put(key, Expect::Present, &gateway);
    stage.store.commit(START, vec![write]).await.unwrap();
}

#[tokio::test]
async fn a_gateway_out_of_service_for_good_lets_nobody_in() {
    let stage = Stage::memory();
    prepare(&stage).await;
    stage.enroll(START, 1, 1).await.unwrap();
    let mut gateway = Holder::new(INGRESS);
    gateway.pull(&stage, START).await;

    change(&stage, |gateway| gateway.state = GatewayState::Retired).await;
    gateway.pull(&stage, START).await;

    assert_eq!(gateway.keys(), BTreeSet::new());
}

#[tokio::test]
async fn whoever_does_not_hold_the_gateway_s_key_is_given_nothing() {
    let stage = Stage::memory();
    prepare(&stage).await;
    let new_keys = GatewayKeys {
        identity: IdentityKey::from_bytes([77; 32]),
        tunnel: TunnelKey::from_bytes([78; 32]),
    };
    let pull = async |signer: IdentityKey, id: u8, now| {
        let context = stage.context(now);
        roster::pull(
            &context,
            signer,
            &gateway_id(id),
            &Holder::new(id).request(),
        )
        .await
    };

    for (signer, id) in [(gateway_identity(EGRESS), INGRESS), (identity(1), 9)] {
        let refused = pull(signer, id, START).await.unwrap_err();
        assert_eq!(kind(refused), Kind::GatewayUnknown);
    }

    // After a rotation the old key serves until the grace ends.
    change(&stage, |gateway| {
        let keys = gateway.keys.replace(new_keys).unwrap();
        gateway.previous = Some(PreviousGatewayKeys {
            keys,
            until: after(60),
        });
    })
    .await;
    assert!(pull(new_keys.identity, INGRESS, after(59)).await.is_ok());
    assert!(
        pull(gateway_identity(INGRESS), INGRESS, after(59))
            .await
            .is_ok()
    );
    let late = pull(gateway_identity(INGRESS), INGRESS, after(60))
        .await
        .unwrap_err();
    assert_eq!(kind(late), Kind::GatewayUnknown);
}

#[tokio::test]
async fn a_key_from_before_a_rotation_is_on_the_roster_until_the_grace_ends() {
    let stage = Stage::memory();
    prepare(&stage).await;
    stage.enroll(START, 1, 7).await.unwrap();
    let mut device = stage.devices(START).await.remove(0);
    device.previous = Some(model::device::PreviousDeviceKeys {
        identity_key: device.identity_key,
        tunnel_key: device.tunnel_key,
        exit_key: device.exit_key,
        until: after(60),
    });
    device.tunnel_key = tunnel_key(8);

    let writes = roster::put(&stage.context(START), &device);
    stage.store.commit(START, writes).await.unwrap();

    let (mut early, mut late) = (Holder::new(INGRESS), Holder::new(INGRESS));
    early.pull(&stage, after(59)).await;
    late.pull(&stage, after(60)).await;
    let previous = early.ingress()[0].previous.unwrap();
    assert_eq!((previous.key, previous.until), (tunnel_key(7), after(60)));
    assert_eq!(early.keys(), tunnel_keys([8]));
    assert_eq!(late.ingress()[0].previous, None);
}

#[tokio::test]
async fn a_shard_that_the_state_forgot_is_emptied() {
    let stage = Stage::memory();
    prepare(&stage).await;
    stage.enroll(START, 1, 7).await.unwrap();
    let mut gateway = Holder::new(INGRESS);
    gateway.pull(&stage, START).await;

    // As after a restore from an older backup.
    let cohort = "default".parse().unwrap();
    let delete = |key| Write {
        key,
        expect: Expect::Present,
        change: store::Change::Delete,
    };
    let writes = vec![
        delete(items::roster_entry(&cohort, &device_id(7))),
        delete(items::roster_version(&cohort, Shard::of(&device_id(7)))),
    ];
    stage.store.commit(START, writes).await.unwrap();

    assert_eq!(gateway.pull(&stage, START).await, 1);
    assert_eq!(gateway.keys(), BTreeSet::new());
    assert_eq!(gateway.pull(&stage, START).await, 0);
}
