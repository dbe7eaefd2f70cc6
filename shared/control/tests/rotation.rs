//! Rotation: new keys take over, old ones work through the grace, and nobody is locked out or let in
//! by a request that is lost, late, repeated or stolen.

mod common;

use std::sync::Arc;

use api::enroll::{DeviceAnswer, EnrollRequest, InviteSecret};
use api::register::{HeartbeatRequest, RegisterRequest};
use api::roster::RosterRequest;
use api::rotation::{GatewayRotated, RotateDevice, RotateGateway};
use api::{IdentitySecret, Kind, WireGuardSecret};
use common::nodes::{gateway_id, token};
use common::{START, Stage, after, kind, network_id, operator, secret};
use control::items::Read as _;
use control::{Error, devices, enroll, gateways, items, roster};
use jiff::Timestamp;
use model::{Device, DeviceId, Gateway, GatewayId, Role, Shard};

/// The default grace.
const GRACE: i64 = 48 * 3600;

/// The keys of a device or gateway, the `n`th set.
struct Keys {
    identity: IdentitySecret,
    tunnel: WireGuardSecret,
    exit: WireGuardSecret,
}

fn keys(n: u8) -> Keys {
    Keys {
        identity: IdentitySecret::from_seed([n; 32]),
        tunnel: WireGuardSecret::from_random([n.wrapping_add(100); 32]),
        exit: WireGuardSecret::from_random([n.wrapping_add(200); 32]),
    }
}

fn id() -> DeviceId {
    DeviceId::of(&keys(1).identity.public())
}

/// A stage on which the device of the keys 1 is enrolled.
async fn enrolled(stage: &Stage) -> DeviceAnswer {
    stage.invite(1, 5).await;
    try_enroll(stage, START).await.unwrap()
}

async fn try_enroll(stage: &Stage, now: Timestamp) -> Result<DeviceAnswer, Error> {
    let own = keys(1);
    let request = EnrollRequest {
        invite: InviteSecret::new(&secret(1)),
        tunnel_key: own.tunnel.tunnel_key(),
        exit_key: own.exit.exit_key(),
    };
    enroll::enroll(&stage.context(now), own.identity.public(), request).await
}

fn request(from: u8, to: u8) -> RotateDevice {
    let (old, new) = (keys(from), keys(to));
    let wireguard = (new.tunnel.tunnel_key(), new.exit.exit_key());
    RotateDevice::new(
        &network_id(),
        &id(),
        &old.identity,
        new.identity.public(),
        wireguard,
    )
}

async fn rotate(stage: &Stage, now: Timestamp, from: u8, to: u8) -> Result<DeviceAnswer, Error> {
    let signer = keys(to).identity.public();
    devices::rotation::rotate(&stage.context(now), signer, &id(), &request(from, to)).await
}

async fn show(stage: &Stage, now: Timestamp, signer: u8) -> Result<DeviceAnswer, Error> {
    devices::show(&stage.context(now), keys(signer).identity.public(), &id()).await
}

async fn record(stage: &Stage) -> Device {
    let devices = stage.devices(START).await;
    assert_eq!(devices.len(), 1);
    devices.into_iter().next().unwrap()
}

async fn roster_entry(stage: &Stage) -> roster::Entry {
    let key = items::roster_entry(&"default".parse().unwrap(), &id());
    let found = stage.store.get_many(START, &[key]).await.unwrap();
    found[0].as_ref().unwrap().read().unwrap()
}

async fn shard_version(stage: &Stage) -> u64 {
    let key = items::roster_version(&"default".parse().unwrap(), Shard::of(&id()));
    let found = stage.store.get_many(START, &[key]).await.unwrap();
    let version: roster::ShardVersion = found[0].as_ref().unwrap().read().unwrap();
    version.version
}

#[tokio::test]
async fn new_keys_take_over_and_old_ones_work_until_the_end_of_the_grace() {
    let stage = Stage::memory();
    let before = enrolled(&stage).await;

    let answer = rotate(&stage, after(10), 1, 2).await.unwrap();

    let end = after(10 + GRACE);
    assert_eq!(answer.identity_key, keys(2).identity.public());
    assert_eq!(answer.previous_until, Some(end));
    assert_eq!(
        (answer.device, answer.addresses),
        (before.device, before.addresses)
    );
    for (now, signer, lets_in) in [
        (after(11), 1, true),
        (after(11), 2, true),
        (after(9 + GRACE), 1, true),
        (end, 1, false),
        (end, 2, true),
    ] {
        let shown = show(&stage, now, signer).await;
        assert_eq!(shown.is_ok(), lets_in, "keys {signer} at {now}");
    }
    let entry = roster_entry(&stage).await;
    assert_eq!(entry.tunnel_key, keys(2).tunnel.tunnel_key());
    let previous = entry.previous.unwrap();
    assert_eq!(previous.exit_key, keys(1).exit.exit_key());
    assert_eq!(previous.until, end);
    assert_eq!(shard_version(&stage).await, 2, "enrolled and rotated");
    assert_eq!(stage.subjects("device.rotated").await, [id().to_string()]);
}

#[tokio::test]
async fn the_same_rotation_sent_again_at_any_time_is_answered_and_changes_nothing() {
    let stage = Stage::memory();
    enrolled(&stage).await;
    rotate(&stage, after(10), 1, 2).await.unwrap();
    let before = record(&stage).await;

    // Its answer was lost, and the device slept: long past the grace its request still counts.
    for now in [after(11), after(9 + GRACE), after(100 * GRACE)] {
        let again = rotate(&stage, now, 1, 2).await.unwrap();
        assert_eq!(again.identity_key, keys(2).identity.public());
    }

    assert_eq!(record(&stage).await, before);
    assert_eq!(stage.subjects("device.rotated").await.len(), 1);
    assert_eq!(shard_version(&stage).await, 2);
}

#[tokio::test]
async fn an_old_key_rotates_nothing_and_an_old_request_undoes_nothing() {
    let stage = Stage::memory();
    enrolled(&stage).await;
    rotate(&stage, after(10), 1, 2).await.unwrap();

    // Whoever stole the old key tries within the grace, and after it.
    let thief = rotate(&stage, after(20), 1, 3).await.unwrap_err();
    let late = rotate(&stage, after(20 + GRACE), 1, 3).await.unwrap_err();
    assert_eq!(kind(thief), Kind::DeviceConflict);
    assert_eq!(kind(late), Kind::DeviceUnknown);

    rotate(&stage, after(30), 2, 3).await.unwrap();
    let first_again = rotate(&stage, after(31), 1, 2).await.unwrap_err();
    let back = rotate(&stage, after(32), 3, 1).await.unwrap_err();
    assert_eq!(kind(first_again), Kind::DeviceUnknown, "keys 1 have ended");
    assert_eq!(kind(back), Kind::KeyInUse, "no key ever comes back");
    assert_eq!(record(&stage).await.identity_key, keys(3).identity.public());
}

#[tokio::test]
async fn strangers_cannot_tell_a_device_that_is_there_from_one_that_is_not() {
    let there = Stage::memory();
    enrolled(&there).await;
    let missing = Stage::memory();

    let refused = [
        rotate(&there, after(1), 7, 8).await.unwrap_err(),
        rotate(&missing, after(1), 7, 8).await.unwrap_err(),
    ];

    let texts: Vec<String> = refused.iter().map(ToString::to_string).collect();
    assert_eq!(texts[0], texts[1]);
    for error in refused {
        assert_eq!(kind(error), Kind::DeviceUnknown);
    }
}

#[tokio::test]
async fn a_rotation_that_is_not_right_is_refused_and_writes_nothing() {
    let stage = Stage::memory();
    enrolled(&stage).await;
    let before = record(&stage).await;
    let signer = keys(2).identity.public();
    let send = async |request: RotateDevice| {
        let context = stage.context(after(10));
        devices::rotation::rotate(&context, signer, &id(), &request).await
    };
    let equal = {
        let tunnel = keys(2).tunnel;
        let both = (tunnel.tunnel_key(), tunnel.exit_key());
        RotateDevice::new(&network_id(), &id(), &keys(1).identity, signer, both)
    };
    let taken = {
        let held = (keys(1).tunnel.tunnel_key(), keys(2).exit.exit_key());
        RotateDevice::new(&network_id(), &id(), &keys(1).identity, signer, held)
    };
    let not_endorsed = RotateDevice {
        exit_key: keys(9).exit.exit_key(),
        ..request(1, 2)
    };

    let refused = [
        kind(send(equal).await.unwrap_err()),
        kind(send(taken).await.unwrap_err()),
        kind(send(not_endorsed).await.unwrap_err()),
    ];

    assert_eq!(
        refused,
        [
            Kind::MalformedRequest,
            Kind::KeyInUse,
            Kind::SignatureInvalid
        ]
    );
    assert_eq!(record(&stage).await, before);
    assert_eq!(stage.events().await.len(), 2, "the invite, the enrollment");
}

#[tokio::test]
async fn a_revoked_device_takes_no_keys() {
    let stage = Stage::memory();
    enrolled(&stage).await;
    let context = stage.context(after(1));
    devices::revoke(&context, &operator(), &id()).await.unwrap();

    let refused = rotate(&stage, after(2), 1, 2).await.unwrap_err();
    let wanted = devices::rotation::want(&context, &operator(), &id()).await;

    assert_eq!(kind(refused), Kind::DeviceRevoked);
    assert_eq!(kind(wanted.unwrap_err()), Kind::DeviceRevoked);
}

#[tokio::test]
async fn an_enrollment_sent_again_after_a_rotation_is_no_way_back() {
    let stage = Stage::memory();
    enrolled(&stage).await;
    rotate(&stage, after(10), 1, 2).await.unwrap();

    let again = try_enroll(&stage, after(11)).await.unwrap_err();

    assert_eq!(kind(again), Kind::DeviceConflict);
    assert_eq!(record(&stage).await.identity_key, keys(2).identity.public());
}

#[tokio::test]
async fn an_operator_s_wish_is_told_at_each_contact_until_the_keys_are_new() {
    let stage = Stage::memory();
    enrolled(&stage).await;

    for seconds in [10, 20] {
        let context = stage.context(after(seconds));
        let wanted = devices::rotation::want(&context, &operator(), &id()).await;
        assert_eq!(wanted.unwrap().rotation_wanted_at, Some(after(10)));
    }
    let told = show(&stage, after(30), 1).await.unwrap();
    let rotated = rotate(&stage, after(40), 1, 2).await.unwrap();

    assert_eq!(told.rotation_wanted_at, Some(after(10)));
    assert_eq!(rotated.rotation_wanted_at, None);
    assert_eq!(stage.subjects("device.rotation-wanted").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_rotations_at_once_one_wins_and_its_copies_are_told_so() {
    for stage in Stage::of_each_kind(24) {
        enrolled(&stage).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16u8 {
            let stage = Arc::clone(&stage);
            // Each set of keys is sent by two.
            let to = 2 + n / 2;
            tasks.spawn(async move { (to, rotate(&stage, after(10), 1, to).await) });
        }
        let mut answered = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done.unwrap() {
                (to, Ok(_)) => answered.push(to),
                (_, Err(Error::Contended)) => {}
                (_, Err(error)) => assert_eq!(kind(error), Kind::DeviceConflict),
            }
        }

        answered.dedup();
        let [winner] = answered[..] else {
            panic!("one set of keys wins: {answered:?}")
        };
        let device = record(&stage).await;
        assert_eq!(device.identity_key, keys(winner).identity.public());
        assert_eq!(device.exit_key, keys(winner).exit.exit_key());
        assert_eq!(stage.subjects("device.rotated").await.len(), 1);
        assert_eq!(shard_version(&stage).await, 2);
        for other in (2..10).filter(|n| *n != winner) {
            let key = items::wireguard_key(keys(other).tunnel.tunnel_key().as_bytes());
            let found = stage.store.get_many(START, &[key]).await.unwrap();
            assert_eq!(found[0], None, "keys {other} left nothing");
        }
    }
}

fn gateway() -> GatewayId {
    gateway_id(1)
}

/// A stage on which the gateway 1 is registered with the keys 1, and was heard at second 1.
async fn in_service(stage: &Stage) {
    stage.create_gateway(1, Role::Ingress).await;
    let context = stage.context(START);
    let request = RegisterRequest {
        secret: InviteSecret::new(&token(1)),
        tunnel_key: keys(1).tunnel.tunnel_key(),
    };
    gateways::register(&context, keys(1).identity.public(), &gateway(), &request)
        .await
        .unwrap();
    beat(stage, after(1), 1, 1).await.unwrap();
}

async fn beat(stage: &Stage, now: Timestamp, signer: u8, version: u64) -> Result<u64, Error> {
    let request = HeartbeatRequest { version, load: 7 };
    let signer = keys(signer).identity.public();
    let answer = gateways::heartbeat(&stage.context(now), signer, &gateway(), &request).await?;
    Ok(answer.version)
}

async fn rotate_gateway(
    stage: &Stage,
    now: Timestamp,
    from: u8,
    to: u8,
) -> Result<GatewayRotated, Error> {
    let (old, new) = (keys(from), keys(to));
    let signer = new.identity.public();
    let tunnel = new.tunnel.tunnel_key();
    let request = RotateGateway::new(&network_id(), &gateway(), &old.identity, signer, tunnel);
    gateways::rotation::rotate(&stage.context(now), signer, &gateway(), &request).await
}

async fn observed(stage: &Stage) -> (Gateway, Option<Timestamp>, u8) {
    let all = gateways::observe(&stage.context(START)).await.unwrap();
    let [(one, _)] = &all[..] else {
        panic!("there is one gateway")
    };
    (one.gateway.clone(), one.seen_at, one.load)
}

#[tokio::test]
async fn a_gateway_with_new_keys_is_as_alive_as_before_and_goes_on_with_its_heartbeats() {
    let stage = Stage::memory();
    in_service(&stage).await;

    let rotated = rotate_gateway(&stage, after(10), 1, 2).await.unwrap();

    assert_eq!(rotated.previous_until, after(10 + GRACE));
    let (gateway, seen_at, load) = observed(&stage).await;
    assert_eq!(gateway.keys.unwrap().tunnel, keys(2).tunnel.tunnel_key());
    assert_eq!((seen_at, load), (Some(after(1)), 7));
    let old = beat(&stage, after(11), 1, 2).await.unwrap_err();
    assert_eq!(kind(old), Kind::GatewayUnknown);
    let next = beat(&stage, after(12), 2, rotated.version).await.unwrap();
    assert_eq!(next, rotated.version + 1);
    assert_eq!(observed(&stage).await.1, Some(after(12)));
    let events = stage.subjects("gateway.rotated").await;
    assert_eq!(events, ["g-0001"]);
}

#[tokio::test]
async fn configs_are_given_to_a_gateway_s_old_key_until_the_end_of_the_grace() {
    let stage = Stage::memory();
    in_service(&stage).await;
    rotate_gateway(&stage, after(10), 1, 2).await.unwrap();

    for (now, signer, lets_in) in [
        (after(11), 1, true),
        (after(11), 2, true),
        (after(10 + GRACE), 1, false),
        (after(10 + GRACE), 2, true),
    ] {
        let context = stage.context(now);
        let signer = keys(signer).identity.public();
        let config = gateways::config(&context, signer, &gateway()).await;
        assert_eq!(config.is_ok(), lets_in, "{now}");
        let pulled = roster::pull(&context, signer, &gateway(), &RosterRequest::default()).await;
        assert_eq!(pulled.is_ok(), lets_in, "{now}");
    }
}

#[tokio::test]
async fn a_gateway_s_rotation_sent_again_at_any_time_is_told_where_its_heartbeats_stand() {
    let stage = Stage::memory();
    in_service(&stage).await;
    let first = rotate_gateway(&stage, after(10), 1, 2).await.unwrap();
    let version = beat(&stage, after(11), 2, first.version).await.unwrap();

    let again = rotate_gateway(&stage, after(100 * GRACE), 1, 2).await;

    assert_eq!(again.unwrap().version, version);
    assert_eq!(stage.subjects("gateway.rotated").await.len(), 1);
}

#[tokio::test]
async fn a_gateway_s_old_key_rotates_nothing() {
    let stage = Stage::memory();
    in_service(&stage).await;
    rotate_gateway(&stage, after(10), 1, 2).await.unwrap();

    let thief = rotate_gateway(&stage, after(11), 1, 3).await.unwrap_err();
    let stranger = rotate_gateway(&stage, after(11), 7, 8).await.unwrap_err();
    let late = rotate_gateway(&stage, after(10 + GRACE), 1, 3).await;
    let back = rotate_gateway(&stage, after(12), 2, 1).await.unwrap_err();

    assert_eq!(kind(thief), Kind::GatewayConflict);
    assert_eq!(kind(stranger), Kind::GatewayUnknown);
    assert_eq!(kind(late.unwrap_err()), Kind::GatewayUnknown);
    assert_eq!(kind(back), Kind::KeyInUse);
}

#[tokio::test]
async fn an_operator_s_wish_stands_in_the_config_until_the_gateway_has_new_keys() {
    let stage = Stage::memory();
    in_service(&stage).await;
    let config = async |now, signer: u8| {
        let signer = keys(signer).identity.public();
        let config = gateways::config(&stage.context(now), signer, &gateway()).await;
        config.unwrap().rotation_wanted_at
    };

    for seconds in [10, 20] {
        let context = stage.context(after(seconds));
        gateways::rotation::want(&context, &operator(), &gateway())
            .await
            .unwrap();
    }
    assert_eq!(config(after(21), 1).await, Some(after(10)));
    rotate_gateway(&stage, after(30), 1, 2).await.unwrap();

    assert_eq!(config(after(31), 2).await, None);
    assert_eq!(stage.subjects("gateway.rotation-wanted").await.len(), 1);
}

#[tokio::test]
async fn a_gateway_that_never_registered_has_no_keys_to_rotate() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;

    let refused = gateways::rotation::want(&stage.context(START), &operator(), &gateway()).await;

    assert_eq!(kind(refused.unwrap_err()), Kind::GatewayState);
}
