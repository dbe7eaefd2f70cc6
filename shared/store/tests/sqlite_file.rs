//! What a SQLite file promises beyond the suite: it outlives its program, and is shared with others.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::json;
use store::{
    Change, CommitError, Expect, Item, Key, Range, SqliteStore, Store, StoreError, Write, query_all,
};

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// Names the file for a test that is run again as another process.
const OTHER_PROCESS: &str = "STORE_TEST_OTHER_PROCESS";

#[tokio::test]
async fn reopening_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let end = NOW + SignedDuration::from_secs(10);
    let store = SqliteStore::open(&path).unwrap();
    let puts = vec![
        Write::put_until(Key::new("p", "a\0ä"), Expect::Absent, &json!({}), Some(end)),
        Write::put(Key::new("p", "b"), Expect::Absent, &json!({"x": [1]})),
    ];
    store.commit(NOW, puts).await.unwrap();
    bump(&store, "b").await.unwrap();
    let before = contents(&store).await;
    drop(store);

    let store = SqliteStore::open(&path).unwrap();

    assert_eq!(contents(&store).await, before);
    assert_eq!(before.len(), 2);
    bump(&store, "b").await.unwrap();
    assert_eq!(count(&store, "b").await, 2);
}

#[tokio::test]
async fn what_is_queued_when_the_store_is_dropped_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Arc::new(SqliteStore::open(&path).unwrap());
    let mut commit = Box::pin({
        let store = Arc::clone(&store);
        async move { bump(&store, "a").await }
    });

    // Polled once: queued, and then given up before its answer.
    tokio::select! {
        biased;
        _ = &mut commit => {}
        () = async {} => {}
    }
    drop(commit);
    drop(store);

    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(count(&store, "a").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_stores_work_on_one_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let stores = [(); 2].map(|()| Arc::new(SqliteStore::open(&path).unwrap()));

    let mut writers = tokio::task::JoinSet::new();
    for number in 0..32_usize {
        let store = Arc::clone(&stores[number % 2]);
        writers.spawn(async move {
            for _ in 0..5 {
                bump(&store, "bumped").await.unwrap();
                add_one(&store, "guarded").await;
            }
        });
    }
    writers.join_all().await;

    for store in &stores {
        assert_eq!(count(store, "bumped").await, 160);
        assert_eq!(count(store, "guarded").await, 160);
    }
}

/// The other process is killed in the midst of its commits, while this one writes too.
#[tokio::test]
async fn what_was_answered_outlives_a_killed_process() {
    if let Some(path) = std::env::var_os(OTHER_PROCESS) {
        let store = SqliteStore::open(Path::new(&path)).unwrap();
        loop {
            bump(&store, "theirs").await.unwrap();
            println!("answered");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = SqliteStore::open(&path).unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_answered_outlives_a_killed_process"])
        .arg("--nocapture")
        .env(OTHER_PROCESS, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    let lines = BufReader::new(other.stdout.take().unwrap()).lines();
    let mut answered = 0;
    for line in lines {
        if line.unwrap().ends_with("answered") {
            answered += 1;
            bump(&store, "ours").await.unwrap();
        }
        if answered == 50 {
            break;
        }
    }
    other.kill().unwrap();
    other.wait().unwrap();

    bump(&store, "ours").await.unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(answered, 50);
    assert!(count(&store, "theirs").await >= answered);
    assert_eq!(count(&store, "ours").await, 51);
}

#[tokio::test]
async fn a_file_that_another_process_writes_can_be_opened_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let first = SqliteStore::open(&path).unwrap();
    bump(&first, "a").await.unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM items")
        .unwrap();

    let second = SqliteStore::open(&path).unwrap();

    assert_eq!(count(&second, "a").await, 1);
}

#[test]
fn many_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");

    let opened: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| SqliteStore::open(&path)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });

    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(SqliteStore::open(&path).unwrap());
    raw(&path, "PRAGMA user_version = 2");
    let before = fs::read(&path).unwrap();

    let error = SqliteStore::open(&path).unwrap_err();

    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("schema has version 2"), "{message}");
    assert!(message.contains("install a newer release"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn the_database_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    for setup in [
        "CREATE TABLE theirs (x)",
        "PRAGMA application_id = 7; PRAGMA user_version = 1",
    ] {
        raw(&path, setup);
        let before = fs::read(&path).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
        assert!(error.to_string().contains("another program"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let text = "not a database, but a text of some length\n".repeat(100);
    fs::write(&path, &text).unwrap();

    let error = SqliteStore::open(&path).unwrap_err();

    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();

    let error = SqliteStore::open(&folder.path().join("none/store")).unwrap_err();

    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("none/store"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let modes = || {
        let files = fs::read_dir(folder.path()).unwrap();
        let mode = |file: std::io::Result<fs::DirEntry>| {
            file.unwrap().metadata().unwrap().permissions().mode() & 0o777
        };
        files.map(mode).collect::<Vec<_>>()
    };

    let store = SqliteStore::open(&path).unwrap();
    bump(&store, "a").await.unwrap();
    // The file itself, its log and the index of that.
    assert_eq!(modes(), [0o600; 3]);

    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    bump(&store, "a").await.unwrap();
    assert_eq!(modes(), [0o600; 3]);
}

#[tokio::test]
async fn what_expired_a_day_ago_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = SqliteStore::open(&path).unwrap();
    let ends = [Some(1), Some(2), None].map(|s| s.map(|s| NOW + SignedDuration::from_secs(s)));
    let puts = ["first", "second", "stays"].into_iter().zip(ends);
    let puts =
        puts.map(|(sk, end)| Write::put_until(Key::new("p", sk), Expect::Absent, &json!({}), end));
    store.commit(NOW, puts.collect()).await.unwrap();

    for (now, rows) in [
        (2, 4),
        (24 * 3600, 4),
        (24 * 3600 + 1, 3),
        (24 * 3600 + 9, 2),
    ] {
        let now = NOW + SignedDuration::from_secs(now);
        store.commit(now, vec![bump_of("other")]).await.unwrap();
        let connection = Connection::open(&path).unwrap();
        let found: i64 = connection
            .query_row("SELECT count(*) FROM items", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, rows, "at {now}");
    }
}

#[tokio::test]
async fn an_item_that_was_spoilt_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = SqliteStore::open(&path).unwrap();
    for spoilt in ["body = '{'", "body = '[]'", "body = '{}', version = 0"] {
        let put = Write::put(Key::new("p", "a"), Expect::Absent, &json!({}));
        store.commit(NOW, vec![put]).await.unwrap();
        raw(&path, &format!("UPDATE items SET {spoilt}"));

        let read = store.get_many(NOW, &[Key::new("p", "a")]).await;
        let written = bump(&store, "a").await;

        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
        let is_corrupt = matches!(written, Err(CommitError::Store(StoreError::Corrupt(_))));
        assert!(is_corrupt, "{written:?}");
        raw(&path, "DELETE FROM items");
    }
}

fn raw(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn bump_of(sk: &str) -> Write {
    Write {
        key: Key::new("p", sk),
        expect: Expect::Any,
        change: Change::Bump {
            field: "n".to_owned(),
        },
    }
}

async fn bump(store: &SqliteStore, sk: &str) -> Result<(), CommitError> {
    store.commit(NOW, vec![bump_of(sk)]).await
}

/// Adds one by reading and writing, at the version that was read.
async fn add_one(store: &SqliteStore, sk: &str) {
    let key = Key::new("p", sk);
    loop {
        let found = store
            .get_many(NOW, std::slice::from_ref(&key))
            .await
            .unwrap();
        let (expect, n) = match &found[0] {
            Some(item) => (
                Expect::Version(item.version),
                item.body["n"].as_i64().unwrap(),
            ),
            None => (Expect::Absent, 0),
        };
        let put = Write::put(key.clone(), expect, &json!({"n": n + 1}));
        match store.commit(NOW, vec![put]).await {
            Ok(()) => return,
            Err(CommitError::Failed(0)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn count(store: &SqliteStore, sk: &str) -> i64 {
    let found = store.get_many(NOW, &[Key::new("p", sk)]).await.unwrap();
    found[0].as_ref().unwrap().body["n"].as_i64().unwrap()
}

async fn contents(store: &SqliteStore) -> Vec<Item> {
    query_all(store, NOW, &Range::all("p")).await.unwrap()
}
