//! What publishing keeps in the store. The head is all that is needed to make the bytes of its
//! version again: the moment and the pins of the catalogs are in it, signatures are deterministic.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{CatalogName, GatewayId};
use serde::{Deserialize, Serialize};
use tuf::ceremony::{self, Document};

use super::Etag;

/// What every mirror shall serve.
///
/// Of heads of before ADR 50 only the versions and times are known; the next version takes their place.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The version of `timestamp`, `snapshot` and `catalogs`.
    pub version: u64,
    /// When it was signed.
    pub published_at: Timestamp,
    /// From when on it is signed anew although nothing changed.
    pub renew_at: Timestamp,
    /// The last root's version.
    pub root_version: u64,
    /// The version of the offline targets.
    pub targets_version: u64,
    /// Until when the root is valid; heads of before do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_expires: Option<Timestamp>,
    /// Until when the offline targets are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets_expires: Option<Timestamp>,
    /// The catalogs.
    pub catalogs: BTreeMap<CatalogName, CatalogPin>,
    /// The metadata, so that nobody signs this version in another way.
    #[serde(default)]
    pub metadata: MetadataPins,
    /// The loads that the catalogs give, for the next ones not to flicker.
    #[serde(default)]
    pub loads: BTreeMap<GatewayId, u8>,
}

impl Head {
    /// What to say at `now` of what the offline keys have signed and what expires soon.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let ends = [
            (Document::Root, self.root_expires),
            (Document::Targets, self.targets_expires),
        ];
        ends.into_iter()
            .filter_map(|(document, expires)| ceremony::warning(document, expires?, now))
            .collect()
    }
}

/// A catalog's bytes, and how they are found or made again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CatalogPin {
    /// Their SHA-256, lowercase hexadecimal.
    pub sha256: String,
    /// Their length in bytes.
    pub length: u64,
    /// The version of the repository at which they last changed.
    pub version: u64,
    /// When they last changed.
    pub changed_at: Timestamp,
    /// SHA-256 of the gateways and front doors that they list: whoever holds the same ones can make
    /// the bytes.
    pub list: String,
    /// The mirror that took them first, before this pin was committed.
    pub at: String,
}

/// SHA-256 (lowercase hexadecimal) of a version's metadata; empty where an old head does not say.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct MetadataPins {
    /// Of the delegated role.
    pub catalogs: String,
    /// Of the snapshot.
    pub snapshot: String,
    /// Of the timestamp.
    pub timestamp: String,
}

/// A version on the way whose catalogs were too many for one run. Nothing of it is signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Draft {
    /// The version that was taken for it.
    pub version: u64,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// The new catalogs that a mirror holds already.
    pub catalogs: BTreeMap<CatalogName, CatalogPin>,
}

/// The last version that a publisher took for itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reserved {
    /// The version.
    pub version: u64,
}

/// What people had seen of a network whose state was moved here by a document ([`crate::state`]): what
/// publishes from here on goes on from there, never back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Floor {
    /// The last root's version.
    pub root_version: u64,
    /// The version of the offline targets.
    pub targets_version: u64,
    /// The last epoch of which devices were given keys. Its secret stayed behind.
    pub epoch: u64,
}

/// Why the control plane holds back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Alarm {
    /// Active gateways that went quiet at once; empty while all is well.
    pub quiet: Vec<GatewayId>,
    /// How many gateways are active.
    pub active: usize,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What a mirror holds, as far as this program brought it there, and how far it is on the way.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MirrorState {
    /// What it holds whole.
    pub whole: Whole,
    /// The head that it is on the way to, if it does not hold it whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_way: Option<UnderWay>,
    /// The version of the bytes at each path that changes, as it was last put or seen there. None
    /// of these bytes is of a newer head than the last that was brought here.
    pub etags: BTreeMap<String, String>,
    /// Whether it once held something: where no etag is known, something may stand there.
    pub was_filled: bool,
    /// The newest version of ours that was ever seen on it.
    pub seen: u64,
    /// The id of the timestamp key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<String>,
    /// The file that the next run's check begins with.
    pub check_from: usize,
    /// Runs in a row in which it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
}

/// A head that a mirror holds: each immutable file of it, and the files that change. No version
/// stands for nothing at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Whole {
    /// The head's version.
    pub version: u64,
    /// Its last root's version.
    pub root_version: u64,
    /// The version of its offline targets.
    pub targets_version: u64,
}

/// How far a mirror is on the way to a head: how many of the files that it lacks are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnderWay {
    /// The head's version.
    pub version: u64,
    /// Immutable files that were written.
    pub immutable: usize,
    /// Files that change that were replaced.
    pub changing: usize,
}

/// A mirror that failed in its last run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failing {
    /// How often in a row.
    pub runs: u32,
    /// When it is asked again.
    pub retry_at: Timestamp,
    /// What it said last.
    pub why: String,
}

impl MirrorState {
    /// The version of the bytes at `path`, if it is known.
    pub(super) fn etag(&self, path: &str) -> Option<Etag> {
        self.etags.get(path).cloned().map(Etag)
    }

    /// Takes note of what stands at `path`; `None` if that is not known.
    pub(super) fn note(&mut self, path: &str, etag: Option<Etag>) {
        match etag {
            Some(Etag(etag)) => self.etags.insert(path.to_owned(), etag),
            None => self.etags.remove(path),
        };
    }
}
