//! Gateways that admins drain, put back and retire.

mod common;

use api::Kind;
use api::admin::WantedState;
use common::nodes::{gateway_id, gateway_identity};
use common::world::World;
use common::{after, kind, operator};
use control::gateways::{self, states};
use control::{Error, audit};
use jiff::Timestamp;
use model::{Gateway, GatewayState, Role};

async fn change(
    world: &World,
    now: Timestamp,
    number: u8,
    wanted: WantedState,
) -> Result<Gateway, Error> {
    let context = world.stage.context(now);
    states::change(&context, &operator(), &gateway_id(number), wanted).await
}

#[tokio::test]
async fn a_draining_gateway_is_listed_no_more_and_comes_back_when_it_is_put_back() {
    let world = World::published(1, &[1, 2, 3]).await;

    let drained = change(&world, after(1), 1, WantedState::Draining)
        .await
        .unwrap();
    let without = world.publish(after(1)).await;
    let again = change(&world, after(2), 1, WantedState::Draining)
        .await
        .unwrap();
    let back = change(&world, after(3), 1, WantedState::Active)
        .await
        .unwrap();
    let with = world.publish(after(3)).await;

    assert_eq!(drained.state, GatewayState::Draining);
    assert_eq!((without.published, without.listed), (true, 2));
    assert_eq!(again, drained, "asking again changes nothing");
    assert_eq!(back.state, GatewayState::Active);
    assert_eq!((with.published, with.listed), (true, 3));
}

#[tokio::test]
async fn a_retired_gateway_is_refused_everything_from_then_on() {
    let world = World::published(1, &[1, 2, 3]).await;
    change(&world, after(1), 1, WantedState::Draining)
        .await
        .unwrap();

    let retired = change(&world, after(2), 1, WantedState::Retired)
        .await
        .unwrap();

    assert_eq!((retired.state, retired.keys), (GatewayState::Retired, None));
    let context = world.stage.context(after(3));
    let beat = world.stage.heartbeat(after(3), 1, 2, 0).await.unwrap_err();
    let config = gateways::config(&context, gateway_identity(1), &gateway_id(1)).await;
    assert_eq!(kind(beat), Kind::GatewayUnknown);
    assert_eq!(kind(config.unwrap_err()), Kind::GatewayUnknown);
    let registration = world.stage.register(after(3), 1).await.unwrap_err();
    assert_eq!(kind(registration), Kind::BootstrapRefused);
}

#[tokio::test]
async fn what_the_state_machine_has_no_way_for_is_refused_and_nothing_is_written() {
    let world = World::published(1, &[1, 2, 3]).await;
    world.stage.create_gateway(9, Role::Ingress).await;
    let day = audit::day_of(after(1));
    let before = audit::list(&world.stage.context(after(1)), day, None)
        .await
        .unwrap();

    let too_early = change(&world, after(1), 1, WantedState::Retired)
        .await
        .unwrap_err();
    let not_drained = change(&world, after(1), 9, WantedState::Active)
        .await
        .unwrap_err();
    let unknown = change(&world, after(1), 77, WantedState::Draining)
        .await
        .unwrap_err();

    assert!(too_early.to_string().contains("drain it first"));
    assert_eq!(kind(too_early), Kind::GatewayState);
    assert_eq!(kind(not_drained), Kind::GatewayState);
    assert_eq!(kind(unknown), Kind::GatewayUnknown);
    let now = audit::list(&world.stage.context(after(1)), day, None)
        .await
        .unwrap();
    assert_eq!(now, before);
}

#[tokio::test]
async fn a_gateway_that_never_registered_can_be_retired_and_its_token_is_void() {
    let world = World::published(1, &[1, 2]).await;
    world.stage.create_gateway(9, Role::Ingress).await;

    change(&world, after(1), 9, WantedState::Retired)
        .await
        .unwrap();

    let refused = world.stage.register(after(2), 9).await.unwrap_err();
    assert_eq!(kind(refused), Kind::BootstrapRefused);
}
