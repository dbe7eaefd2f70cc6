//! A provider that fails in every way, at every request of making, replacing and removing nodes: the
//! same end, and nothing leaked or paid twice. And a provider whose limit is spent: what is left of
//! it goes to ending rents.

mod common;

use common::fleets::{World, fleet_of};
use control::fleet::Order;
use model::{Fleet, Stage};
use simcloud::{Fault, Rule};

/// A change of a fleet: from a state that is settled to another.
#[derive(Clone, Copy, Debug)]
enum Change {
    Create,
    Replace,
    Delete,
}

fn one(sizes: &str) -> Fleet {
    fleet_of(&[("ingress", "ingress", "fsn1|nbg1", sizes, 1)])
}

impl Change {
    async fn world(self) -> World {
        let mut world = World::live(one("cx23|cpx22")).await;
        match self {
            Self::Create => {}
            Self::Replace => {
                world.settle().await;
                world.want(one("cx33|cpx22")).await;
            }
            Self::Delete => {
                world.settle().await;
                world.want(fleet_of(&[])).await;
            }
        }
        world
    }

    fn there(self) -> usize {
        usize::from(!matches!(self, Self::Delete))
    }
}

/// The ordinals of the requests that a change makes, and which of them change something.
async fn requests(change: Change) -> Vec<(u64, bool)> {
    let world = change.world().await;
    let before = world.cloud.calls();
    converge(&world, "undisturbed").await;
    let requests = world.cloud.requests();
    let made = requests
        .iter()
        .zip(1..)
        .skip(usize::try_from(before).unwrap());
    made.map(|(request, ordinal)| (ordinal, request.method != "GET"))
        .collect()
}

async fn converge(world: &World, shown: &str) {
    for _ in 0..80 {
        let report = world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
        if report.under_way > 0 {
            continue;
        }
        let plan = world.plan().await;
        if plan.steps.is_empty() && plan.blocked.is_empty() {
            return;
        }
    }
    let report = world.run(Order::Heal).await;
    panic!(
        "{shown}: no end: {report:?}\n{:#?}\n{:?}",
        world.nodes().await,
        world.cloud.resources()
    );
}

async fn fails_anywhere(change: Change) {
    for (ordinal, changes) in requests(change).await {
        let limit = ("limit", Fault::limit());
        for (name, fault) in Fault::all().into_iter().chain([limit]) {
            // A read that fails is only tried again; one fault of each kind will do.
            if !changes && !["refused", "429", "500"].contains(&name) {
                continue;
            }
            let shown = format!("{change:?}: {name} at request {ordinal}");
            let world = change.world().await;
            world.cloud.inject(Rule::call(ordinal, fault));

            converge(&world, &shown).await;

            world.assert_nothing_leaked(&shown).await;
            assert_eq!(world.there().await.len(), change.there(), "{shown}");
            // One that never boots, or a place that is sold out, takes another node; never two.
            let nodes = world.nodes().await.len();
            assert!(nodes <= 3, "{shown}: {nodes} nodes");
        }
    }
}

#[tokio::test]
async fn making_nodes_gets_there_whatever_fails_once() {
    fails_anywhere(Change::Create).await;
}

#[tokio::test]
async fn replacing_a_node_gets_there_whatever_fails_once() {
    fails_anywhere(Change::Replace).await;
}

#[tokio::test]
async fn removing_nodes_gets_there_whatever_fails_once() {
    fails_anywhere(Change::Delete).await;
}

/// Three nodes leave, and three others are to come.
async fn leaving_and_coming() -> World {
    let mut world = World::live(fleet_of(&[("old", "ingress", "fsn1", "cx23", 3)])).await;
    world.settle().await;
    world
        .want(fleet_of(&[("new", "egress", "nbg1", "cx23", 3)]))
        .await;
    world
}

#[tokio::test]
async fn what_is_left_of_a_limit_goes_to_ending_rents() {
    let world = leaving_and_coming().await;
    for _ in 0..20 {
        // Somebody else spends the project's limit.
        world.cloud.leave_requests(14);
        world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
    }

    let nodes = world.nodes().await;
    let at = |pool: &str| -> Vec<Stage> {
        let of_pool = nodes.iter().filter(|node| node.pool.as_str() == pool);
        of_pool.map(|node| node.stage).collect()
    };
    assert_eq!(at("old"), [Stage::Absent; 3]);
    assert_eq!(world.cloud.bill().running().count(), 0);

    world.cloud.leave_requests(3600);
    world.settle().await;
    world.assert_nothing_leaked("the limit is full again").await;
    assert_eq!(world.there().await.len(), 3);
}

#[tokio::test]
async fn a_storm_of_refusals_does_not_keep_rents_from_ending() {
    let world = leaving_and_coming().await;
    let storm = |asked: &simcloud::Asked<'_>| asked.is_change && !asked.ordinal.is_multiple_of(3);
    world
        .cloud
        .inject(Rule::always(Fault::rate_limited(), storm));
    for _ in 0..120 {
        world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
    }

    let nodes = world.nodes().await;
    let old = nodes.iter().filter(|node| node.pool.as_str() == "old");
    let stages: Vec<Stage> = old.map(|node| node.stage).collect();
    assert_eq!(stages, [Stage::Absent; 3]);

    world.cloud.heal();
    world.settle().await;
    world.assert_nothing_leaked("the storm is over").await;
}

#[tokio::test]
async fn while_the_provider_is_down_nothing_is_changed_and_then_all_is_caught_up_on() {
    let world = leaving_and_coming().await;
    world.cloud.set_down(true);
    let before = world.nodes().await;
    for _ in 0..3 {
        let report = world.run(Order::Heal).await.unwrap();
        assert_eq!(report.begun, []);
        assert!(!report.troubles.is_empty());
        world.pass(60).await;
    }
    assert_eq!(world.nodes().await, before);

    world.cloud.heal();
    world.settle().await;
    world.assert_nothing_leaked("it is up again").await;
}
