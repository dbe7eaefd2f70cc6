//! Publishing within 50 calls a run, as Cloudflare Workers' free plan allows: 20 cohorts on 3
//! mirrors. `docs/performance.md` has the numbers that are asserted here.

mod common;

use common::START;
use common::scheduled::Scheduled;
use control::items;
use control::publish::Report;
use tuf::repository;

/// The free plan's subrequests.
const CALLS: u32 = 50;
const ALL: [usize; 3] = [0, 1, 2];

async fn unpublished() -> Scheduled {
    Scheduled::new(20, ALL.len(), CALLS).await
}

async fn published() -> Scheduled {
    let mut network = unpublished().await;
    network.until_done().await;
    network
}

#[tokio::test]
async fn the_first_publication_takes_six_runs() {
    let mut network = unpublished().await;

    let calls = network.until_done().await;

    // One of them makes the first epoch.
    assert_eq!(calls, [50, 49, 49, 50, 50, 14]);
    network.assert_served_by(&ALL).await;
    network.assert_history();
}

#[tokio::test]
async fn a_run_without_news_looks_at_a_part_of_the_files_and_in_so_many_runs_at_all() {
    let mut network = published().await;
    let paths: Vec<_> = network.world.mirrors[0].files().into_keys().collect();

    let calm = network.until_done().await;

    assert_eq!(calm, [22]);
    for path in paths.iter().step_by(9) {
        network.world.mirrors[1].lose(path);
        let mut runs = 0;
        while !network.world.mirrors[1].files().contains_key(path) {
            network.run().await;
            runs += 1;
        }
        // The timestamp and four others in each run.
        assert!(runs <= paths.len().div_ceil(4), "{path}: {runs}");
        network.until_done().await;
    }
    network.assert_served_by(&ALL).await;
}

#[tokio::test]
async fn a_changed_gateway_in_one_cohort_takes_two_runs() {
    let mut network = published().await;
    let one = vec![network.cohorts[5].clone()];
    network.change(&one).await;

    let calls = network.until_done().await;

    assert_eq!(calls, [50, 48]);
    network.assert_served_by(&ALL).await;
    network.assert_history();
}

#[tokio::test]
async fn a_changed_gateway_in_all_cohorts_takes_five_runs() {
    let mut network = published().await;
    let cohorts = network.cohorts.clone();
    network.change(&cohorts).await;

    let calls = network.until_done().await;

    assert_eq!(calls, [50, 49, 49, 50, 35]);
    network.assert_served_by(&ALL).await;
    network.assert_history();
}

#[tokio::test]
async fn a_mirror_that_is_down_costs_the_others_no_run_and_is_brought_up_when_it_is_back() {
    let mut network = published().await;
    let one = vec![network.cohorts[5].clone()];
    network.world.mirrors[1].switch_off(true);

    network.change(&one).await;
    let first = network.until_done().await;
    network.assert_served_by(&[0, 2]).await;
    for _ in 0..10 {
        let report = network.run().await;
        assert_eq!(report.lagging.len(), 1);
    }
    network.change(&one).await;
    let second = network.until_done().await;
    network.assert_served_by(&[0, 2]).await;
    network.world.mirrors[1].switch_off(false);
    let mut back = Vec::new();
    while back
        .last()
        .is_none_or(|report: &Report| report.unfinished || !report.lagging.is_empty())
    {
        back.push(network.run().await);
    }

    assert_eq!(
        first,
        [50, 23],
        "no more than without a mirror that is down"
    );
    assert_eq!(second, [50, 19]);
    let calls: Vec<_> = back.iter().map(|report| report.calls).collect();
    assert_eq!(calls, [16, 16, 43], "it rests, and is filled");
    network.assert_served_by(&ALL).await;
    network.assert_history();
}

#[tokio::test]
async fn a_mirror_that_was_wiped_is_filled_in_two_runs() {
    let mut network = published().await;

    network.world.mirrors[1].lose_everything();
    let calls = network.until_done().await;

    assert_eq!(calls, [49, 49]);
    network.assert_served_by(&ALL).await;
}

#[tokio::test]
async fn a_mirror_that_was_wiped_gets_the_news_at_once() {
    let mut network = published().await;
    let cohorts = network.cohorts.clone();

    network.world.mirrors[1].lose_everything();
    network.change(&cohorts).await;
    let calls = network.until_done().await;

    // One more run than for the news alone.
    assert_eq!(calls, [50, 50, 49, 50, 50, 14]);
    assert_eq!(network.head().await.version, 2);
    network.assert_served_by(&ALL).await;
}

#[tokio::test]
async fn whoever_wipes_or_forges_a_mirror_before_each_run_keeps_news_from_no_other() {
    for wipes in [true, false] {
        let mut network = published().await;
        let one = vec![network.cohorts[5].clone()];
        for _ in 0..4 {
            network.change(&one).await;
            let before = network.head().await.version;
            let mut runs = 0;
            let is_served = |network: &Scheduled| {
                [0, 2].iter().all(|mirror| {
                    let put = network.world.mirrors[*mirror].offered();
                    let last = network.cohorts.last().unwrap().clone().into();
                    let bundle = repository::bundle_path(Some(&last));
                    put.contains_key(&format!("{bundle} of {}", before + 1))
                })
            };
            while !is_served(&network) {
                let mirror = &network.world.mirrors[1];
                if wipes {
                    mirror.lose_everything();
                } else if mirror.files().contains_key(repository::TIMESTAMP_PATH) {
                    mirror.alter(repository::TIMESTAMP_PATH, b"forged");
                }
                network.run().await;
                runs += 1;
                assert!(runs <= 4, "{before}");
            }
        }
    }
}

#[tokio::test]
async fn a_network_that_changes_before_each_run_is_published_version_by_version() {
    for (cohorts, most_runs) in [(1, 2), (20, 9)] {
        let mut network = published().await;
        let changing = network.cohorts[..cohorts].to_vec();
        let mut published_at = vec![0];

        for run in 1..=30 {
            network.change(&changing).await;
            let before = network.head().await.version;
            let report = network.run().await;
            if report.published {
                published_at.push(run);
                // No version is begun before the last one is served everywhere.
                for mirror in &network.world.mirrors {
                    let put = mirror.offered();
                    let name = format!("{} of {before}", repository::TIMESTAMP_PATH);
                    assert!(put.contains_key(&name), "{before}");
                }
            }
        }

        let longest = published_at.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(longest.unwrap() <= most_runs, "{published_at:?}");
        network.until_done().await;
        network.assert_served_by(&ALL).await;
        network.assert_history();
    }
}

#[tokio::test]
async fn more_changed_catalogs_than_calls_are_published_though_they_change_before_each_run() {
    let mut network = Scheduled::new(70, 1, CALLS).await;
    let cohorts = network.cohorts.clone();
    network.until_done().await;
    assert_eq!(network.head().await.version, 1);

    let mut runs = 0;
    while network.head().await.version < 3 {
        network.change(&cohorts).await;
        network.run().await;
        runs += 1;
        assert!(runs < 30);
    }

    network.until_done().await;
    network.assert_served_by(&[0]).await;
    network.assert_history();
}

#[tokio::test]
async fn news_that_are_none_any_more_leave_no_draft_behind() {
    let mut network = Scheduled::new(110, 1, CALLS).await;
    network.until_done().await;
    let (before, cohorts) = (network.head().await, network.cohorts.clone());

    // A gateway comes, and falls silent before all its catalogs could be written.
    network.change(&cohorts).await;
    network.run().await;
    network.gateways.pop();
    network.run().await;
    assert!(has_draft(&network).await);
    network.until_done().await;

    assert!(!has_draft(&network).await);
    assert_eq!(network.head().await, before);
    network.assert_served_by(&[0]).await;
}

async fn has_draft(network: &Scheduled) -> bool {
    let store = &network.world.stage.store;
    let found = store.get_many(START, &[items::draft()]).await.unwrap();
    found[0].is_some()
}

#[tokio::test]
async fn the_least_budget_gets_there() {
    for mirrors in 1..=4 {
        let least = 10 + 2 * mirrors;
        let mut network = Scheduled::new(3, mirrors, u32::try_from(least).unwrap()).await;
        network.until_done().await;
        let cohorts = network.cohorts.clone();
        network.change(&cohorts).await;
        network.until_done().await;

        let all: Vec<_> = (0..mirrors).collect();
        network.assert_served_by(&all).await;
        network.assert_history();
    }
}
