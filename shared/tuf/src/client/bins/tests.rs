use serde_json::{Value, json};

use super::*;

fn targets(delegations: &Value) -> Targets {
    serde_json::from_value(json!({
        "_type": "targets",
        "spec_version": "1.0.31",
        "version": 1,
        "expires": "2030-01-01T00:00:00Z",
        "targets": {},
        "delegations": delegations,
    }))
    .unwrap()
}

fn succinct(bits: u32) -> Value {
    json!({"keyids": [], "threshold": 1, "bit_length": bits, "name_prefix": "bin"})
}

fn bins(bits: u32) -> Result<Option<Bins>, VerifyError> {
    Bins::of(&targets(
        &json!({"keys": {}, "succinct_roles": succinct(bits)}),
    ))
}

#[test]
fn a_path_falls_into_the_bin_of_the_first_bits_of_its_hash() {
    // SHA-256 of "file" begins with 3b9c358f.
    for (bits, name) in [
        (1, "bin-0"),
        (3, "bin-1"),
        (4, "bin-3"),
        (5, "bin-07"),
        (8, "bin-3b"),
        (10, "bin-0ee"),
        (32, "bin-3b9c358f"),
    ] {
        assert_eq!(bins(bits).unwrap().unwrap().name("file"), name, "{bits}");
    }
}

#[test]
fn numbers_of_bits_that_no_hash_can_give_are_refused() {
    assert!(bins(0).is_err());
    assert!(bins(33).is_err());
}

#[test]
fn bins_beside_named_roles_are_refused() {
    let role = json!({"name": "a", "keyids": [], "threshold": 1, "paths": ["*"]});
    let both = json!({"keys": {}, "roles": [role], "succinct_roles": succinct(8)});
    assert!(Bins::of(&targets(&both)).is_err());
}

#[test]
fn without_succinct_roles_there_are_no_bins() {
    assert!(Bins::of(&targets(&json!({"keys": {}}))).unwrap().is_none());
}
