//! What must not be lost with a database, or by what a provider's list says: nodes that serve.

mod common;

use common::fleets::{World, fleet_of};
use control::fleet::Order;
use model::provider::{Labels, ResourceKind};
use model::{Mode, Stage};

/// The requests that changed or removed these servers and addresses.
fn touched(world: &World, ids: &[String]) -> Vec<String> {
    let asked = world.cloud.requests().into_iter();
    let asked = asked.filter(|asked| {
        let mut parts = asked.path.split('/');
        asked.method != "GET" && parts.any(|part| ids.iter().any(|id| id == part))
    });
    asked
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
    let list = world.provider().inventory(world.network()).await.unwrap();
    let servers = list.servers.iter().map(|one| one.id.0.clone());
    let addresses = list.addresses.iter().map(|one| one.id.0.clone());
    let ids: Vec<String> = servers.chain(addresses).collect();
    // They have registered, and do not do so again.
    *world.machines.dumb.lock().unwrap() = true;
    world.pass(7200).await;

    world.control = common::Stage::memory();
    world.version = 0;
    world.set_mode(Mode::Live).await;
    world.want(fleet).await;
    for _ in 0..20 {
        world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
    }

    assert_eq!(ids.len(), 6);
    assert_eq!(touched(&world, &ids), Vec::<String>::new());
    let there = world.cloud.resources();
    assert!(served.iter().all(|one| there.contains(one)), "{there:?}");
}

/// Takes the labels of so many of the fleet's servers away, so that no list shows them.
async fn hide(world: &World, most: usize) {
    let provider = world.provider();
    let list = provider.inventory(world.network()).await.unwrap();
    let none = Labels::new();
    for server in list.servers.iter().take(most) {
        let label = provider.label(ResourceKind::Server, &server.id, &none);
        label.await.unwrap();
    }
}

#[tokio::test]
async fn a_list_without_the_fleet_is_not_believed_and_nothing_is_replaced() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 3)])).await;
    world.settle().await;
    let resources = world.cloud.resources();
    hide(&world, 2).await;
    // Not even if they are silent, so that no heartbeat speaks for them.
    *world.machines.dumb.lock().unwrap() = true;
    world.pass(3600).await;

    for _ in 0..10 {
        let report = world.run(Order::Heal).await.unwrap();
        let troubles = report.troubles.join("; ");
        assert!(troubles.contains("lacks 2 of 3 servers"), "{troubles}");
        world.pass(60).await;
    }

    assert_eq!(world.cloud.resources(), resources);
    assert!(
        world
            .there()
            .await
            .iter()
            .all(|node| node.stage == Stage::Active)
    );
}

#[tokio::test]
async fn a_node_that_no_list_shows_and_that_is_heard_stays_and_is_said() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 3)])).await;
    world.settle().await;
    let resources = world.cloud.resources();
    hide(&world, 1).await;

    for _ in 0..10 {
        world.pass(60).await;
        let report = world.run(Order::Heal).await.unwrap();
        let troubles = report.troubles.join("; ");
        assert!(troubles.contains("but it is alive"), "{troubles}");
    }

    assert_eq!(world.cloud.resources(), resources);
}
