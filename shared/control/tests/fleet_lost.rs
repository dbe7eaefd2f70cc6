//! What must not be lost with a database, or by what a provider's list says: nodes that serve.

mod common;

use common::fleets::{World, fleet_of};
use control::fleet::Order;
use model::Mode;

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
