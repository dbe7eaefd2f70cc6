//! What a client keeps between two syncs.
//!
//! The verified bytes themselves, not what was read from them: fed back to the
//! [`Workflow`](super::Workflow), they prove themselves again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use sigstore_tuf::{Metadata, TrustedMetadataSet};

use super::{Cache, VerifyError};
use crate::crypto;
use crate::repository::TIMESTAMP_PATH;

/// The longest life of a timestamp that "nothing changed" is believed by: twice what networks are
/// made with (`model::Timing`).
pub const LONGEST_LIFE: SignedDuration = SignedDuration::from_hours(48);

/// Verified metadata and files, to be kept (in the device file, in a gateway's state) and started
/// from. In JSON it is the texts of the files. It is only as trustworthy as the place where it is
/// kept: its root is believed.
///
/// Its texts, which are megabytes, are shared by its clones.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Stored")]
pub struct TrustedState {
    stored: Arc<Stored>,
    root_version: u64,
    timestamp_version: u64,
    timestamp_expires: Timestamp,
}

/// The stored form: what is not derived from the texts.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    root: String,
    timestamp: String,
    snapshot: String,
    /// Targets metadata by role: `targets`, and `catalogs` where it was wanted.
    roles: BTreeMap<String, String>,
    /// Target files by path.
    files: BTreeMap<String, String>,
    verified_at: Timestamp,
}

impl TrustedState {
    /// What a workflow has verified, which must be whole, and all of it text.
    pub(super) fn of(verified: Cache, verified_at: Timestamp) -> Result<Self, VerifyError> {
        let missing = || VerifyError::Missing(TIMESTAMP_PATH.to_owned());
        let texts = |files: BTreeMap<String, Vec<u8>>| {
            let texts = files.into_iter().map(|(name, bytes)| {
                let content = text(&name, bytes)?;
                Ok((name, content))
            });
            texts.collect::<Result<_, VerifyError>>()
        };
        Self::try_from(Stored {
            root: text("root", verified.root)?,
            timestamp: text(TIMESTAMP_PATH, verified.timestamp.ok_or_else(missing)?)?,
            snapshot: text("snapshot", verified.snapshot.ok_or_else(missing)?)?,
            roles: texts(verified.roles)?,
            files: texts(verified.files)?,
            verified_at,
        })
    }

    /// The version of the trusted root.
    pub fn root_version(&self) -> u64 {
        self.root_version
    }

    /// The version of the trusted timestamp: it rises with every change and every renewal.
    pub fn timestamp_version(&self) -> u64 {
        self.timestamp_version
    }

    /// Until when the trusted timestamp is valid.
    pub fn timestamp_expires(&self) -> Timestamp {
        self.timestamp_expires
    }

    /// When the trusted timestamp was first verified. Seeing it again does not change that.
    pub fn verified_at(&self) -> Timestamp {
        self.stored.verified_at
    }

    /// The end of the first half of the known timestamp's life as this client saw it:
    /// `verified_at + (expires - verified_at) / 2`. Until then "nothing changed" from a door is
    /// believed; a publisher renews at a quarter, so later it is news that nothing is renewed. Whatever a
    /// timestamp says of itself, no more than [`LONGEST_LIFE`] is believed: a thief of its key signs
    /// one for years, and his door would be believed for half of them.
    pub fn fresh_until(&self) -> Timestamp {
        let life = self.timestamp_expires.duration_since(self.verified_at());
        let life = life.min(LONGEST_LIFE);
        self.verified_at()
            .checked_add(life / 2)
            .unwrap_or(self.timestamp_expires)
    }

    /// SHA-256 of all that it holds: it is another as soon as a byte is.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        let Stored {
            root,
            timestamp,
            snapshot,
            roles,
            files,
            verified_at,
        } = &*self.stored;
        for text in [root, timestamp, snapshot] {
            part(text);
        }
        for named in [roles, files] {
            part(&named.len().to_string());
            for (name, text) in named {
                part(name);
                part(text);
            }
        }
        part(&verified_at.to_string());
        hash.finalize().into()
    }

    /// The verified target file `path`.
    pub fn file(&self, path: &str) -> Option<&str> {
        self.stored.files.get(path).map(String::as_str)
    }

    /// The paths of the verified target files, in alphabetical order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.stored.files.keys().map(String::as_str)
    }

    /// Whether its root can still be started from. If not, it was damaged where it was kept.
    pub fn has_sound_root(&self) -> bool {
        crypto::install();
        TrustedMetadataSet::from_root(self.root().as_bytes()).is_ok()
    }

    pub(super) fn root(&self) -> &str {
        &self.stored.root
    }

    pub(super) fn timestamp(&self) -> &str {
        &self.stored.timestamp
    }

    pub(super) fn snapshot(&self) -> &str {
        &self.stored.snapshot
    }

    pub(super) fn roles(&self) -> &BTreeMap<String, String> {
        &self.stored.roles
    }

    pub(super) fn files(&self) -> &BTreeMap<String, String> {
        &self.stored.files
    }
}

impl TryFrom<Stored> for TrustedState {
    type Error = VerifyError;

    fn try_from(stored: Stored) -> Result<Self, VerifyError> {
        let root = Metadata::<sigstore_tuf::Root>::from_slice(stored.root.as_bytes())?;
        let timestamp =
            Metadata::<sigstore_tuf::Timestamp>::from_slice(stored.timestamp.as_bytes())?;
        Ok(Self {
            root_version: root.signed().version,
            timestamp_version: timestamp.signed().version,
            timestamp_expires: timestamp.signed().expires,
            stored: Arc::new(stored),
        })
    }
}

impl Serialize for TrustedState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.stored.serialize(serializer)
    }
}

impl fmt::Debug for TrustedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedState")
            .field("root_version", &self.root_version)
            .field("timestamp_version", &self.timestamp_version)
            .field("timestamp_expires", &self.timestamp_expires)
            .field("verified_at", &self.verified_at())
            .field("files", &self.files().keys())
            .finish_non_exhaustive()
    }
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String, VerifyError> {
    String::from_utf8(bytes).map_err(|_| VerifyError::Malformed(format!("{name} is not UTF-8")))
}
