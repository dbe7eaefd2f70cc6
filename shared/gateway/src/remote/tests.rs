//! A gateway that knows a control key.

use std::time::Duration;

use api::sealed::GATEWAYS;

use super::*;
use crate::Event;
use crate::agent::tests::{reaches, start};
use crate::fixture::{Do, World, control_key};

/// What was asked of the control plane in any other way than sealed.
fn in_the_plain(world: &World) -> usize {
    world.net.sent("control").len() - world.net.sent(GATEWAYS).len()
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_knows_the_control_key_seals_whatever_it_asks() {
    let world = World::sealed(1).await;

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    world.want_rotation().await;
    tokio::time::sleep(Duration::from_mins(20)).await;

    assert!(world.known().await.gateway.rotation_wanted_at.is_none());
    assert_eq!(in_the_plain(&world), 0);
    let sent = world.net.sent(GATEWAYS);
    assert!(sent.len() > 40, "heartbeats, rosters, configs, a rotation");
    let lengths: std::collections::BTreeSet<_> = sent.iter().map(|sent| sent.1.len()).collect();
    assert_eq!(lengths.len(), 1, "all of one size: {lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_not_sealed_is_believed_or_makes_it_ask_in_the_plain() {
    let world = World::sealed(1).await;
    let ask = Ask {
        method: Method::GET,
        path: "/v1/gateways/g-aaaa/config".to_owned(),
        body: Vec::new(),
    };
    let remote = Remote::new(world.net.clone());
    for forged in [
        Do::Refuse(Kind::BootstrapRefused),
        Do::Refuse(Kind::GatewayUnknown),
        Do::Serve(b"{}".to_vec()),
    ] {
        world.net.on("control", 2, forged);
        let state = world.agent().state;
        let now = (world.clock())();
        let answer = remote.control(&state.contact, &state.identity, &ask, now);
        let trouble = answer.await.unwrap_err();
        assert!(matches!(trouble, Trouble::Later(_)), "{trouble}");
    }
    // The control plane's own refusal, under seal.
    let state = world.agent().state;
    let answer = remote.control(&state.contact, &state.identity, &ask, (world.clock())());
    let refused = answer.await.unwrap_err();
    assert!(
        matches!(&refused, Trouble::Refused(problem) if problem.is(Kind::GatewayUnknown)),
        "{refused}"
    );
    assert_eq!(in_the_plain(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_control_key_comes_with_what_the_offline_keys_signed() {
    let world = World::sealed(1).await;
    world.open(&[2, 1]);
    world.publish(2);

    let (mut events, task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    task.abort();

    assert_eq!(world.state().contact.control_key, Some(control_key(2)));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_missed_the_change_of_the_control_key_finds_back_by_itself() {
    let world = World::sealed(1).await;
    let (mut events, task) = start(&world);
    reaches(&mut events, Event::Configured).await;
    task.abort();
    world.open(&[2]);
    world.publish(2);

    let (mut events, _task) = start(&world);
    reaches(&mut events, Event::InService).await;

    assert_eq!(in_the_plain(&world), 0);
}
