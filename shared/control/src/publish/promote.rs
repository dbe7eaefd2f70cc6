//! Bringing mirrors to the head: the files that never change, then the few that do, each replaced
//! unless it or a newer one of ours stands there.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::{CommitError, Expect, Write};
use tuf::repository::Pin;

use super::{Head, Mirror, MirrorError, MirrorState, Publisher, Replaced, served};
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

/// Brings every mirror to `head` on which something that changes is missing, older or damaged, or
/// which is not known to have been brought there whole. `files` holds the head's files if this run
/// made them; else they are read from whichever mirror has them.
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
        if was_there && served::whole(publisher, mirror.as_ref(), head).await {
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
    let changing = served::changing(head);
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
        if changing.iter().any(|object| object.copy == *path) {
            copies.insert(path.clone(), bytes);
        }
    }
    for object in changing {
        let bytes = copies
            .get(&object.copy)
            .ok_or_else(|| Behind::Lost(object.copy.clone()))?;
        raise(publisher, mirror, &object.path, bytes, head.version).await?;
    }
    Ok(())
}

/// Puts `bytes` of `version` at `path` unless they or newer ones of ours stand there.
async fn raise(
    publisher: &Publisher<'_>,
    mirror: &dyn Mirror,
    path: &str,
    bytes: &[u8],
    version: u64,
) -> Result<(), Behind> {
    let sha256 = Pin::of(1, bytes).sha256;
    for _ in 0..MOST_REPLACEMENTS {
        let there = mirror.get(path).await?;
        let stays = there.as_ref().is_some_and(|object| {
            served::may_stay(publisher, path, &object.bytes, version, &sha256)
        });
        if stays {
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
