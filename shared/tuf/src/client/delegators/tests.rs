use serde_json::json;

use super::*;
use crate::{PublicKey, SigningKey};

fn check(keys: &[(&str, PublicKey)]) -> Result<(), VerifyError> {
    crate::crypto::install();
    let listed = keys
        .iter()
        .map(|(id, key)| (*id, json!(key)))
        .collect::<BTreeMap<_, _>>();
    let listed: BTreeMap<String, Key> = serde_json::from_value(json!(listed)).unwrap();
    let ids: Vec<String> = keys.iter().map(|(id, _)| (*id).to_owned()).collect();
    check_keys(&listed, &ids, "snapshot")
}

fn ed25519(seed: u8) -> PublicKey {
    SigningKey::ed25519_from_seed([seed; 32]).public()
}

#[test]
fn a_key_under_two_ids_is_refused_and_another_key_is_not() {
    assert!(check(&[("a", ed25519(1)), ("b", ed25519(2))]).is_ok());
    let error = check(&[("a", ed25519(1)), ("b", ed25519(2)), ("c", ed25519(1))]).unwrap_err();
    assert!(error.to_string().contains("a and c"), "{error}");
}

#[test]
fn an_id_that_is_listed_twice_is_one_id() {
    assert!(check(&[("a", ed25519(1)), ("a", ed25519(1))]).is_ok());
}

#[test]
fn a_key_that_cannot_be_read_is_no_key() {
    let future = json!({"keytype": "future", "scheme": "future", "keyval": {"public": "?"}});
    let keys = json!({"a": future, "b": future});
    let keys: BTreeMap<String, Key> = serde_json::from_value(keys).unwrap();
    let ids = ["a".to_owned(), "b".to_owned(), "unlisted".to_owned()];
    assert!(check_keys(&keys, &ids, "snapshot").is_ok());
}

#[test]
fn a_point_is_the_same_compressed_and_not() {
    let SigningKey::EcdsaP256(secret) = SigningKey::p256_from_bytes([3; 32]).unwrap() else {
        unreachable!()
    };
    let spelled = |compressed| {
        let point = secret.verifying_key().to_sec1_point(compressed);
        same_for_all_spellings(point.as_bytes())
    };
    assert_eq!(spelled(true), spelled(false));
    assert_eq!(spelled(true).len(), 32);
}
