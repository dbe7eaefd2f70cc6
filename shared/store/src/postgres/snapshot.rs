//! Everything as of one moment: a cursor in a read-only transaction on a connection of its own.

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::Client;

use super::Database;
use super::failure::Trouble;
use super::read::{Stored, column, text};
use crate::{Item, Key, MOST_PAGE, Snapshot, StoreError};

/// How long a reader may take from one page to the next. While a snapshot is open, the server cannot clean
/// up behind those who write, so that one which nobody reads any more must end.
const MOST_IDLE: &str = "10min";

/// A snapshot while it is read.
pub(super) struct Cursor {
    database: std::sync::Arc<Database>,
    client: Client,
}

impl Cursor {
    /// Begins the snapshot of what has not expired at `now`.
    pub async fn begin(
        database: std::sync::Arc<Database>,
        now: Timestamp,
    ) -> Result<Self, Trouble> {
        let client = database.pool.connect(&database).await?;
        // A statement that declares a cursor takes no parameters.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
             SET LOCAL idle_in_transaction_session_timeout = '{MOST_IDLE}';
             DECLARE everything NO SCROLL CURSOR FOR
             SELECT pk, sk, version, body, expires_at_ms FROM postern_items
             WHERE expires_at_ms IS NULL OR expires_at_ms > {};",
            now.as_millisecond()
        );
        database.within(client.batch_execute(&begin)).await?;
        Ok(Self { database, client })
    }

    async fn fetch(&self, most: usize) -> Result<Vec<Item>, Trouble> {
        let database = &self.database;
        let fetch = format!("FETCH {} FROM everything", most.min(MOST_PAGE));
        let rows = database
            .within(self.client.query_typed(&fetch, &[]))
            .await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let key = Key::new(text(database, &row, 0)?, text(database, &row, 1)?);
            let stored = Stored {
                version: column(database, &row, 2)?,
                body: column(database, &row, 3)?,
                expires_at_ms: column(database, &row, 4)?,
            };
            items.push(stored.item(key)?);
        }
        Ok(items)
    }
}

#[async_trait]
impl Snapshot for Cursor {
    async fn next(&mut self, most: usize) -> Result<Vec<Item>, StoreError> {
        self.fetch(most).await.map_err(final_error)
    }

    async fn confirm(self: Box<Self>) -> Result<(), StoreError> {
        let end = self.client.batch_execute("COMMIT");
        self.database.within(end).await.map_err(final_error)
    }
}

/// A snapshot that was cut cannot be gone on with: another may be begun.
pub(super) fn final_error(trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Lasting(error) => error,
        Trouble::Passing { why, .. } => StoreError::Unavailable(why),
    }
}
