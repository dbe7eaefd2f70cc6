//! Doors that lie, and thieves of online keys.

use serde_json::{Value, json};
use tuf::repository::{TIMESTAMP_PATH, catalogs_path, root_path, targets_path};
use tuf::{Start, TrustedState, VerifyError, envelope};

use crate::repo::{
    Files, Repo, bundle_of, catalog, hours, limits, now, trust, verify, verify_gateway,
};

#[test]
fn an_older_timestamp_is_refused_even_when_the_known_one_has_expired() {
    let mut repo = Repo::new();
    repo.timestamp_expires = hours(900);
    repo.publish();
    let old = repo.bundle();
    repo.timestamp_expires = hours(24);
    repo.release();
    let state = repo.first_sync();
    for hour in [1, 100] {
        let error = verify(Start::State(&state), &old, hours(hour)).unwrap_err();
        let VerifyError::Rollback { role, trusted, new } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((role.as_str(), *trusted, *new), ("timestamp", 2, 1));
        assert_eq!(error.kind(), "older");
    }
}

#[test]
fn an_older_snapshot_or_catalog_under_a_new_timestamp_is_refused() {
    let mut repo = Repo::new();
    repo.release();
    let state = repo.first_sync();

    repo.snapshot_version = 1;
    repo.timestamp_version = 3;
    repo.publish();
    let error = verify(Start::State(&state), &repo.bundle(), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "older", "{error}");

    repo.snapshot_version = 3;
    repo.catalogs_version = 1;
    repo.publish();
    let error = verify(Start::State(&state), &repo.bundle(), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "older", "{error}");
    // The floor holds after everything known has expired, too.
    repo.snapshot_expires = hours(5_000);
    repo.timestamp_expires = hours(5_000);
    repo.publish();
    let error = verify(Start::State(&state), &repo.bundle(), hours(3_000)).unwrap_err();
    assert_eq!(error.kind(), "older", "{error}");
}

#[test]
fn new_metadata_that_has_expired_is_refused() {
    let expired = |change: fn(&mut Repo), now| {
        let mut repo = Repo::new();
        let state = repo.first_sync();
        change(&mut repo);
        repo.targets_version += 1;
        repo.release();
        let from_pin = repo.sync(&repo.bundle(), now).unwrap_err();
        let from_state = verify(Start::State(&state), &repo.bundle(), now).unwrap_err();
        assert_eq!(from_pin, from_state);
        match from_pin {
            VerifyError::Expired { role, .. } => role,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(expired(|_| (), hours(25)), "timestamp");
    assert_eq!(
        expired(|repo| repo.snapshot_expires = hours(2), hours(3)),
        "snapshot"
    );
    assert_eq!(
        expired(|repo| repo.targets_expires = hours(2), hours(3)),
        "targets"
    );
    let long = |repo: &mut Repo| {
        repo.timestamp_expires = hours(20_000);
        repo.snapshot_expires = hours(20_000);
        repo.targets_expires = hours(20_000);
    };
    assert_eq!(expired(long, hours(10_001)), "root");
}

#[test]
fn the_known_timestamp_served_for_ever_expires() {
    let repo = Repo::new();
    let state = repo.first_sync();
    assert!(verify(Start::State(&state), &repo.bundle(), hours(23)).is_ok());
    let error = verify(Start::State(&state), &repo.bundle(), hours(25)).unwrap_err();
    assert_eq!(error.kind(), "expired");
}

#[test]
fn every_altered_byte_fails_or_changes_nothing() {
    let mut repo = Repo::new();
    // A small bundle: a catalog without gateways.
    repo.online
        .insert("catalogs/default.json".to_owned(), catalog("default", &[]));
    repo.release();
    let bundle = repo.bundle();
    let honest = repo.sync(&bundle, now()).unwrap();
    let from_state = honest.state.clone();
    for position in 0..bundle.len() {
        for flip in [0x01, 0x20] {
            let mut altered = bundle.clone();
            altered[position] ^= flip;
            if let Ok(verified) = repo.sync(&altered, now()) {
                assert_eq!(verified.catalog, honest.catalog, "{position} ^ {flip}");
                assert_eq!(verified.limits, honest.limits);
                assert_eq!(verified.kit, honest.kit);
                assert_same(&verified.state, &honest.state, position);
            }
        }
        let mut altered = bundle.clone();
        altered[position] ^= 0x04;
        if let Ok(verified) = verify(Start::State(&from_state), &altered, hours(1)) {
            // What is known is kept to the byte.
            assert!(!verified.changed, "{position}");
            assert_eq!(verified.state, from_state);
        }
    }
}

#[test]
fn a_truncated_bundle_is_malformed() {
    let repo = Repo::new();
    let bundle = repo.bundle();
    for length in (0..bundle.len()).step_by(97) {
        let error = repo.sync(&bundle[..length], now()).unwrap_err();
        assert_eq!(error.kind(), "malformed", "{length}");
    }
}

#[test]
fn a_missing_part_is_named() {
    let repo = Repo::new();
    let files = repo.bundle_files();
    for name in files.keys().filter(|name| !name.contains("trust.json")) {
        let mut fewer = files.clone();
        fewer.remove(name);
        let error = repo.sync(&bundle_of(&fewer), now()).unwrap_err();
        assert_eq!(error, VerifyError::Missing(name.clone()));
    }
}

#[test]
fn a_file_larger_than_its_kind_may_be_is_refused_before_it_is_read() {
    let repo = Repo::new();
    let mut files = repo.bundle_files();
    files.insert(TIMESTAMP_PATH.to_owned(), vec![b' '; 16_385]);
    let error = repo.sync(&bundle_of(&files), now()).unwrap_err();
    assert_eq!(error.kind(), "too-large");
}

#[test]
fn the_root_must_be_the_pinned_one() {
    let repo = Repo::new();
    let mut pin = repo.pin();
    pin.sha256 = "00".repeat(32);
    let error = verify(Start::Pin(&pin), &repo.bundle(), now()).unwrap_err();
    assert!(matches!(error, VerifyError::WrongRoot { version: 1, .. }));
    assert_eq!(error.kind(), "altered");

    // The right bytes under another version.
    let mut files = repo.bundle_files();
    files.insert(root_path(2), files[&root_path(1)].clone());
    let mut pin = repo.pin();
    pin.version = 2;
    let error = verify(Start::Pin(&pin), &bundle_of(&files), now()).unwrap_err();
    assert!(matches!(error, VerifyError::WrongRoot { version: 2, .. }));
}

#[test]
fn a_signature_given_twice_is_refused() {
    let repo = Repo::new();
    for name in [TIMESTAMP_PATH.to_owned(), root_path(2)] {
        let mut repo = Repo::new();
        repo.new_root(&[]);
        repo.files.insert(name.clone(), twice(&repo.files[&name]));
        let error = repo.sync(&repo.bundle(), now()).unwrap_err();
        assert_eq!(error.kind(), "altered", "{name}");
    }
    // What is pinned by its hash can only be doubled by who signs the pin.
    let targets = repo.files[&targets_path(1)].clone();
    let catalogs = repo.files[&catalogs_path(1)].clone();
    for (targets, catalogs) in [
        (twice(&targets), catalogs.clone()),
        (targets, twice(&catalogs)),
    ] {
        let mut repo = Repo::new();
        repo.publish_online(targets, catalogs);
        let error = repo.sync(&repo.bundle(), now()).unwrap_err();
        assert_eq!(error.kind(), "altered");
    }
}

#[test]
fn metadata_without_its_signature_is_refused() {
    let repo = Repo::new();
    let mut files = repo.bundle_files();
    let unsigned = change(&files[TIMESTAMP_PATH], |envelope| {
        envelope["signatures"] = json!([]);
    });
    files.insert(TIMESTAMP_PATH.to_owned(), unsigned);
    let error = repo.sync(&bundle_of(&files), now()).unwrap_err();
    assert_eq!(error.kind(), "altered");
}

#[test]
fn a_thief_of_the_online_keys_can_change_neither_limits_nor_trust() {
    // They hold catalogs, snapshot and timestamp, and sign their own limits and keys as far as
    // they can: as files of the delegated role.
    let mut repo = Repo::new();
    let mut evil_limits = limits();
    evil_limits["gateway_networks"] = json!(["0.0.0.0/0"]);
    let mut evil_trust = trust();
    evil_trust["config_keys"] = json!([]);
    let mut forged = Files::new();
    for (path, content) in [("limits.json", &evil_limits), ("trust.json", &evil_trust)] {
        let bytes = serde_json::to_vec(content).unwrap();
        for name in tuf::repository::target_paths(path, &tuf::repository::Pin::of(1, &bytes).sha256)
        {
            repo.files.insert(name, bytes.clone());
        }
        forged.insert(path.to_owned(), bytes);
    }
    let honest = repo.sync(&repo.bundle(), now()).unwrap();

    let entry = |path: &str| {
        let pin = tuf::repository::Pin::of(1, &forged[path]);
        json!({"length": pin.length, "hashes": {"sha256": pin.sha256}})
    };
    let role = json!({
        "_type": "targets", "spec_version": "1.0.31", "version": 2, "expires": "2027-01-01T00:00:00Z",
        "targets": {"limits.json": entry("limits.json"), "trust.json": entry("trust.json")},
    });
    let catalogs = envelope::sign(&role, &[&repo.catalogs_key]).unwrap();
    let targets = repo.files[&targets_path(1)].clone();
    (
        repo.catalogs_version,
        repo.snapshot_version,
        repo.timestamp_version,
    ) = (2, 2, 2);
    repo.publish_online(targets, catalogs);

    let pin = repo.pin();
    let gateway = verify_gateway(Start::Pin(&pin), &bundle_of(&repo.files), now()).unwrap();
    assert_eq!(gateway.limits, honest.limits);
    assert_eq!(gateway.trust.unwrap().config_keys.len(), 1);

    // And where the offline role lists none, theirs is not taken instead.
    let mut repo = Repo::new();
    repo.offline.remove("trust.json");
    repo.targets_version = 2;
    repo.release();
    let targets = repo.files[&targets_path(2)].clone();
    let catalogs = envelope::sign(&role, &[&repo.catalogs_key]).unwrap();
    repo.files.extend(forged.iter().map(|(path, bytes)| {
        let hash = tuf::repository::Pin::of(1, bytes).sha256;
        (format!("targets/{hash}.{path}"), bytes.clone())
    }));
    repo.publish_online(targets, catalogs);
    let pin = repo.pin();
    let error = verify_gateway(Start::Pin(&pin), &bundle_of(&repo.files), now()).unwrap_err();
    assert_eq!(error.kind(), "missing");
}

#[test]
fn a_thief_of_the_online_keys_cannot_sign_the_top_level_targets() {
    let mut repo = Repo::new();
    repo.targets_key = repo.catalogs_key.clone();
    repo.catalogs_key = crate::repo::ed25519(66);
    repo.targets_version = 2;
    repo.release();
    let error = repo.sync(&repo.bundle(), now()).unwrap_err();
    assert_eq!(error.kind(), "altered");
}

#[test]
fn a_failure_leaves_the_state_as_it_was() {
    // Everything is new and honest but the catalog, which is missing.
    let mut repo = Repo::new();
    let state = repo.first_sync();
    let before = state.clone();
    let other = catalog("default", &["192.0.2.2:51820"]);
    repo.online
        .insert("catalogs/default.json".to_owned(), other);
    repo.new_root(&[]);
    repo.release();
    let mut files = repo.bundle_files();
    files.retain(|name, _| !name.starts_with("targets/catalogs/"));
    let error = verify(Start::State(&state), &bundle_of(&files), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "missing");
    assert_eq!(state, before);
}

fn twice(file: &[u8]) -> Vec<u8> {
    change(file, |envelope| {
        let first = envelope["signatures"][0].clone();
        envelope["signatures"].as_array_mut().unwrap().push(first);
    })
}

fn change(file: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut envelope: Value = serde_json::from_slice(file).unwrap();
    change(&mut envelope);
    serde_json::to_vec(&envelope).unwrap()
}

/// Equal in all that is signed. The spelling of the signatures themselves (hexadecimal in capitals)
/// is covered by nothing: in the root and the timestamp, which nobody pins, it may differ.
fn assert_same(left: &TrustedState, right: &TrustedState, position: usize) {
    let signed = |state: &TrustedState| {
        let mut value = serde_json::to_value(state).unwrap();
        for name in ["root", "timestamp"] {
            let file: Value = serde_json::from_str(value[name].as_str().unwrap()).unwrap();
            value[name] = file["signed"].clone();
        }
        value
    };
    assert_eq!(signed(left), signed(right), "{position}");
}
