//! The store: versioned items, and commits that happen whole or not at all.
//!
//! A single table. An item is `(pk, sk, version, body, expires_at?)`; its body is JSON of a
//! versioned schema, its version counts its changes from 1. The whole interface is three calls:
//! [`Store::get_many`], [`Store::query`] and [`Store::commit`]. Every backend passes the same
//! suite (the module `conformance`, behind the feature of that name), and the limits of the
//! narrowest one hold for all: [`validate`] names them.
//!
//! The invariant: a commit's writes are applied together, each only if its expectation holds. So a
//! commit with a guard among its writes ([`Expect::Absent`] with a put, or [`Expect::Version`] with
//! any change) is applied at most once, however often it is tried again after a lost answer.
//!
//! An item that has expired at `now` is nowhere to be told from one that was deleted: it fails
//! [`Expect::Version`] and [`Expect::Present`], holds for [`Expect::Absent`], is left out of reads,
//! and what is written over it starts again, at version 1 and from an empty body. Whether and when a
//! backend removes its bytes can therefore reach no outcome.
//!
//! - [`MemoryStore`] is for tests and for trying things out; it is always there.
//! - `SqliteStore`, behind the feature `sqlite`, keeps one file, for a control plane on one machine.
//! - `PostgresStore`, behind the feature `postgres`, keeps two tables of a PostgreSQL database, for several
//!   control planes over one state and for functions behind a pooler.
//! - `DynamoDbStore`, behind the feature `dynamodb`, keeps one table, for a control plane of functions.

mod archive;
#[cfg(any(feature = "dynamodb", feature = "postgres"))]
mod causes;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
mod limits;
mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "dynamodb", feature = "postgres"))]
mod retries;
mod rules;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use archive::{Archive, Settled, Snapshot};
#[cfg(feature = "dynamodb")]
pub use dynamodb::DynamoDbStore;
pub use limits::validate;
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(any(feature = "dynamodb", feature = "postgres"))]
pub use retries::{Randomness, Retries};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The most writes of one commit: DynamoDB's limit for one transaction.
pub const MOST_WRITES: usize = 100;
/// The largest body in bytes: DynamoDB's 400 KB for an item, less its key and attributes.
pub const MOST_BODY_BYTES: usize = 390_000;
/// The most bytes of all bodies of one commit: DynamoDB's 4 MB for a transaction, less the keys and
/// attributes of [`MOST_WRITES`] items.
pub const MOST_COMMIT_BYTES: usize = 3_700_000;
/// The most keys of one [`Store::get_many`]: DynamoDB's limit for one batch or transaction.
pub const MOST_KEYS: usize = 100;
/// The most items of one page of [`Store::query`]: some 1 MB (DynamoDB's limit) of 1 KB each.
pub const MOST_PAGE: usize = 1000;

/// Where an item is: its partition, and its place in the partition's order.
///
/// Any character may be in a key. The order is that of the bytes in UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// The partition key, 1 to 1,024 bytes.
    pub pk: String,
    /// The sort key, 1 to 1,024 bytes.
    pub sk: String,
}

impl Key {
    /// The key of the item `sk` in the partition `pk`.
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self {
            pk: pk.into(),
            sk: sk.into(),
        }
    }
}

/// An item as it was read.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// Where it is.
    pub key: Key,
    /// How often it was written, from 1. It starts again after a delete, and after it has expired.
    pub version: u64,
    /// Its contents: a JSON object.
    pub body: Value,
    /// From when on it counts as absent, in whole milliseconds (what is finer is cut off).
    pub expires_at: Option<Timestamp>,
}

impl Item {
    /// Whether it is there at `now`: it has not expired.
    pub fn is_live(&self, now: Timestamp) -> bool {
        rules::is_live(self.expires_at.map(Timestamp::as_millisecond), now)
    }
}

/// What must hold of an item before a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// There is none, or it has expired at the commit's `now`.
    Absent,
    /// There is one that has not expired, and it has this version.
    Version(u64),
    /// There is one that has not expired.
    Present,
    /// Nothing: for items that only ever record the last of something, and are nobody's guard. One
    /// that has expired is treated as missing.
    Any,
}

/// What a write does to an item.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// Replaces the body. The version goes up by one, or starts at 1.
    Put {
        /// The new body: a JSON object.
        body: Value,
        /// When it expires, if it does.
        expires_at: Option<Timestamp>,
    },
    /// Adds one to the integer `field` of the body (a missing item or field counts as 0) and to
    /// the version. The item keeps its `expires_at`; one that was missing gets none. Where the field
    /// is no integer, or would pass [`i64::MAX`], the commit fails with [`StoreError::Corrupt`].
    Bump {
        /// The name of a field at the top of the body, 1 to 255 bytes.
        field: String,
    },
    /// Removes the item, if there is one.
    Delete,
    /// Changes nothing: the expectation alone.
    Check,
}

/// One write of a commit.
#[derive(Clone, PartialEq, Debug)]
pub struct Write {
    /// Which item.
    pub key: Key,
    /// What must hold before.
    pub expect: Expect,
    /// What is done.
    pub change: Change,
}

impl Write {
    /// Puts `body`, which must serialize to a JSON object, where `expect` holds.
    ///
    /// # Panics
    ///
    /// As [`Write::put_until`] does.
    pub fn put<T: Serialize>(key: Key, expect: Expect, body: &T) -> Self {
        Self::put_until(key, expect, body, None)
    }

    /// Puts `body` until `expires_at`, where `expect` holds.
    ///
    /// # Panics
    ///
    /// If `body` has no form in JSON: a map whose keys are not strings, or a failing `Serialize`.
    pub fn put_until<T: Serialize>(
        key: Key,
        expect: Expect,
        body: &T,
        expires_at: Option<Timestamp>,
    ) -> Self {
        let body = serde_json::to_value(body).expect("items are plain data with string keys");
        Self {
            key,
            expect,
            change: Change::Put { body, expires_at },
        }
    }
}

/// A part of one partition, in the order of its sort keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// The partition.
    pub pk: String,
    /// The first sort key, inclusive; empty for the beginning.
    pub from: String,
    /// The sort key before which to stop; `None` for the end.
    pub until: Option<String>,
    /// Whether to go from the end to the beginning.
    pub descending: bool,
}

impl Range {
    /// The whole partition, ascending.
    pub fn all(pk: impl Into<String>) -> Self {
        Self {
            pk: pk.into(),
            from: String::new(),
            until: None,
            descending: false,
        }
    }
}

/// Some items of a [`Range`], and where to go on.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// The items, at most as many as asked for.
    pub items: Vec<Item>,
    /// Give this as `after` for the next page; `None` where there is none.
    pub next: Option<String>,
}

/// Why a read failed, or what is wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or is overloaded: trying again later helps.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It refuses this program: its place, its form, the credentials or their rights are not those
    /// that were set up. Trying again does not help, an operator must act.
    #[error("the store is not set up for this: {0}")]
    Misconfigured(String),
    /// An item, or the whole database, does not have the form that this program writes: an operator
    /// must look.
    #[error("what is stored cannot be read: {0}")]
    Corrupt(String),
    /// An item was written by a newer release, in a form of which this program does not know: nothing is done with
    /// it. An instance of that release can; where there is none, an operator must update this program.
    #[error("what is stored is of a newer release: {0}")]
    Newer(String),
    /// The call itself breaks a limit of the interface: a defect of this program.
    #[error("the call breaks a limit of the store: {0}")]
    Misuse(String),
}

/// Why a commit was not applied.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The expectation of the write at this position did not hold, and nothing was applied. Where
    /// several failed, the first is named.
    #[error("the expectation of write {0} does not hold")]
    Failed(usize),
    /// The store failed. With [`StoreError::Unavailable`] it may have been applied or not: try the
    /// same commit again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A database of items.
#[async_trait]
pub trait Store: Send + Sync {
    /// The items at `keys` (at most [`MOST_KEYS`], repeated ones too), each as of its last commit,
    /// in the order of `keys`; `None` where there is none or it has expired at `now`.
    async fn get_many(&self, now: Timestamp, keys: &[Key])
    -> Result<Vec<Option<Item>>, StoreError>;

    /// Up to `limit` (1 to [`MOST_PAGE`]) items of `range` that have not expired at `now`, from
    /// behind the sort key `after` (in the range's direction) if it is given. A page may be shorter
    /// than `limit`, even empty, although more follow: only [`Page::next`] tells.
    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Applies all of `writes` (1 to [`MOST_WRITES`], each to another key), or none. Once it has
    /// answered, the outcome is durable.
    ///
    /// The limits are checked before anything else ([`validate`]), then all expectations, then the
    /// writes are made: a failed expectation is reported before a field that cannot be bumped.
    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError>;
}

/// One that is shared is one.
#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        (**self).get_many(now, keys).await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        (**self).query(now, range, after, limit).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        (**self).commit(now, writes).await
    }
}

/// All items of `range`, page by page.
pub async fn query_all(
    store: &dyn Store,
    now: Timestamp,
    range: &Range,
) -> Result<Vec<Item>, StoreError> {
    let mut items = Vec::new();
    let mut after = None;
    loop {
        let page = store.query(now, range, after.as_deref(), MOST_PAGE).await?;
        items.extend(page.items);
        let Some(next) = page.next else {
            return Ok(items);
        };
        after = Some(next);
    }
}
