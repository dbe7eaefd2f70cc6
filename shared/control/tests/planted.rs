//! Whoever can write to a mirror can neither end publishing nor stay served: what our own key did
//! not sign is replaced in the next run, whatever version it claims, and without a new one.

mod common;

use bytes::Bytes;
use common::after;
use common::client::cohort;
use common::world::World;
use control::publish::Budget;
use tuf::bundle::Bundle;
use tuf::repository::{self, Pin};

/// What does not have to be ours to look like a timestamp of a version that leaves no other.
fn huge() -> Vec<u8> {
    br#"{"signed":{"version":18446744073709551614}}"#.to_vec()
}

/// A timestamp of that version in the right form, signed by a key of somebody else.
fn forged(version: u64) -> Vec<u8> {
    let thief = common::world::key(99);
    let pin = Pin::of(version, b"snapshot");
    repository::sign_timestamp(version, after(3600), &pin, &[&thief]).unwrap()
}

fn in_a_bundle(timestamp: &[u8]) -> Vec<u8> {
    Bundle::write(&[(repository::TIMESTAMP_PATH, timestamp)])
}

/// The paths of all objects that change.
fn changing() -> [String; 3] {
    [
        repository::TIMESTAMP_PATH.to_owned(),
        repository::bundle_path(Some(&cohort())),
        repository::bundle_path(None),
    ]
}

/// What may be planted at `path`, where `there` stands.
fn planted(path: &str, there: &Bytes) -> Vec<Vec<u8>> {
    let mut changed = there.to_vec();
    let last = changed.len() - 3;
    changed[last] ^= 1;
    let mut all = vec![
        b"<html>404</html>".to_vec(),
        Vec::new(),
        there[..there.len() / 2].to_vec(),
        changed,
    ];
    for timestamp in [huge(), forged(2), forged(u64::MAX), forged(u64::MAX - 1)] {
        all.push(in_a_bundle(&timestamp));
        if path == repository::TIMESTAMP_PATH {
            all.push(timestamp);
        }
    }
    all
}

#[tokio::test]
async fn whatever_is_planted_is_replaced_by_the_next_run_without_a_new_version() {
    for mirrors in [1, 2] {
        let world = World::published(mirrors, &[1]).await;
        let mut seconds = 0;
        for path in changing() {
            let right = world.mirrors[0].files()[&path].clone();
            for bytes in planted(&path, &right) {
                world.mirrors[0].alter(&path, bytes.leak());
                seconds += 1;
                let report = world.publish(after(seconds)).await;

                assert!(!report.published && report.lagging.is_empty(), "{path}");
                assert_eq!(world.mirrors[0].files()[&path], right, "{path}");
                assert_eq!(world.served(after(seconds)).0, 1);
            }
        }
    }
}

#[tokio::test]
async fn within_a_budget_whatever_is_planted_is_replaced_in_as_many_runs_as_there_are_files() {
    let mut world = World::published(2, &[1]).await;
    world.budget = Budget::of(16);
    let files = world.mirrors[0].files();
    let mut seconds = 0;
    for path in changing() {
        for bytes in planted(&path, &files[&path]) {
            world.mirrors[0].alter(&path, bytes.leak());
            let mut runs = 0;
            while world.mirrors[0].files() != files {
                seconds += 1;
                world.stage.beat(after(seconds), &[1]).await;
                assert!(!world.publish(after(seconds)).await.published, "{path}");
                runs += 1;
            }
            assert!(runs <= files.len(), "{path}: {runs}");
        }
    }
}

#[tokio::test]
async fn publishing_goes_on_over_whatever_is_planted() {
    for path in changing() {
        let world = World::published(1, &[1]).await;
        let mut version = 1;
        for bytes in planted(&path, &world.mirrors[0].files()[&path]) {
            world.mirrors[0].alter(&path, bytes.leak());
            version += 1;
            let number = u8::try_from(version).unwrap();
            let now = after(i64::from(number));
            world.stage.bring_up(now, &[number]).await;
            let report = world.publish(now).await;

            assert_eq!((report.published, report.version), (true, version));
            assert_eq!(world.served(now).0, version);
        }
    }
}

#[tokio::test]
async fn an_object_that_changes_and_is_missing_is_restored_without_a_new_version() {
    let world = World::published(2, &[1]).await;
    for path in changing() {
        let right = world.mirrors[0].files();
        world.mirrors[0].lose(&path);
        let report = world.publish(after(10)).await;

        assert!(!report.published && report.lagging.is_empty());
        assert_eq!(world.mirrors[0].files(), right, "{path}");
    }
}

#[tokio::test]
async fn an_older_version_of_ours_that_was_put_back_is_raised() {
    let world = World::published(1, &[1]).await;
    let old = world.mirrors[0].files();
    world.stage.bring_up(after(10), &[2]).await;
    world.publish(after(10)).await;

    for path in changing() {
        world.mirrors[0].alter(&path, old[&path].to_vec().leak());
        let report = world.publish(after(20)).await;

        assert!(!report.published && report.lagging.is_empty());
        assert_eq!(world.served(after(20)).0, 2, "{path}");
    }
}

#[tokio::test]
async fn a_version_that_our_own_key_signed_is_gone_beyond_however_it_is_spelt() {
    let stolen = common::world::key(12);
    let pin = Pin::of(1_000, b"a snapshot that nobody has");
    let written = repository::sign_timestamp(1_000, after(3600), &pin, &[&stolen]).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&written).unwrap();
    let spaced = serde_json::to_vec_pretty(&value).unwrap();
    for planted in [written, spaced] {
        let world = World::published(1, &[1]).await;
        world.mirrors[0].alter(repository::TIMESTAMP_PATH, planted.leak());

        for seconds in 1..=3 {
            world.publish(after(seconds)).await;
        }

        let version = world.served(after(3)).0;
        assert!(version > 1_000, "who saw it would refuse {version}");
    }
}
