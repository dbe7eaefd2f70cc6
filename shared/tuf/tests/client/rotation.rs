//! Roots: thresholds, P-256 keys, rotations, and recovery from stolen keys.

use tuf::repository::root_path;
use tuf::{SigningKey, Start};

use crate::repo::{Repo, bundle_of, ed25519, hours, now, verify};

#[test]
fn an_old_state_follows_several_roots() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    for seed in 2..=6 {
        let before = std::mem::replace(&mut repo.root_keys, vec![ed25519(seed)]);
        repo.new_root(&[&before[0]]);
    }
    repo.release();
    for (start, from) in [
        (Start::State(&state), "state"),
        (Start::Pin(&repo.pin()), "pin"),
    ] {
        let verified = verify(start, &repo.bundle(), hours(1)).unwrap();
        assert_eq!(verified.state.root_version(), 6, "{from}");
    }
    // From a pin in the middle, too.
    let verified = verify(Start::Pin(&repo.pin_of(4)), &repo.bundle(), hours(1)).unwrap();
    assert_eq!(verified.state.root_version(), 6);
}

#[test]
fn a_new_root_alone_keeps_the_rest_of_the_state() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    let before = std::mem::replace(&mut repo.root_keys, vec![ed25519(2)]);
    repo.new_root(&[&before[0]]);
    let verified = verify(Start::State(&state), &repo.bundle(), hours(1)).unwrap();
    assert!(verified.changed);
    assert_eq!(verified.state.root_version(), 2);
    assert_eq!(verified.state.verified_at(), now());
}

#[test]
fn a_root_that_the_one_before_did_not_sign_is_refused() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    repo.root_keys = vec![ed25519(66)];
    repo.new_root(&[]);
    let error = verify(Start::State(&state), &repo.bundle(), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "altered");
}

#[test]
fn a_root_that_does_not_sign_itself_is_refused() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    // Signed by the old key alone, though it names a new one.
    let old = std::mem::replace(&mut repo.root_keys, vec![ed25519(2)]);
    repo.new_root(&[&old[0]]);
    let name = root_path(2);
    let mut root: serde_json::Value = serde_json::from_slice(&repo.files[&name]).unwrap();
    root["signatures"].as_array_mut().unwrap().remove(0);
    repo.files.insert(name, serde_json::to_vec(&root).unwrap());
    let error = verify(Start::State(&state), &repo.bundle(), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "altered");
}

#[test]
fn a_skipped_or_repeated_root_is_refused() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    repo.root_version = 2;
    repo.new_root(&[]);
    let mut files = repo.files.clone();
    files.insert(root_path(2), repo.files[&root_path(3)].clone());
    let error = verify(Start::State(&state), &bundle_of(&files), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "altered");
    files.insert(root_path(2), repo.files[&root_path(1)].clone());
    let error = verify(Start::State(&state), &bundle_of(&files), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "older");
}

#[test]
fn two_of_three_keys_must_sign() {
    let with_signatures = |count: usize| {
        let mut repo = Repo::new();
        repo.root_keys = vec![ed25519(1), ed25519(2), ed25519(3)];
        repo.root_threshold = 2;
        repo.root_version = 0;
        repo.new_root(&[]);
        let name = root_path(1);
        let mut root: serde_json::Value = serde_json::from_slice(&repo.files[&name]).unwrap();
        root["signatures"].as_array_mut().unwrap().truncate(count);
        repo.files.insert(name, serde_json::to_vec(&root).unwrap());
        repo.sync(&repo.bundle(), now())
    };
    assert_eq!(with_signatures(1).unwrap_err().kind(), "altered");
    assert!(with_signatures(2).is_ok());
    assert!(with_signatures(3).is_ok());
}

#[test]
fn root_keys_may_be_p256_and_mixed_with_ed25519() {
    let mut repo = Repo::new();
    repo.root_keys = vec![
        SigningKey::p256_from_bytes([1; 32]).unwrap(),
        SigningKey::p256_from_bytes([2; 32]).unwrap(),
        ed25519(3),
    ];
    repo.root_threshold = 3;
    repo.root_version = 0;
    repo.new_root(&[]);
    let state = repo.sync(&repo.bundle(), now()).unwrap().state;

    let before = std::mem::replace(
        &mut repo.root_keys,
        vec![SigningKey::p256_from_bytes([4; 32]).unwrap()],
    );
    repo.root_threshold = 1;
    repo.new_root(&before.iter().collect::<Vec<_>>());
    let verified = verify(Start::State(&state), &repo.bundle(), now()).unwrap();
    assert_eq!(verified.state.root_version(), 2);
}

#[test]
fn rotated_online_keys_end_a_thiefs_enormous_versions() {
    let mut repo = Repo::new();
    (repo.timestamp_version, repo.snapshot_version) = (1_000_000, 1_000_000);
    repo.publish();
    let state = repo.first_sync();
    assert_eq!(state.timestamp_version(), 1_000_000);

    // Without a rotation the floor holds.
    (repo.timestamp_version, repo.snapshot_version) = (2, 2);
    repo.publish();
    let error = verify(Start::State(&state), &repo.bundle(), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "older");

    for rotate_timestamp_only in [true, false] {
        let mut repo = Repo::new();
        (repo.timestamp_version, repo.snapshot_version) = (2, 2);
        repo.timestamp_key = ed25519(24);
        if !rotate_timestamp_only {
            repo.snapshot_key = ed25519(23);
        }
        repo.new_root(&[]);
        repo.publish();
        let verified = verify(Start::State(&state), &repo.bundle(), hours(1)).unwrap();
        assert_eq!(verified.state.timestamp_version(), 2);
        assert_eq!(verified.state.verified_at(), hours(1));
    }
}

#[test]
fn a_new_root_with_the_same_online_keys_keeps_the_floor() {
    let mut repo = Repo::new();
    let old = repo.files.clone();
    repo.release();
    let state = repo.first_sync();
    repo.new_root(&[]);
    let mut files = old;
    files.insert(root_path(2), repo.files[&root_path(2)].clone());
    let error = verify(Start::State(&state), &bundle_of(&files), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "older");
}

#[test]
fn an_expired_root_in_the_middle_of_the_chain_does_not_matter() {
    let mut repo = Repo::new();
    repo.root_expires = hours(1);
    repo.new_root(&[]);
    repo.root_expires = hours(10_000);
    repo.new_root(&[]);
    repo.release();
    let verified = repo.sync(&repo.bundle(), hours(2)).unwrap();
    assert_eq!(verified.state.root_version(), 3);
}
