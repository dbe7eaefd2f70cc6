use super::*;

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Config {
    schema: String,
    note: String,
    peers: Vec<u64>,
}

fn config() -> Config {
    Config {
        schema: "test/1".to_owned(),
        note: "a \"line\"\nand ünother\u{7f}".to_owned(),
        peers: vec![1, u64::MAX],
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::ed25519_from_seed([seed; 32])
}

fn identity(key: &SigningKey) -> IdentityKey {
    match key.public() {
        PublicKey::Ed25519(bytes) => IdentityKey::from_bytes(bytes),
        PublicKey::EcdsaP256(_) => unreachable!(),
    }
}

#[test]
fn what_was_signed_is_read_with_any_of_the_trusted_keys() {
    let bytes = sign(&config(), &[&key(1)]).unwrap();
    let trusted = [identity(&key(9)), identity(&key(1))];
    assert_eq!(verify::<Config>(&bytes, &trusted), Ok(config()));
}

#[test]
fn an_envelope_without_a_trusted_signature_is_altered() {
    let bytes = sign(&config(), &[&key(2)]).unwrap();
    let error = verify::<Config>(&bytes, &[identity(&key(1))]).unwrap_err();
    assert_eq!(error.kind(), "altered");
    assert!(verify::<Config>(&bytes, &[]).is_err());
}

#[test]
fn a_signature_of_another_key_under_a_trusted_id_does_not_count() {
    let bytes = sign(&config(), &[&key(2)]).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let forged = text.replace(&key(2).key_id(), &key(1).key_id());
    let trusted = [identity(&key(1)), identity(&key(2))];
    let error = verify::<Config>(forged.as_bytes(), &trusted).unwrap_err();
    assert_eq!(error.kind(), "altered");
}

#[test]
fn every_altered_byte_is_refused() {
    let trusted = [identity(&key(1))];
    let bytes = sign(&config(), &[&key(1)]).unwrap();
    for position in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80] {
            let mut altered = bytes.clone();
            altered[position] ^= flip;
            assert!(
                verify::<Config>(&altered, &trusted).is_err(),
                "{position} ^ {flip}"
            );
        }
    }
}

#[test]
fn a_second_spelling_of_the_same_payload_is_refused() {
    let trusted = [identity(&key(1))];
    let text = String::from_utf8(sign(&config(), &[&key(1)]).unwrap()).unwrap();
    for other in [
        format!("{text}\n"),
        format!(" {text}"),
        format!("{text}{text}"),
        text.replacen('{', "{\"signed\":{},", 1),
        text.replace("test/1", "t\\u0065st/1"),
        text.replace("\"peers\"", "\"peers\":[],\"peers\""),
        text.replacen("{\"signatures\"", "{\"more\":1,\"signatures\"", 1),
    ] {
        assert_ne!(other, text);
        let error = verify::<Config>(other.as_bytes(), &trusted).unwrap_err();
        assert_eq!(error.kind(), "malformed", "{other}");
    }
}

#[test]
fn a_ceremony_adds_signatures_and_nobody_signs_twice() {
    let first = sign(&config(), &[&key(1)]).unwrap();
    let both = cosign(&first, &[&key(2)]).unwrap();
    assert_eq!(both, sign(&config(), &[&key(1), &key(2)]).unwrap());
    assert_eq!(
        cosign(&both, &[&key(1)]),
        Err(SignError::SignsTwice(key(1).key_id()))
    );
    assert_eq!(sign(&config(), &[]), Err(SignError::NoSigner));
}

#[test]
fn fractions_cannot_be_signed() {
    let error = sign(&json!({"half": 0.5}), &[&key(1)]).unwrap_err();
    assert!(matches!(error, SignError::NotCanonical(_)));
}

#[test]
fn an_envelope_with_very_many_signatures_costs_nothing() {
    let mut value: Value = serde_json::from_slice(&sign(&config(), &[&key(1)]).unwrap()).unwrap();
    let one = value["signatures"][0].clone();
    value["signatures"] = Value::Array(vec![one; 1000]);
    let bytes = serde_json::to_vec(&value).unwrap();
    let error = verify::<Config>(&bytes, &[identity(&key(1))]).unwrap_err();
    assert_eq!(error.kind(), "malformed");
}

#[test]
fn keys_of_both_schemes_verify_their_own_envelopes_and_no_other() {
    let p256 = |seed| SigningKey::p256_from_bytes([seed; 32]).unwrap();
    for (ours, other) in [(key(1), key(2)), (p256(1), p256(2))] {
        let bytes = sign(&config(), &[&ours]).unwrap();
        assert_eq!(verify_by(&bytes, &[ours.public()]), Ok(config()));
        let altered = verify_by::<Config>(&bytes, &[other.public()]).unwrap_err();
        assert_eq!(altered.kind(), "altered");
    }
}

#[test]
fn metadata_is_known_as_ours_however_it_is_spelt() {
    let (ours, other) = (key(1), key(2));
    let bytes = sign(&config(), &[&ours]).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    let spaced = serde_json::to_vec_pretty(&value).unwrap();
    let mut more = value;
    more["future"] = Value::from(1);
    let signatures = more["signatures"].as_array_mut().unwrap();
    signatures[0]["scheme"] = Value::from("of some kind");
    signatures.insert(0, Value::Null);
    for spelt in [spaced, serde_json::to_vec(&more).unwrap()] {
        assert_eq!(verify_by(&spelt, &[ours.public()]), Ok(config()));
        let altered = verify_by::<Config>(&spelt, &[other.public()]).unwrap_err();
        assert_eq!(altered.kind(), "altered");
        assert!(verify::<Config>(&spelt, &[identity(&ours)]).is_err());
    }
}
