//! Whether bytes are those that signed metadata names, and under which name they lie.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;
use sha2::{Digest, Sha256, Sha512};
use sigstore_tuf::{MetaFile, TargetFile};

use super::VerifyError;

/// A file to fetch, with its pinned length as the most bytes, if that is allowed at all.
pub(super) fn within(
    name: String,
    length: Option<u64>,
    most: u64,
) -> Result<(String, u64), VerifyError> {
    let length = length.unwrap_or(most);
    if length > most {
        return Err(VerifyError::TooLarge { name, most });
    }
    Ok((name, length))
}

/// Whether `known` is what a snapshot or a timestamp pins. Where it pins no hash, the version is
/// all there is to go by, and the signatures, which are checked afterwards.
pub(super) fn fits_pin(known: &[u8], pin: &MetaFile) -> bool {
    if pin
        .length
        .is_some_and(|length| length != known.len() as u64)
    {
        return false;
    }
    match &pin.hashes {
        Some(hashes) => fits_hashes(known, hashes),
        None => version_of(known) == Some(pin.version),
    }
}

fn version_of(metadata: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Envelope {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        version: u64,
    }

    let envelope: Envelope = serde_json::from_slice(metadata).ok()?;
    Some(envelope.signed.version)
}

pub(super) fn fits_target(bytes: &[u8], file: &TargetFile) -> bool {
    bytes.len() as u64 == file.length && fits_hashes(bytes, &file.hashes)
}

/// Every hash of a known kind must match, and there must be one.
fn fits_hashes(bytes: &[u8], hashes: &BTreeMap<String, String>) -> bool {
    let mut any = false;
    for (algorithm, expected) in hashes {
        let found = match algorithm.as_str() {
            "sha256" => Sha256::digest(bytes).to_vec(),
            "sha512" => Sha512::digest(bytes).to_vec(),
            _ => continue,
        };
        if HEXLOWER_PERMISSIVE.decode(expected.as_bytes()) != Ok(found) {
            return false;
        }
        any = true;
    }
    any
}

/// A role's name in a URL or a file's name, as python-tuf's `quote(role, "")` writes it: whatever it
/// is, it is one segment of a path.
pub fn encode(role: &str) -> String {
    let mut out = String::with_capacity(role.len());
    for byte in role.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
