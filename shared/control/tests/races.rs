//! Two publishers at once: one is frozen at any point of its run while the other publishes what is
//! newer, and does no harm when it goes on.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::board::{Act, Board};
use common::scheduled::Scheduled;
use common::world::World;
use common::{Stage, after};

/// A network on two mirrors with a second gateway to take into service.
async fn changed() -> Arc<World> {
    let world = World::published(2, &[1]).await;
    world.stage.bring_up(after(10), &[2]).await;
    Arc::new(world)
}

/// Freezes a publisher at each of its calls, lets another one publish `rounds` times with news
/// each time, thaws the first, and looks at what is served then.
async fn assert_no_harm(rounds: u8) {
    let board = Board::watching();
    changed()
        .await
        .run_through(&board, after(10))
        .await
        .unwrap();
    let points = board.calls();
    assert_eq!(points.len(), 28);

    for (number, name) in points.iter().enumerate() {
        let world = changed().await;
        let board = Board::new(|_| true, [(number, Act::Freeze)]);
        let slow = tokio::spawn({
            let (world, board) = (Arc::clone(&world), Arc::clone(&board));
            async move { world.run_through(&board, after(10)).await }
        });
        board.until_frozen().await;

        let mut last = 0;
        for round in 0..rounds {
            let now = after(20 + i64::from(round));
            world.stage.bring_up(now, &[10 + round]).await;
            let report = world.publish(now).await;
            assert!(
                report.published && report.version > last,
                "{number}, {name}"
            );
            last = report.version;
        }
        let newest = world.served(after(30));
        board.thaw();
        let slept = slow.await.unwrap();

        let shown = format!("frozen at {number}, {name}: {slept:?}");
        assert_eq!(newest.0, last, "{shown}");
        let (version, listed) = world.served(after(30));
        assert!(version >= newest.0, "{shown}");
        assert_eq!(listed, newest.1, "{shown}");
        world.assert_history(after(30));
        let calm = world.publish(after(40)).await;
        assert!(!calm.published && calm.lagging.is_empty(), "{shown}");
        assert_eq!(world.served(after(40)), (version, listed), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_slept_while_another_published_once_does_no_harm() {
    assert_no_harm(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_slept_while_another_published_twice_does_no_harm() {
    assert_no_harm(2).await;
}

/// A network of three cohorts on two mirrors, whose publisher needs several runs for news.
async fn small_budget() -> Scheduled {
    let mut network = Scheduled::new(3, 2, 18).await;
    network.until_done().await;
    let cohorts = network.cohorts.clone();
    network.change(&cohorts).await;
    network
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_publishers_with_small_budgets_do_each_other_no_harm_wherever_they_meet() {
    let mut calls = Vec::new();
    for calls_of_run in small_budget().await.until_done().await {
        calls.push(calls_of_run as usize);
    }
    assert!(calls.len() >= 3);
    for (run, calls) in calls.into_iter().enumerate() {
        for number in 0..calls {
            for others in [1, 2, 5] {
                meet(run, number, others).await;
            }
        }
    }
}

/// Freezes a publisher in one of several runs while another makes so many runs, with news before
/// the last; then the first goes on.
async fn meet(run: usize, number: usize, others: usize) {
    let mut network = small_budget().await;
    for _ in 0..run {
        network.run().await;
    }
    network.beat().await;
    let board = Board::new(|_| true, [(number, Act::Freeze)]);
    let slow = tokio::spawn({
        let (world, board) = (Arc::clone(&network.world), Arc::clone(&board));
        let (now, budget) = (after(network.seconds), network.budget());
        async move { world.run_within(budget, &board, now).await }
    });
    board.until_frozen().await;
    for round in 1..=others {
        if round == others {
            let cohort = network.cohorts[1].clone();
            network.change(&[cohort]).await;
        }
        network.run().await;
    }
    board.thaw();
    let _ = slow.await.unwrap();
    network.assert_within(&board);
    network.until_settled().await;

    network.assert_served_by(&[0, 1]).await;
    network.assert_history();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_slept_through_the_beginning_of_an_alarm_does_not_clear_it() {
    let reads = |name: &str| name.starts_with("store");
    let world = World::published(1, &[1, 2, 3]).await;
    let board = Board::new(reads, []);
    world.listen(10, 70).await;
    world.run_through(&board, after(80)).await.unwrap();
    let points = board.calls();
    assert!(points.len() >= 4);

    for number in 0..points.len() {
        let world = Arc::new(World::published(1, &[1, 2, 3]).await);
        world.listen(10, 70).await;
        let board = Board::new(reads, [(number, Act::Freeze)]);
        let slow = tokio::spawn({
            let (world, board) = (Arc::clone(&world), Arc::clone(&board));
            // All is well as far as this publisher's clock goes.
            async move { world.run_through(&board, after(80)).await }
        });
        board.until_frozen().await;
        assert!(world.listen(80, 200).await.mass_silence);
        board.thaw();
        let _ = slow.await.unwrap();
        world.publish(after(210)).await;

        assert_eq!(
            world.stage.subjects("alarm.raised").await.len(),
            1,
            "{number}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_publishers_at_once_leave_one_repository() {
    let stages = (0..5).flat_map(|_| Stage::of_each_kind(24));
    for stage in stages {
        let world = Arc::new(World::on(stage, 2));
        world.stage.bring_up(after(10), &[1, 2]).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let world = Arc::clone(&world);
            tasks.spawn(async move { world.run(after(10)).await });
        }
        let reports = tasks.join_all().await;

        // More than one may: one that lost the race for a gateway's state leaves it to the next.
        let published = reports.iter().flatten().filter(|report| report.published);
        let versions: Vec<u64> = published.map(|report| report.version).collect();
        let distinct: BTreeSet<u64> = versions.iter().copied().collect();
        assert!(!versions.is_empty());
        assert_eq!(versions.len(), distinct.len());
        let heads = world.stage.subjects("catalog.published").await;
        assert_eq!(heads.len(), versions.len());
        let report = world.publish(after(20)).await;
        assert!(report.lagging.is_empty());
        assert_eq!(world.served(after(20)).1, ["g-0001", "g-0002"]);
        world.assert_history(after(20));
    }
}
