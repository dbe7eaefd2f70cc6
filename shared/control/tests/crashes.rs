//! A publisher that dies at any point: the next run repairs everything, no version is ever signed
//! in two ways, and a client that synced at any moment never sees a step back.
//!
//! Every call of a run is a point: the run fails just before it, or just after it was done.

mod common;

use common::board::{Act, Board};
use common::scheduled::Scheduled;
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

/// A network of three cohorts on two mirrors, whose publisher needs several runs for news: all is
/// served, and all cohorts have news.
async fn small_budget() -> Scheduled {
    let mut network = Scheduled::new(3, 2, 18).await;
    network.until_done().await;
    let cohorts = network.cohorts.clone();
    network.change(&cohorts).await;
    network
}

/// The calls of each run that it takes.
async fn runs() -> Vec<usize> {
    let mut network = small_budget().await;
    let calls = network.until_done().await;
    let calls: Vec<usize> = calls.iter().map(|calls| *calls as usize).collect();
    assert!(calls.len() >= 3, "{calls:?}");
    calls
}

/// Lets a run out of several die at each of its calls: before it, or after it was done; in every
/// run that follows news, or none, come up.
async fn assert_converges(act: Act, is_restless: bool) {
    for (run, calls) in runs().await.into_iter().enumerate() {
        for number in 0..calls {
            let mut network = small_budget().await;
            for _ in 0..run {
                network.run().await;
            }
            let board = Board::new(|_| true, [(number, act)]);
            network.beat().await;
            let now = after(network.seconds);
            let crashed = network.run_through(&board, now).await;
            network.assert_within(&board);
            network.seconds += 60;
            if is_restless {
                let cohort = network.cohorts[1].clone();
                network.change(&[cohort]).await;
            }
            network.until_settled().await;

            let shown = format!("{act:?} at {number} of run {run}: {crashed:?}");
            assert!(board.is_spent(), "{shown}");
            network.assert_served_by(&[0, 1]).await;
            network.assert_history();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_before_any_call_of_any_of_several_runs_the_next_ones_go_on() {
    assert_converges(Act::FailBefore, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_behind_any_call_of_any_of_several_runs_the_next_ones_go_on() {
    assert_converges(Act::FailAfter, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_go_on_too_though_the_network_has_changed_since() {
    assert_converges(Act::FailBefore, true).await;
    assert_converges(Act::FailAfter, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_the_very_first_publication_can_die_anywhere_too() {
    let mut whole = Scheduled::new(3, 2, 18).await;
    for (run, calls) in whole.until_done().await.into_iter().enumerate() {
        for number in 0..calls as usize {
            for act in [Act::FailBefore, Act::FailAfter] {
                let mut network = Scheduled::new(3, 2, 18).await;
                for _ in 0..run {
                    network.run().await;
                }
                let board = Board::new(|_| true, [(number, act)]);
                network.beat().await;
                let now = after(network.seconds);
                let _ = network.run_through(&board, now).await;
                network.assert_within(&board);
                network.seconds += 60;
                network.until_settled().await;

                assert!(board.is_spent(), "{act:?} at {number} of run {run}");
                network.assert_served_by(&[0, 1]).await;
                network.assert_history();
            }
        }
    }
}
