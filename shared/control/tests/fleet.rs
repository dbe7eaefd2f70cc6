//! A fleet from nothing to service, through a change of size, and back to nothing.

mod common;

use common::fleets::{World, fleet_of};
use control::fleet::Order;
use model::{GatewayState, Mode, Stage};

#[tokio::test]
async fn a_fleet_comes_into_service_is_changed_and_goes_without_a_trace() {
    let pools = [
        ("ingress", "ingress", "fsn1", "cx23", 3),
        ("egress", "egress", "nbg1", "cx23", 2),
    ];
    let mut world = World::live(fleet_of(&pools)).await;

    world.settle().await;

    assert_eq!(world.states().await, [GatewayState::Active; 5]);
    world.assert_nothing_leaked("all are there").await;

    let mut larger = pools;
    larger[0].3 = "cx33";
    world.want(fleet_of(&larger)).await;
    world.settle().await;

    world.assert_nothing_leaked("the ingress is larger").await;
    let there = world.there().await;
    let sizes = there
        .iter()
        .filter(|node| node.place.size.as_str() == "cx33");
    assert_eq!((there.len(), sizes.count()), (5, 3));
    assert_eq!(world.nodes().await.len(), 8);

    world.want(fleet_of(&[])).await;
    world.settle().await;

    assert_eq!(world.cloud.resources(), [""; 0]);
    world.assert_nothing_leaked("nothing is left").await;
    let nodes = world.nodes().await;
    assert!(nodes.iter().all(|node| node.stage == Stage::Absent));
    assert!(
        world
            .states()
            .await
            .iter()
            .all(|state| *state == GatewayState::Retired)
    );
}

#[tokio::test]
async fn what_is_applied_is_the_plan_that_was_shown() {
    let pools = [("ingress", "ingress", "fsn1", "cx23", 1)];
    let world = World::live(fleet_of(&pools)).await;
    let shown = world.plan().await;
    let apply = |hash: &str| Order::Apply {
        hash: hash.to_owned(),
        by: common::operator(),
        remove_unknown: false,
    };

    let other = world.run(apply("0000")).await;
    assert!(format!("{:?}", other.unwrap_err()).contains("PlanChanged"));
    assert_eq!(world.nodes().await, []);

    let report = world.run(apply(&shown.hash)).await.unwrap();
    assert_eq!(report.begun.len(), 1);
    let again = world.run(apply(&shown.hash)).await;
    assert!(format!("{:?}", again.unwrap_err()).contains("PlanChanged"));
    assert_eq!(world.nodes().await.len(), 1);

    world.set_mode(Mode::Plan).await;
    let report = world.run(Order::Heal).await.unwrap();
    assert!(
        report.troubles.iter().any(|why| why.contains("mode")),
        "{report:?}"
    );
}
