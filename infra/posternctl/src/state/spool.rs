//! The spool of an import or an export: a private SQLite file of this process.
//!
//! SQLite makes it in the folder for temporary files (`TMPDIR`), without a name that others could open, and it
//! is gone with the process, however that ends. What is not in its small cache is on the disk, so that memory
//! does not grow with a document.

use anyhow::Context;
use control::state::{Drawer, Row, Spool, SpoolError};
use rusqlite::{Connection, OptionalExtension, params};

/// The cache, in KiB, which SQLite wants as a negative number.
const CACHE: i64 = -4096;

/// A spool in a file.
pub struct FileSpool(Connection);

impl FileSpool {
    /// A new, empty one.
    pub fn new() -> anyhow::Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            // The empty name is a file without a name.
            let connection = Connection::open("")?;
            connection.pragma_update(None, "cache_size", CACHE)?;
            connection.pragma_update(None, "journal_mode", "OFF")?;
            connection.pragma_update(None, "synchronous", "OFF")?;
            connection.set_prepared_statement_cache_capacity(16);
            connection.execute_batch(
                "CREATE TABLE rows (
                   drawer INTEGER NOT NULL, key TEXT NOT NULL, line INTEGER NOT NULL, body TEXT NOT NULL,
                   PRIMARY KEY (drawer, key)
                 ) WITHOUT ROWID;
                 BEGIN;",
            )?;
            Ok(connection)
        };
        let connection = open().context("no temporary file could be made for the records")?;
        Ok(Self(connection))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn failed(error: rusqlite::Error) -> SpoolError {
    SpoolError(format!("{error} (is the disk of TMPDIR full?)"))
}

fn at(line: u64) -> i64 {
    i64::try_from(line).unwrap_or(i64::MAX)
}

impl Spool for FileSpool {
    fn put(&mut self, row: Row) -> Result<Option<Row>, SpoolError> {
        let sql = "INSERT OR IGNORE INTO rows (drawer, key, line, body) VALUES (?1, ?2, ?3, ?4)";
        let put = || {
            let mut insert = self.0.prepare_cached(sql)?;
            insert.execute(params![row.drawer as u8, row.key, at(row.line), row.body])
        };
        match put().map_err(failed)? {
            0 => self.get(row.drawer, &row.key),
            _ => Ok(None),
        }
    }

    fn replace(&mut self, row: Row) -> Result<(), SpoolError> {
        let sql = "INSERT OR REPLACE INTO rows (drawer, key, line, body) VALUES (?1, ?2, ?3, ?4)";
        let put = || {
            let mut insert = self.0.prepare_cached(sql)?;
            insert.execute(params![row.drawer as u8, row.key, at(row.line), row.body])
        };
        put().map(drop).map_err(failed)
    }

    fn remove(&mut self, drawer: Drawer, key: &str) -> Result<(), SpoolError> {
        let remove = || {
            let mut delete = self
                .0
                .prepare_cached("DELETE FROM rows WHERE drawer = ?1 AND key = ?2")?;
            delete.execute(params![drawer as u8, key])
        };
        remove().map(drop).map_err(failed)
    }

    fn get(&self, drawer: Drawer, key: &str) -> Result<Option<Row>, SpoolError> {
        let get = || {
            let mut select = self.0.prepare_cached(
                "SELECT key, line, body FROM rows WHERE drawer = ?1 AND key = ?2",
            )?;
            let found = select.query_row(params![drawer as u8, key], |found| row(drawer, found));
            found.optional()
        };
        get().map_err(failed)
    }

    fn page(&self, drawer: Drawer, after: &str, most: usize) -> Result<Vec<Row>, SpoolError> {
        let page = || {
            let mut select = self.0.prepare_cached(
                "SELECT key, line, body FROM rows WHERE drawer = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let found = select.query_map(params![drawer as u8, after, most], |found| {
                row(drawer, found)
            })?;
            found.collect::<rusqlite::Result<Vec<Row>>>()
        };
        page().map_err(failed)
    }

    fn count(&self, drawer: Drawer) -> Result<u64, SpoolError> {
        let count = || {
            let mut select = self
                .0
                .prepare_cached("SELECT count(*) FROM rows WHERE drawer = ?1")?;
            select.query_row(params![drawer as u8], |found| found.get::<_, i64>(0))
        };
        let count = count().map_err(failed)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

fn row(drawer: Drawer, found: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let line: i64 = found.get(1)?;
    Ok(Row {
        drawer,
        key: found.get(0)?,
        line: u64::try_from(line).unwrap_or(0),
        body: found.get(2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(key: &str, line: u64, body: &str) -> Row {
        Row {
            drawer: Drawer::Devices,
            key: key.to_owned(),
            line,
            body: body.to_owned(),
        }
    }

    #[test]
    fn rows_come_in_the_order_of_their_keys_and_the_first_of_a_key_stays() {
        let mut spool = FileSpool::new().unwrap();

        assert_eq!(spool.put(a("d-b", 2, "two")).unwrap(), None);
        assert_eq!(spool.put(a("d-a", 1, "one")).unwrap(), None);
        let there = spool.put(a("d-b", 3, "three")).unwrap();
        spool.replace(a("d-c", 4, "four")).unwrap();
        spool.replace(a("d-c", 5, "five")).unwrap();
        spool.remove(Drawer::Devices, "d-a").unwrap();

        assert_eq!(there, Some(a("d-b", 2, "two")));
        let all = [a("d-b", 2, "two"), a("d-c", 5, "five")];
        assert_eq!(spool.page(Drawer::Devices, "", 10).unwrap(), all);
        assert_eq!(spool.page(Drawer::Devices, "d-b", 1).unwrap(), all[1..]);
        assert_eq!(spool.count(Drawer::Devices).unwrap(), 2);
        assert_eq!(spool.count(Drawer::Leases).unwrap(), 0);
        assert_eq!(spool.get(Drawer::Gateways, "d-b").unwrap(), None);
    }
}
