//! A store as a whole: everything that it holds as of one moment, and filling an empty one.
//!
//! Use cases see [`Store`] alone. What stands here is for backups, for moves from one database to
//! another and for exports: programs that an operator starts, and that may read everything.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{CommitError, Item, Key, Store, StoreError};

/// Which items of a snapshot must be of one moment with all others.
// A name of its own: `async_trait` would tie the reference in a bare function type to the call.
pub type Settled = fn(&Key) -> bool;

/// A database that can be read as a whole, and be filled item by item.
#[async_trait]
pub trait Archive: Store {
    /// Everything that has not expired at `now`, as it is at one moment while others go on writing.
    ///
    /// `settled` says which items must be of one moment with all others. Those for which it is `false`
    /// (heartbeats: nothing else refers to them, and they change all the time) may be of another moment,
    /// where a database cannot do better.
    async fn snapshot(
        &self,
        now: Timestamp,
        settled: Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Puts `items` (1 to [`MOST_WRITES`](crate::MOST_WRITES), each of another key, within the limits of a
    /// commit) as they are, versions and lifetimes too, or none of them.
    ///
    /// Each must be absent at `now`, or be there already exactly as it is to be put, which makes it
    /// harmless to try again. Where another item is in the place, the answer is
    /// [`CommitError::Failed`] with the first such position. Items that have expired at `now` count
    /// as put.
    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError>;
}

/// One that is shared is one.
#[async_trait]
impl<S: Archive + ?Sized> Archive for Arc<S> {
    async fn snapshot(
        &self,
        now: Timestamp,
        settled: Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        (**self).snapshot(now, settled).await
    }

    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError> {
        (**self).load(now, items).await
    }
}

/// A snapshot while it is read.
#[async_trait]
pub trait Snapshot: Send {
    /// The next items, at most `most` (at least 1), in any order, each once; none where that was all.
    async fn next(&mut self, most: usize) -> Result<Vec<Item>, StoreError>;

    /// Whether what was read is of one moment: to be asked after the last item. A database that has no
    /// snapshots reads again, and compares. [`StoreError::Unavailable`] where too much changed
    /// meanwhile: what was read must then be thrown away, and another snapshot may do better.
    async fn confirm(self: Box<Self>) -> Result<(), StoreError>;
}
