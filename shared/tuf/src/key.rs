//! Keys: those that sign, and how TUF writes those that verify.
//!
//! Secrets are made from bytes that are passed in: who has a source of randomness draws them. A
//! key's id is the SHA-256 of its canonical JSON. The TUF specification does not ask for that, but
//! `tough` refuses all other ids, and `securesystemslib` makes no others.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{DecodePublicKey, EncodePublicKey, LineEnding};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sigstore_tuf::canonical_json::to_canonical_bytes;

use crate::SignError;
use crate::crypto::{sha256_hex, verify_ed25519};

/// The schema of a signing key's file.
const FILE_SCHEMA: &str = "postern-signing-key/1";
/// TUF's names of the two schemes (specification, section 4.2).
const ED25519: &str = "ed25519";
const ECDSA_P256: &str = "ecdsa-sha2-nistp256";

/// A secret key that signs metadata or gateway configs. Signatures are deterministic, so that the
/// same request signs the same bytes. `Debug` shows the key's id only.
#[derive(Clone)]
pub enum SigningKey {
    /// Ed25519 (RFC 8032).
    Ed25519(ed25519_compact::KeyPair),
    /// ECDSA on P-256 with SHA-256, nonces by RFC 6979.
    EcdsaP256(p256::ecdsa::SigningKey),
}

impl SigningKey {
    /// The Ed25519 key of this seed: 32 random bytes.
    pub fn ed25519_from_seed(seed: [u8; 32]) -> Self {
        Self::Ed25519(ed25519_compact::KeyPair::from_seed(seed.into()))
    }

    /// The P-256 key of this scalar: 32 random bytes. One value in 2³² is not a valid scalar and
    /// is an error: draw again.
    pub fn p256_from_bytes(bytes: [u8; 32]) -> Result<Self, SignError> {
        let key = p256::ecdsa::SigningKey::from_slice(&bytes)
            .map_err(|_| SignError::Key("not a scalar of P-256".to_owned()))?;
        Ok(Self::EcdsaP256(key))
    }

    /// The key that verifies its signatures.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Ed25519(pair) => PublicKey::Ed25519(*pair.pk),
            Self::EcdsaP256(key) => PublicKey::EcdsaP256(*key.verifying_key()),
        }
    }

    /// The id of [`SigningKey::public`].
    pub fn key_id(&self) -> String {
        self.public().key_id()
    }

    /// The signature over `message`: 64 bytes for Ed25519, DER for ECDSA.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(pair) => pair.sk.sign(message, None).to_vec(),
            Self::EcdsaP256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
        }
    }

    /// The key's file, **with its secret**: JSON of the schema `postern-signing-key/1`.
    pub fn to_file_json(&self) -> String {
        let (scheme, secret) = match self {
            Self::Ed25519(pair) => (ED25519, BASE64.encode(&*pair.sk.seed())),
            Self::EcdsaP256(key) => (ECDSA_P256, BASE64.encode(&key.to_bytes())),
        };
        json!({"schema": FILE_SCHEMA, "scheme": scheme, "secret": secret}).to_string()
    }

    /// Reads what [`SigningKey::to_file_json`] wrote. Errors never quote the secret.
    pub fn from_file_json(text: &str) -> Result<Self, SignError> {
        #[derive(Deserialize)]
        struct File {
            schema: String,
            scheme: String,
            secret: String,
        }
        let refuse = |why: &str| SignError::Key(why.to_owned());

        let file: File = serde_json::from_str(text)
            .map_err(|_| refuse("not JSON with schema, scheme and secret"))?;
        if file.schema != FILE_SCHEMA {
            return Err(SignError::Key(format!(
                "its schema is '{}', this program reads '{FILE_SCHEMA}'",
                file.schema
            )));
        }
        let secret: [u8; 32] = BASE64
            .decode(file.secret.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| refuse("its secret is not 32 bytes in base64"))?;
        match file.scheme.as_str() {
            ED25519 => Ok(Self::ed25519_from_seed(secret)),
            ECDSA_P256 => Self::p256_from_bytes(secret),
            other => Err(SignError::Key(format!("unknown scheme '{other}'"))),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.key_id())
    }
}

/// A key that verifies. In JSON it is TUF's key object (specification, section 4.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "KeyObject", into = "KeyObject")]
pub enum PublicKey {
    /// Ed25519: 32 bytes, written in hexadecimal.
    Ed25519([u8; 32]),
    /// ECDSA on P-256: written as a PEM `SubjectPublicKeyInfo`.
    EcdsaP256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// SHA-256 of the key object's canonical JSON, lowercase hexadecimal.
    ///
    /// # Panics
    ///
    /// Never: a key object is made of strings, which are always canonical.
    pub fn key_id(&self) -> String {
        let object = json!(KeyObject::from(self.clone()));
        let canonical = to_canonical_bytes(&object).expect("strings alone are always canonical");
        sha256_hex(&canonical)
    }

    /// Whether `signature` is this key's over `message`, in the form that [`SigningKey::sign`]
    /// gives it.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => verify_ed25519(key, message, signature).is_ok(),
            Self::EcdsaP256(key) => p256::ecdsa::DerSignature::try_from(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl From<model::IdentityKey> for PublicKey {
    fn from(key: model::IdentityKey) -> Self {
        Self::Ed25519(*key.as_bytes())
    }
}

#[derive(Serialize, Deserialize)]
struct KeyObject {
    keytype: String,
    scheme: String,
    keyval: KeyValue,
}

#[derive(Serialize, Deserialize)]
struct KeyValue {
    public: String,
}

impl From<PublicKey> for KeyObject {
    fn from(key: PublicKey) -> Self {
        let (keytype, scheme, public) = match key {
            PublicKey::Ed25519(bytes) => (ED25519, ED25519, HEXLOWER.encode(&bytes)),
            PublicKey::EcdsaP256(key) => {
                let pem = key
                    .to_public_key_pem(LineEnding::LF)
                    .expect("a point of a named curve always has an SPKI");
                ("ecdsa", ECDSA_P256, pem)
            }
        };
        Self {
            keytype: keytype.to_owned(),
            scheme: scheme.to_owned(),
            keyval: KeyValue { public },
        }
    }
}

impl TryFrom<KeyObject> for PublicKey {
    type Error = SignError;

    fn try_from(object: KeyObject) -> Result<Self, SignError> {
        let public = &object.keyval.public;
        match (object.keytype.as_str(), object.scheme.as_str()) {
            (ED25519, ED25519) => HEXLOWER
                .decode(public.as_bytes())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .map(Self::Ed25519)
                .ok_or_else(|| SignError::Key("not 32 bytes in lowercase hexadecimal".to_owned())),
            ("ecdsa", ECDSA_P256) => p256::ecdsa::VerifyingKey::from_public_key_pem(public)
                .map(Self::EcdsaP256)
                .map_err(|error| SignError::Key(format!("not a P-256 key in PEM: {error}"))),
            (keytype, scheme) => Err(SignError::Key(format!(
                "unsupported key: keytype '{keytype}', scheme '{scheme}'"
            ))),
        }
    }
}

#[cfg(test)]
mod tests;
