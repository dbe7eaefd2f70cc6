use super::*;

fn key() -> SigningKey {
    SigningKey::ed25519_from_seed([7; 32])
}

fn fresh() -> Fresh {
    Fresh {
        salt: [1; 16],
        iv: [2; 16],
    }
}

#[test]
fn an_encrypted_file_opens_with_its_passphrase_and_no_other() {
    let file = write(&key(), Some(("correct horse", fresh()))).unwrap();

    assert_eq!(kind(&file).unwrap(), Kind::Encrypted);
    let opened = read(&file, Some("correct horse")).unwrap();
    assert_eq!(opened.key_id(), key().key_id());
    for wrong in [Some("correct hors"), Some(""), None] {
        let error = read(&file, wrong).unwrap_err().to_string();
        assert!(error.contains("passphrase"), "{error}");
    }
}

#[test]
fn a_plain_file_is_said_to_be_one_and_opens() {
    let file = write(&key(), None).unwrap();

    assert_eq!(kind(&file).unwrap(), Kind::Plain);
    assert_eq!(read(&file, None).unwrap().key_id(), key().key_id());
    let before = key().to_file_json();
    assert_eq!(kind(&before).unwrap(), Kind::Plain);
    assert_eq!(read(&before, None).unwrap().key_id(), key().key_id());
}

#[test]
fn the_example_of_rfc_8410_comes_back_to_the_byte() {
    // Section 10.
    let public = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    let private = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    let key = read(private, None).unwrap();

    assert_eq!(key.public(), read_public(public).unwrap());
    assert_eq!(write(&key, None).unwrap(), private);
    assert_eq!(write_public(&key.public()).unwrap(), public);
}

#[test]
fn public_keys_of_both_schemes_come_back() {
    let p256 = SigningKey::p256_from_bytes([3; 32]).unwrap();
    for public in [key().public(), p256.public()] {
        let pem = write_public(&public).unwrap();
        assert_eq!(read_public(&pem).unwrap(), public);
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let p256 = SigningKey::p256_from_bytes([3; 32]).unwrap();
    assert!(write(&p256, None).is_err());
    assert!(kind("hello").is_err());
    assert!(
        read(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            None
        )
        .is_err()
    );
    assert!(read_public("hello").is_err());
    let private = write(&key(), None).unwrap();
    assert!(read_public(&private).is_err());
}
