//! A store in one SQLite file, for a control plane on one machine.
//!
//! - The file is in WAL mode with `synchronous=FULL`: a commit is answered once it is on the disk.
//! - One thread writes ([`writer`]). It takes what has queued up and makes it one transaction, each
//!   commit in its own savepoint, so that many commits share the price of one sync.
//! - Reads run on a few connections of their own, on the runtime's blocking threads. Each is one
//!   snapshot; it waits for no writer.
//! - A snapshot of everything has a connection of its own ([`snapshot`]).
//! - Other processes may open the same file: SQLite's locks order them.
//!
//! The invariant: no answer, not even a failed expectation, leaves before the transaction on which
//! it rests is durable.

mod file;
mod reader;
mod snapshot;
mod writer;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Error, ErrorCode};

use crate::limits::{validate_get, validate_load, validate_query};
use crate::{
    Archive, CommitError, Item, Key, Page, Range, Settled, Snapshot, Store, StoreError, Write,
    validate,
};
use reader::Readers;
use snapshot::FileSnapshot;
use writer::{Work, Writer};

/// A [`Store`] in one SQLite file.
///
/// To drop it waits until what was queued is written, which blocks the thread for as long.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the file at `path`, or makes it, readable for its owner alone; its folder must be there.
    /// The file must be on a local disk. It blocks: call it when the program starts.
    ///
    /// Fails with [`StoreError::Corrupt`] if the file is of another program or of a newer version of
    /// this one, with [`StoreError::Unavailable`] if it cannot be opened, read or locked.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (path, connection) = file::open(path)?;
        Ok(Self {
            writer: Writer::start(connection, path.clone())?,
            readers: Readers::new(path.clone()),
            path,
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        validate_get(keys)?;
        let keys = keys.to_vec();
        self.readers
            .read(move |connection| reader::get_many(connection, now, keys))
            .await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        validate_query(range, after, limit)?;
        let range = range.clone();
        let after = after.map(str::to_owned);
        self.readers
            .read(move |connection| reader::query(connection, now, &range, after.as_deref(), limit))
            .await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        validate(&writes)?;
        self.writer.run(now, Work::Commit(writes)).await
    }
}

#[async_trait]
impl Archive for SqliteStore {
    /// Reads on a connection of its own, in one transaction: nobody waits for it. What is written
    /// meanwhile stays in the file's log until the snapshot is dropped.
    async fn snapshot(
        &self,
        now: Timestamp,
        _settled: Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        let snapshot = FileSnapshot::begin(self.path.clone(), now).await?;
        Ok(Box::new(snapshot))
    }

    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError> {
        validate_load(items)?;
        self.writer.run(now, Work::Load(items.to_vec())).await
    }
}

/// What SQLite's `error` means for the caller.
fn store_error(error: &Error) -> StoreError {
    let is_corrupt = match error {
        Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch
        ),
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => true,
        _ => false,
    };
    if is_corrupt {
        StoreError::Corrupt(error.to_string())
    } else {
        StoreError::Unavailable(error.to_string())
    }
}
