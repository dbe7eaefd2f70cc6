//! The bundle: a cohort's signed files in one, so that a sync is one GET.
//!
//! ```text
//! postern-bundle/1 {"parts":[{"name":"metadata/1.root.json","length":1234},…]}\n
//! <1234 bytes><the next part's bytes>…
//! ```
//!
//! It is packaging and nothing else: the header is not signed and nothing in it is believed. Each
//! part is verified as if it had been fetched alone. What this module promises is only that reading
//! one never takes more memory than its bytes: parts are borrowed, lengths must add up exactly.
//!
//! A bundle holds the whole root chain from version 1, `metadata/timestamp.json`, then the
//! versioned snapshot, targets and catalogs, then target files under the first name of
//! [`target_paths`](crate::repository::target_paths).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::error::VerifyError;

/// The most bytes of a bundle: 64 MiB, twenty catalogs of 10,000 gateways (3.1 MB measured).
pub const MOST_BUNDLE_BYTES: u64 = 64 * 1024 * 1024;

/// The most parts: 1,000 roots (what the client follows), 4 other roles, and room for targets.
const MOST_PARTS: usize = 1_200;
/// The most bytes of the header line: each part takes some 60 bytes, a hashed name some 150.
const MOST_HEADER_BYTES: usize = 256 * 1024;
const MAGIC: &[u8] = b"postern-bundle/1 ";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    #[serde(borrow)]
    parts: Vec<Part<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part<'a> {
    // Names need no escapes, so a name that cannot be borrowed is not one of ours.
    name: &'a str,
    length: u64,
}

/// The parts of a bundle, borrowed from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle<'a> {
    parts: BTreeMap<&'a str, &'a [u8]>,
}

impl<'a> Bundle<'a> {
    /// The bytes of a bundle of these parts (name, content), in this order.
    ///
    /// # Panics
    ///
    /// Never: names and lengths are always JSON.
    pub fn write(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let header = Header {
            parts: parts
                .iter()
                .map(|(name, content)| Part {
                    name,
                    length: content.len() as u64,
                })
                .collect(),
        };
        let mut bytes = MAGIC.to_vec();
        serde_json::to_writer(&mut bytes, &header).expect("strings and numbers are JSON");
        bytes.push(b'\n');
        for (_, content) in parts {
            bytes.extend_from_slice(content);
        }
        bytes
    }

    /// Splits a bundle into its parts. Nothing is verified yet.
    pub fn read(bytes: &'a [u8]) -> Result<Self, VerifyError> {
        let refuse = |why: &str| VerifyError::Malformed(format!("bundle: {why}"));
        if bytes.len() as u64 > MOST_BUNDLE_BYTES {
            return Err(VerifyError::TooLarge {
                name: "bundle".to_owned(),
                most: MOST_BUNDLE_BYTES,
            });
        }
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(refuse("it does not start with 'postern-bundle/1 '"));
        };
        let line = &rest[..rest.len().min(MOST_HEADER_BYTES)];
        let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
            return Err(refuse("its first line does not end"));
        };
        let header: Header<'a> = serde_json::from_slice(&rest[..end])
            .map_err(|error| VerifyError::Malformed(format!("bundle: {error}")))?;
        if header.parts.len() > MOST_PARTS {
            return Err(refuse("more than 1,200 parts"));
        }

        let mut content = &rest[end + 1..];
        let mut parts = BTreeMap::new();
        for part in header.parts {
            let split = usize::try_from(part.length)
                .ok()
                .and_then(|length| content.split_at_checked(length));
            let Some((this, after)) = split else {
                return Err(refuse("it is cut short"));
            };
            if parts.insert(part.name, this).is_some() {
                return Err(refuse("two parts have one name"));
            }
            content = after;
        }
        if !content.is_empty() {
            return Err(refuse("bytes follow its last part"));
        }
        Ok(Self { parts })
    }

    /// The content of the part `name`.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.parts.get(name).copied()
    }

    /// The names of its parts, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.parts.keys().copied()
    }
}

#[cfg(test)]
mod tests;
