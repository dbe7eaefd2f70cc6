//! An import that is stopped at any commit, applied or not, is gone on with by the next run, exactly once.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::documents::{OF_FIXTURE, export, fixture, import};
use control::items;
use control::items::Read as _;
use control::state::{Cursor, Stage, StateError};
use store::conformance::{Between, Call, Fate, Watched};
use store::{MemoryStore, Store};

/// A store that is unavailable from a commit on, which is applied or not.
fn stopping(
    store: &Arc<MemoryStore>,
    commits: u64,
    applies: bool,
) -> Watched<Arc<MemoryStore>, impl Between> {
    let left = AtomicU64::new(commits);
    let fate = move |call: Call<'_>| {
        let Call::Commit(_) = call else {
            return Fate::Answered;
        };
        let less = |left: u64| left.checked_sub(1);
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Fate::Answered,
            Err(_) if applies => Fate::Lost,
            Err(_) => Fate::Refused,
        }
    };
    Watched::new(Arc::clone(store), fate)
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
            let stopping = stopping(&store, stop, applies);
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
    let store = Arc::new(MemoryStore::new());
    let stopping = stopping(&store, 2, false);
    import(&stopping, OF_FIXTURE, &fixture()).await.unwrap_err();
    let before = cursor(&store).await.unwrap();

    let text = String::from_utf8(fixture()).unwrap();
    let other = text.replace("the first twelve", "the first dozen");
    let refused = import(store.as_ref(), OF_FIXTURE, other.as_bytes()).await;
    assert!(
        matches!(refused, Err(StateError::Refused(why)) if why.contains("finish that one first"))
    );
    let other = text.replace("n-fixtur23", "n-fixtur24");
    let refused = import(store.as_ref(), OF_FIXTURE, other.as_bytes()).await;
    assert!(
        matches!(refused, Err(StateError::Refused(why)) if why.contains("holds the network n-fixtur23"))
    );
    assert_eq!(cursor(&store).await.unwrap(), before);
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
