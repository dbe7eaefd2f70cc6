//! Mirrors that fail, lie or lose what they had, and a store that was restored from a backup:
//! clients are never led back, and every mirror is repaired as soon as it can be.

mod common;

use common::world::World;
use common::{START, Stage, after};
use control::items;
use control::publish::Budget;
use store::{Change, Expect, Item, Key, Range, Write};
use tuf::repository;

#[tokio::test]
async fn the_others_go_on_without_a_mirror_that_fails_and_it_is_repaired_without_a_new_version() {
    let world = World::published(3, &[1]).await;

    world.mirrors[1].switch_off(true);
    world.stage.bring_up(after(10), &[2]).await;
    let second = world.publish(after(10)).await;
    world.stage.bring_up(after(20), &[3]).await;
    let third = world.publish(after(20)).await;
    let still = world.publish(after(30)).await;

    for report in [&second, &third, &still] {
        assert_eq!(report.lagging.len(), 1);
        assert_eq!(report.lagging[0].0, "mirror-1");
    }
    assert!(second.published && third.published && !still.published);
    assert_eq!(world.served_by(0, after(30)).0, third.version);
    assert_eq!(world.served_by(1, after(30)).0, 1, "whole, though older");
    assert_eq!(world.served_by(2, after(30)).0, third.version);

    world.mirrors[1].switch_off(false);
    let repair = world.publish(after(40)).await;

    assert!(!repair.published && repair.lagging.is_empty());
    assert_eq!(world.served(after(40)).0, third.version);
    world.assert_history(after(40));
}

#[tokio::test]
async fn a_mirror_that_lost_all_files_is_repaired_from_another() {
    let world = World::published(2, &[1]).await;

    for number in [0, 1] {
        world.mirrors[number].lose_everything();
        let report = world.publish(after(60)).await;

        assert!(!report.published && report.lagging.is_empty());
        assert_eq!(world.served(after(60)), (1, vec!["g-0001".to_owned()]));
    }
}

#[tokio::test]
async fn the_only_mirror_is_filled_with_the_same_version_when_it_lost_all_files() {
    let world = World::published(1, &[1]).await;
    let before = world.mirrors[0].files();

    world.mirrors[0].lose_everything();
    let report = world.publish(after(60)).await;

    assert!(!report.published && report.lagging.is_empty());
    assert_eq!(world.mirrors[0].files(), before);
}

#[tokio::test]
async fn what_no_mirror_has_and_nobody_can_make_again_is_replaced_by_a_new_version() {
    let world = World::published(1, &[1]).await;
    world.stage.bring_up(after(10), &[2]).await;

    // The catalog of version 1 listed one gateway.
    world.mirrors[0].lose_everything();
    let report = world.publish(after(20)).await;
    let calm = world.publish(after(30)).await;

    assert!(report.published && !calm.published);
    let expected = ["g-0001", "g-0002"].map(str::to_owned).to_vec();
    assert_eq!(world.served(after(30)), (2, expected));
    world.assert_history(after(30));
}

#[tokio::test]
async fn a_head_that_other_keys_have_signed_is_replaced_by_a_new_version() {
    let mut world = World::published(2, &[1]).await;
    // The keys of `catalogs` are others now, as the next targets say: what the first ones signed
    // cannot be signed again.
    world.keys.catalogs = common::world::key(20);
    let network = world.stage.network.id.clone();
    world.offline = common::world::offline(&network, &world.keys, 2);
    world.mirrors[0].lose_everything();

    let report = world.publish(after(60)).await;

    assert!(report.published);
    assert_eq!(report.version, 2);
    world.assert_signed_once();
}

#[tokio::test]
async fn a_mirror_that_lost_files_that_never_change_gets_them_back() {
    let world = World::published(2, &[1]).await;
    let right = world.mirrors[0].files();
    let paths: Vec<_> = right.keys().cloned().collect();
    for path in &paths {
        world.mirrors[0].lose(path);
        world.publish(after(10)).await;
        assert_eq!(world.mirrors[0].files(), right, "{path} was lost");
        world.mirrors[0].alter(path, b"altered");
        world.publish(after(10)).await;
        assert_eq!(world.mirrors[0].files(), right, "{path} was altered");
    }
}

#[tokio::test]
async fn the_only_mirror_is_asked_in_every_run_however_long_it_was_down() {
    let world = World::published(1, &[1]).await;
    world.mirrors[0].switch_off(true);
    world.stage.bring_up(after(10), &[2]).await;
    for minute in 0..30 {
        let now = after(20 + 60 * minute);
        world.stage.beat(now, &[1, 2]).await;
        assert!(world.run(now).await.is_err(), "no mirror takes the catalog");
    }

    world.mirrors[0].switch_off(false);
    let now = after(20 + 60 * 30);
    world.stage.beat(now, &[1, 2]).await;
    let report = world.publish(now).await;

    assert!(report.published && report.lagging.is_empty());
    assert_eq!(world.served(now).1, ["g-0001", "g-0002"]);
    world.assert_history(now);
}

#[tokio::test]
async fn after_an_outage_of_every_mirror_the_head_is_served_as_it_was_signed() {
    let world = World::published(1, &[1]).await;
    world.stage.bring_up(after(10), &[2]).await;
    // It takes the files of version 2, and fails before it serves them.
    let board = common::board::Board::new(
        |name| name.contains(" replace "),
        [(0, common::board::Act::FailBefore)],
    );
    let lagging = world.run_through(&board, after(10)).await.unwrap();
    assert_eq!((lagging.version, lagging.lagging.len()), (2, 1));

    world.mirrors[0].switch_off(true);
    for minute in 1..=5 {
        let report = world.run(after(10 + 60 * minute)).await;
        assert!(report.is_err() || !report.unwrap().lagging.is_empty());
        world.stage.beat(after(10 + 60 * minute), &[1, 2]).await;
    }
    world.mirrors[0].switch_off(false);
    let report = world.publish(after(400)).await;

    assert!(!report.published && report.lagging.is_empty());
    assert_eq!(world.served(after(400)).0, 2);
    world.assert_history(after(400));
}

#[tokio::test]
async fn what_a_mirror_altered_spreads_to_no_other() {
    let world = World::published(3, &[1]).await;
    let (alike, copy) = (repository::snapshot_path(1), repository::catalogs_path(1));
    for path in [&alike, &copy] {
        world.mirrors[0].alter(path, b"altered");
    }

    world.mirrors[1].lose_everything();
    let report = world.publish(after(60)).await;

    assert!(!report.published);
    assert_eq!(world.served_by(1, after(60)).0, 1);
    let files = world.mirrors[2].files();
    for path in [&alike, &copy] {
        assert_eq!(world.mirrors[1].files()[path], files[path]);
    }
}

#[tokio::test]
async fn a_catalog_that_a_mirror_altered_is_not_signed() {
    let world = World::published(1, &[1]).await;
    let files = world.mirrors[0].files();
    let path = files
        .keys()
        .find(|path| path.starts_with("targets/catalogs/"))
        .unwrap();
    // The same gateways, but for another network: no client would take it.
    let text = String::from_utf8(files[path].to_vec()).unwrap();
    let network = world.stage.network.id.to_string();
    let text = text.replace(&network, "n-aaaaaaaa");
    world.mirrors[0].alter(path, text.leak().as_bytes());

    world.publish(after(60)).await;
    world.stage.beat(after(6 * 3600), &[1]).await;
    let renewed = world.publish(after(6 * 3600)).await;

    assert!(renewed.version > 1);
    assert_eq!(world.served(after(6 * 3600)).0, renewed.version);
    world.assert_history(after(6 * 3600));
}

#[tokio::test]
async fn a_file_in_the_place_of_the_timestamp_that_cannot_be_read_is_replaced() {
    let world = World::published(2, &[1]).await;
    world.mirrors[1].alter(repository::TIMESTAMP_PATH, b"<html>404</html>");

    let report = world.publish(after(60)).await;

    assert!(!report.published);
    assert_eq!(world.served(after(60)).0, 1);
}

#[tokio::test]
async fn a_store_restored_from_a_backup_goes_on_behind_what_is_served() {
    for budget in [Budget::UNLIMITED, Budget::of(16)] {
        let mut world = World::published(2, &[1]).await;
        let backup = copy_of(&world.stage).await;
        for number in 2..6 {
            world.stage.bring_up(after(10), &[number]).await;
            world.publish(after(10)).await;
        }
        assert_eq!(world.served(after(10)).0, 5);

        restore(&world.stage, &backup).await;
        world.budget = budget;
        let kept = world.served(after(20));
        world.stage.bring_up(after(20), &[9]).await;
        let mut published = Vec::new();
        for seconds in 20..50 {
            let report = world.publish(after(seconds)).await;
            published.extend(report.published.then_some(report.version));
        }

        assert_eq!(kept.0, 5);
        assert_eq!(published, [6]);
        let expected = ["g-0001", "g-0009"].map(str::to_owned).to_vec();
        assert_eq!(world.served(after(50)), (6, expected));
        world.assert_history(after(50));
    }
}

/// The partitions that publishing works on.
const PARTITIONS: [&str; 3] = [items::CATALOG, items::GATEWAYS, items::HEARTBEATS];

async fn copy_of(stage: &Stage) -> Vec<Item> {
    let mut items = Vec::new();
    for partition in PARTITIONS {
        let range = Range::all(partition);
        let found = store::query_all(stage.store.as_ref(), START, &range).await;
        items.extend(found.unwrap());
    }
    items
}

/// Makes the partitions what they were: the same bodies, at versions that start again.
async fn restore(stage: &Stage, backup: &[Item]) {
    let write = |key: Key, change| Write {
        key,
        expect: Expect::Any,
        change,
    };
    let gone = copy_of(stage).await.into_iter();
    let gone = gone.map(|item| write(item.key, Change::Delete)).collect();
    stage.store.commit(START, gone).await.unwrap();
    let back = backup.iter().map(|item| {
        let body = item.body.clone();
        let put = Change::Put {
            body,
            expires_at: None,
        };
        write(item.key.clone(), put)
    });
    stage.store.commit(START, back.collect()).await.unwrap();
}
