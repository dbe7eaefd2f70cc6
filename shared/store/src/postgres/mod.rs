//! A store in a PostgreSQL database (15 or newer), for several control planes over one state, and for
//! functions behind a pooler.
//!
//! - `settings` is the URL, `tls` how the way to the server is secured, `pool` the connections.
//! - `schema` makes the tables and brings them from one release's form to the next.
//! - `commit` is one transaction of two round trips, `read` one statement a call, `snapshot` everything as
//!   of one moment.
//! - `retry` bounds the attempts, `failure` says what an error means.
//!
//! Between two calls nothing is left at the server, no prepared statement, no setting and no lock: a
//! pooler may give each transaction another server connection (`PgBouncer` with `pool_mode = transaction`).
//!
//! The invariant: what a commit has looked at does not change before it is done, and it is answered once
//! it is on the server's disk. A connection that is cut behind `COMMIT` leaves it open whether it was
//! applied: the caller hears [`StoreError::Unavailable`], and its guards make another try harmless.

mod commit;
mod failure;
mod pool;
mod read;
mod retry;
mod schema;
mod settings;
mod snapshot;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::limits::{validate_get, validate_load, validate_query};
use crate::retries::{Randomness, Retries};
use crate::{
    Archive, CommitError, Item, Key, Page, Range, Settled, Snapshot, Store, StoreError, Write,
    validate,
};
use pool::Pool;
use retry::Tries;
pub use settings::Settings;

/// A [`Store`] in a PostgreSQL database.
///
/// It is used on the tokio runtime on which it was made: its connections live there.
#[derive(Debug)]
pub struct PostgresStore {
    database: Arc<Database>,
}

impl PostgresStore {
    /// The store of `settings`, which must be there in the form of this release; it is connected to when it
    /// is first used. `retries` says how often a call is tried.
    ///
    /// Fails with [`StoreError::Misconfigured`] where the root certificates cannot be read.
    pub fn new(
        settings: Settings,
        retries: Retries,
        randomness: Randomness,
    ) -> Result<Self, StoreError> {
        let place = settings.to_string();
        let pool = Pool::new(settings).map_err(|error| match error {
            StoreError::Misconfigured(why) => StoreError::Misconfigured(format!("{place}: {why}")),
            error => error,
        })?;
        Ok(Self {
            database: Arc::new(Database {
                pool,
                place,
                retries,
                randomness,
                commits: AtomicU32::new(0),
            }),
        })
    }

    /// Makes the tables where they are not there, and brings those of earlier releases to the form of this
    /// one. Programs that do so at once wait for each other.
    ///
    /// Fails with [`StoreError::Corrupt`] where a newer release was here or the tables are another
    /// program's, with [`StoreError::Misconfigured`] where the database, the login or its rights do not do.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.migrate(&schema::MIGRATIONS).await
    }

    /// Whether a release has made its tables there; this makes none. Fails as [`PostgresStore::prepare`] does.
    pub async fn is_made(&self) -> Result<bool, StoreError> {
        let database = &self.database;
        let mut tries = Tries::begin(database);
        loop {
            let asked = async {
                let client = database.pool.connect_unchecked(database).await?;
                schema::is_made(database, &client).await
            };
            match asked.await {
                Ok(is_made) => return Ok(is_made),
                Err(trouble) => tries.pause(trouble).await?,
            }
        }
    }

    async fn migrate(&self, migrations: &[&str]) -> Result<(), StoreError> {
        let database = &self.database;
        let mut tries = Tries::begin(database);
        loop {
            let migrated = async {
                let mut client = database.pool.connect_unchecked(database).await?;
                schema::check_server(database, &client).await?;
                schema::migrate(database, &mut client, migrations).await
            };
            match migrated.await {
                Ok(()) => return Ok(()),
                Err(trouble) => tries.pause(trouble).await?,
            }
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        validate_get(keys)?;
        let mut tries = Tries::begin(&self.database);
        loop {
            match read::get_many(&self.database, now, keys).await {
                Ok(items) => return Ok(items),
                Err(trouble) => tries.pause(trouble).await?,
            }
        }
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        validate_query(range, after, limit)?;
        let mut tries = Tries::begin(&self.database);
        loop {
            match read::query(&self.database, now, range, after, limit).await {
                Ok(page) => return Ok(page),
                Err(trouble) => tries.pause(trouble).await?,
            }
        }
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        validate(&writes)?;
        let mut tries = Tries::begin(&self.database);
        loop {
            match commit::commit(&self.database, now, &writes).await {
                Ok(outcome) => return outcome,
                Err(trouble) => tries.pause(trouble).await?,
            }
        }
    }
}

#[async_trait]
impl Archive for PostgresStore {
    async fn snapshot(
        &self,
        now: Timestamp,
        _settled: Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        let mut tries = Tries::begin(&self.database);
        loop {
            match snapshot::Cursor::begin(Arc::clone(&self.database), now).await {
                Ok(cursor) => return Ok(Box::new(cursor)),
                Err(trouble) => tries.pause(trouble).await?,
            }
        }
    }

    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError> {
        validate_load(items)?;
        let mut tries = Tries::begin(&self.database);
        loop {
            match commit::load(&self.database, now, items).await {
                Ok(outcome) => return outcome,
                Err(trouble) => tries.pause(trouble).await?,
            }
        }
    }
}

/// What every call needs.
struct Database {
    pool: Pool,
    /// Which database, for whoever must look.
    place: String,
    retries: Retries,
    randomness: Randomness,
    /// How many commits were made, to sweep now and then.
    commits: AtomicU32,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("place", &self.place)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
