//! A mirror in memory that can be switched off, remembers what it served at every moment, and what
//! it was ever asked to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use control::publish::{Etag, Mirror, MirrorError, Object, Replaced};
use tuf::bundle::Bundle;
use tuf::repository;

/// What a mirror holds, by path.
pub type Files = BTreeMap<String, Bytes>;

/// A [`Mirror`] in memory.
pub struct MemoryMirror {
    name: String,
    down: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    files: Files,
    /// Grows with every change of a file that changes: makes the etags.
    revisions: BTreeMap<String, u64>,
    served: Vec<Served>,
    offered: BTreeMap<String, BTreeSet<Bytes>>,
    writes: usize,
}

/// What a mirror held just after the file at `path` was replaced.
#[derive(Clone)]
pub struct Served {
    pub path: String,
    pub files: Files,
}

impl MemoryMirror {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            down: AtomicBool::new(false),
            inner: Mutex::default(),
        }
    }

    /// Switches it off, so that every call fails and does nothing, or on again.
    pub fn switch_off(&self, off: bool) {
        self.down.store(off, Ordering::SeqCst);
    }

    /// Takes all files away.
    pub fn lose_everything(&self) {
        self.inner().files.clear();
    }

    /// Takes one file away.
    pub fn lose(&self, path: &str) {
        let before = self.inner().files.remove(path);
        assert!(before.is_some(), "there is no {path}");
    }

    /// Puts other bytes in the place of a file, as a thief or a broken disk would.
    pub fn alter(&self, path: &str, bytes: &'static [u8]) {
        let bytes = Bytes::from_static(bytes);
        let before = self.inner().files.insert(path.to_owned(), bytes);
        assert!(before.is_some(), "there is no {path}");
    }

    /// What it holds.
    pub fn files(&self) -> Files {
        self.inner().files.clone()
    }

    /// What it held after each replacement, in order.
    pub fn served(&self) -> Vec<Served> {
        self.inner().served.clone()
    }

    /// All bytes that it was ever offered for a file that never changes, by path; for those that
    /// change, by path and version.
    pub fn offered(&self) -> BTreeMap<String, BTreeSet<Bytes>> {
        self.inner().offered.clone()
    }

    /// How often something was written.
    pub fn writes(&self) -> usize {
        self.inner().writes
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn check(&self) -> Result<(), MirrorError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(MirrorError::Unavailable("switched off".to_owned()));
        }
        Ok(())
    }
}

impl Inner {
    fn etag(&self, path: &str) -> Option<Etag> {
        let revision = self.revisions.get(path).copied().unwrap_or(0);
        let there = self.files.contains_key(path);
        there.then(|| Etag(revision.to_string()))
    }
}

#[async_trait]
impl Mirror for MemoryMirror {
    fn name(&self) -> &str {
        &self.name
    }

    async fn get(&self, path: &str) -> Result<Option<Object>, MirrorError> {
        self.check()?;
        let inner = self.inner();
        let object = inner.etag(path).map(|etag| Object {
            bytes: inner.files[path].clone(),
            etag,
        });
        Ok(object)
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut inner = self.inner();
        let offered = inner.offered.entry(path.to_owned()).or_default();
        offered.insert(bytes.clone());
        self.check()?;
        match inner.files.get(path) {
            Some(there) if *there == bytes => Ok(()),
            Some(_) => Err(MirrorError::Changed(path.to_owned())),
            None => {
                inner.writes += 1;
                inner.files.insert(path.to_owned(), bytes);
                Ok(())
            }
        }
    }

    async fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        over: Option<&Etag>,
    ) -> Result<Replaced, MirrorError> {
        let mut inner = self.inner();
        let offered = inner.offered.entry(versioned(path, bytes)).or_default();
        offered.insert(Bytes::copy_from_slice(bytes));
        self.check()?;
        if inner.etag(path).as_ref() != over {
            return Ok(Replaced::Conflict);
        }
        inner.writes += 1;
        *inner.revisions.entry(path.to_owned()).or_default() += 1;
        let bytes = Bytes::copy_from_slice(bytes);
        inner.files.insert(path.to_owned(), bytes);
        let served = Served {
            path: path.to_owned(),
            files: inner.files.clone(),
        };
        inner.served.push(served);
        Ok(Replaced::Yes(inner.etag(path)))
    }
}

/// A name of its own for each version of a file that changes.
fn versioned(path: &str, bytes: &[u8]) -> String {
    let timestamp = if path == repository::TIMESTAMP_PATH {
        bytes
    } else if let Ok(bundle) = Bundle::read(bytes) {
        bundle.get(repository::TIMESTAMP_PATH).unwrap()
    } else {
        return path.to_owned();
    };
    let timestamp: serde_json::Value = serde_json::from_slice(timestamp).unwrap();
    format!("{path} of {}", timestamp["signed"]["version"])
}
