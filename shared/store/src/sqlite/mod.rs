//! A store in one SQLite file, for a control plane on one machine.
//!
//! - The file is in WAL mode with `synchronous=FULL`: a commit is answered once it is on the disk.
//! - One thread writes ([`writer`]). It takes what has queued up and makes it one transaction, each
//!   commit in its own savepoint, so that many commits share the price of one sync.
//! - Reads run on a few connections of their own, on the runtime's blocking threads. Each is one
//!   snapshot; it waits for no writer.
//! - Other processes may open the same file: SQLite's locks order them.
//!
//! The invariant: no answer, not even a failed expectation, leaves before the transaction on which
//! it rests is durable.

mod file;
mod reader;
mod writer;

use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Error, ErrorCode};

use crate::limits::{validate_get, validate_query};
use crate::{CommitError, Item, Key, Page, Range, Store, StoreError, Write, validate};
use reader::Readers;
use writer::Writer;

/// A [`Store`] in one SQLite file.
///
/// To drop it waits until what was queued is written, which blocks the thread for as long.
#[derive(Debug)]
pub struct SqliteStore {
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
            writer: Writer::start(connection)?,
            readers: Readers::new(path),
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
        self.writer.commit(now, writes).await
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
