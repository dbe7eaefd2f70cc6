//! An import that is stopped at any commit, applied or not, is gone on with by the next run, exactly once.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use common::documents::{OF_FIXTURE, export, fixture, import};
use control::items;
use control::state::{Cursor, Stage, StateError};
use jiff::Timestamp;
use store::{
    Archive, CommitError, Item, Key, MemoryStore, Page, Range, Snapshot, Store, StoreError, Write,
};

/// A store that fails at a commit, before or after it is applied.
struct Stopping {
    store: Arc<MemoryStore>,
    commits_left: AtomicU32,
    applies: bool,
}

#[async_trait]
impl Store for Stopping {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        self.store.get_many(now, keys).await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.store.query(now, range, after, limit).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        if self.commits_left.load(Ordering::Relaxed) > 0 {
            self.commits_left.fetch_sub(1, Ordering::Relaxed);
            return self.store.commit(now, writes).await;
        }
        if self.applies {
            self.store.commit(now, writes).await?;
        }
        Err(StoreError::Unavailable("stopped".to_owned()).into())
    }
}

#[async_trait]
impl Archive for Stopping {
    async fn snapshot(
        &self,
        now: Timestamp,
        settled: store::Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot(now, settled).await
    }

    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError> {
        self.store.load(now, items).await
    }
}

async fn cursor(store: &MemoryStore) -> Option<Cursor> {
    let found = store.get_many(OF_FIXTURE, &[items::import_cursor()]).await;
    let item = found.unwrap().remove(0)?;
    Some(item.read().unwrap())
}

/// The fixture with a device that has had more keys than fit a commit.
fn document() -> Vec<u8> {
    let mut document: serde_json::Value = serde_json::from_slice(&fixture()).unwrap();
    let keys = (0..200_u8).map(|n| data_encoding::BASE64.encode(&[n; 32]));
    document["devices"][5]["retired_keys"] = keys.collect();
    document.to_string().into_bytes()
}

#[tokio::test]
async fn an_import_that_is_stopped_at_any_commit_ends_as_one_that_was_not() {
    let document = document();
    let whole = MemoryStore::new();
    let commits = import(&whole, OF_FIXTURE, &document).await.unwrap().commits;
    assert!(
        commits > 5,
        "{commits} commits are too few to be stopped between"
    );
    let (expected, ..) = export(&whole, OF_FIXTURE, None).await.unwrap();
    let records = cursor(&whole).await.unwrap().records;

    for applies in [false, true] {
        for stop in 0..commits {
            let store = Arc::new(MemoryStore::new());
            let stopping = Stopping {
                store: store.clone(),
                commits_left: AtomicU32::new(u32::try_from(stop).unwrap()),
                applies,
            };
            let stopped = import(&stopping, OF_FIXTURE, &document).await;
            assert!(matches!(stopped, Err(StateError::Store(_))), "{stopped:?}");
            let half = export(store.as_ref(), OF_FIXTURE, None).await;
            let is_over = applies && stop + 1 == commits;
            assert_eq!(half.is_ok(), is_over, "a document of half an import");

            let again = import(store.as_ref(), OF_FIXTURE, &document).await.unwrap();

            let (text, ..) = export(store.as_ref(), OF_FIXTURE, None).await.unwrap();
            assert!(text == expected, "stopped at {stop}, applied: {applies}");
            assert_eq!(again.records, records);
            assert_eq!(again.commits, commits - stop - u64::from(applies));
        }
    }
}

#[tokio::test]
async fn an_import_that_is_over_changes_nothing_when_it_is_run_again() {
    let store = MemoryStore::new();
    import(&store, OF_FIXTURE, &fixture()).await.unwrap();
    let before = cursor(&store).await.unwrap();

    let again = import(&store, OF_FIXTURE, &fixture()).await.unwrap();

    assert_eq!((again.commits, again.before), (0, again.records));
    assert_eq!(before.stage, Stage::Done);
    assert_eq!(cursor(&store).await.unwrap(), before);
}

#[tokio::test]
async fn another_document_than_the_one_that_was_begun_is_refused() {
    let stopping = Stopping {
        store: Arc::new(MemoryStore::new()),
        commits_left: AtomicU32::new(2),
        applies: false,
    };
    import(&stopping, OF_FIXTURE, &fixture()).await.unwrap_err();
    let before = cursor(&stopping.store).await.unwrap();

    let text = String::from_utf8(fixture()).unwrap();
    let other = text.replace("the first twelve", "the first dozen");
    let refused = import(stopping.store.as_ref(), OF_FIXTURE, other.as_bytes()).await;
    assert!(
        matches!(refused, Err(StateError::Refused(why)) if why.contains("finish that one first"))
    );
    let other = text.replace("n-fixtur23", "n-fixtur24");
    let refused = import(stopping.store.as_ref(), OF_FIXTURE, other.as_bytes()).await;
    assert!(
        matches!(refused, Err(StateError::Refused(why)) if why.contains("holds the network n-fixtur23"))
    );
    assert_eq!(cursor(&stopping.store).await.unwrap(), before);
}

#[tokio::test]
async fn a_document_with_something_fatal_changes_nothing() {
    let mut document: serde_json::Value = serde_json::from_slice(&fixture()).unwrap();
    document["policies"][2]["policy"]["schema"] = "other".into();
    let store = MemoryStore::new();

    let refused = import(&store, OF_FIXTURE, document.to_string().as_bytes()).await;

    assert!(
        matches!(refused, Err(StateError::Document(_))),
        "{refused:?}"
    );
    assert!(cursor(&store).await.is_none());
}
