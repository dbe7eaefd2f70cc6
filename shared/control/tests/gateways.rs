//! Gateways: their records, how they register, their heartbeats, and the config that they get.

mod common;

use std::slice;

use api::Kind;
use api::register::HeartbeatRequest;
use common::nodes::{gateway_id, gateway_identity, new_gateway, registration};
use common::{START, Stage, after, kind, limits, operator, request};
use control::items::Read as _;
use control::{Error, enroll, gateways, items};
use model::{Gateway, GatewayState, IdentityKey, Role};
use store::{Expect, Write};

#[tokio::test]
async fn a_gateway_that_is_made_twice_is_made_once() {
    let stage = Stage::memory();
    let new = new_gateway(1, Role::Ingress);

    let first = gateways::create(&stage.context(START), &limits(), &operator(), new.clone()).await;
    let again = gateways::create(&stage.context(after(1)), &limits(), &operator(), new).await;

    assert_eq!(first.unwrap(), again.unwrap());
    assert_eq!(stage.subjects("gateway.created").await, ["g-0001"]);
}

#[tokio::test]
async fn a_gateway_with_other_terms_is_a_conflict() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;

    let mut other = new_gateway(1, Role::Ingress);
    other.bootstrap_hash = new_gateway(2, Role::Ingress).bootstrap_hash;
    for new in [new_gateway(1, Role::Egress), other] {
        let made = gateways::create(&stage.context(START), &limits(), &operator(), new).await;
        assert_eq!(kind(made.unwrap_err()), Kind::GatewayConflict);
    }

    assert_eq!(stage.subjects("gateway.created").await.len(), 1);
}

#[tokio::test]
async fn a_token_is_refused_when_it_is_wrong_expired_or_used() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    let (id, identity) = (gateway_id(1), gateway_identity(1));

    let wrong = registration(2, 1);
    let wrong = gateways::register(&stage.context(START), identity, &id, &wrong).await;
    let expired = stage.register(after(3600), 1).await;
    let in_time = stage.register(after(3599), 1).await;
    let thief = registration(1, 3);
    let used = gateways::register(&stage.context(START), gateway_identity(3), &id, &thief).await;
    let nobody = stage.register(START, 9).await;

    assert_eq!(kind(wrong.unwrap_err()), Kind::BootstrapRefused);
    assert_eq!(kind(expired.unwrap_err()), Kind::BootstrapRefused);
    in_time.unwrap();
    assert_eq!(kind(used.unwrap_err()), Kind::BootstrapRefused);
    assert_eq!(kind(nobody.unwrap_err()), Kind::GatewayUnknown);
    let gateway = gateways::list(&stage.context(START))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(gateway.gateway.keys.unwrap().identity, identity);
    assert_eq!(stage.subjects("gateway.registered").await, ["g-0001"]);
}

#[tokio::test]
async fn a_gateway_that_registers_again_goes_on_where_it_was() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    let first = stage.register(START, 1).await.unwrap();
    let next = stage.heartbeat(START, 1, first.version, 0).await.unwrap();

    // Long after the token has expired: it was used, and that is enough.
    let again = stage.register(after(7200), 1).await.unwrap();

    assert_eq!(again.version, next);
    assert_eq!(again.heartbeat_seconds, first.heartbeat_seconds);
    assert_eq!(stage.subjects("gateway.registered").await.len(), 1);
}

#[tokio::test]
async fn a_registered_gateway_cannot_change_its_tunnel_key_with_the_old_token() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    stage.register(START, 1).await.unwrap();

    let other = registration(1, 9);
    let changed = gateways::register(
        &stage.context(START),
        gateway_identity(1),
        &gateway_id(1),
        &other,
    )
    .await;

    assert_eq!(kind(changed.unwrap_err()), Kind::BootstrapRefused);
}

#[tokio::test]
async fn a_tunnel_key_of_a_device_or_another_gateway_is_refused() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    stage.create_gateway(2, Role::Ingress).await;
    stage.register(START, 1).await.unwrap();
    stage.invite(1, 1).await;
    let mut device = request(1, 7);
    device.tunnel_key = registration(2, 2).tunnel_key;
    enroll::enroll(&stage.context(START), common::identity(7), device)
        .await
        .unwrap();

    let of_gateway = registration(2, 1);
    let of_device = registration(2, 2);
    for request in [of_gateway, of_device] {
        let context = stage.context(START);
        let refused =
            gateways::register(&context, gateway_identity(2), &gateway_id(2), &request).await;
        assert_eq!(kind(refused.unwrap_err()), Kind::KeyInUse);
    }

    let fresh = registration(2, 3);
    let context = stage.context(START);
    gateways::register(&context, gateway_identity(2), &gateway_id(2), &fresh)
        .await
        .expect("its token is not used up by a refusal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_is_replayed_changes_nothing() {
    for stage in Stage::of_each_kind(24) {
        stage.create_gateway(1, Role::Ingress).await;
        let first = stage.register(START, 1).await.unwrap().version;
        let second = stage.heartbeat(after(10), 1, first, 10).await.unwrap();
        let third = stage.heartbeat(after(20), 1, second, 20).await.unwrap();

        // The last one again: its answer may have been lost. An older one: out of step.
        let last = stage.heartbeat(after(30), 1, second, 99).await.unwrap();
        let older = stage.heartbeat(after(30), 1, first, 99).await.unwrap_err();

        assert_eq!(last, third);
        assert_out_of_step(&older, third);
        let (observed, _) = gateways::observe(&stage.context(after(30)))
            .await
            .unwrap()
            .remove(0);
        assert_eq!((observed.seen_at, observed.load), (Some(after(20)), 20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_out_of_step_is_told_where_to_go_on() {
    for stage in Stage::of_each_kind(24) {
        stage.create_gateway(1, Role::Ingress).await;
        let version = stage.register(START, 1).await.unwrap().version;

        for wrong in [version + 1, version + 50, u64::MAX] {
            let refused = stage.heartbeat(after(10), 1, wrong, 10).await;
            assert_out_of_step(&refused.unwrap_err(), version);
        }

        let next = stage.heartbeat(after(10), 1, version, 10).await.unwrap();
        assert_eq!(next, version + 1);
    }
}

#[tokio::test]
async fn a_heartbeat_counts_for_the_key_that_registered_only() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    let version = stage.register(START, 1).await.unwrap().version;

    let request = HeartbeatRequest { version, load: 10 };
    let thief = gateways::heartbeat(
        &stage.context(START),
        gateway_identity(2),
        &gateway_id(1),
        &request,
    )
    .await;
    let overload = HeartbeatRequest { version, load: 101 };
    let overload = gateways::heartbeat(
        &stage.context(START),
        gateway_identity(1),
        &gateway_id(1),
        &overload,
    )
    .await;

    assert_eq!(kind(thief.unwrap_err()), Kind::GatewayUnknown);
    assert_eq!(kind(overload.unwrap_err()), Kind::MalformedRequest);
    let listed = gateways::list(&stage.context(START)).await.unwrap();
    assert_eq!(listed[0].seen_at, None);
}

#[tokio::test]
async fn a_config_is_given_to_the_gateway_s_own_key_only() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    stage.create_gateway(2, Role::Ingress).await;
    stage.register(START, 1).await.unwrap();
    let config = async |key: IdentityKey, number: u8| {
        gateways::config(&stage.context(after(5)), key, &gateway_id(number)).await
    };

    let own = config(gateway_identity(1), 1).await.unwrap();
    let others = config(gateway_identity(1), 2).await.unwrap_err();
    let strangers = config(gateway_identity(9), 1).await.unwrap_err();
    let missing = config(gateway_identity(9), 9).await.unwrap_err();

    assert_eq!(own.gateway, gateway_id(1));
    assert_eq!(
        (own.role, own.state),
        (Role::Ingress, GatewayState::Registered)
    );
    assert_eq!(own.signed_at, after(5));
    for refused in [others, strangers, missing] {
        assert_eq!(kind(refused), Kind::GatewayUnknown);
    }
}

#[tokio::test]
async fn an_ingress_forwards_to_egress_gateways_in_service_and_an_egress_to_nobody() {
    use GatewayState::{
        Active, Drained, Draining, Failed, Provisioning, Registered, Retired, Unhealthy,
    };
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    stage.register(START, 1).await.unwrap();
    stage.create_gateway(2, Role::Ingress).await;
    put_state(&stage, 2, Active).await;
    let states = [
        Active,
        Draining,
        Provisioning,
        Registered,
        Unhealthy,
        Drained,
        Retired,
        Failed,
    ];
    for (number, state) in (10..).zip(states) {
        stage.create_gateway(number, Role::Egress).await;
        stage.register(START, number).await.unwrap();
        put_state(&stage, number, state).await;
    }

    let context = stage.context(START);
    let ingress = gateways::config(&context, gateway_identity(1), &gateway_id(1)).await;
    let egress = gateways::config(&context, gateway_identity(10), &gateway_id(10)).await;

    let endpoint = |number: u8| new_gateway(number, Role::Egress).endpoint;
    // One that drains still serves the devices that it has.
    assert_eq!(ingress.unwrap().forward_to, [endpoint(10), endpoint(11)]);
    assert_eq!(egress.unwrap().forward_to, []);
}

/// Puts a gateway into a state, whatever it was.
async fn put_state(on: &Stage, number: u8, state: GatewayState) {
    let key = items::gateway(&gateway_id(number));
    let found = on
        .store
        .get_many(START, slice::from_ref(&key))
        .await
        .unwrap();
    let item = found[0].as_ref().unwrap();
    let mut gateway: Gateway = item.read().unwrap();
    gateway.state = state;
    let write = Write::put(key, Expect::Version(item.version), &gateway);
    on.store.commit(START, vec![write]).await.unwrap();
}

fn assert_out_of_step(error: &Error, expected: u64) {
    let Error::Refused { kind, version, .. } = error else {
        panic!("a refusal was expected, not {error:?}");
    };
    assert_eq!(
        (*kind, *version),
        (Kind::HeartbeatOutOfStep, Some(expected))
    );
}

#[tokio::test]
async fn a_gateway_that_can_never_be_listed_is_refused_when_it_is_made() {
    let stage = Stage::memory();
    let with = |change: fn(&mut api::admin::NewGateway)| {
        let mut new = new_gateway(1, Role::Ingress);
        change(&mut new);
        new
    };
    let wrong = [
        with(|new| new.endpoint = "192.0.2.1:51820".parse().unwrap()),
        with(|new| new.cohorts.push("canary".parse().unwrap())),
        with(|new| new.cohorts.clear()),
        with(|new| new.region = String::new()),
        with(|new| new.region = "x".repeat(33)),
        with(|new| new.region = "a\u{1b}[2J".to_owned()),
        with(|new| new.region = "münchen".to_owned()),
    ];

    let mut said = Vec::new();
    for new in wrong {
        let made = gateways::create(&stage.context(START), &limits(), &operator(), new).await;
        let refused = made.unwrap_err();
        said.push(refused.to_string());
        assert_eq!(kind(refused), Kind::MalformedRequest);
    }

    assert!(said[0].contains("192.0.2.1") && said[0].contains("127.0.0.0/8"));
    assert!(said[1].contains("'canary'") && said[1].ends_with("default"));
    let listed = gateways::list(&stage.context(START)).await.unwrap();
    assert_eq!(listed, []);
}
