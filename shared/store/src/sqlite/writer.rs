//! The one thread that writes, and how it makes many commits one transaction.
//!
//! Callers queue their commits. The thread takes what is there, and within one `BEGIN IMMEDIATE` ..
//! `COMMIT` runs each in a savepoint of its own: a commit whose expectation fails is rolled back
//! alone, and each sees those before it. Only after the `COMMIT` are the callers answered. If the
//! transaction itself fails, none of it is applied and all of them hear that; where it cannot even be rolled
//! back, the connection is closed, and the next group has a new one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use tokio::sync::mpsc::{self, error::SendError};
use tokio::sync::oneshot;

use super::reader::{parse_body, parse_version};
use super::{file, store_error};
use crate::rules::{self, bumped, holds, is_live, is_same, next_version};
use crate::{Change, CommitError, Item, Key, StoreError, Write};

#[cfg(test)]
mod tests;

/// How many commits may wait. More of them wait to be queued, so that memory stays bounded.
const MOST_QUEUED: usize = 1024;
/// The most commits of one transaction, so that other processes get their turn within milliseconds.
const MOST_GROUPED: usize = 256;
/// How long what has expired stays before it is swept: no caller's clock is a day behind another's.
const SWEEP_AFTER_MS: i64 = 24 * 60 * 60 * 1000;
/// How many rows a transaction sweeps: as many as one commit can write, so it keeps up.
const MOST_SWEPT: i64 = 100;

/// The thread that writes, and the way to it.
pub(super) struct Writer {
    /// There until the writer is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// What waits for its outcome.
struct Job {
    now: Timestamp,
    work: Work,
    answer: oneshot::Sender<Result<(), CommitError>>,
}

/// What is done whole or not at all. Its limits are checked.
pub(super) enum Work {
    /// A commit.
    Commit(Vec<Write>),
    /// Items that are put as they are.
    Load(Vec<Item>),
}

impl Writer {
    /// Starts the thread that writes with `connection`, which is one to the file at `path`.
    pub(super) fn start(connection: Connection, path: PathBuf) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(MOST_QUEUED);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(connection, &path, queue))
            .map_err(|error| {
                StoreError::Unavailable(format!("the writer thread cannot be started: {error}"))
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Queues `work`, and waits until it is durable or has failed.
    pub(super) async fn run(&self, now: Timestamp, work: Work) -> Result<(), CommitError> {
        let (answer, outcome) = oneshot::channel();
        let job = Job { now, work, answer };
        let jobs = self.jobs.as_ref().expect("taken only when dropped");
        if let Err(SendError(_)) = jobs.send(job).await {
            return Err(unavailable(
                "the writer thread has ended, nothing was applied: restart the program",
            ));
        }
        let Ok(outcome) = outcome.await else {
            return Err(unavailable(
                "the writer thread ended before it answered: restart the program",
            ));
        };
        outcome
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Drop for Writer {
    /// Waits until what is queued is written and the file is closed.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by its hook, and its callers have been answered.
            let _ = thread.join();
        }
    }
}

/// The thread: groups of commits until the store is dropped.
fn run(connection: Connection, path: &Path, mut queue: mpsc::Receiver<Job>) {
    let mut connection = Some(connection);
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < MOST_GROUPED
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }

        let (works, answers): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|job| ((job.now, job.work), job.answer))
            .unzip();
        let outcomes =
            opened(&mut connection, path).and_then(|connection| commit_group(connection, &works));
        let outcomes = outcomes.unwrap_or_else(|error| {
            let outcome = |_| Err(CommitError::Store(store_error(&error)));
            answers.iter().map(outcome).collect()
        });
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // A caller that no longer waits wants no answer.
            let _ = answer.send(outcome);
        }
        // Where even the rollback failed, nothing can be begun on this connection again. To close it rolls back.
        connection = connection.filter(Connection::is_autocommit);
    }
}

/// The connection, or a new one where the last had to be closed.
fn opened<'a>(
    connection: &'a mut Option<Connection>,
    path: &Path,
) -> Result<&'a Connection, rusqlite::Error> {
    match connection {
        Some(connection) => Ok(connection),
        None => Ok(connection.insert(file::connect(path)?)),
    }
}

/// Runs works as one transaction. Fails if the transaction does, and then none is applied.
fn commit_group(
    connection: &Connection,
    group: &[(Timestamp, Work)],
) -> Result<Vec<Result<(), CommitError>>, rusqlite::Error> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let outcomes = apply_group(connection, group).and_then(|outcomes| {
        connection.execute_batch("COMMIT")?;
        Ok(outcomes)
    });
    // After some failures SQLite itself has rolled back.
    if outcomes.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    outcomes
}

/// Runs each work in its savepoint, then sweeps.
fn apply_group(
    connection: &Connection,
    group: &[(Timestamp, Work)],
) -> Result<Vec<Result<(), CommitError>>, rusqlite::Error> {
    let mut outcomes = Vec::with_capacity(group.len());
    for (now, work) in group {
        execute(connection, "SAVEPOINT one")?;
        let outcome = match work {
            Work::Commit(writes) => apply(connection, *now, writes),
            Work::Load(items) => load(connection, *now, items),
        };
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(Failure::Commit(error)) => {
                execute(connection, "ROLLBACK TO one")?;
                Err(error)
            }
            Err(Failure::Sqlite(error)) => return Err(error),
        };
        execute(connection, "RELEASE one")?;
        outcomes.push(outcome);
    }

    if let Some(now) = group.iter().map(|(now, _)| now).min() {
        sweep(connection, *now)?;
    }
    Ok(outcomes)
}

/// Why a commit was not applied: its own failure, or that of the whole transaction.
enum Failure {
    Commit(CommitError),
    Sqlite(rusqlite::Error),
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Commit(CommitError::Store(error))
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Applies one commit: all expectations, then all changes.
fn apply(connection: &Connection, now: Timestamp, writes: &[Write]) -> Result<(), Failure> {
    let mut found = Vec::with_capacity(writes.len());
    for (index, write) in writes.iter().enumerate() {
        let live = find_live(connection, now, &write.key)?;
        if !holds(write.expect, live.map(|live| live.version)) {
            return Err(Failure::Commit(CommitError::Failed(index)));
        }
        found.push(live);
    }
    for (write, live) in writes.iter().zip(found) {
        change(connection, write, live)?;
    }
    Ok(())
}

/// Puts what of `items` is live: each where nothing is, or the same.
fn load(connection: &Connection, now: Timestamp, items: &[Item]) -> Result<(), Failure> {
    let items = || {
        items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.is_live(now))
    };
    for (index, item) in items() {
        let Some(live) = find_live(connection, now, &item.key)? else {
            continue;
        };
        let there = rules::item(
            item.key.clone(),
            live.version,
            read_body(connection, &item.key)?,
            live.expires_at_ms,
        )?;
        if !is_same(&there, item) {
            return Err(Failure::Commit(CommitError::Failed(index)));
        }
    }
    for (_, item) in items() {
        let expires_at_ms = item.expires_at.map(Timestamp::as_millisecond);
        write_row(
            connection,
            &item.key,
            item.version,
            &item.body,
            expires_at_ms,
        )?;
    }
    Ok(())
}

/// What a change must know of the item before it.
#[derive(Clone, Copy)]
struct Live {
    version: u64,
    expires_at_ms: Option<i64>,
}

/// The item at `key`, if it is there and has not expired at `now`.
fn find_live(connection: &Connection, now: Timestamp, key: &Key) -> Result<Option<Live>, Failure> {
    let found: Option<(i64, Option<i64>)> = connection
        .prepare_cached("SELECT version, expires_at_ms FROM items WHERE pk = ?1 AND sk = ?2")?
        .query_row(params![key.pk, key.sk], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((version, expires_at_ms)) = found else {
        return Ok(None);
    };
    if !is_live(expires_at_ms, now) {
        return Ok(None);
    }
    Ok(Some(Live {
        version: parse_version(key, version)?,
        expires_at_ms,
    }))
}

/// Makes the change of `write` to an item that is `live`, or missing.
fn change(connection: &Connection, write: &Write, live: Option<Live>) -> Result<(), Failure> {
    let key = &write.key;
    match &write.change {
        Change::Put { body, expires_at } => {
            let expires_at_ms = expires_at.map(Timestamp::as_millisecond);
            put(connection, key, live, body, expires_at_ms)
        }
        Change::Bump { field } => {
            let body = match live {
                Some(_) => Some(read_body(connection, key)?),
                None => None,
            };
            let body = bumped(key, body, field)?;
            let expires_at_ms = live.and_then(|live| live.expires_at_ms);
            put(connection, key, live, &body, expires_at_ms)
        }
        Change::Delete => {
            connection
                .prepare_cached("DELETE FROM items WHERE pk = ?1 AND sk = ?2")?
                .execute(params![key.pk, key.sk])?;
            Ok(())
        }
        Change::Check => Ok(()),
    }
}

fn put(
    connection: &Connection,
    key: &Key,
    live: Option<Live>,
    body: &Value,
    expires_at_ms: Option<i64>,
) -> Result<(), Failure> {
    let version = next_version(live.map(|live| live.version));
    write_row(connection, key, version, body, expires_at_ms)
}

fn write_row(
    connection: &Connection,
    key: &Key,
    version: u64,
    body: &Value,
    expires_at_ms: Option<i64>,
) -> Result<(), Failure> {
    let Ok(version) = i64::try_from(version) else {
        return Err(StoreError::Corrupt(format!(
            "{key:?} has a version past the last that there is"
        ))
        .into());
    };
    connection
        .prepare_cached(
            "INSERT INTO items (pk, sk, version, body, expires_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (pk, sk) DO UPDATE SET
             version = excluded.version, body = excluded.body, expires_at_ms = excluded.expires_at_ms",
        )?
        .execute(params![key.pk, key.sk, version, body.to_string(), expires_at_ms])?;
    Ok(())
}

fn read_body(connection: &Connection, key: &Key) -> Result<Value, Failure> {
    let body: String = connection
        .prepare_cached("SELECT body FROM items WHERE pk = ?1 AND sk = ?2")?
        .query_row(params![key.pk, key.sk], |row| row.get(0))?;
    Ok(parse_body(key, &body)?)
}

/// Removes some of what has been expired for so long that nobody's clock can still differ.
fn sweep(connection: &Connection, now: Timestamp) -> Result<(), rusqlite::Error> {
    let before = now.as_millisecond().saturating_sub(SWEEP_AFTER_MS);
    connection
        .prepare_cached(
            "DELETE FROM items WHERE (pk, sk) IN
             (SELECT pk, sk FROM items WHERE expires_at_ms <= ?1 LIMIT ?2)",
        )?
        .execute(params![before, MOST_SWEPT])?;
    Ok(())
}

fn execute(connection: &Connection, sql: &str) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn unavailable(why: &str) -> CommitError {
    CommitError::Store(StoreError::Unavailable(why.to_owned()))
}
