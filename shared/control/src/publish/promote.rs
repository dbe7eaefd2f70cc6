//! Bringing mirrors to the head: the files that never change, then the few that do, each replaced
//! only where an older one stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use store::{CommitError, Expect, Write};
use tuf::bundle::Bundle;
use tuf::repository::{self, Pin};

use super::{Head, Mirror, MirrorError, MirrorState, Publisher, Replaced};
use crate::{Error, items};

/// How often a replacement is tried while others replace the same object.
const MOST_REPLACEMENTS: u32 = 8;

/// What came of bringing all mirrors to the head.
#[derive(Default)]
pub(super) struct Promoted {
    /// Mirrors that lag, and why.
    pub lagging: Vec<(String, String)>,
    /// No mirror has all files of the head: it must be published anew.
    pub beyond_repair: bool,
}

/// Why one mirror stays behind.
enum Behind {
    Failed(String),
    /// No mirror has this file.
    Lost(String),
}

impl From<MirrorError> for Behind {
    fn from(error: MirrorError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Writes the files to every mirror; those that failed, and why.
pub(super) async fn write_files(
    publisher: &Publisher<'_>,
    files: &BTreeMap<String, Vec<u8>>,
) -> Vec<(String, String)> {
    let mut failed = Vec::new();
    for mirror in publisher.mirrors {
        for (path, bytes) in files {
            if let Err(error) = mirror.create(path, bytes).await {
                tracing::warn!(mirror = mirror.name(), %path, %error, "a file was not written");
                failed.push((mirror.name().to_owned(), error.to_string()));
                break;
            }
        }
    }
    failed
}

/// Brings every mirror that does not serve `head`, or is not known to have been brought there
/// whole, to it. `files` holds the head's files if
/// this run made them; else they are read from whichever mirror has them.
pub(super) async fn all(
    publisher: &Publisher<'_>,
    head: &Head,
    files: Option<&BTreeMap<String, Vec<u8>>>,
) -> Result<Promoted, Error> {
    let now = publisher.context.moment.now;
    let keys: Vec<_> = publisher
        .mirrors
        .iter()
        .map(|mirror| items::mirror(mirror.name()))
        .collect();
    let states = publisher.context.store.get_many(now, &keys).await?;
    let mut promoted = Promoted::default();
    for ((mirror, key), state) in publisher.mirrors.iter().zip(keys).zip(states) {
        let known: Option<MirrorState> = items::read(state.as_ref())?;
        let was_there = known.is_some_and(|known| known.version >= head.version);
        if was_there && serves(mirror.as_ref(), head.version).await {
            continue;
        }
        match one(publisher, mirror.as_ref(), head, files).await {
            Ok(()) => {
                let expect = state.map_or(Expect::Absent, |item| Expect::Version(item.version));
                let write = Write::put(
                    key,
                    expect,
                    &MirrorState {
                        version: head.version,
                    },
                );
                match publisher.context.store.commit(now, vec![write]).await {
                    // Another run brought it there, too.
                    Ok(()) | Err(CommitError::Failed(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(behind) => {
                let why = match behind {
                    Behind::Failed(why) => why,
                    Behind::Lost(path) => {
                        promoted.beyond_repair = true;
                        format!("no mirror has '{path}'")
                    }
                };
                tracing::warn!(
                    mirror = mirror.name(),
                    version = head.version,
                    why,
                    "the mirror lags"
                );
                promoted.lagging.push((mirror.name().to_owned(), why));
            }
        }
    }
    Ok(promoted)
}

async fn one(
    publisher: &Publisher<'_>,
    mirror: &dyn Mirror,
    head: &Head,
    files: Option<&BTreeMap<String, Vec<u8>>>,
) -> Result<(), Behind> {
    let mut copies = BTreeMap::new();
    for (path, hash) in &head.files {
        let made = files.and_then(|files| files.get(path)).cloned();
        let bytes = match made {
            Some(bytes) => bytes,
            None => find(publisher.mirrors, path, hash)
                .await
                .ok_or_else(|| Behind::Lost(path.clone()))?,
        };
        mirror.create(path, &bytes).await?;
        if let Some(served_as) = served_as(head, path) {
            copies.insert(served_as, bytes);
        }
    }
    for (path, bytes) in copies {
        raise(mirror, &path, &bytes, head.version).await?;
    }
    Ok(())
}

/// The path that clients ask for, if `path` is the copy of a file that changes.
fn served_as(head: &Head, path: &str) -> Option<String> {
    if path == repository::timestamp_copy_path(head.version) {
        return Some(repository::TIMESTAMP_PATH.to_owned());
    }
    let mut cohorts = head.catalogs.keys().map(Some).chain([None]);
    let cohort =
        cohorts.find(|cohort| path == repository::bundle_copy_path(head.version, *cohort))?;
    Some(repository::bundle_path(cohort))
}

/// Puts `bytes` of `version` at `path` unless something as new stands there.
async fn raise(mirror: &dyn Mirror, path: &str, bytes: &[u8], version: u64) -> Result<(), Behind> {
    for _ in 0..MOST_REPLACEMENTS {
        let there = mirror.get(path).await?;
        let served = there
            .as_ref()
            .and_then(|object| version_of(path, &object.bytes));
        if served.is_some_and(|served| served >= version) {
            return Ok(());
        }
        let over = there.as_ref().map(|object| &object.etag);
        if mirror.replace(path, bytes, over).await? == Replaced::Yes {
            return Ok(());
        }
    }
    Err(Behind::Failed(format!(
        "'{path}' was replaced by others again and again"
    )))
}

/// Whether `mirror` serves `version` or a newer one; not if it cannot be reached.
async fn serves(mirror: &dyn Mirror, version: u64) -> bool {
    let path = repository::TIMESTAMP_PATH;
    let there = mirror.get(path).await.ok().flatten();
    there.and_then(|object| version_of(path, &object.bytes)) >= Some(version)
}

/// The file with this SHA-256 from whichever mirror has it.
pub(super) async fn find(mirrors: &[Arc<dyn Mirror>], path: &str, sha256: &str) -> Option<Vec<u8>> {
    for mirror in mirrors {
        match mirror.get(path).await {
            Ok(Some(object)) if Pin::of(1, &object.bytes).sha256 == sha256 => {
                return Some(object.bytes.into());
            }
            Ok(Some(_)) => {
                tracing::error!(mirror = mirror.name(), %path, "a file was altered");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(mirror = mirror.name(), path, %error, "a file was not read");
            }
        }
    }
    None
}

/// The newest version that any mirror serves; 0 if none does.
pub(super) async fn served_version(mirrors: &[Arc<dyn Mirror>]) -> u64 {
    let mut newest = 0;
    for mirror in mirrors {
        let path = repository::TIMESTAMP_PATH;
        match mirror.get(path).await {
            Ok(object) => {
                let served = object.and_then(|object| version_of(path, &object.bytes));
                newest = newest.max(served.unwrap_or(0));
            }
            Err(error) => {
                tracing::warn!(mirror = mirror.name(), %error, "its version is not known");
            }
        }
    }
    newest
}

/// The version of a timestamp or a bundle of our own; `None` if it cannot be read, and then it may
/// be replaced by one that can.
fn version_of(path: &str, bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Envelope {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        version: u64,
    }
    let timestamp = if path == repository::TIMESTAMP_PATH {
        bytes
    } else {
        Bundle::read(bytes).ok()?.get(repository::TIMESTAMP_PATH)?
    };
    let envelope: Envelope = serde_json::from_slice(timestamp).ok()?;
    Some(envelope.signed.version)
}
