//! A store with something of a test's between it and its callers: what counts calls, records or refuses them, or
//! loses their answers.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    Archive, CommitError, Item, Key, Page, Range, Settled, Snapshot, Store, StoreError, Write,
};

/// A call on its way to a store.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// [`Store::get_many`].
    GetMany(&'a [Key]),
    /// [`Store::query`].
    Query(&'a Range),
    /// [`Store::commit`].
    Commit(&'a [Write]),
    /// [`Archive::snapshot`].
    Snapshot,
    /// [`Snapshot::next`].
    Next,
    /// [`Archive::load`].
    Load(&'a [Item]),
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is made and answered.
    Answered,
    /// It is made, and its answer is lost: the caller hears [`StoreError::Unavailable`].
    Lost,
    /// It is not made: the caller hears [`StoreError::Unavailable`].
    Refused,
}

/// What stands between.
pub trait Between: Send + Sync + 'static {
    /// What becomes of `call`.
    fn fate(&self, call: Call<'_>) -> Fate {
        let _ = call;
        Fate::Answered
    }

    /// `writes` were applied.
    fn applied(&self, writes: &[Write]) {
        let _ = writes;
    }
}

/// Whatever decides of each call.
impl<F: Fn(Call<'_>) -> Fate + Send + Sync + 'static> Between for F {
    fn fate(&self, call: Call<'_>) -> Fate {
        self(call)
    }
}

/// What a store stands on and a test made for it, a folder or a server, which goes after it.
pub struct Kept<T>(pub T);

impl<T: Send + Sync + 'static> Between for Kept<T> {}

/// A store with a [`Between`] before it.
pub struct Watched<S, B> {
    /// The store itself.
    pub store: S,
    /// What is between.
    pub between: Arc<B>,
}

impl<S: Store, B: Between> Watched<S, B> {
    /// `store`, with `between` before it.
    pub fn new(store: S, between: B) -> Self {
        Self {
            store,
            between: Arc::new(between),
        }
    }
}

fn gone<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("a test stands between".to_owned()))
}

/// Makes the call that `made` is, if that is its fate.
async fn meet<T, E: From<StoreError>>(
    fate: Fate,
    made: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    if fate == Fate::Refused {
        return Ok(gone()?);
    }
    let answer = made.await?;
    if fate == Fate::Lost {
        return Ok(gone()?);
    }
    Ok(answer)
}

#[async_trait]
impl<S: Store, B: Between> Store for Watched<S, B> {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        let fate = self.between.fate(Call::GetMany(keys));
        meet(fate, self.store.get_many(now, keys)).await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let fate = self.between.fate(Call::Query(range));
        meet(fate, self.store.query(now, range, after, limit)).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        let fate = self.between.fate(Call::Commit(&writes));
        let applied = async {
            self.store.commit(now, writes.clone()).await?;
            self.between.applied(&writes);
            Ok(())
        };
        meet(fate, applied).await
    }
}

#[async_trait]
impl<S: Archive, B: Between> Archive for Watched<S, B> {
    async fn snapshot(
        &self,
        now: Timestamp,
        settled: Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        let fate = self.between.fate(Call::Snapshot);
        let snapshot = meet(fate, self.store.snapshot(now, settled)).await?;
        Ok(Box::new(WatchedSnapshot {
            snapshot,
            between: Arc::clone(&self.between),
        }))
    }

    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError> {
        let fate = self.between.fate(Call::Load(items));
        meet(fate, self.store.load(now, items)).await
    }
}

/// A snapshot of a watched store.
struct WatchedSnapshot<B> {
    snapshot: Box<dyn Snapshot>,
    between: Arc<B>,
}

#[async_trait]
impl<B: Between> Snapshot for WatchedSnapshot<B> {
    async fn next(&mut self, most: usize) -> Result<Vec<Item>, StoreError> {
        let fate = self.between.fate(Call::Next);
        meet(fate, self.snapshot.next(most)).await
    }

    async fn confirm(self: Box<Self>) -> Result<(), StoreError> {
        self.snapshot.confirm().await
    }
}
