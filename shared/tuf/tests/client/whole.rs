//! Whole repositories, and states that are a floor and nothing else.

use tuf::{Start, TrustedState, VerifyError, Whole, verify_whole};

use crate::repo::{Files, Repo, catalog, hours, network, now, verify};

fn whole(start: Start<'_>, files: &Files) -> Result<Whole, VerifyError> {
    let mut source = |name: &str, _| Ok(files.get(name).cloned());
    verify_whole(start, &network(), &[], &mut source, now())
}

/// Two cohorts; the limits name both.
fn two_cohorts() -> Repo {
    let mut repo = Repo::new();
    let early = catalog("early", &["192.0.2.5:51820", "192.0.2.6:51820"]);
    repo.online.insert("catalogs/early.json".to_owned(), early);
    repo.offline.get_mut("limits.json").unwrap()["cohorts"] =
        serde_json::json!(["default", "early"]);
    repo.targets_version += 1;
    repo.release();
    repo
}

#[test]
fn every_catalog_and_every_file_is_read() {
    let repo = two_cohorts();
    let state = repo.first_sync();
    for start in [Start::Pin(&repo.pin()), Start::Floor(&state)] {
        let whole = whole(start, &repo.files).unwrap();
        let names: Vec<_> = whole
            .catalogs
            .iter()
            .map(|(catalog, _)| (catalog.name.to_string(), catalog.gateways().count()))
            .collect();
        assert_eq!(names, [("default".to_owned(), 1), ("early".to_owned(), 2)]);
        assert!(whole.kit.is_some() && whole.trust.is_some());
        assert_eq!(whole.state.paths().count(), 5);
        assert!(whole.skipped.is_empty());
    }
}

#[test]
fn a_file_that_is_missing_or_altered_is_found_whoever_wants_it() {
    let repo = two_cohorts();
    let state = repo.first_sync();
    let mut wanted = repo.bundle_files();
    wanted.retain(|name, _| whole(Start::Floor(&state), &without(&repo.files, name)).is_ok());
    assert!(wanted.is_empty(), "not missed: {:?}", wanted.keys());
    for name in repo.bundle_files().into_keys() {
        let mut files = repo.files.clone();
        files.get_mut(&name).unwrap()[5] ^= 1;
        assert!(whole(Start::Floor(&state), &files).is_err(), "{name}");
    }
}

fn without(files: &Files, name: &str) -> Files {
    let mut files = files.clone();
    files.remove(name);
    files
}

#[test]
fn a_catalog_of_no_known_cohort_is_named() {
    let mut repo = Repo::new();
    let stray = catalog("stray", &[]);
    repo.online.insert("catalogs/stray.json".to_owned(), stray);
    repo.release();
    let whole = whole(Start::Pin(&repo.pin()), &repo.files).unwrap();
    assert_eq!(whole.catalogs.len(), 1);
    assert!(whole.skipped[0].contains("catalogs/stray.json"));
}

#[test]
fn a_floor_is_not_gone_below_and_takes_what_is_equal_or_newer() {
    let mut repo = Repo::new();
    let old = repo.bundle();
    repo.release();
    let state = repo.first_sync();
    let equal = verify(Start::Floor(&state), &repo.bundle(), hours(1)).unwrap();
    assert_eq!(equal.state, state);
    assert!(!equal.changed);
    let error = verify(Start::Floor(&state), &old, hours(1)).unwrap_err();
    assert_eq!(error.kind(), "older");
    repo.release();
    assert!(verify(Start::Floor(&state), &repo.bundle(), hours(1)).is_ok());
}

#[test]
fn another_timestamp_of_the_known_version_is_refused() {
    let mut repo = Repo::new();
    let state = repo.first_sync();
    repo.timestamp_expires = hours(30);
    repo.publish();
    let error = verify(Start::Floor(&state), &repo.bundle(), hours(1)).unwrap_err();
    assert_eq!(error.kind(), "altered");
}

#[test]
fn a_floor_that_is_damaged_is_healed_and_keeps_its_version() {
    let mut repo = Repo::new();
    let old = repo.bundle();
    repo.release();
    let sound = repo.first_sync();
    let text = serde_json::to_string(&sound).unwrap();
    let damaged = text.replace("192.0.2.1:51820", "192.0.2.9:51820");
    let state: TrustedState = serde_json::from_str(&damaged).unwrap();
    let healed = verify(Start::Floor(&state), &repo.bundle(), hours(1)).unwrap();
    assert!(healed.changed);
    assert_eq!(healed.state, sound);
    let error = verify(Start::Floor(&state), &old, hours(1)).unwrap_err();
    assert_eq!(error.kind(), "older");
}
