//! Honest repositories: first and later syncs, by bundle and file by file.

use std::collections::BTreeSet;

use tuf::{Next, Start, TrustedState, Wanted, Workflow, read_state, verify_source};

use crate::repo::{
    Files, Repo, bundle_of, catalog, cohort, hours, network, now, verify, verify_gateway,
};

#[test]
fn a_signed_repository_is_verified_from_the_pin() {
    let repo = Repo::new();
    let verified = repo.sync(&repo.bundle(), now()).unwrap();
    assert!(verified.changed);
    assert_eq!(verified.catalog.unwrap().gateways().count(), 1);
    assert_eq!(verified.kit.unwrap().front_doors.len(), 1);
    assert_eq!(verified.trust, None);
    assert!(verified.skipped.is_empty());
    assert_eq!(verified.state.root_version(), 1);
    assert_eq!(verified.state.timestamp_version(), 1);
    assert_eq!(verified.state.timestamp_expires(), hours(24));
    assert_eq!(verified.state.verified_at(), now());
    assert_eq!(verified.state.fresh_until(), hours(12));
    assert!(verified.state.file("limits.json").is_some());
}

#[test]
fn a_gateway_gets_the_trusted_keys_and_needs_no_catalog() {
    let repo = Repo::new();
    let mut files = repo.bundle_files();
    files.retain(|name, _| !name.contains("catalogs"));
    let pin = repo.pin();
    let verified = verify_gateway(Start::Pin(&pin), &bundle_of(&files), now()).unwrap();
    assert_eq!(verified.trust.unwrap().config_keys.len(), 1);
    assert_eq!(verified.catalog, None);
    assert!(verified.kit.is_some(), "it says where the network is found");
}

#[test]
fn an_unchanged_second_sync_changes_nothing_not_even_the_time() {
    let repo = Repo::new();
    let state = repo.first_sync();
    let again = verify(Start::State(&state), &repo.bundle(), hours(5)).unwrap();
    assert!(!again.changed);
    assert_eq!(again.state, state);
    assert_eq!(again.state.verified_at(), now());
    assert_eq!(again.catalog.unwrap().gateways().count(), 1);
}

#[test]
fn a_renewed_timestamp_alone_is_a_change_and_starts_a_new_life() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    repo.timestamp_version += 1;
    repo.timestamp_expires = hours(30);
    repo.publish();
    let renewed = verify(Start::State(&state), &repo.bundle(), hours(6)).unwrap();
    assert!(renewed.changed);
    assert_eq!(renewed.state.verified_at(), hours(6));
    assert_eq!(renewed.state.fresh_until(), hours(18));
}

#[test]
fn a_new_catalog_is_taken() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    let two = catalog("default", &["192.0.2.1:51820", "192.0.2.2:51820"]);
    repo.online.insert("catalogs/default.json".to_owned(), two);
    repo.release();
    let verified = verify(Start::State(&state), &repo.bundle(), hours(1)).unwrap();
    assert!(verified.changed);
    assert_eq!(verified.catalog.unwrap().gateways().count(), 2);
}

#[test]
fn after_the_known_timestamp_has_expired_a_new_one_is_still_taken() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    repo.timestamp_expires = hours(900);
    repo.release();
    let verified = verify(Start::State(&state), &repo.bundle(), hours(800)).unwrap();
    assert_eq!(verified.state.timestamp_version(), 2);
}

#[test]
fn known_files_are_not_asked_for_again() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    assert_eq!(
        asked(&repo.files, &state, 1),
        ["metadata/2.root.json", "metadata/timestamp.json"]
    );

    repo.timestamp_version += 1;
    repo.publish();
    assert_eq!(
        asked(&repo.files, &state, 1),
        ["metadata/2.root.json", "metadata/timestamp.json"]
    );

    let two = catalog("default", &["192.0.2.2:51820"]);
    repo.online.insert("catalogs/default.json".to_owned(), two);
    repo.release();
    let names = asked(&repo.files, &state, 1);
    assert_eq!(names.len(), 5, "{names:?}");
    assert_eq!(
        names[2..4],
        ["metadata/2.snapshot.json", "metadata/2.catalogs.json"]
    );
    assert!(names[4].starts_with("targets/catalogs/"), "{names:?}");
}

#[test]
fn a_folder_of_files_verifies_like_a_bundle() {
    let repo = Repo::new();
    let (network, cohort, pin) = (network(), cohort(), repo.pin());
    let wanted = Wanted {
        network: &network,
        catalog: Some(&cohort),
        keys: &[],
    };
    let mut source = |name: &str, most: u64| {
        let file = repo.files.get(name).cloned();
        assert!(file.as_ref().is_none_or(|file| file.len() as u64 <= most));
        Ok(file)
    };
    let verified = verify_source(Start::Pin(&pin), &wanted, &mut source, now()).unwrap();
    assert_eq!(verified, repo.sync(&repo.bundle(), now()).unwrap());
}

#[test]
fn a_mix_of_old_and_new_files_gives_either_the_whole_old_or_the_whole_new() {
    // A mirror in the middle of being written: immutable files are there, the timestamp is old,
    // and the other way round.
    let mut repo = Repo::new();
    let old = repo.files.clone();
    let two = catalog("default", &["192.0.2.2:51820", "192.0.2.3:51820"]);
    repo.online.insert("catalogs/default.json".to_owned(), two);
    repo.release();

    let mut halfway = repo.files.clone();
    let timestamp = "metadata/timestamp.json".to_owned();
    halfway.insert(timestamp.clone(), old[&timestamp].clone());
    let verified = repo.sync(&bundle_of(&halfway), now()).unwrap();
    assert_eq!(verified.catalog.unwrap().gateways().count(), 1);

    let mut torn = old;
    torn.insert(timestamp.clone(), repo.files[&timestamp].clone());
    let error = repo.sync(&bundle_of(&torn), now()).unwrap_err();
    assert_eq!(error.kind(), "missing");
}

#[test]
fn a_state_survives_json_and_reads_offline() {
    let repo = Repo::new();
    let first = repo.sync(&repo.bundle(), now()).unwrap();
    let text = serde_json::to_string(&first.state).unwrap();
    let state: TrustedState = serde_json::from_str(&text).unwrap();
    assert_eq!(state, first.state);

    let (network, cohort) = (network(), cohort());
    let wanted = Wanted {
        network: &network,
        catalog: Some(&cohort),
        keys: &[],
    };
    let read = read_state(&state, &wanted).unwrap();
    assert!(!read.changed);
    assert_eq!(read.state, first.state);
    assert_eq!(read.catalog, first.catalog);
    assert_eq!(read.kit, first.kit);
}

#[test]
fn a_damaged_state_is_found_and_named() {
    let repo = Repo::new();
    let text = serde_json::to_string(&repo.first_sync()).unwrap();
    let (network, cohort) = (network(), cohort());
    let wanted = Wanted {
        network: &network,
        catalog: Some(&cohort),
        keys: &[],
    };
    let damaged = text.replace("192.0.2.1:51820", "192.0.2.9:51820");
    assert_ne!(damaged, text);
    let state: TrustedState = serde_json::from_str(&damaged).unwrap();
    assert_eq!(read_state(&state, &wanted).unwrap_err().kind(), "missing");

    let no_root = text.replacen("consistent_snapshot", "consistent", 1);
    let state: TrustedState = serde_json::from_str(&no_root).unwrap();
    assert_eq!(read_state(&state, &wanted).unwrap_err().kind(), "altered");
    assert!(
        serde_json::from_str::<TrustedState>(&text.replace("timestamp\":\"{", "timestamp\":\""))
            .is_err()
    );
}

#[test]
fn another_cohort_asks_only_for_what_is_new() {
    let mut repo = Repo::new();
    let early = catalog("early", &["192.0.2.5:51820"]);
    repo.online.insert("catalogs/early.json".to_owned(), early);
    repo.offline.get_mut("limits.json").unwrap()["cohorts"] =
        serde_json::json!(["default", "early"]);
    repo.targets_version += 1;
    repo.release();
    let state = repo.first_sync();

    let (network, cohort) = (network(), "early".parse().unwrap());
    let wanted = Wanted {
        network: &network,
        catalog: Some(&cohort),
        keys: &[],
    };
    let verified =
        tuf::verify_bundle(Start::State(&state), &wanted, &repo.bundle(), hours(1)).unwrap();
    assert!(verified.changed);
    assert_eq!(verified.catalog.unwrap().name, cohort);
    assert_eq!(verified.state.verified_at(), now());
    assert_eq!(read_state(&state, &wanted).unwrap_err().kind(), "missing");
}

#[test]
fn a_repository_without_a_kit_is_of_use() {
    let mut repo = Repo::new();
    repo.offline.remove("recovery-kit.json");
    repo.targets_version += 1;
    repo.release();
    let verified = repo.sync(&repo.bundle(), now()).unwrap();
    assert_eq!(verified.kit, None);
    assert!(verified.skipped.is_empty());
}

#[test]
fn a_workflow_that_is_not_done_does_not_finish() {
    let repo = Repo::new();
    let pin = repo.pin();
    let workflow = Workflow::new(Start::Pin(&pin), &[], now()).unwrap();
    assert_eq!(workflow.finish().unwrap_err().kind(), "missing");

    let mut workflow = Workflow::new(Start::Pin(&pin), &[], now()).unwrap();
    assert!(workflow.supply(Some(b"{}")).is_err());
    assert_eq!(workflow.next(), Next::Done);
    assert_eq!(
        workflow.supply(Some(b"{}")).unwrap_err().kind(),
        "malformed"
    );
    assert_eq!(workflow.finish().unwrap_err().kind(), "missing");
}

/// The files that a device with `state` asks for, in their order.
fn asked(files: &Files, state: &TrustedState, hour: i64) -> Vec<String> {
    let wanted: Vec<String> =
        BTreeSet::from(["limits.json", "recovery-kit.json", "catalogs/default.json"])
            .into_iter()
            .map(str::to_owned)
            .collect();
    let mut workflow = Workflow::new(Start::State(state), &wanted, hours(hour)).unwrap();
    let mut names = Vec::new();
    while let Next::Fetch { name, .. } = workflow.next() {
        workflow
            .supply(files.get(&name).map(Vec::as_slice))
            .unwrap();
        names.push(name);
    }
    workflow.finish().unwrap();
    names
}
