use sha2::Sha512;

use super::*;
use crate::SigningKey;

fn verify(scheme: SigningScheme, key: &[u8], data: &[u8], signature: &[u8]) -> Result<()> {
    PROVIDER.verify_raw(scheme, key, data, signature)
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// Encodings of the points of small order (1, 2, 4 and 8), canonical and not.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
];

#[test]
fn an_ed25519_signature_of_rfc_8032_verifies_and_an_altered_one_does_not() {
    // RFC 8032, section 7.1, test 2.
    let key = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
    let mut signature = hex(concat!(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ));
    assert!(verify(SigningScheme::Ed25519, &key, &[0x72], &signature).is_ok());
    assert!(verify(SigningScheme::Ed25519, &key, &[0x73], &signature).is_err());
    signature[40] ^= 1;
    assert!(verify(SigningScheme::Ed25519, &key, &[0x72], &signature).is_err());
}

#[test]
fn ed25519_keys_of_small_order_are_refused() {
    // With the key and R the neutral element and S = 0, an unstrict verifier takes any message.
    for key in SMALL_ORDER {
        let mut signature = hex(SMALL_ORDER[0]);
        signature.extend([0; 32]);
        let result = verify(SigningScheme::Ed25519, &hex(key), b"anything", &signature);
        assert!(result.is_err(), "{key}");
    }
}

#[test]
fn an_ed25519_signature_with_r_of_small_order_is_refused() {
    // The holder of the key can make one: R is the neutral element and S = h·a, so that the
    // equation holds. It says nothing about who knows a nonce, and strict verifiers refuse it.
    let pair = ed25519_compact::KeyPair::from_seed([9; 32].into());
    for r in SMALL_ORDER {
        let mut signature = hex(r);
        signature.extend([1; 32]);
        signature[63] = 0;
        let error = verify_ed25519(&*pair.pk, b"m", &signature).unwrap_err();
        assert_eq!(error, ed25519_compact::Error::InvalidSignature, "{r}");
    }
}

#[test]
fn an_ed25519_scalar_that_is_not_reduced_is_refused() {
    // The group's order, little-endian: S + L verifies mathematically and is a second spelling.
    let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let key = SigningKey::ed25519_from_seed([1; 32]);
    let crate::PublicKey::Ed25519(public) = key.public() else {
        unreachable!()
    };
    let mut signature = key.sign(b"message");
    let mut carry = 0u16;
    for (byte, add) in signature[32..].iter_mut().zip(&order) {
        carry += u16::from(*byte) + u16::from(*add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    let error = verify_ed25519(&public, b"message", &signature).unwrap_err();
    assert_eq!(error, ed25519_compact::Error::NonCanonical);
}

#[test]
fn an_ed25519_point_that_is_not_canonical_is_refused() {
    // y = p + 3, which is y = 3 once reduced.
    let key = hex("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    let result = verify_ed25519(&key, b"m", &[0; 64]);
    assert_eq!(result, Err(ed25519_compact::Error::InvalidPublicKey));
}

#[test]
fn wrong_lengths_are_errors_and_no_panics() {
    for length in [0, 31, 33, 64] {
        assert!(verify(SigningScheme::Ed25519, &vec![1; length], b"", &[0; 64]).is_err());
        assert!(verify(SigningScheme::EcdsaP256Sha256, &vec![4; length], b"", &[]).is_err());
    }
    assert!(verify(SigningScheme::Ed25519, &[3; 32], b"", &[0; 63]).is_err());
}

#[test]
fn a_p256_signature_verifies_raw_and_prehashed_and_only_in_der() {
    let key = SigningKey::p256_from_bytes([3; 32]).unwrap();
    let SigningKey::EcdsaP256(secret) = &key else {
        unreachable!()
    };
    let public = secret.verifying_key().to_sec1_point(false);
    let public = public.as_bytes();
    let signature = key.sign(b"message");
    let scheme = SigningScheme::EcdsaP256Sha256;

    assert!(verify(scheme, public, b"message", &signature).is_ok());
    let digest = Sha256::digest(b"message");
    assert!(
        PROVIDER
            .verify_prehashed(scheme, public, &digest, &signature)
            .is_ok()
    );
    assert!(verify(scheme, public, b"another", &signature).is_err());
    let fixed = p256::ecdsa::Signature::from_der(&signature).unwrap();
    assert!(verify(scheme, public, b"message", &fixed.to_bytes()).is_err());
    let mut trailing = signature.clone();
    trailing.push(0);
    assert!(verify(scheme, public, b"message", &trailing).is_err());
}

#[cfg(feature = "p384")]
#[test]
fn a_p384_signature_verifies_raw_and_prehashed_and_only_in_der() {
    use p384::ecdsa::signature::Signer as _;

    let secret = p384::ecdsa::SigningKey::from_slice(&[3; 48]).unwrap();
    let public = secret.verifying_key().to_sec1_point(false);
    let public = public.as_bytes();
    let fixed: p384::ecdsa::Signature = secret.sign(b"message");
    let signature = fixed.to_der().as_bytes().to_vec();
    let scheme = SigningScheme::EcdsaP384Sha384;

    assert!(verify(scheme, public, b"message", &signature).is_ok());
    let digest = Sha384::digest(b"message");
    assert!(
        PROVIDER
            .verify_prehashed(scheme, public, &digest, &signature)
            .is_ok()
    );
    assert!(verify(scheme, public, b"another", &signature).is_err());
    assert!(verify(scheme, public, b"message", &fixed.to_bytes()).is_err());
    assert!(verify(scheme, &public[..49], b"message", &signature).is_err());
    let short = SigningScheme::EcdsaP256Sha256;
    assert!(verify(short, public, b"message", &signature).is_err());
}

#[test]
fn all_other_algorithms_are_refused_as_unsupported() {
    for scheme in [
        SigningScheme::RsaPssSha256,
        SigningScheme::RsaPkcs1Sha256,
        #[cfg(not(feature = "p384"))]
        SigningScheme::EcdsaP384Sha384,
        SigningScheme::EcdsaP384Sha256,
        SigningScheme::EcdsaP256Sha384,
        SigningScheme::MlDsa65,
    ] {
        let error = verify(scheme, &[], b"", &[]).unwrap_err();
        assert!(
            matches!(error, Error::UnsupportedAlgorithm(_)),
            "{scheme:?}"
        );
    }
    let error = PROVIDER
        .verify_prehashed(SigningScheme::Ed25519, &[], &[], &[])
        .unwrap_err();
    assert!(matches!(error, Error::UnsupportedAlgorithm(_)));
}

#[test]
fn streamed_and_one_shot_hashes_agree() {
    for (algorithm, expected) in [
        (HashAlgorithm::Sha2256, Sha256::digest(b"ab").to_vec()),
        (HashAlgorithm::Sha2384, Sha384::digest(b"ab").to_vec()),
        (HashAlgorithm::Sha2512, Sha512::digest(b"ab").to_vec()),
    ] {
        let mut context = PROVIDER.hash(algorithm).unwrap();
        context.update(b"a");
        context.update(b"b");
        assert_eq!(context.finalize(), expected);
    }
    assert_eq!(PROVIDER.sha512(b"ab")[..], Sha512::digest(b"ab")[..]);
}

#[test]
fn installing_twice_is_harmless() {
    install();
    install();
    assert_eq!(
        format!("{:?}", sigstore_crypto::default_provider()),
        "Provider"
    );
}
