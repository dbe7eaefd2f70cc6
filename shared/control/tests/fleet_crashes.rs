//! A run that dies at any point: at every call to the provider and every call to the store of making,
//! replacing and removing nodes, just before it and just after it. The next runs converge to the fleet;
//! nothing is leaked, rented twice or paid twice.
//!
//! All points are enumerated, over all runs that a change takes. After the crash everything that the
//! run held is gone: later runs begin with the store and the provider's lists alone.

mod common;

use std::sync::Arc;

use common::board::{Act, Board};
use common::fleets::{World, fleet_of};
use control::fleet::Order;
use model::Fleet;

/// More calls than any run makes: all of them fail once it is dead.
const ALL: usize = 2_000;

/// A change of a fleet: from a state that is settled to another.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// An ingress and an egress node where there was nothing.
    Create,
    /// Another size for the one, while the other stays.
    Replace,
    /// All of it away.
    Delete,
}

const CHANGES: [Change; 3] = [Change::Create, Change::Replace, Change::Delete];

fn both(size: &str) -> Fleet {
    fleet_of(&[
        ("ingress", "ingress", "fsn1", size, 1),
        ("egress", "egress", "nbg1", "cx23", 1),
    ])
}

impl Change {
    /// A world before the change, in which it is wanted.
    async fn world(self) -> World {
        let mut world = World::live(both("cx23")).await;
        match self {
            Self::Create => {}
            Self::Replace => {
                world.settle().await;
                world.want(both("cx33")).await;
            }
            Self::Delete => {
                world.settle().await;
                world.want(fleet_of(&[])).await;
            }
        }
        world
    }

    /// How many nodes are there in the end, and how many there ever were: no crash makes another.
    fn nodes(self) -> (usize, usize) {
        match self {
            Self::Create => (2, 2),
            Self::Replace => (2, 3),
            Self::Delete => (0, 2),
        }
    }
}

/// Runs, every minute, through a board until it is dead, and then without; until nothing is left to do.
async fn converge(world: &World, board: &Arc<Board>, at: Option<usize>) -> Vec<String> {
    let mut crashed = Vec::new();
    for _ in 0..40 {
        let dead = at.is_some_and(|at| board.calls().len() > at);
        let through = (!dead).then_some(board);
        match world.run_through(Order::Heal, through).await {
            Ok(report) if report.under_way == 0 && world.plan().await.steps.is_empty() => {
                return crashed;
            }
            Ok(_) => {}
            Err(error) => crashed.push(error.to_string()),
        }
        world.pass(60).await;
    }
    panic!(
        "no end: {crashed:?}\n{:#?}\n{:?}",
        world.nodes().await,
        world.cloud.resources()
    );
}

/// The calls of a change that nothing disturbs.
async fn points(change: Change) -> Vec<String> {
    let world = change.world().await;
    let board = Board::watching();
    let crashed = converge(&world, &board, None).await;
    assert_eq!(crashed, [""; 0]);
    world.assert_nothing_leaked("nothing disturbed it").await;
    board.calls()
}

async fn dies_anywhere(change: Change, act: Act) {
    let points = points(change).await;
    for (number, name) in points.iter().enumerate() {
        let shown = format!("{change:?}: {act:?} at {number}, {name}");
        let world = change.world().await;
        let dead = (number + 1..number + ALL).map(|number| (number, Act::FailBefore));
        let board = Board::new(|_| true, dead.chain([(number, act)]));

        let crashed = converge(&world, &board, Some(number)).await;

        assert!(crashed.len() <= 1, "{shown}: {crashed:?}");
        world
            .assert_nothing_leaked(&format!("{shown}: {crashed:?}"))
            .await;
        let (there, ever) = change.nodes();
        let nodes = world.nodes().await;
        assert_eq!(world.there().await.len(), there, "{shown}");
        assert_eq!(nodes.len(), ever, "{shown}");
        let rents = world.cloud.bill().rents.len();
        assert_eq!(rents, ever * 2, "{shown}: {:?}", world.cloud.bill());
    }
}

#[tokio::test]
async fn the_points_of_a_change_are_those_that_matter() {
    for change in CHANGES {
        let points = points(change).await;
        let count = |what: &str| points.iter().filter(|name| name.contains(what)).count();
        let (created, removed) = match change {
            Change::Create => (2, 0),
            Change::Replace => (1, 1),
            Change::Delete => (0, 2),
        };
        let counts = [
            "create_address",
            "create_server",
            "power_off",
            "release_address",
        ]
        .map(count);
        assert_eq!(counts, [created, created, removed, removed], "{change:?}");
        assert_eq!(count("delete server"), removed, "{change:?}");
        assert_eq!(count("delete address"), removed, "{change:?}");
        // Each node has a commit for each stage, and each run two for its lease.
        assert!(
            count("store commit") > 5 * (created + removed),
            "{change:?}"
        );
    }
}

#[tokio::test]
async fn a_run_that_dies_before_any_call_of_making_nodes_is_made_up_for() {
    dies_anywhere(Change::Create, Act::FailBefore).await;
}

#[tokio::test]
async fn a_run_that_dies_after_any_call_of_making_nodes_is_made_up_for() {
    dies_anywhere(Change::Create, Act::FailAfter).await;
}

#[tokio::test]
async fn a_run_that_dies_before_any_call_of_replacing_a_node_is_made_up_for() {
    dies_anywhere(Change::Replace, Act::FailBefore).await;
}

#[tokio::test]
async fn a_run_that_dies_after_any_call_of_replacing_a_node_is_made_up_for() {
    dies_anywhere(Change::Replace, Act::FailAfter).await;
}

#[tokio::test]
async fn a_run_that_dies_before_any_call_of_removing_nodes_is_made_up_for() {
    dies_anywhere(Change::Delete, Act::FailBefore).await;
}

#[tokio::test]
async fn a_run_that_dies_after_any_call_of_removing_nodes_is_made_up_for() {
    dies_anywhere(Change::Delete, Act::FailAfter).await;
}
