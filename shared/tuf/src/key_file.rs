//! Key files of people: PKCS#8 in PEM (RFC 5958, RFC 7468), encrypted with a passphrase by PBES2
//! (RFC 8018) with scrypt and AES-256-CBC, so that `openssl pkcs8` reads and writes them, too.
//!
//! Offline keys lie on media that can be stolen; a passphrase makes the theft of one worth less. Online
//! keys are read by functions without anybody at hand and stay in the form of
//! [`SigningKey::to_file_json`].

use pkcs8::der::asn1::{BitStringRef, OctetStringRef};
use pkcs8::der::pem::PemLabel as _;
use pkcs8::der::{Decode as _, Encode as _, EncodePem as _, SecretDocument};
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, LineEnding, ObjectIdentifier,
    PrivateKeyInfoRef, SubjectPublicKeyInfoRef,
};

use crate::{PublicKey, SignError, SigningKey};

/// id-Ed25519 (RFC 8410, section 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// scrypt's cost: 2¹⁴ and r = 8 are 16 MiB, the most that OpenSSL reads; p = 5 makes a guess as dear
/// as OWASP's password cheat sheet wants it for that memory.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);

/// What an encryption must draw freshly: scrypt's salt and the cipher's first block.
#[derive(Clone, Copy)]
pub struct Fresh {
    /// The salt.
    pub salt: [u8; 16],
    /// The initialization vector.
    pub iv: [u8; 16],
}

/// What a key file is, before its secret is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Encrypted: a passphrase opens it.
    Encrypted,
    /// Not encrypted.
    Plain,
}

/// Whether the key file `text` is encrypted; an error if it is no key file that can be read here.
pub fn kind(text: &str) -> Result<Kind, SignError> {
    let begins = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    if begins(EncryptedPrivateKeyInfoRef::PEM_LABEL) {
        return Ok(Kind::Encrypted);
    }
    if begins(PrivateKeyInfoRef::PEM_LABEL) || text.trim_start().starts_with('{') {
        return Ok(Kind::Plain);
    }
    Err(SignError::Key(
        "not a private key in PEM (PKCS#8)".to_owned(),
    ))
}

/// The key's file, **with its secret**: encrypted if there is a passphrase. Only Ed25519 keys are kept
/// in files by this program; P-256 keys are in tokens.
pub fn write(key: &SigningKey, passphrase: Option<(&str, Fresh)>) -> Result<String, SignError> {
    let SigningKey::Ed25519(pair) = key else {
        return Err(SignError::Key("only Ed25519 keys are kept so".to_owned()));
    };
    let seed = pair.sk.seed();
    let inner = OctetStringRef::new(&*seed).and_then(|octets| octets.to_der());
    let inner = zeroizing(inner.map_err(refuse)?);
    let octets = OctetStringRef::new(&inner).map_err(refuse)?;
    let info = PrivateKeyInfoRef::new(algorithm(), octets);
    let (document, label) = match passphrase {
        None => (
            SecretDocument::encode_msg(&info).map_err(refuse)?,
            PrivateKeyInfoRef::PEM_LABEL,
        ),
        Some((passphrase, fresh)) => {
            let (log_n, r, p) = SCRYPT;
            let cost = scrypt::Params::new(log_n, r, p).map_err(refuse)?;
            let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &fresh.salt, fresh.iv);
            let document = info.encrypt_with_params(scheme.map_err(refuse)?, passphrase);
            (
                document.map_err(refuse)?,
                EncryptedPrivateKeyInfoRef::PEM_LABEL,
            )
        }
    };
    let pem = document.to_pem(label, LineEnding::LF).map_err(refuse)?;
    Ok(pem.to_string())
}

/// Reads a key file: this program's own, one of OpenSSL's (Ed25519), or the JSON of before. Errors
/// never quote the secret.
pub fn read(text: &str, passphrase: Option<&str>) -> Result<SigningKey, SignError> {
    if text.trim_start().starts_with('{') {
        return SigningKey::from_file_json(text);
    }
    match kind(text)? {
        Kind::Plain => {
            let (_, document) = SecretDocument::from_pem(text).map_err(refuse)?;
            of_document(&document)
        }
        Kind::Encrypted => {
            let passphrase =
                passphrase.ok_or_else(|| SignError::Key("it wants a passphrase".to_owned()))?;
            let (_, document) = SecretDocument::from_pem(text).map_err(refuse)?;
            let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(refuse)?;
            let wrong =
                |_| SignError::Key("the passphrase is another, or the file is damaged".to_owned());
            of_document(&info.decrypt(passphrase).map_err(wrong)?)
        }
    }
}

/// The public half as a file that `openssl pkey -pubin` reads.
pub fn write_public(key: &PublicKey) -> Result<String, SignError> {
    match key {
        PublicKey::Ed25519(bytes) => {
            let info = SubjectPublicKeyInfoRef {
                algorithm: algorithm(),
                subject_public_key: BitStringRef::from_bytes(bytes).map_err(refuse)?,
            };
            info.to_pem(LineEnding::LF).map_err(refuse)
        }
        PublicKey::EcdsaP256(key) => {
            use p256::pkcs8::EncodePublicKey as _;
            key.to_public_key_pem(LineEnding::LF).map_err(refuse)
        }
    }
}

/// Reads a public key in PEM: Ed25519 or P-256, from whatever program.
pub fn read_public(text: &str) -> Result<PublicKey, SignError> {
    use p256::pkcs8::DecodePublicKey as _;
    let (_, document) = pkcs8::Document::from_pem(text.trim()).map_err(|error| {
        SignError::Key(format!(
            "not a public key in PEM (SubjectPublicKeyInfo): {error}"
        ))
    })?;
    let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(refuse)?;
    if info.algorithm.oid == ED25519 {
        let bytes = info.subject_public_key.as_bytes();
        return bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(PublicKey::Ed25519)
            .ok_or_else(|| SignError::Key("not 32 bytes of Ed25519".to_owned()));
    }
    p256::ecdsa::VerifyingKey::from_public_key_pem(text.trim())
        .map(PublicKey::EcdsaP256)
        .map_err(|_| SignError::Key("neither an Ed25519 nor a P-256 key".to_owned()))
}

fn of_document(document: &SecretDocument) -> Result<SigningKey, SignError> {
    let info = PrivateKeyInfoRef::try_from(document.as_bytes()).map_err(refuse)?;
    if info.algorithm.oid != ED25519 {
        return Err(SignError::Key(format!(
            "its algorithm is {}, only Ed25519 keys (1.3.101.112) are read from files: keep others where \
             a command signs with them",
            info.algorithm.oid
        )));
    }
    let seed = <&OctetStringRef>::from_der(info.private_key.as_bytes()).map_err(refuse)?;
    let seed: [u8; 32] = seed
        .as_bytes()
        .try_into()
        .map_err(|_| SignError::Key("its secret is not 32 bytes".to_owned()))?;
    Ok(SigningKey::ed25519_from_seed(seed))
}

fn algorithm() -> AlgorithmIdentifierRef<'static> {
    AlgorithmIdentifierRef {
        oid: ED25519,
        parameters: None,
    }
}

fn zeroizing(bytes: Vec<u8>) -> pkcs8::der::zeroize::Zeroizing<Vec<u8>> {
    bytes.into()
}

fn refuse(error: impl std::fmt::Display) -> SignError {
    SignError::Key(error.to_string())
}

#[cfg(test)]
mod tests;
