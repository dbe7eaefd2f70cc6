use std::time::Duration;

use api::Kind;
use api::roster::RosterPart;
use jiff::SignedDuration;
use model::TunnelKey;
use serde_json::json;
use tokio::task::JoinHandle;

use super::*;
use crate::fixture::{Do, World, config_key, key};

/// Starts the agent. Its task ends with an error or not at all.
pub(crate) fn start(world: &World) -> (watch::Receiver<Event>, JoinHandle<Error>) {
    let agent = world.agent();
    let events = agent.events();
    let task = tokio::spawn(async move {
        let Err(error) = agent.run().await;
        error
    });
    (events, task)
}

/// Waits for an event, or a later one, for at most an hour, which passes at once.
pub(crate) async fn reaches(events: &mut watch::Receiver<Event>, wanted: Event) {
    let reached = events.wait_for(|event| [wanted, Event::Configured].contains(event));
    let reached = tokio::time::timeout(Duration::from_hours(1), reached).await;
    reached.expect("it gets there").expect("the agent runs");
}

/// The gaps between the requests whose URL contains `part`.
fn gaps(world: &World, part: &str) -> Vec<Duration> {
    let sent = world.net.sent(part);
    sent.windows(2).map(|two| two[1].0 - two[0].0).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_registers_beats_and_holds_a_config() {
    let world = World::new().await;

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::Configured).await;

    let state = world.state();
    assert!(state.bootstrap.is_none() && state.trusted.is_some());
    assert_eq!(state.config.unwrap().heartbeat_seconds, 30);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_registration_is_asked_for_again_with_the_same_keys() {
    let world = World::new().await;
    world.net.on("registration", 3, Do::LoseAnswer);
    let (_, task) = start(&world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A restart in the middle is no other case.
    task.abort();

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::Configured).await;

    let asked = world.net.sent("registration");
    assert!(asked.len() > 2);
    assert!(asked.windows(2).all(|two| two[0].1 == two[1].1));
}

#[tokio::test(start_paused = true)]
async fn a_restart_finds_its_heartbeats_out_of_step_and_recovers() {
    let world = World::new().await;
    let (mut events, task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    task.abort();
    let before = world.net.sent("heartbeat").len();

    // The file's version is from before those heartbeats.
    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::InService).await;

    assert_eq!(world.net.sent("heartbeat").len(), before + 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_not_set_yet_is_waited_for() {
    let world = World::new().await;
    world.skew(-86_400 * 365);
    let (mut events, task) = start(&world);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(*events.borrow(), Event::Starting);
    assert!(!task.is_finished());

    world.skew(0);
    reaches(&mut events, Event::Configured).await;

    // It asked at its normal pace, not at that of a refused gateway.
    let slowest = gaps(&world, "control-1").into_iter().max();
    assert_eq!(slowest, Some(Duration::from_secs(30)));
}

#[tokio::test(start_paused = true)]
async fn no_refusal_ends_it_and_the_waits_grow_to_ten_minutes() {
    for kind in [
        Kind::BootstrapRefused,
        Kind::GatewayUnknown,
        Kind::KeyInUse,
        Kind::NotAllowed,
    ] {
        let world = World::new().await;
        world.net.on("control", usize::MAX, Do::Refuse(kind));
        let (mut events, task) = start(&world);
        tokio::time::sleep(Duration::from_hours(6)).await;
        assert!(!task.is_finished(), "{kind:?}");
        let slowest = gaps(&world, "control-1").into_iter().max().unwrap();
        let expected = if kind == Kind::NotAllowed { 30 } else { 600 };
        assert_eq!(slowest.as_secs(), expected, "{kind:?}");

        world.net.heal();
        reaches(&mut events, Event::Configured).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_service_ends_it_no_more_than_before() {
    let world = World::new().await;
    let (mut events, task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    let forged = Do::Refuse(Kind::GatewayUnknown);
    world.net.on("control", usize::MAX, forged);
    tokio::time::sleep(Duration::from_hours(6)).await;
    assert!(!task.is_finished());

    world.net.heal();
    let before = world.net.sent("heartbeat").len();
    tokio::time::sleep(Duration::from_mins(20)).await;

    assert!(world.net.sent("heartbeat").len() > before + 15);
}

#[tokio::test(start_paused = true)]
async fn one_endpoints_refusal_counts_for_nothing_while_another_serves() {
    let world = World::new().await;
    let forged = Do::Refuse(Kind::BootstrapRefused);
    world.net.on("control-1", usize::MAX, forged);

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::Configured).await;

    assert_eq!(world.net.sent("control-2/v1/gateways/g-aaaa/reg").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_endpoints_refusal_is_no_refusal_while_another_is_undecided() {
    let world = World::new().await;
    let forged = Do::Refuse(Kind::BootstrapRefused);
    world.net.on("control-1", usize::MAX, forged);
    let broken = Do::Refuse(Kind::StoreUnavailable);
    world.net.on("control-2", usize::MAX, broken);

    let (_events, _task) = start(&world);
    tokio::time::sleep(Duration::from_hours(1)).await;

    let slowest = gaps(&world, "control-1").into_iter().max().unwrap();
    assert_eq!(slowest, Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_config_by_a_key_that_trust_json_does_not_name_is_refused() {
    let world = World::new().await;
    let (mut events, task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    task.abort();
    let mut config = world.state().config.unwrap();
    config.forward_to = vec!["198.51.100.1:1".parse().unwrap()];
    config.signed_at = (world.clock())();
    let forged = tuf::envelope::sign(&config, &[&key(8)]).unwrap();
    world.net.on("config", usize::MAX, Do::Serve(forged));

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::InService).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(world.state().config.unwrap().forward_to.is_empty());

    world.net.heal();
    let right = tuf::envelope::sign(&config, &[&config_key()]).unwrap();
    world.net.on("config", 1, Do::Serve(right));
    reaches(&mut events, Event::Configured).await;
    assert_eq!(world.state().config.unwrap(), config);
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_an_absurd_interval_is_refused() {
    let world = World::new().await;
    let absurd = br#"{"heartbeat_seconds":0,"version":1}"#.to_vec();
    world.net.on("registration", 2, Do::Serve(absurd));
    let (mut events, _task) = start(&world);

    reaches(&mut events, Event::InService).await;

    assert_eq!(world.net.sent("registration").len(), 3);
    assert_eq!(world.state().heartbeat_seconds, 30);
}

#[tokio::test(start_paused = true)]
async fn a_front_door_that_never_answers_holds_up_no_heartbeat() {
    let world = World::new().await;
    world.net.on("door", usize::MAX, Do::Hang);

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::InService).await;
    tokio::time::sleep(Duration::from_mins(10)).await;

    let slowest = gaps(&world, "heartbeat").into_iter().max().unwrap();
    assert_eq!(slowest, Duration::from_secs(30));
    assert_eq!(world.net.sent("config").len(), 0);
}

/// A part of the roster with one peer, signed now by the key with this number.
fn part(world: &World, key_number: u8, ahead: i64, shard: &str, more: bool) -> Vec<u8> {
    let peer = json!({"tunnel_key": TunnelKey::from_bytes([5; 32]), "previous": null,
        "outer": "10.0.0.17", "outer6": "fd00::17"});
    let shard = json!({"cohort": "default", "shard": shard, "version": 1,
        "peers": {"ingress": [peer]}});
    let part = json!({"schema": RosterPart::SCHEMA, "network": world.token.contact.network,
        "gateway": "g-aaaa", "signed_at": (world.clock())() + SignedDuration::from_secs(ahead),
        "policy_version": 0, "cohorts": ["default"], "shards": [shard], "more": more});
    let signer = match key_number {
        0 => config_key(),
        number => key(number),
    };
    tuf::envelope::sign(&part, &[&signer]).unwrap()
}

/// How many keys the roster in the node's folder lets in.
fn let_in(world: &World) -> usize {
    let roster = Roster::open(world.folder.path()).unwrap();
    roster.keys((world.clock())()).len()
}

#[tokio::test(start_paused = true)]
async fn the_roster_is_asked_for_with_every_heartbeat_and_kept() {
    let world = World::new().await;
    let first = part(&world, 0, 0, "0a", true);
    world.net.on("roster", 1, Do::Serve(first));
    world
        .net
        .on("roster", 1, Do::Serve(part(&world, 0, 0, "0b", false)));
    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    assert_eq!(let_in(&world), 1);
    assert_eq!(
        world.net.sent("roster").len(),
        2,
        "what follows is asked for at once"
    );
    tokio::time::sleep(Duration::from_mins(10)).await;
    let beats = world.net.sent("heartbeat").len();
    assert_eq!(world.net.sent("roster").len(), beats + 1);
    // The control plane knows of no device: what it does not have is dropped.
    assert_eq!(let_in(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn a_roster_by_another_key_or_from_the_future_is_refused_and_the_last_stands() {
    let world = World::new().await;
    let right = part(&world, 0, 0, "0a", false);
    world.net.on("roster", 1, Do::Serve(right));
    let (mut events, task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(let_in(&world), 1);

    for wrong in [
        part(&world, 8, 0, "0a", false),
        part(&world, 0, 4000, "0b", false),
    ] {
        world.net.heal();
        world.net.on("roster", usize::MAX, Do::Serve(wrong));
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert_eq!(let_in(&world), 1);
    }
    assert!(!task.is_finished());
    world.net.heal();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(let_in(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn no_trouble_with_the_roster_holds_up_a_heartbeat_or_a_config() {
    for trouble in [Do::Hang, Do::Down, Do::Refuse(Kind::GatewayUnknown)] {
        let world = World::new().await;
        world.net.on("roster", usize::MAX, trouble);

        let (mut events, task) = start(&world);
        reaches(&mut events, Event::Configured).await;
        tokio::time::sleep(Duration::from_mins(10)).await;

        assert!(!task.is_finished());
        let slowest = gaps(&world, "heartbeat").into_iter().max().unwrap();
        assert_eq!(slowest, Duration::from_secs(30));
        // Both endpoints are asked with each heartbeat, or the one that hangs.
        let asked = world.net.sent("control-1/v1/gateways/g-aaaa/roster").len();
        assert_eq!(asked, world.net.sent("heartbeat").len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_front_door_that_never_answers_holds_up_no_roster_of_a_known_key() {
    let world = World::new().await;
    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    world.net.on("door", usize::MAX, Do::Hang);
    tokio::time::sleep(Duration::from_mins(10)).await;

    world
        .net
        .on("roster", 1, Do::Serve(part(&world, 0, 40, "0a", false)));
    tokio::time::sleep(Duration::from_secs(31)).await;

    assert_eq!(let_in(&world), 1);
}
