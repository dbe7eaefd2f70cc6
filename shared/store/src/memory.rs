//! A store in memory, for tests and for trying things out: nothing outlives it.
//!
//! It never removes what has expired until something is written over it, so it is not for a program
//! that runs for long.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

use crate::limits::{validate_get, validate_load, validate_query};
use crate::rules::{bumped, holds, is_live, is_same, item, next_version, span};
use crate::{
    Archive, Change, CommitError, Item, Key, Page, Range, Settled, Snapshot, Store, StoreError,
    Write, validate,
};

/// A [`Store`] in memory.
#[derive(Default, Debug)]
pub struct MemoryStore {
    rows: Mutex<BTreeMap<Key, Row>>,
}

#[derive(Clone, Debug)]
struct Row {
    version: u64,
    body: Value,
    expires_at_ms: Option<i64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Key, Row>> {
        self.rows
            .lock()
            .expect("nothing panics between the changes of a commit")
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        validate_get(keys)?;
        let rows = self.rows();
        keys.iter()
            .map(|key| live(&rows, key, now).map(|row| row.item(key)).transpose())
            .collect()
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        validate_query(range, after, limit)?;
        let (from, until) = span(range, after);
        if until.as_ref().is_some_and(|until| *until <= from) {
            return Ok(Page {
                items: Vec::new(),
                next: None,
            });
        }

        let rows = self.rows();
        let first = Bound::Included(Key::new(&range.pk, from));
        let end = match until {
            Some(until) => Bound::Excluded(Key::new(&range.pk, until)),
            // The next partition in the order of bytes: its name ends with a zero byte more.
            None => Bound::Excluded(Key::new(format!("{}\0", range.pk), "")),
        };
        let found = rows
            .range((first, end))
            .filter(|(_, row)| is_live(row.expires_at_ms, now));
        if range.descending {
            page(found.rev(), limit)
        } else {
            page(found, limit)
        }
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        validate(&writes)?;
        let mut rows = self.rows();
        for (index, write) in writes.iter().enumerate() {
            let version = live(&rows, &write.key, now).map(|row| row.version);
            if !holds(write.expect, version) {
                return Err(CommitError::Failed(index));
            }
        }

        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            let row = live(&rows, &write.key, now);
            let row = changed(row, &write.key, write.change)?;
            changes.push((write.key, row));
        }
        for (key, row) in changes {
            match row {
                Some(row) => rows.insert(key, row),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

#[async_trait]
impl Archive for MemoryStore {
    async fn snapshot(
        &self,
        now: Timestamp,
        _settled: Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        let items: Vec<Item> = self
            .rows()
            .iter()
            .filter(|(_, row)| is_live(row.expires_at_ms, now))
            .map(|(key, row)| row.item(key))
            .collect::<Result<_, _>>()?;
        Ok(Box::new(Copied(items.into_iter())))
    }

    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError> {
        validate_load(items)?;
        let mut rows = self.rows();
        let live_items = items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.is_live(now));
        for (index, item) in live_items.clone() {
            let there = live(&rows, &item.key, now);
            let there = there.map(|row| row.item(&item.key)).transpose()?;
            if there.is_some_and(|there| !is_same(&there, item)) {
                return Err(CommitError::Failed(index));
            }
        }
        for (_, item) in live_items {
            let row = Row {
                version: item.version,
                body: item.body.clone(),
                expires_at_ms: item.expires_at.map(Timestamp::as_millisecond),
            };
            rows.insert(item.key.clone(), row);
        }
        Ok(())
    }
}

/// A snapshot that was copied when it was made.
struct Copied(std::vec::IntoIter<Item>);

#[async_trait]
impl Snapshot for Copied {
    async fn next(&mut self, most: usize) -> Result<Vec<Item>, StoreError> {
        Ok(self.0.by_ref().take(most).collect())
    }

    async fn confirm(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Row {
    fn item(&self, key: &Key) -> Result<Item, StoreError> {
        item(
            key.clone(),
            self.version,
            self.body.clone(),
            self.expires_at_ms,
        )
    }
}

fn live<'a>(rows: &'a BTreeMap<Key, Row>, key: &Key, now: Timestamp) -> Option<&'a Row> {
    rows.get(key).filter(|row| is_live(row.expires_at_ms, now))
}

/// The first `limit` of `found`, and where to go on if there are more.
fn page<'a>(
    found: impl Iterator<Item = (&'a Key, &'a Row)>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut found = found.peekable();
    let items: Vec<Item> = found
        .by_ref()
        .take(limit)
        .map(|(key, row)| row.item(key))
        .collect::<Result<_, _>>()?;
    let next = match found.peek() {
        Some(_) => items.last().map(|item| item.key.sk.clone()),
        None => None,
    };
    Ok(Page { items, next })
}

/// What `change` makes of `row`.
fn changed(row: Option<&Row>, key: &Key, change: Change) -> Result<Option<Row>, StoreError> {
    let version = next_version(row.map(|row| row.version));
    let changed = match change {
        Change::Put { body, expires_at } => Some(Row {
            version,
            body,
            expires_at_ms: expires_at.map(Timestamp::as_millisecond),
        }),
        Change::Bump { field } => Some(Row {
            version,
            body: bumped(key, row.map(|row| row.body.clone()), &field)?,
            expires_at_ms: row.and_then(|row| row.expires_at_ms),
        }),
        Change::Delete => None,
        Change::Check => row.cloned(),
    };
    Ok(changed)
}
