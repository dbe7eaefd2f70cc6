use std::sync::Arc;

use model::{FrontDoor, GatewayState, RecoveryKit, Role};

use super::*;
use crate::fixture::{Do, START, World, bundle, bundle_with, network, state, token};

fn later(seconds: i64) -> Timestamp {
    START + SignedDuration::from_secs(seconds)
}

/// A config that is right for [`token`]`("g-aaaa")` at [`START`].
fn right() -> GatewayConfig {
    let token = token("g-aaaa");
    GatewayConfig {
        schema: GatewayConfig::SCHEMA.to_owned(),
        network: token.contact.network,
        gateway: token.gateway,
        role: Role::Ingress,
        state: GatewayState::Active,
        signed_at: START,
        endpoint: "192.0.2.1:51820".parse().unwrap(),
        heartbeat_seconds: 30,
        forward_to: Vec::new(),
        identity_key: model::IdentityKey::from_bytes([1; 32]),
        rotation_wanted_at: None,
    }
}

fn own_state() -> State {
    let folder = tempfile::tempdir().unwrap();
    state(folder.path(), Some(&token("g-aaaa"))).unwrap()
}

fn refused(change: impl Fn(&mut GatewayConfig)) -> String {
    let mut config = right();
    change(&mut config);
    check(&config, &own_state(), START).unwrap_err()
}

#[test]
fn a_config_for_others_or_with_an_absurd_interval_is_refused() {
    assert_eq!(check(&right(), &own_state(), START), Ok(()));

    assert!(refused(|c| c.schema.push('9')).contains("schema"));
    assert!(refused(|c| c.gateway = token("g-bbbb").gateway).contains("g-bbbb"));
    assert!(refused(|c| c.network = "n-bbbbbbbb".parse().unwrap()).contains("n-bbbbbbbb"));
    assert!(refused(|c| c.heartbeat_seconds = 0).contains("heartbeat_seconds"));
    assert!(refused(|c| c.heartbeat_seconds = 3601).contains("heartbeat_seconds"));
}

#[test]
fn a_config_from_the_future_is_refused_so_that_it_locks_out_no_later_one() {
    let signed = |seconds| GatewayConfig {
        signed_at: later(seconds),
        ..right()
    };

    assert_eq!(check(&signed(300), &own_state(), START), Ok(()));
    let why = check(&signed(301), &own_state(), START).unwrap_err();
    assert!(why.contains("301 seconds ahead"), "{why}");
}

#[test]
fn a_config_older_than_the_last_is_refused_and_an_equal_one_is_not() {
    let mut state = own_state();
    state.config = Some(right());
    let older = GatewayConfig {
        signed_at: later(-1),
        ..right()
    };

    assert_eq!(check(&right(), &state, START), Ok(()));
    assert!(
        check(&older, &state, START)
            .unwrap_err()
            .contains("the last at")
    );
}

/// A world whose node has its first config.
async fn configured() -> World {
    let world = World::new().await;
    let agent = world.agent();
    let mut events = agent.events();
    let task = tokio::spawn(agent.run());
    let configured = events.wait_for(|event| *event == crate::Event::Configured);
    configured.await.unwrap();
    task.abort();
    world
}

/// What a pull comes to so many days after the timestamp's expiry, while no door answers.
async fn pulled_without_doors(days: i64) -> Result<GatewayConfig, Trouble> {
    let world = configured().await;
    world.net.on("door", usize::MAX, Do::Down);
    let wait = SignedDuration::from_hours(24 * (1 + days)).unsigned_abs();
    tokio::time::sleep(wait).await;
    let pull = Pull {
        state: world.state(),
        remote: Remote::new(Arc::clone(&world.net) as _),
        clock: world.clock(),
    };
    pull.run().await.config
}

#[tokio::test(start_paused = true)]
async fn without_doors_the_known_keys_count_for_14_days_after_their_expiry_and_no_longer() {
    assert!(pulled_without_doors(13).await.is_ok());

    let why = pulled_without_doors(14).await.unwrap_err().to_string();
    assert!(
        why.contains("nobody is there") && why.contains("grace"),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_believed_of_one_door_for_half_a_life_and_then_the_next_is_asked() {
    // Hours in which the frozen door is the first.
    for (hours, version) in [(10, 1), (14, 2)] {
        let world = configured().await;
        let frozen = bundle(&network(), 1, None);
        world.net.on("door-1", usize::MAX, Do::Serve(frozen));
        world.publish(1);
        let mut state = world.state();
        state.contact.front_doors.push(FrontDoor {
            url: "http://door-2".to_owned(),
            fallback: Vec::new(),
        });
        tokio::time::sleep(SignedDuration::from_hours(hours).unsigned_abs()).await;

        let pull = Pull {
            state,
            remote: Remote::new(Arc::clone(&world.net) as _),
            clock: world.clock(),
        };
        let trusted = pull.run().await.trusted.unwrap();

        assert_eq!(trusted.timestamp_version(), version, "after {hours} hours");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_finds_the_network_where_the_recovery_kit_says_long_after_its_first_contact() {
    let world = configured().await;
    let at = |url: &str| FrontDoor {
        url: url.to_owned(),
        fallback: Vec::new(),
    };
    let kit = |door: &str, control: &str| RecoveryKit {
        schema: RecoveryKit::SCHEMA.to_owned(),
        network: network().id,
        front_doors: vec![at(door)],
        control: vec![control.to_owned()],
        control_key: None,
    };
    let served = |version, kit: &RecoveryKit| bundle_with(&network(), version, None, Some(kit));
    let moved = kit("http://door-2", "https://control-3");
    let pull = |state: State| Pull {
        state,
        remote: Remote::new(Arc::clone(&world.net) as _),
        clock: world.clock(),
    };
    world.net.on("door-1", 1, Do::Serve(served(2, &moved)));
    let told = pull(world.state()).run().await;
    let mut state = world.state();
    (state.trusted, state.kit) = (told.trusted, told.kit);

    // All that the first contact named is gone.
    world.net.on("door-1", usize::MAX, Do::Down);
    for endpoint in ["control-1", "control-2"] {
        world.net.on(endpoint, usize::MAX, Do::Down);
    }
    world
        .net
        .on("door-2", usize::MAX, Do::Serve(served(3, &moved)));
    let pulled = pull(state).run().await;

    let trusted = pulled.trusted.expect("it is kept");
    assert_eq!(trusted.timestamp_version(), 3, "{:?}", pulled.config.err());
    assert!(pulled.config.is_ok(), "{:?}", pulled.config.err());
}

#[test]
fn each_front_door_is_the_first_for_an_hour() {
    let mut contact = token("g-aaaa").contact;
    let door = |name: &str| FrontDoor {
        url: format!("http://{name}"),
        fallback: Vec::new(),
    };
    contact.front_doors = ["a", "b", "c"].map(door).to_vec();
    let firsts = |minutes: i64| {
        let now = Timestamp::from_second(1_800_000_000 / 10_800 * 10_800 + minutes * 60).unwrap();
        in_turn(&contact.front_doors, now)
            .iter()
            .map(|door| door.url.as_str().replace("http://", ""))
            .collect::<Vec<_>>()
            .concat()
    };

    assert_eq!(
        [0, 59, 60, 120, 180].map(firsts),
        ["abc", "abc", "bca", "cab", "abc"]
    );
    assert!(in_turn(&[], Timestamp::UNIX_EPOCH).is_empty());
}
