//! Everything as of one moment: a connection of its own, with one transaction that is open until the
//! snapshot is dropped.
//!
//! In WAL mode a transaction reads from the moment of its first read on, whatever others commit. Pages
//! are read in the order of the keys, each behind the last one, so that memory holds one page.

use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::reader::{Stored, connect};
use super::store_error;
use crate::{Item, Key, Snapshot, StoreError};

/// A snapshot of a file.
pub(super) struct FileSnapshot {
    now: Timestamp,
    /// With the open transaction. It is gone while a page is read, and stays so where that was not
    /// waited for.
    connection: Option<Connection>,
    /// Behind which key to go on.
    after: Key,
}

impl FileSnapshot {
    /// Opens the file at `path`, and holds what it has now.
    pub async fn begin(path: PathBuf, now: Timestamp) -> Result<Self, StoreError> {
        let connection = blocking(move || {
            let connection = connect(&path)?;
            // The transaction begins with its first read.
            connection.execute_batch("BEGIN")?;
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(connection)
        });
        Ok(Self {
            now,
            connection: Some(connection.await?),
            // Before every key: no part of one is empty.
            after: Key::new("", ""),
        })
    }
}

#[async_trait]
impl Snapshot for FileSnapshot {
    async fn next(&mut self, most: usize) -> Result<Vec<Item>, StoreError> {
        let Some(connection) = self.connection.take() else {
            return Err(StoreError::Unavailable(
                "the snapshot was given up: begin another".to_owned(),
            ));
        };
        let (after, now) = (self.after.clone(), self.now);
        let (connection, rows) = blocking(move || {
            let rows = page(&connection, &after, now, most)?;
            Ok((connection, rows))
        })
        .await?;
        self.connection = Some(connection);
        let items: Vec<Item> = rows
            .into_iter()
            .map(|(pk, stored)| stored.item(pk))
            .collect::<Result<_, _>>()?;
        if let Some(last) = items.last() {
            self.after = last.key.clone();
        }
        Ok(items)
    }

    async fn confirm(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The rows behind `after`, at most `most`, that have not expired at `now`.
fn page(
    connection: &Connection,
    after: &Key,
    now: Timestamp,
    most: usize,
) -> Result<Vec<(String, Stored)>, rusqlite::Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT sk, version, body, expires_at_ms, pk FROM items
             WHERE (pk, sk) > (?1, ?2) AND (expires_at_ms IS NULL OR expires_at_ms > ?3)
             ORDER BY pk, sk LIMIT ?4",
        )?
        .query_map(
            params![after.pk, after.sk, now.as_millisecond(), most],
            |row| Ok((row.get(4)?, Stored::from_row(row)?)),
        )?
        .collect()
}

/// Runs `work`, which blocks, apart from the tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, rusqlite::Error> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| store_error(&error)),
        Err(error) => Err(StoreError::Unavailable(format!("a read ended: {error}"))),
    }
}
