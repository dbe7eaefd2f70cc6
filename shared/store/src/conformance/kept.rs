//! A store that keeps what it stands on.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    Archive, CommitError, Item, Key, Page, Range, Settled, Snapshot, Store, StoreError, Write,
};

/// A store, and what it stands on and a test made for it, a folder or a server, which goes after it.
pub struct Kept<S, T> {
    store: S,
    _on: T,
}

impl<S: Store, T: Send + Sync> Kept<S, T> {
    /// `store`, with `on` kept as long as it.
    pub fn new(store: S, on: T) -> Self {
        Self { store, _on: on }
    }
}

#[async_trait]
impl<S: Store, T: Send + Sync> Store for Kept<S, T> {
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

#[async_trait]
impl<S: Archive, T: Send + Sync> Archive for Kept<S, T> {
    async fn snapshot(
        &self,
        now: Timestamp,
        settled: Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot(now, settled).await
    }

    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError> {
        self.store.load(now, items).await
    }
}
