//! The suite, run on the store in a SQLite file.

use std::future::{Ready, ready};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use store::{CommitError, Item, Key, Page, Range, SqliteStore, Store, StoreError, Write};
use tempfile::TempDir;

/// A store, and the folder of its file, which goes after it.
struct Fixture {
    store: SqliteStore,
    _folder: TempDir,
}

fn make() -> Ready<Arc<dyn Store>> {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store")).unwrap();
    ready(Arc::new(Fixture {
        store,
        _folder: folder,
    }))
}

#[async_trait]
impl Store for Fixture {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        self.store.get_many(now, keys).await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.store.query(now, range, after, limit).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        self.store.commit(now, writes).await
    }
}

store::conformance!(make);
