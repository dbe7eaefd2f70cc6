//! What must not be lost with a database, or by what a provider's list says: nodes that serve.

mod common;

use common::fleets::{World, fleet_of};
use control::fleet::Order;
use model::Mode;

/// The requests that change a server or remove something.
fn takes_away(world: &World) -> Vec<String> {
    let asked = world.cloud.requests().into_iter();
    let takes = asked.filter(|asked| asked.method == "DELETE" || asked.path.contains("/actions/"));
    let takes = takes.filter(|asked| asked.method != "GET");
    takes
        .map(|asked| format!("{} {}", asked.method, asked.path))
        .collect()
}

#[tokio::test]
async fn an_empty_database_takes_nothing_away_from_what_serves() {
    let fleet = fleet_of(&[
        ("ingress", "ingress", "fsn1", "cx23", 2),
        ("egress", "egress", "nbg1", "cx23", 1),
    ]);
    let mut world = World::live(fleet.clone()).await;
    world.settle().await;
    let served = world.cloud.resources();
    world.pass(7200).await;

    world.control = common::Stage::memory();
    world.version = 0;
    world.set_mode(Mode::Live).await;
    world.want(fleet).await;
    for _ in 0..30 {
        world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
    }

    assert_eq!(takes_away(&world), Vec::<String>::new());
    let there = world.cloud.resources();
    assert!(served.iter().all(|one| there.contains(one)), "{there:?}");
    let active = world.there().await;
    assert_eq!(active.len(), 3);
    assert!(
        active.iter().all(|node| node.stage == model::Stage::Active),
        "{active:?}"
    );
}
