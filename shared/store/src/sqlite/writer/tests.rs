//! Groups of commits, and what happens when the transaction under them fails.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{Work, Writer, commit_group};
use crate::sqlite::file;
use crate::{Change, CommitError, Expect, Key, StoreError, Write};

const NOW: jiff::Timestamp = jiff::Timestamp::constant(1_767_225_600, 0);

fn new_file() -> (TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let (_, connection) = file::open(&folder.path().join("store")).unwrap();
    (folder, connection)
}

fn put(sk: &str, expect: Expect) -> Write {
    Write::put(Key::new("p", sk), expect, &json!({"n": "text"}))
}

fn bump(sk: &str) -> Write {
    Write {
        key: Key::new("p", sk),
        expect: Expect::Any,
        change: Change::Bump {
            field: "n".to_owned(),
        },
    }
}

fn stored(connection: &Connection) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT sk FROM items ORDER BY sk")
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn is_unavailable(outcome: &Result<(), CommitError>) -> bool {
    matches!(outcome, Err(CommitError::Store(StoreError::Unavailable(_))))
}

#[test]
fn a_commit_fails_alone_in_its_group() {
    let (_folder, connection) = new_file();
    let group = [
        vec![put("a", Expect::Absent)],
        vec![put("lost", Expect::Absent), put("a", Expect::Absent)],
        // The put is made before the bump fails: only the savepoint takes it back.
        vec![put("lost", Expect::Absent), bump("a")],
        vec![put("a", Expect::Version(1)), put("b", Expect::Absent)],
    ]
    .map(|writes| (NOW, Work::Commit(writes)));

    let outcomes = commit_group(&connection, &group).unwrap();

    assert!(
        matches!(
            outcomes.as_slice(),
            [
                Ok(()),
                Err(CommitError::Failed(1)),
                Err(CommitError::Store(StoreError::Corrupt(_))),
                Ok(()),
            ]
        ),
        "{outcomes:?}"
    );
    assert_eq!(stored(&connection), ["a", "b"]);
}

#[test]
fn a_full_disk_fails_the_whole_group_and_leaves_nothing() {
    let (_folder, connection) = new_file();
    connection
        .query_row("PRAGMA max_page_count = 8", [], |_| Ok(()))
        .unwrap();
    let large = json!({"x": "x".repeat(100_000)});
    let group = [
        vec![put("a", Expect::Absent)],
        vec![Write::put(Key::new("p", "large"), Expect::Any, &large)],
    ]
    .map(|writes| (NOW, Work::Commit(writes)));

    let outcome = commit_group(&connection, &group);

    let error = outcome.unwrap_err();
    assert_eq!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DiskFull)
    );
    assert_eq!(stored(&connection), [""; 0]);
    // What fits is written again.
    let outcomes = commit_group(&connection, &group[..1]).unwrap();
    assert!(outcomes[0].is_ok());
    assert_eq!(stored(&connection), ["a"]);
}

#[test]
fn a_failed_transaction_does_not_stand_in_the_way_of_the_next() {
    let (folder, connection) = new_file();
    let other = file::connect(&folder.path().join("store")).unwrap();
    let group = [(NOW, Work::Commit(vec![put("a", Expect::Absent)]))];

    other
        .execute_batch("ALTER TABLE items RENAME TO gone")
        .unwrap();
    let outcome = commit_group(&connection, &group);
    other
        .execute_batch("ALTER TABLE gone RENAME TO items")
        .unwrap();

    let message = outcome.unwrap_err().to_string();
    assert!(message.contains("no such table"), "{message}");
    let outcomes = commit_group(&connection, &group).unwrap();
    assert!(outcomes[0].is_ok());
}

#[tokio::test]
async fn a_locked_file_is_unavailable_until_it_is_free() {
    let (folder, connection) = new_file();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let path = folder.path().join("store");
    let writer = Writer::start(connection, path).unwrap();
    let other = file::connect(&folder.path().join("store")).unwrap();

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = writer
        .run(NOW, Work::Commit(vec![put("a", Expect::Absent)]))
        .await;
    other.execute_batch("ROLLBACK").unwrap();
    let free = writer
        .run(NOW, Work::Commit(vec![put("a", Expect::Absent)]))
        .await;

    assert!(is_unavailable(&locked), "{locked:?}");
    assert!(free.is_ok(), "{free:?}");
}

#[tokio::test]
async fn a_transaction_that_cannot_be_ended_ends_with_its_connection() {
    let (folder, connection) = new_file();
    // As after a rollback that failed: what was begun stands in the way of every other transaction.
    connection
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO items VALUES ('p', 'lost', 1, '{}', NULL)")
        .unwrap();
    let path = folder.path().join("store");
    let writer = Writer::start(connection, path.clone()).unwrap();
    let commit = || Work::Commit(vec![put("a", Expect::Absent)]);

    let stuck = writer.run(NOW, commit()).await;
    std::fs::rename(&path, folder.path().join("away")).unwrap();
    let away = writer.run(NOW, commit()).await;
    std::fs::rename(folder.path().join("away"), &path).unwrap();
    let again = writer.run(NOW, commit()).await;

    assert!(is_unavailable(&stuck), "{stuck:?}");
    assert!(is_unavailable(&away), "{away:?}");
    assert!(again.is_ok(), "{again:?}");
    assert_eq!(stored(&file::connect(&path).unwrap()), ["a"]);
}

#[tokio::test]
async fn a_writer_that_has_ended_is_unavailable() {
    let (jobs, queue) = mpsc::channel(1);
    let writer = Writer {
        jobs: Some(jobs),
        thread: None,
    };
    drop(queue);

    let outcome = writer
        .run(NOW, Work::Commit(vec![put("a", Expect::Absent)]))
        .await;

    assert!(is_unavailable(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_writer_that_ends_before_it_answers_is_unavailable() {
    let (jobs, mut queue) = mpsc::channel(1);
    let writer = Writer {
        jobs: Some(jobs),
        thread: None,
    };

    let (outcome, job) = tokio::join!(
        writer.run(NOW, Work::Commit(vec![put("a", Expect::Absent)])),
        async { queue.recv().await.map(drop) }
    );

    assert!(job.is_some());
    assert!(is_unavailable(&outcome), "{outcome:?}");
}
