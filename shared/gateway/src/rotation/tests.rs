use std::time::Duration;

use model::IdentityKey;

use super::*;
use crate::agent::tests::{reaches, start};
use crate::fixture::{Do, World};
use crate::{Event, State};

/// Longer than from one config to the next, and two heartbeats.
const A_WHILE: Duration = Duration::from_mins(6);

/// A world whose gateway is in service, with its agent's task; and its first identity key.
async fn in_service() -> (World, tokio::task::JoinHandle<crate::Error>, IdentityKey) {
    let world = World::new().await;
    let (mut events, task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    let first = world.state().identity.public();
    (world, task, first)
}

/// Asserts that node and control plane agree on keys other than `first`, and that the node lives.
async fn assert_rotated(world: &World, first: &IdentityKey) -> State {
    let state = world.state();
    let known = world.known().await;
    let keys = known.gateway.keys.unwrap();
    assert_ne!(keys.identity, *first);
    assert_eq!(keys.identity, state.identity.public());
    assert_eq!(keys.tunnel, state.tunnel.tunnel_key());
    assert!(state.next_keys.is_none());
    assert_eq!(known.gateway.rotation_wanted_at, None);
    let silence = (world.clock())().duration_since(known.seen_at.unwrap());
    assert!(silence.as_secs() <= 30, "it was heard {silence} ago");
    state
}

#[tokio::test(start_paused = true)]
async fn a_gateway_takes_new_keys_once_when_an_operator_asks_for_them() {
    let (world, task, first) = in_service().await;
    let tunnel = world.state().tunnel;

    world.want_rotation().await;
    tokio::time::sleep(A_WHILE).await;

    let state = assert_rotated(&world, &first).await;
    assert_eq!(state.previous_tunnel.unwrap().secret, tunnel);
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(world.state().identity, state.identity, "once");
    assert_eq!(world.net.sent("/keys").len(), 1);
    assert!(!task.is_finished());

    tokio::time::sleep(Duration::from_hours(48)).await;
    assert_eq!(
        world.state().previous_tunnel,
        None,
        "the old key has served"
    );
}

#[tokio::test(start_paused = true)]
async fn whatever_is_lost_at_a_rotation_the_same_keys_are_asked_for_again() {
    for trouble in [Do::LoseAnswer, Do::Down, Do::Hang] {
        for restarts in [false, true] {
            let (world, mut task, first) = in_service().await;
            world.want_rotation().await;
            world.net.on("/keys", 5, trouble.clone());
            tokio::time::sleep(A_WHILE).await;
            if restarts {
                task.abort();
                let (mut events, again) = start(&world);
                task = again;
                reaches(&mut events, Event::InService).await;
            }
            tokio::time::sleep(A_WHILE).await;

            assert_rotated(&world, &first).await;
            let asked = world.net.sent("/keys");
            assert!(asked.len() >= 6, "{}", asked.len());
            assert!(asked.windows(2).all(|two| two[0].1 == two[1].1));
            assert!(!task.is_finished());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_was_away_beyond_the_grace_is_let_back_in() {
    let (world, task, first) = in_service().await;
    world.want_rotation().await;
    // The rotation is done, and nothing is heard of it: then the node is switched off for a week.
    world.net.on("/keys", usize::MAX, Do::LoseAnswer);
    tokio::time::sleep(A_WHILE).await;
    task.abort();
    assert_ne!(world.known().await.gateway.keys.unwrap().identity, first);
    assert!(world.state().next_keys.is_some());
    tokio::time::sleep(Duration::from_hours(24 * 7)).await;
    world.net.heal();

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::InService).await;

    assert_rotated(&world, &first).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_answer_is_kept_is_no_loss() {
    let (world, task, first) = in_service().await;
    world.want_rotation().await;
    // As the file was when the request was sent: the answer came and was never written down.
    world.net.on("/keys", 1, Do::LoseAnswer);
    while world.net.sent("/keys").is_empty() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let file = world.folder.path().join("gateway.json");
    let kept = std::fs::read(&file).unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert_rotated(&world, &first).await;
    task.abort();
    std::fs::write(&file, kept).unwrap();

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::InService).await;

    assert_rotated(&world, &first).await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_another_holds_are_given_up_only_while_the_present_ones_stand() {
    let (world, _task, first) = in_service().await;
    world.want_rotation().await;
    // Somebody says so after the rotation was done, too.
    world.net.on("/keys", 1, Do::LoseAnswer);
    world.net.on("/keys", 1, Do::Down);
    world.net.on("/keys", 4, Do::Refuse(Kind::KeyInUse));
    tokio::time::sleep(A_WHILE * 2).await;
    assert_rotated(&world, &first).await;
    let asked = world.net.sent("/keys");
    assert!(asked.windows(2).all(|two| two[0].1 == two[1].1));

    let (world, _task, first) = in_service().await;
    world.want_rotation().await;
    world.net.on("/keys", 2, Do::Refuse(Kind::KeyInUse));
    tokio::time::sleep(A_WHILE * 2).await;

    assert_rotated(&world, &first).await;
    let asked = world.net.sent("/keys");
    assert_ne!(asked[0].1, asked[2].1, "others were made");
}
