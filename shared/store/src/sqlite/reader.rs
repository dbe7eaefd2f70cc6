//! Reads: a few connections, lent to one blocking task each.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{file, store_error};
use crate::rules::{item, span};
use crate::{Item, Key, Page, Range, StoreError};

/// How many reads run at once: enough for the two to four cores of the machines that this is for.
const MOST_READERS: usize = 4;

/// The connections to read with, opened as they are needed.
#[derive(Debug)]
pub(super) struct Readers {
    pool: Arc<Pool>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Pool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Readers of the file at `path`, which must be set up.
    pub(super) fn new(path: PathBuf) -> Self {
        let idle = Mutex::new(Vec::new());
        Self {
            pool: Arc::new(Pool { path, idle }),
            turns: Arc::new(Semaphore::new(MOST_READERS)),
        }
    }

    /// Runs `read` on a connection, in one snapshot of the database.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Err(StoreError::Unavailable("the readers are closed".to_owned()));
        };
        let pool = Arc::clone(&self.pool);
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            pool.read(read)
        });
        match task.await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Unavailable(format!("a read ended: {error}"))),
        }
    }
}

impl Pool {
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path).map_err(|error| store_error(&error))?,
        };
        // A connection that failed is closed here and not lent again; so is its transaction.
        connection
            .execute_batch("BEGIN")
            .map_err(|error| store_error(&error))?;
        let result = read(&connection)?;
        connection
            .execute_batch("COMMIT")
            .map_err(|error| store_error(&error))?;
        self.idle().push(connection);
        Ok(result)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to the file at `path` that can change nothing.
pub(super) fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = file::connect(path)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

/// The items at `keys` that have not expired at `now`.
pub(super) fn get_many(
    connection: &Connection,
    now: Timestamp,
    keys: Vec<Key>,
) -> Result<Vec<Option<Item>>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT sk, version, body, expires_at_ms FROM items
             WHERE pk = ?1 AND sk = ?2 AND (expires_at_ms IS NULL OR expires_at_ms > ?3)",
        )
        .map_err(|error| store_error(&error))?;
    let now = now.as_millisecond();
    keys.into_iter()
        .map(|key| {
            statement
                .query_row(params![key.pk, key.sk, now], Stored::from_row)
                .optional()
                .map_err(|error| store_error(&error))?
                .map(|stored| stored.item(key.pk))
                .transpose()
        })
        .collect()
}

/// A page of `range`.
pub(super) fn query(
    connection: &Connection,
    now: Timestamp,
    range: &Range,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, StoreError> {
    let (from, until) = span(range, after);
    // Two texts, for SQLite seeks to a bound only if it is a plain comparison. Without an end any
    // value will do in its place.
    let end = if until.is_some() {
        "sk < ?3"
    } else {
        "?3 IS NULL"
    };
    let order = if range.descending { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT sk, version, body, expires_at_ms FROM items
         WHERE pk = ?1 AND sk >= ?2 AND {end}
         AND (expires_at_ms IS NULL OR expires_at_ms > ?4)
         ORDER BY sk {order} LIMIT ?5"
    );

    // One more than the page, to know whether another follows.
    let most = i64::try_from(limit + 1).expect("a page has at most 1,000 items");
    let stored: Vec<Stored> = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_map(
                    params![range.pk, from, until, now.as_millisecond(), most],
                    Stored::from_row,
                )?
                .collect()
        })
        .map_err(|error| store_error(&error))?;

    let is_more = stored.len() > limit;
    let items: Vec<Item> = stored
        .into_iter()
        .take(limit)
        .map(|stored| stored.item(range.pk.clone()))
        .collect::<Result<_, _>>()?;
    let next = match items.last() {
        Some(last) if is_more => Some(last.key.sk.clone()),
        _ => None,
    };
    Ok(Page { items, next })
}

/// A row of the table, as it is read.
pub(super) struct Stored {
    sk: String,
    version: i64,
    body: String,
    expires_at_ms: Option<i64>,
}

impl Stored {
    /// From `sk`, `version`, `body` and `expires_at_ms`, in this order.
    pub fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sk: row.get(0)?,
            version: row.get(1)?,
            body: row.get(2)?,
            expires_at_ms: row.get(3)?,
        })
    }

    /// The item in the partition `pk`.
    pub fn item(self, pk: String) -> Result<Item, StoreError> {
        let key = Key::new(pk, self.sk);
        let version = parse_version(&key, self.version)?;
        let body = parse_body(&key, &self.body)?;
        item(key, version, body, self.expires_at_ms)
    }
}

/// The version of the item at `key`, as it is stored.
pub(super) fn parse_version(key: &Key, version: i64) -> Result<u64, StoreError> {
    match u64::try_from(version) {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(StoreError::Corrupt(format!(
            "{key:?} has the version {version}"
        ))),
    }
}

/// The body of the item at `key`, as it is stored.
pub(super) fn parse_body(key: &Key, body: &str) -> Result<Value, StoreError> {
    match serde_json::from_str(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(StoreError::Corrupt(format!("{key:?} is not an object"))),
        Err(error) => Err(StoreError::Corrupt(format!("{key:?}: {error}"))),
    }
}
