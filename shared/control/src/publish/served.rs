//! What mirrors serve under the few names that change. A mirror is not believed: bytes count as
//! ours by the hash of the head, or by the signature of our own timestamp key, or not at all.

use std::collections::BTreeSet;

use model::CatalogName;
use serde::Deserialize;
use tuf::bundle::Bundle;
use tuf::envelope;
use tuf::repository::{self, Pin};

use super::{Head, Mirror, Publisher};

/// An object that changes: the name that clients ask for, and the immutable copy of the version
/// that it should be at.
pub(super) struct Changing {
    pub path: String,
    pub copy: String,
}

/// All objects that change, as they should be at `head`; the timestamp last, so that whoever reads
/// files one by one finds all that it leads to.
pub(super) fn changing(head: &Head) -> Vec<Changing> {
    let bundles = head.catalogs.keys().map(Some).chain([None]);
    let mut all: Vec<Changing> = bundles
        .map(|name| Changing {
            path: repository::bundle_path(name),
            copy: repository::bundle_copy_path(head.version, name),
        })
        .collect();
    all.push(Changing {
        path: repository::TIMESTAMP_PATH.to_owned(),
        copy: repository::timestamp_copy_path(head.version),
    });
    all
}

/// Whether `bytes` at `path` may stay: they are the head's, of this hash, or a newer version that
/// another publisher has put there meanwhile.
pub(super) fn may_stay(
    publisher: &Publisher<'_>,
    path: &str,
    bytes: &[u8],
    version: u64,
    sha256: &str,
) -> bool {
    Pin::of(1, bytes).sha256 == sha256
        || version_of(publisher, path, bytes).is_some_and(|there| there > version)
}

/// Whether `mirror` serves all of `head` or what is newer; not if it cannot be reached.
pub(super) async fn whole(publisher: &Publisher<'_>, mirror: &dyn Mirror, head: &Head) -> bool {
    for object in changing(head) {
        let Some(sha256) = head.files.get(&object.copy) else {
            return false;
        };
        let Ok(Some(there)) = mirror.get(&object.path).await else {
            return false;
        };
        if !may_stay(publisher, &object.path, &there.bytes, head.version, sha256) {
            return false;
        }
    }
    true
}

/// The newest version of ours that any mirror serves under the name of a cohort's plain catalog, one
/// of `names`, the trust bundle or the timestamp; 0 if none does.
pub(super) async fn newest_version(
    publisher: &Publisher<'_>,
    names: &BTreeSet<CatalogName>,
) -> u64 {
    let cohorts = publisher.offline.limits.cohorts.iter();
    let mut all: BTreeSet<CatalogName> = cohorts.map(|cohort| cohort.clone().into()).collect();
    all.extend(names.iter().cloned());
    let bundles = all.iter().map(|name| repository::bundle_path(Some(name)));
    let mut paths: Vec<String> = bundles.collect();
    paths.push(repository::bundle_path(None));
    paths.push(repository::TIMESTAMP_PATH.to_owned());
    let mut newest = 0;
    for mirror in publisher.mirrors {
        for path in &paths {
            match mirror.get(path).await {
                Ok(Some(there)) => {
                    let served = version_of(publisher, path, &there.bytes);
                    newest = newest.max(served.unwrap_or(0));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(mirror = mirror.name(), path, %error, "its version is not known");
                }
            }
        }
    }
    newest
}

/// The version of a timestamp or of the one in a bundle, if our own key signed it; `None` for
/// everything else, which then may be replaced.
fn version_of(publisher: &Publisher<'_>, path: &str, bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Timestamp {
        #[serde(rename = "_type")]
        role: String,
        version: u64,
    }
    let timestamp = if path == repository::TIMESTAMP_PATH {
        bytes
    } else {
        Bundle::read(bytes).ok()?.get(repository::TIMESTAMP_PATH)?
    };
    let key = publisher.keys.timestamp.public();
    match envelope::verify_by::<Timestamp>(timestamp, &[key]) {
        Ok(timestamp) if timestamp.role == "timestamp" => Some(timestamp.version),
        Ok(_) => None,
        Err(error) => {
            tracing::error!(path, %error, "what a mirror serves is not ours");
            None
        }
    }
}
