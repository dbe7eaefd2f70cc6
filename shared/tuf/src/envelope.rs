//! The signed envelope: `{"signatures":[{"keyid":…,"sig":…}],"signed":{…}}`.
//!
//! It is TUF's (specification, section 4.2), for metadata and for gateway configs alike: signatures
//! cover the OLPC canonical JSON of `signed`, not the file's bytes. That canonical form does not
//! escape control characters and so is not always JSON; files are written as compact JSON.
//!
//! [`verify`] is for configs, which only our own code writes and reads. So it takes exactly what
//! [`sign`] writes: whitespace, a repeated field, an unneeded escape or a trailing byte is refused,
//! and no two files that differ can both be accepted for one signature over one payload.

use data_encoding::HEXLOWER;
use model::IdentityKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sigstore_tuf::canonical_json::to_canonical_bytes;

pub use crate::error::{SignError, VerifyError};
use crate::{PublicKey, SigningKey, crypto};

/// More signatures than a role ever has keys; each one costs a verification.
const MOST_SIGNATURES: usize = 16;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    signatures: Vec<Signature>,
    signed: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

/// Signs `payload` with every one of `signers`, in their order.
pub fn sign<T: Serialize>(payload: &T, signers: &[&SigningKey]) -> Result<Vec<u8>, SignError> {
    crypto::install();
    if signers.is_empty() {
        return Err(SignError::NoSigner);
    }
    let signed = serde_json::to_value(payload).map_err(not_canonical)?;
    let mut envelope = Envelope {
        signatures: Vec::new(),
        signed,
    };
    add_signatures(&mut envelope, signers)?;
    write(envelope)
}

/// Adds signatures to an envelope that others have signed, for a ceremony in which the holders of
/// a role's keys sign one after the other. What is signed does not change.
pub fn cosign(bytes: &[u8], signers: &[&SigningKey]) -> Result<Vec<u8>, SignError> {
    crypto::install();
    if signers.is_empty() {
        return Err(SignError::NoSigner);
    }
    let mut envelope: Envelope = serde_json::from_slice(bytes).map_err(not_canonical)?;
    add_signatures(&mut envelope, signers)?;
    write(envelope)
}

/// An envelope that nobody has signed yet.
pub fn unsigned<T: Serialize>(payload: &T) -> Result<Vec<u8>, SignError> {
    let signed = serde_json::to_value(payload).map_err(not_canonical)?;
    let signatures = Vec::new();
    write(Envelope { signatures, signed })
}

/// The bytes that signatures over an envelope cover.
pub fn signed_bytes(bytes: &[u8]) -> Result<Vec<u8>, SignError> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(not_canonical)?;
    to_canonical_bytes(&envelope.signed).map_err(not_canonical)
}

/// The signatures of an envelope by key id, as they stand there: not verified.
pub fn signatures(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, SignError> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(not_canonical)?;
    let raw = |signature: Signature| {
        let sig = HEXLOWER.decode(signature.sig.as_bytes());
        Ok((signature.keyid, sig.map_err(not_canonical)?))
    };
    envelope.signatures.into_iter().map(raw).collect()
}

/// Adds a signature that was made elsewhere, by a token or on another machine. One that is not the
/// key's over just these bytes is refused.
pub fn attach(bytes: &[u8], key: &PublicKey, signature: &[u8]) -> Result<Vec<u8>, SignError> {
    let mut envelope: Envelope = serde_json::from_slice(bytes).map_err(not_canonical)?;
    let keyid = key.key_id();
    if envelope.signatures.iter().any(|s| s.keyid == keyid) {
        return Err(SignError::SignsTwice(keyid));
    }
    let canonical = to_canonical_bytes(&envelope.signed).map_err(not_canonical)?;
    if !key.verifies(&canonical, signature) {
        return Err(SignError::NotItsSignature(keyid));
    }
    let sig = HEXLOWER.encode(signature);
    envelope.signatures.push(Signature { keyid, sig });
    write(envelope)
}

/// The payload of an envelope that at least one of `keys` has signed.
pub fn verify<T: DeserializeOwned>(bytes: &[u8], keys: &[IdentityKey]) -> Result<T, VerifyError> {
    let value: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    if serde_json::to_vec(&value).map_err(malformed)? != bytes {
        return Err(VerifyError::Malformed(
            "the envelope is not written as it is signed (spaces, a repeated field, an escape)"
                .to_owned(),
        ));
    }
    let envelope: Envelope = serde_json::from_value(value).map_err(malformed)?;
    let keys: Vec<PublicKey> = keys.iter().map(|key| (*key).into()).collect();
    signed_by(&keys, envelope)
}

/// The payload of metadata that at least one of `keys` has signed, however it is spelt: as clients take
/// it. A publisher knows by it what was signed with its own keys, by whomever.
pub fn verify_by<T: DeserializeOwned>(bytes: &[u8], keys: &[PublicKey]) -> Result<T, VerifyError> {
    /// What else an envelope has is of no matter to a client.
    #[derive(Deserialize)]
    struct Spelt {
        signatures: Vec<Value>,
        signed: Value,
    }
    let Spelt { signatures, signed } = serde_json::from_slice(bytes).map_err(malformed)?;
    let readable = signatures.into_iter().filter_map(|signature| {
        let text = |name: &str| signature.get(name)?.as_str().map(str::to_owned);
        Some(Signature {
            keyid: text("keyid")?,
            sig: text("sig")?,
        })
    });
    let signatures = readable.collect();
    signed_by(keys, Envelope { signatures, signed })
}

fn signed_by<T: DeserializeOwned>(
    keys: &[PublicKey],
    envelope: Envelope,
) -> Result<T, VerifyError> {
    crypto::install();
    if envelope.signatures.len() > MOST_SIGNATURES {
        return Err(VerifyError::Malformed(format!(
            "{} signatures, at most {MOST_SIGNATURES} are read",
            envelope.signatures.len()
        )));
    }
    let canonical = to_canonical_bytes(&envelope.signed)
        .map_err(|error| VerifyError::Malformed(error.to_string()))?;
    let signs = |key: &PublicKey| {
        let key_id = key.key_id();
        envelope
            .signatures
            .iter()
            .filter(|signature| signature.keyid == key_id)
            .any(|signature| is_valid(signature, key, &canonical))
    };
    if !keys.iter().any(signs) {
        return Err(VerifyError::Altered(
            "no valid signature of a trusted key".to_owned(),
        ));
    }
    serde_json::from_value(envelope.signed).map_err(malformed)
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` wants"
)]
fn malformed(error: serde_json::Error) -> VerifyError {
    VerifyError::Malformed(error.to_string())
}

fn is_valid(signature: &Signature, key: &PublicKey, canonical: &[u8]) -> bool {
    HEXLOWER
        .decode(signature.sig.as_bytes())
        .is_ok_and(|raw| key.verifies(canonical, &raw))
}

fn add_signatures(envelope: &mut Envelope, signers: &[&SigningKey]) -> Result<(), SignError> {
    let canonical = to_canonical_bytes(&envelope.signed).map_err(not_canonical)?;
    for signer in signers {
        let keyid = signer.key_id();
        if envelope.signatures.iter().any(|s| s.keyid == keyid) {
            return Err(SignError::SignsTwice(keyid));
        }
        let sig = HEXLOWER.encode(&signer.sign(&canonical));
        envelope.signatures.push(Signature { keyid, sig });
    }
    Ok(())
}

fn write(envelope: Envelope) -> Result<Vec<u8>, SignError> {
    // Through a `Value`, so that fields have the order that `verify` will write them in.
    let Envelope { signatures, signed } = envelope;
    serde_json::to_vec(&json!({"signatures": signatures, "signed": signed})).map_err(not_canonical)
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` wants"
)]
fn not_canonical(error: impl std::error::Error) -> SignError {
    SignError::NotCanonical(error.to_string())
}

#[cfg(test)]
mod tests;
