//! Where the bytes of a head's files come from, in this run or in any later one: catalogs from the
//! state if it still says the same, else from a mirror, once for all mirrors; metadata is signed again
//! and must come out the same; bundles are put together of both. So no copies of what changes are
//! kept for repair.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::lock::Mutex;
use model::CatalogName;
use tuf::repository::{self, Pin};

use super::assemble::{Lists, Metadata};
use super::budget::{Stop, Target};
use super::files::{File, What};
use super::{CatalogPin, Head, Publisher};
use crate::Error;

/// Why there are no bytes.
#[derive(Debug)]
pub(super) enum Lack {
    /// The budget is spent: the next run reads them.
    Spent,
    /// Neither this program nor a mirror that answers has what this path should hold.
    Lost(String),
    /// This program broke a rule of its own.
    Defect(Error),
}

impl From<Error> for Lack {
    fn from(error: Error) -> Self {
        Self::Defect(error)
    }
}

/// How a mirror stood when the run began.
pub(super) struct Standing {
    /// The version that it held whole.
    pub whole: u64,
    /// Whether it had failed in its last run.
    pub is_failing: bool,
}

/// The bytes of a run.
pub(super) struct Stock<'a> {
    publisher: &'a Publisher<'a>,
    targets: &'a [Target<'a>],
    /// How each of the targets stood when the run began.
    standings: Vec<Standing>,
    lists: &'a Lists<'a>,
    /// By SHA-256; `None` for what no mirror had.
    catalogs: Mutex<BTreeMap<String, Option<Bytes>>>,
    /// By version; `None` for what cannot be signed again.
    metadata: Mutex<BTreeMap<u64, Option<Arc<Metadata>>>>,
}

impl<'a> Stock<'a> {
    pub fn new(
        publisher: &'a Publisher<'a>,
        targets: &'a [Target<'a>],
        standings: Vec<Standing>,
        lists: &'a Lists<'a>,
    ) -> Self {
        Self {
            publisher,
            targets,
            standings,
            lists,
            catalogs: Mutex::default(),
            metadata: Mutex::default(),
        }
    }

    /// Keeps a catalog that was just made.
    pub async fn keep(&self, sha256: &str, bytes: Vec<u8>) {
        let mut catalogs = self.catalogs.lock().await;
        catalogs.insert(sha256.to_owned(), Some(bytes.into()));
    }

    /// Keeps metadata that was just signed.
    pub async fn keep_metadata(&self, metadata: Metadata) {
        let mut all = self.metadata.lock().await;
        all.insert(metadata.version, Some(Arc::new(metadata)));
    }

    /// What `file` holds at `head`.
    pub async fn bytes(&self, head: &Head, file: &File) -> Result<Bytes, Lack> {
        let offline = self.publisher.offline;
        let lost = || Lack::Lost(file.path.clone());
        let bytes = match &file.what {
            What::Root(place) => offline.roots.get(*place).ok_or_else(lost)?.clone(),
            What::Targets if offline.targets_version == head.targets_version => {
                offline.targets.clone()
            }
            What::Targets => return Err(lost()),
            What::Offline(path) => offline.files.get(path).ok_or_else(lost)?.clone(),
            What::Catalog(name) => return self.catalog(head, name).await,
            What::Catalogs => self.metadata(head, file).await?.catalogs.clone(),
            What::Snapshot => self.metadata(head, file).await?.snapshot.clone(),
            What::Timestamp => self.metadata(head, file).await?.timestamp.clone(),
            What::Bundle(None) => self.metadata(head, file).await?.bundle(offline, None)?,
            What::Bundle(Some(name)) => {
                let metadata = self.metadata(head, file).await?;
                let catalog = self.catalog(head, name).await?;
                metadata.bundle(offline, Some((name, &catalog)))?
            }
        };
        Ok(bytes.into())
    }

    async fn metadata(&self, head: &Head, file: &File) -> Result<Arc<Metadata>, Lack> {
        let mut all = self.metadata.lock().await;
        let known = match all.entry(head.version) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => {
                let again = Metadata::again(self.publisher, head)?;
                place.insert(again.map(Arc::new)).clone()
            }
        };
        known.ok_or_else(|| Lack::Lost(file.path.clone()))
    }

    /// The lock is held while a mirror is read, so that two that lack the same catalog read it once.
    async fn catalog(&self, head: &Head, name: &CatalogName) -> Result<Bytes, Lack> {
        let lost = || Lack::Lost(name.path());
        let pin = head.catalogs.get(name).ok_or_else(lost)?;
        let mut catalogs = self.catalogs.lock().await;
        if let Some(known) = catalogs.get(&pin.sha256) {
            return known.clone().ok_or_else(lost);
        }
        let network = self.publisher.context.network;
        let made = match self.lists.get(name) {
            Some(present) => present.again(network, name, pin)?,
            None => None,
        };
        let found = match made {
            Some(bytes) => Some(bytes.into()),
            None => self.find(name, pin).await?,
        };
        catalogs.insert(pin.sha256.clone(), found.clone());
        found.ok_or_else(lost)
    }

    /// The catalog from whichever mirror has it: those first that should, and those that failed last.
    async fn find(&self, name: &CatalogName, pin: &CatalogPin) -> Result<Option<Bytes>, Lack> {
        let path = repository::target_paths(&name.path(), &pin.sha256).swap_remove(0);
        let mut order: Vec<_> = self.targets.iter().zip(&self.standings).collect();
        order.sort_by_key(|(target, standing)| {
            let should = target.name() == pin.at || standing.whole >= pin.version;
            (standing.is_failing, !should)
        });
        for (target, _) in order {
            match target.get(&path).await {
                Ok(Some(object)) if Pin::of(1, &object.bytes).sha256 == pin.sha256 => {
                    return Ok(Some(object.bytes));
                }
                Ok(Some(_)) => {
                    tracing::error!(mirror = target.name(), %path, "a catalog was altered");
                }
                // One that failed was logged.
                Ok(None) | Err(Stop::Failed(_)) => {}
                Err(Stop::Spent) => return Err(Lack::Spent),
            }
        }
        Ok(None)
    }
}
