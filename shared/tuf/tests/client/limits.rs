//! What well-signed catalogs may say.

use model::{CatalogGateway, EpochSecret, HeldKey, Slice};
use serde_json::json;
use tuf::{Start, VerifyError, Wanted, slices};

use crate::repo::{Repo, catalog, cohort, network, now};

#[test]
fn gateways_and_front_doors_outside_the_limits_are_skipped_and_named() {
    let mut repo = Repo::new();
    let mut listed = catalog("default", &["192.0.2.1:51820", "198.51.100.1:51820"]);
    listed["front_doors"] = json!(["https://cdn.example.org", "https://evil.example"]);
    repo.online
        .insert("catalogs/default.json".to_owned(), listed);
    repo.release();
    let verified = repo.sync(&repo.bundle(), now()).unwrap();
    let catalog = verified.catalog.unwrap();
    assert_eq!(catalog.gateways().count(), 1);
    assert_eq!(catalog.front_doors, ["https://cdn.example.org"]);
    assert_eq!(verified.skipped.len(), 2, "{:?}", verified.skipped);
}

#[test]
fn what_was_sealed_is_held_to_the_limits_like_all_else() {
    let (network, cohort) = (network(), cohort());
    let listed = catalog("default", &["192.0.2.1:51820", "198.51.100.1:51820"]);
    let gateways: Vec<CatalogGateway> =
        serde_json::from_value(listed["slices"][0]["gateways"].clone()).unwrap();
    let secret = EpochSecret::from_bytes([1; 32]);
    let contents = [gateways.iter().collect()];
    let sealed = slices::seal((&network, &cohort, 1), &[(1, &secret)], &contents).unwrap();
    let mut repo = Repo::new();
    let path = "catalogs/default.json".to_owned();
    let mut listed = listed;
    listed["slices"] = json!([sealed.into_iter().map(Slice::Sealed).next()]);
    repo.online.insert(path, listed);
    repo.release();
    let of = slices::Of {
        network: &network,
        catalog: &cohort,
        slices: 1,
        slice: 0,
    };
    let key = HeldKey {
        key: of.key(1, &secret),
        catalog: cohort.clone(),
        epoch: 1,
        slices: 1,
        slice: 0,
    };
    let wanted = |keys| Wanted {
        network: &network,
        catalog: Some(&cohort),
        keys,
    };
    let start = Start::Pin(&repo.pin());

    let shut = tuf::verify_bundle(start, &wanted(&[]), &repo.bundle(), now()).unwrap();
    let keys = [key];
    let opened = tuf::verify_bundle(start, &wanted(&keys), &repo.bundle(), now()).unwrap();

    assert!(shut.sealed.is_shut() && shut.skipped.is_empty());
    assert_eq!(shut.catalog.unwrap().gateways().count(), 0);
    assert_eq!(shut.state, opened.state);
    assert_eq!(opened.catalog.unwrap().gateways().count(), 1);
    assert_eq!(
        opened.skipped,
        ["gateway g-0001 at 198.51.100.1:51820: outside the signed limits"]
    );
}

#[test]
fn a_malformed_entry_and_an_unreadable_kit_are_skipped_and_named() {
    let mut repo = Repo::new();
    let mut listed = catalog("default", &["192.0.2.1:51820", "nowhere"]);
    listed["slices"][0]["gateways"][1]["endpoint"] = json!("nowhere");
    repo.online
        .insert("catalogs/default.json".to_owned(), listed);
    repo.offline.get_mut("recovery-kit.json").unwrap()["schema"] = json!("postern-recovery-kit/2");
    repo.targets_version += 1;
    repo.release();
    let verified = repo.sync(&repo.bundle(), now()).unwrap();
    assert_eq!(verified.catalog.unwrap().gateways().count(), 1);
    assert_eq!(verified.kit, None);
    assert_eq!(verified.skipped.len(), 2, "{:?}", verified.skipped);
}

#[test]
fn a_cohort_that_the_limits_do_not_name_is_refused() {
    let mut repo = Repo::new();
    repo.offline.get_mut("limits.json").unwrap()["cohorts"] = json!(["other"]);
    repo.targets_version += 1;
    repo.release();
    let error = repo.sync(&repo.bundle(), now()).unwrap_err();
    assert_eq!(error.kind(), "outside-limits");
}

#[test]
fn the_catalog_of_another_cohort_under_this_ones_name_is_refused() {
    let mut repo = Repo::new();
    repo.online
        .insert("catalogs/default.json".to_owned(), catalog("other", &[]));
    repo.release();
    let error = repo.sync(&repo.bundle(), now()).unwrap_err();
    assert_eq!(error.kind(), "outside-limits");
}

#[test]
fn files_of_another_network_are_refused() {
    let other = json!("n-zzzzzzzz");
    for path in ["limits.json", "recovery-kit.json"] {
        let mut repo = Repo::new();
        repo.offline.get_mut(path).unwrap()["network"] = other.clone();
        repo.targets_version += 1;
        repo.release();
        let error = repo.sync(&repo.bundle(), now()).unwrap_err();
        assert!(
            matches!(&error, VerifyError::WrongNetwork { what, .. } if what == path),
            "{error:?}"
        );
    }
    let mut repo = Repo::new();
    repo.online.get_mut("catalogs/default.json").unwrap()["network"] = other.clone();
    repo.release();
    let error = repo.sync(&repo.bundle(), now()).unwrap_err();
    assert_eq!(error.kind(), "wrong-network");

    let mut repo = Repo::new();
    repo.offline.get_mut("trust.json").unwrap()["network"] = other;
    repo.targets_version += 1;
    repo.release();
    let pin = repo.pin();
    let error =
        crate::repo::verify_gateway(tuf::Start::Pin(&pin), &repo.bundle(), now()).unwrap_err();
    assert_eq!(error.kind(), "wrong-network");
}

#[test]
fn limits_of_a_later_program_are_refused_with_what_to_do() {
    let mut repo = Repo::new();
    repo.offline.get_mut("limits.json").unwrap()["schema"] = json!("postern-limits/2");
    repo.targets_version += 1;
    repo.release();
    let error = repo.sync(&repo.bundle(), now()).unwrap_err();
    assert_eq!(error.kind(), "malformed");
    assert!(error.to_string().ends_with("update it"), "{error}");
}

#[test]
fn of_many_front_doors_sixteen_are_taken_and_the_rest_is_named() {
    let mut repo = Repo::new();
    let limits = repo.offline.get_mut("limits.json").unwrap();
    let host = limits["front_door_hosts"][0].as_str().unwrap().to_owned();
    let doors: Vec<_> = (0..20).map(|n| format!("https://{host}/{n}")).collect();
    let catalog = repo.online.get_mut("catalogs/default.json").unwrap();
    catalog["front_doors"] = doors.clone().into();
    repo.release();
    let verified = repo.sync(&repo.bundle(), now()).unwrap();
    assert_eq!(verified.catalog.unwrap().front_doors, doors[..16]);
    assert_eq!(verified.skipped.len(), 4, "{:?}", verified.skipped);
    assert!(verified.skipped[0].contains(&doors[16]));
}
