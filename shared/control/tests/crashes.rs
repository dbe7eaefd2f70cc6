//! A publisher that dies at any point: the next run repairs everything, no version is ever signed
//! in two ways, and a client that synced at any moment never sees a step back.
//!
//! Every call of a run is a point: the run fails just before it, or just after it was done.

mod common;

use common::board::{Act, Board};
use common::world::World;
use common::{START, after};

/// The calls of a publisher that gives a new gateway a version: all points of a crash.
async fn points() -> Vec<String> {
    let world = changed().await;
    let board = Board::watching();
    let report = world.run_through(&board, after(10)).await.unwrap();
    assert!(report.published);
    board.calls()
}

/// A network on two mirrors with news for the next run: a gateway to take into service.
async fn changed() -> World {
    let world = World::published(2, &[1]).await;
    world.stage.bring_up(after(10), &[2]).await;
    world
}

#[tokio::test]
async fn the_points_of_a_run_are_those_that_matter() {
    let points = points().await;

    let count = |what: &str| points.iter().filter(|name| name.contains(what)).count();
    // The gateway's state, the reservation, the head, and the state of each mirror.
    assert_eq!(count("store commit"), 5);
    assert_eq!(count(" replace metadata/timestamp.json"), 2);
    assert_eq!(count(" replace bundles/"), 4);
    // The catalog under both its names, and the metadata: nothing that the mirrors had before.
    assert_eq!(count("mirror-0 create"), 4);
    assert_eq!(count("mirror-1 create"), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_anywhere_the_next_run_serves_everything_everywhere() {
    let points = points().await;
    for (number, name) in points.iter().enumerate() {
        for act in [Act::FailBefore, Act::FailAfter] {
            let world = changed().await;
            let board = Board::new(|_| true, [(number, act)]);

            // The mirrors' failures are reported, those of the store end the run.
            let crashed = world.run_through(&board, after(10)).await;
            let repair = world.publish(after(20)).await;
            let calm = world.publish(after(30)).await;

            let shown = format!("{act:?} at {number}, {name}: {crashed:?}");
            assert!(board.is_spent(), "{shown}");
            assert!(crashed.is_err() || !name.starts_with("store"), "{shown}");
            assert!(repair.lagging.is_empty(), "{shown}");
            assert!(!calm.published && calm.lagging.is_empty(), "{shown}");
            let (version, listed) = world.served(after(30));
            assert_eq!(version, calm.version, "{shown}");
            assert_eq!(listed, ["g-0001", "g-0002"], "{shown}");
            assert_eq!(world.stage.subjects("gateway.active").await.len(), 2);
            let published = world.stage.subjects("catalog.published").await;
            assert!(published.contains(&version.to_string()), "{shown}");
            world.assert_history(after(30));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_dies_in_every_run_a_step_later_gets_there() {
    // Each run gets one call further than the one before.
    let world = changed().await;
    let most = points().await.len() + 10;
    for number in 0..most {
        let dead = (number..number + 500).map(|number| (number, Act::FailBefore));
        let board = Board::new(|_| true, dead);
        let now = after(10 + i64::try_from(number).unwrap());
        let _ = world.run_through(&board, now).await;
        world.stage.beat(now, &[1, 2]).await;
    }

    let end = after(10 + i64::try_from(most).unwrap());
    let report = world.publish(end).await;

    assert!(report.lagging.is_empty());
    assert_eq!(world.served(end).1, ["g-0001", "g-0002"]);
    world.assert_history(end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_very_first_run_can_die_anywhere_too() {
    let fresh = async || {
        let world = World::new(1);
        world.stage.bring_up(START, &[1]).await;
        world
    };
    let board = Board::watching();
    fresh().await.run_through(&board, START).await.unwrap();
    for (number, name) in board.calls().iter().enumerate() {
        for act in [Act::FailBefore, Act::FailAfter] {
            let world = fresh().await;
            let board = Board::new(|_| true, [(number, act)]);

            let crashed = world.run_through(&board, after(10)).await;
            let repair = world.publish(after(20)).await;

            let shown = format!("{act:?} at {number}, {name}: {crashed:?}");
            assert!(board.is_spent() && repair.lagging.is_empty(), "{shown}");
            assert_eq!(world.served(after(20)).1, ["g-0001"], "{shown}");
            world.assert_history(after(20));
        }
    }
}
