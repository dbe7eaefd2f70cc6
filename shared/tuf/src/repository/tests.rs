use super::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::ed25519_from_seed([seed; 32])
}

fn role(seeds: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys {
        keys: seeds.iter().map(|seed| key(*seed).public()).collect(),
        threshold,
    }
}

fn roles() -> RootRoles {
    RootRoles {
        root: role(&[1, 2, 3], 2),
        targets: role(&[4], 1),
        snapshot: role(&[5], 1),
        timestamp: role(&[6], 1),
    }
}

fn expires() -> Timestamp {
    "2027-01-02T03:04:05.678Z".parse().unwrap()
}

fn signed(bytes: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    value["signed"].clone()
}

fn files(paths: &[&str]) -> BTreeMap<String, Vec<u8>> {
    paths
        .iter()
        .map(|p| ((*p).to_owned(), b"x".to_vec()))
        .collect()
}

#[test]
fn paths_are_those_of_the_layout() {
    let cohort: CatalogName = "early".parse().unwrap();
    assert_eq!(root_path(1), "metadata/1.root.json");
    assert_eq!(bundle_path(Some(&cohort)), "bundles/cohort/early");
    assert_eq!(bundle_path(None), "bundles/trust");
    assert_eq!(
        target_paths("limits.json", "ab"),
        ["targets/ab.limits.json"]
    );
    assert_eq!(
        target_paths("catalogs/x.json", "ab"),
        ["targets/catalogs/ab.x.json", "targets/ab.catalogs/x.json"]
    );
}

#[test]
fn a_root_is_what_the_specification_describes() {
    let root = signed(&sign_root(1, expires(), &roles(), &[&key(1)]).unwrap());
    assert_eq!(root["_type"], "root");
    assert_eq!(root["spec_version"], "1.0.31");
    assert_eq!(root["expires"], "2027-01-02T03:04:05Z");
    assert_eq!(root["consistent_snapshot"], true);
    assert_eq!(root["roles"]["root"]["threshold"], 2);
    assert_eq!(root["keys"].as_object().unwrap().len(), 6);
}

#[test]
fn a_root_that_would_lock_everybody_out_is_refused() {
    let refused = |roles: RootRoles| sign_root(1, expires(), &roles, &[&key(1)]).unwrap_err();
    let threshold = |n| RootRoles {
        targets: role(&[4, 7], n),
        ..roles()
    };
    assert!(matches!(refused(threshold(0)), SignError::Threshold { .. }));
    assert!(matches!(refused(threshold(3)), SignError::Threshold { .. }));
    // The same key twice is one key.
    let twice = RootRoles {
        targets: role(&[4, 4], 2),
        ..roles()
    };
    assert!(matches!(
        refused(twice),
        SignError::Threshold { keys: 1, .. }
    ));
    let error = sign_root(0, expires(), &roles(), &[&key(1)]);
    assert_eq!(error, Err(SignError::VersionZero));
}

#[test]
fn one_key_in_two_roles_is_refused() {
    let shared = RootRoles {
        timestamp: role(&[5], 1),
        ..roles()
    };
    assert_eq!(
        sign_root(1, expires(), &shared, &[&key(1)]),
        Err(SignError::SharedKey {
            key_id: key(5).key_id(),
            first: "snapshot",
            second: "timestamp"
        })
    );
    let error = sign_targets(1, expires(), &files(&[]), &role(&[4], 1), &[&key(4)]);
    assert!(matches!(error, Err(SignError::SharedKey { .. })));
}

#[test]
fn targets_delegate_catalogs_and_nothing_else() {
    let bytes = sign_targets(
        3,
        expires(),
        &files(&["limits.json"]),
        &role(&[8], 1),
        &[&key(4)],
    );
    let targets = signed(&bytes.unwrap());
    let delegated = &targets["delegations"]["roles"];
    assert_eq!(delegated.as_array().unwrap().len(), 1);
    assert_eq!(delegated[0]["name"], "catalogs");
    assert_eq!(delegated[0]["paths"], json!(["catalogs/*"]));
    assert_eq!(delegated[0]["terminating"], true);
    assert_eq!(targets["targets"]["limits.json"]["length"], 1);
}

#[test]
fn paths_that_are_not_plain_or_not_delegated_are_not_signed() {
    for path in [
        "../x", "/x", "a//b", "a b", ".hidden", "", "a/..", "a%2f", "ü",
    ] {
        let error = sign_targets(1, expires(), &files(&[path]), &role(&[8], 1), &[&key(4)]);
        assert!(matches!(error, Err(SignError::Path { .. })), "{path}");
    }
    for path in ["trust.json", "catalogs/a/b", "catalogsx", "catalogs/"] {
        let error = sign_catalogs(1, expires(), &files(&[path]), &[&key(8)]);
        assert!(matches!(error, Err(SignError::Path { .. })), "{path}");
    }
}

#[test]
fn what_is_signed_again_by_the_same_key_is_the_same_by_bytes_and_by_pins() {
    for key in [key(8), SigningKey::p256_from_bytes([7; 32]).unwrap()] {
        let files = files(&["catalogs/a.json", "catalogs/b.json"]);
        let first = sign_catalogs(5, expires(), &files, &[&key]).unwrap();

        let again = sign_catalogs_of(5, expires(), &pins(&files), &[&key]).unwrap();

        assert_eq!(first, again);
    }
}

#[test]
fn a_snapshot_and_a_timestamp_pin_version_length_and_hash() {
    let pin = Pin::of(4, b"abc");
    let snapshot = sign_snapshot(2, expires(), &pin, &Pin::of(9, b""), &[&key(5)]).unwrap();
    assert_eq!(
        signed(&snapshot)["meta"]["targets.json"],
        json!({"version": 4, "length": 3, "hashes": {"sha256":
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}})
    );
    let timestamp = sign_timestamp(2, expires(), &Pin::of(2, &snapshot), &[&key(6)]).unwrap();
    assert_eq!(signed(&timestamp)["meta"]["snapshot.json"]["version"], 2);
}
