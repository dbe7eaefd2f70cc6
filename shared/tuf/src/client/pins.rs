//! Whether bytes are those that signed metadata names, and under which name they lie.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::HEXLOWER_PERMISSIVE;
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

pub(super) fn fits_pin(known: &str, pin: &MetaFile) -> bool {
    // Without a pinned hash the version alone would have to do: then it is fetched.
    pin.hashes.as_ref().is_some_and(|hashes| {
        pin.length.is_none_or(|length| length == known.len() as u64)
            && fits_hashes(known.as_bytes(), hashes)
    })
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

/// A role's name in a URL, as python-tuf's `quote(role, "")` writes it.
pub(super) fn encode(role: &str) -> String {
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
