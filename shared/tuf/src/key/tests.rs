use super::*;

#[test]
fn an_ed25519_key_is_written_as_tuf_writes_it() {
    let key = SigningKey::ed25519_from_seed([42; 32]).public();
    assert_eq!(
        serde_json::to_value(&key).unwrap(),
        json!({
            "keytype": "ed25519",
            "scheme": "ed25519",
            "keyval": {"public": "197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d61"},
        })
    );
}

#[test]
fn a_key_id_is_the_one_that_sigstore_tuf_and_securesystemslib_compute() {
    crate::crypto::install();
    for secret in secrets() {
        let object = serde_json::to_value(secret.public()).unwrap();
        let theirs: sigstore_tuf::Key = serde_json::from_value(object).unwrap();
        assert_eq!(secret.key_id(), theirs.key_id().unwrap());
    }
}

#[test]
fn public_keys_survive_json_and_unknown_kinds_are_refused() {
    for secret in secrets() {
        let text = serde_json::to_string(&secret.public()).unwrap();
        let read: PublicKey = serde_json::from_str(&text).unwrap();
        assert_eq!(read, secret.public());
    }
    let rsa = json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": ""}});
    assert!(serde_json::from_value::<PublicKey>(rsa).is_err());
}

#[test]
fn key_files_survive_and_sign_the_same() {
    for secret in secrets() {
        let read = SigningKey::from_file_json(&secret.to_file_json()).unwrap();
        assert_eq!(read.public(), secret.public());
        assert_eq!(read.sign(b"message"), secret.sign(b"message"));
    }
}

#[test]
fn nothing_shows_a_secret() {
    for secret in secrets() {
        let file: serde_json::Value = serde_json::from_str(&secret.to_file_json()).unwrap();
        let text = file["secret"].as_str().unwrap().to_owned();
        assert_eq!(
            format!("{secret:?}"),
            format!("SigningKey({})", secret.key_id())
        );
        // A file with a slip in it is quoted back by many parsers.
        for broken in [
            secret.to_file_json().replace("postern", "pos"),
            secret
                .to_file_json()
                .replace("\"scheme\":\"e", "\"scheme\":\"f"),
            secret.to_file_json().replace(&text, &format!("{text}!")),
            secret.to_file_json().replace("\"secret\"", "\"Secret\""),
        ] {
            let error = SigningKey::from_file_json(&broken).unwrap_err();
            assert!(!error.to_string().contains(&text), "{error}");
        }
    }
}

#[test]
fn a_scalar_outside_the_group_is_no_p256_key() {
    assert!(SigningKey::p256_from_bytes([0; 32]).is_err());
    assert!(SigningKey::p256_from_bytes([255; 32]).is_err());
}

fn secrets() -> [SigningKey; 2] {
    [
        SigningKey::ed25519_from_seed([7; 32]),
        SigningKey::p256_from_bytes([7; 32]).unwrap(),
    ]
}
