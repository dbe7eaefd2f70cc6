//! What was verified, as much as there is of it.
//!
//! A [`TrustedState`] is whole or not there. A client that keeps each file as it is verified has
//! less than that between two steps: a new timestamp, say, and the snapshot from before it. Both
//! are a [`Cache`] to the [`Workflow`](super::Workflow), which is also what it fills.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sigstore_tuf::metadata::Role;
use sigstore_tuf::{Metadata, Root, TrustedMetadataSet};

use super::{TrustedState, VerifyError};

/// Verified bytes. Of one that is started from ([`Start::Cache`](super::Start::Cache)) the root is
/// believed; everything else proves itself again, and what does not is fetched.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Cache {
    /// The trusted root.
    pub root: Vec<u8>,
    /// The timestamp, if one was verified.
    pub timestamp: Option<Vec<u8>>,
    /// The snapshot, if one was verified.
    pub snapshot: Option<Vec<u8>>,
    /// Targets metadata by role.
    pub roles: BTreeMap<String, Vec<u8>>,
    /// Target files by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What older metadata forbids.
#[derive(Clone, Default, Debug)]
pub(super) struct Floor {
    /// The roles whose known metadata forbids nothing any more, in the order in which their files go.
    pub(super) fallen: &'static [&'static str],
    /// The lowest version of each targets metadata file, where the set itself could not be told.
    targets: BTreeMap<String, u64>,
}

impl Cache {
    pub(super) fn of(state: &TrustedState) -> Self {
        let bytes = |texts: &BTreeMap<String, String>| {
            texts
                .iter()
                .map(|(name, text)| (name.clone(), text.as_bytes().to_vec()))
                .collect()
        };
        Self {
            root: state.root().as_bytes().to_vec(),
            timestamp: Some(state.timestamp().as_bytes().to_vec()),
            snapshot: Some(state.snapshot().as_bytes().to_vec()),
            roles: bytes(state.roles()),
            files: bytes(state.files()),
        }
    }

    /// Makes the timestamp and the snapshot the floor of `set`: each for itself, because a client
    /// that was stopped between the two has a snapshot that its timestamp does not pin. If a newer
    /// root has rotated the keys of one, both fall (specification, section 5.3.11). `by_files`: what
    /// is known was kept file by file, and the root with it may be that newer root: whoever kept it
    /// was stopped before the two were removed.
    pub(super) fn floor(&self, set: &mut TrustedMetadataSet, by_files: bool) -> Floor {
        let timestamp = self.timestamp.as_deref().and_then(parse);
        let snapshot = self.snapshot.as_deref().and_then(parse);
        let root = set.root();
        let signed = (
            signs(root, "timestamp", timestamp.as_ref()),
            signs(root, "snapshot", snapshot.as_ref()),
        );
        if (by_files || set.root_bytes() != self.root) && signed != (true, true) {
            return Floor {
                // What the root would still believe goes first: as long as the other is there, a
                // client that is stopped in between knows that both have fallen.
                fallen: match signed {
                    (true, _) => &["timestamp", "snapshot"],
                    _ => &["snapshot", "timestamp"],
                },
                ..Floor::default()
            };
        }
        let snapshot = snapshot.filter(|_| signed.1);
        let at = valid_at(timestamp.as_ref(), snapshot.as_ref());
        if let Some(bytes) = self.timestamp.as_deref() {
            // What does not verify is no floor.
            let _damaged = set.update_timestamp(bytes, at);
        }
        let bytes = self.snapshot.as_deref();
        let taken = bytes.is_some_and(|bytes| set.update_snapshot(bytes, at).is_ok());
        let untold = snapshot.filter(|_| !taken);
        Floor {
            fallen: &[],
            targets: untold
                .map(|snapshot| versions(&snapshot))
                .unwrap_or_default(),
        }
    }
}

impl Floor {
    /// Refuses a snapshot that takes targets metadata back (specification, section 5.5.5).
    pub(super) fn check(&self, set: &TrustedMetadataSet) -> Result<(), VerifyError> {
        let Some(snapshot) = set.snapshot() else {
            return Ok(());
        };
        for (name, trusted) in &self.targets {
            let new = snapshot.meta.get(name).map_or(0, |pin| pin.version);
            if new < *trusted {
                return Err(VerifyError::Rollback {
                    role: format!("{name} (via snapshot)"),
                    trusted: *trusted,
                    new,
                });
            }
        }
        Ok(())
    }
}

fn parse<T: Role>(bytes: &[u8]) -> Option<Metadata<T>> {
    Metadata::from_slice(bytes).ok()
}

/// Whether `root` lets the metadata be signed as it is; there need not be any.
fn signs<T: Role>(root: &Root, role: &str, metadata: Option<&Metadata<T>>) -> bool {
    let Some(metadata) = metadata else {
        return true;
    };
    root.role(role)
        .is_some_and(|keys| metadata.verify_threshold(&root.keys, keys, role).is_ok())
}

/// A moment at which neither had expired: a floor is one whatever the time is now.
fn valid_at(
    timestamp: Option<&Metadata<sigstore_tuf::Timestamp>>,
    snapshot: Option<&Metadata<sigstore_tuf::Snapshot>>,
) -> Timestamp {
    let timestamp = timestamp.map_or(Timestamp::MAX, |metadata| metadata.signed().expires);
    let snapshot = snapshot.map_or(Timestamp::MAX, |metadata| metadata.signed().expires);
    timestamp.min(snapshot)
}

fn versions(snapshot: &Metadata<sigstore_tuf::Snapshot>) -> BTreeMap<String, u64> {
    let pins = snapshot.signed().meta.iter();
    pins.map(|(name, pin)| (name.clone(), pin.version))
        .collect()
}
