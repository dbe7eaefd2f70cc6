//! The suite, run on the store in a DynamoDB table: an emulator's, directly and behind a proxy that
//! throttles, refuses what overlaps and loses answers.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::dynamodb::{Behind, fresh, fresh_behind, next_table, open, open_with};
use emulator::{Emulator, Faults};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::conformance::{Kept, Watched};
use store::dynamodb::Retries;
use store::{
    Archive, Change, CommitError, DynamoDbStore, Expect, Key, Range, Store, StoreError, Write,
};
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

mod on_the_emulator {
    use super::*;

    async fn make() -> Option<Arc<dyn Archive>> {
        let store = fresh("the suite on DynamoDB").await?;
        Some(Arc::new(store))
    }

    store::conformance!(make);
}

mod behind_faults {
    use super::*;

    async fn make() -> Option<Arc<dyn Archive>> {
        let behind = fresh_behind("the suite on DynamoDB", Faults::HARSH).await?;
        Some(Arc::new(Watched::new(behind.store, Kept(behind.proxy))))
    }

    store::conformance!(make);
}

/// How many write at once, and how often each of them does.
const WRITERS: usize = 16;
const ROUNDS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_faults_every_commit_is_applied_exactly_once() {
    let Some(Behind { store, proxy }) = fresh_behind("exactly once", Faults::HARSH).await else {
        return;
    };
    let store = Arc::new(store);

    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move { write_all_kinds(&store, writer).await });
    }
    writers.join_all().await;

    let all = WRITERS * ROUNDS;
    let counters = ["alone", "beside a record"].map(|name| Key::new("count", name));
    let found = store.get_many(NOW, &counters).await.unwrap();
    let found: Vec<_> = found.into_iter().flatten().collect();
    let counted: Vec<_> = found
        .iter()
        .map(|item| (item.version, &item.body))
        .collect();
    let expected = json!({ "n": all });
    assert_eq!(counted, [(all as u64, &expected); 2]);
    assert_eq!(versions(&store, "record").await, vec![1; all]);
    assert_eq!(versions(&store, "own").await, vec![ROUNDS as u64; WRITERS]);
    assert_eq!(versions(&store, "brief").await, [0; 0]);
    let requests: usize = proxy.take_requests().values().sum();
    assert!(requests > all * 6, "{requests} requests: no fault was met");
}

/// Six commits a round: with a guard beside, alone without one, over a version, and a delete.
async fn write_all_kinds(store: &DynamoDbStore, writer: usize) {
    for round in 0..ROUNDS {
        let sk = format!("{writer:02} {round:02}");
        let record = put(Key::new("record", &sk), Expect::Absent);
        apply(store, vec![bump("beside a record"), record]).await;
        apply(store, vec![bump("alone")]).await;
        let own = Key::new("own", format!("{writer:02}"));
        let expect = match round {
            0 => Expect::Absent,
            round => Expect::Version(round as u64),
        };
        apply(store, vec![put(own, expect)]).await;
        let brief = Key::new("brief", &sk);
        apply(store, vec![put(brief.clone(), Expect::Any)]).await;
        apply(store, vec![put(brief.clone(), Expect::Version(1))]).await;
        apply(store, vec![delete(brief, Expect::Present)]).await;
    }
}

#[tokio::test]
async fn a_call_is_one_request() {
    let Some(Behind { store, proxy }) = fresh_behind("counts", Faults::NONE).await else {
        return;
    };
    let (a, b) = (Key::new("p", "a"), Key::new("p", "b"));

    let mut counted = Vec::new();
    let mut count = |what: &'static str| counted.push((what, proxy.take_requests()));
    apply(&store, vec![put(a.clone(), Expect::Absent)]).await;
    count("a put of a new item");
    apply(&store, vec![put(a.clone(), Expect::Version(1))]).await;
    count("a put over a version");
    apply(
        &store,
        vec![put(a.clone(), Expect::Any), put(b.clone(), Expect::Any)],
    )
    .await;
    count("two puts");
    apply(&store, vec![bump("n")]).await;
    count("a bump that begins an item");
    apply(&store, vec![bump("n")]).await;
    count("a bump");
    apply(&store, vec![delete(b.clone(), Expect::Present)]).await;
    count("a delete");
    apply(
        &store,
        vec![write(a.clone(), Expect::Present, Change::Check)],
    )
    .await;
    count("a check");
    store.get_many(NOW, &[a.clone(), b, a]).await.unwrap();
    count("a read of three keys");
    store.query(NOW, &Range::all("p"), None, 10).await.unwrap();
    count("a query");
    store.get_many(NOW, &[]).await.unwrap();
    count("a read of nothing");

    let once = |name: &str| BTreeMap::from([(name.to_owned(), 1)]);
    let expected = [
        ("a put of a new item", once("PutItem")),
        ("a put over a version", once("UpdateItem")),
        ("two puts", once("TransactWriteItems")),
        // It is asked for as if the item were there.
        (
            "a bump that begins an item",
            BTreeMap::from([("TransactWriteItems".to_owned(), 2)]),
        ),
        ("a bump", once("TransactWriteItems")),
        ("a delete", once("TransactWriteItems")),
        ("a check", once("BatchGetItem")),
        ("a read of three keys", once("BatchGetItem")),
        ("a query", once("Query")),
        ("a read of nothing", BTreeMap::new()),
    ];
    assert_eq!(counted, expected);
}

/// What a bump without a look cannot know: that the body is large, or has many fields.
#[tokio::test]
async fn a_bump_of_a_large_body_looks_at_it() {
    let Some(Behind { store, proxy }) = fresh_behind("large bodies", Faults::NONE).await else {
        return;
    };
    let large = json!({ "text": "x".repeat(350_000), "n": 1 });
    let key = Key::new("count", "large");
    apply(&store, vec![Write::put(key, Expect::Absent, &large)]).await;
    proxy.take_requests();

    apply(&store, vec![bump("large")]).await;
    let requests = proxy.take_requests();
    let fields: Vec<_> = (0..60).map(|n| format!("field {n}")).collect();
    for field in &fields {
        apply(&store, vec![bump_field("many", field)]).await;
        apply(&store, vec![bump_field("many", field)]).await;
    }

    assert_eq!(
        requests,
        BTreeMap::from([("TransactWriteItems".to_owned(), 2)])
    );
    let keys = ["large", "many"].map(|name| Key::new("count", name));
    let found: Vec<_> = store.get_many(NOW, &keys).await.unwrap();
    let [Some(large), Some(many)] = found.as_slice() else {
        panic!("both are there");
    };
    assert_eq!((large.version, &large.body["n"]), (2, &json!(2)));
    let expected: serde_json::Map<String, Value> =
        fields.into_iter().map(|field| (field, json!(2))).collect();
    assert_eq!((many.version, &many.body), (120, &Value::Object(expected)));
}

#[tokio::test]
async fn a_table_that_is_there_is_made_no_second_time() {
    let Some(store) = fresh("making tables").await else {
        return;
    };
    apply(&store, vec![bump("n")]).await;

    store.create_table().await.unwrap();

    assert_eq!(versions(&store, "count").await, [1]);
}

/// What an operator must tell apart, and what to look for in the text.
#[tokio::test]
async fn errors_say_what_is_wrong() {
    let Some(Behind { store, proxy }) = fresh_behind("errors", Faults::NONE).await else {
        return;
    };
    let no_table = open(proxy.url(), "no-such-table");

    let mut texts = vec![misconfigured(&no_table, "no such table: create it").await];
    for (name, message, expected) in [
        (
            "AccessDeniedException",
            "User: x is not authorized",
            "no right to this",
        ),
        (
            "UnrecognizedClientException",
            "The security token is invalid",
            "credentials are refused",
        ),
        (
            "InvalidSignatureException",
            "Credential should be scoped to a valid region",
            "look at key, region and clock",
        ),
        (
            "ExpiredTokenException",
            "The security token is expired",
            "have expired",
        ),
        (
            "ValidationException",
            "The provided key element does not match the schema",
            "must be the strings pk and sk",
        ),
    ] {
        proxy.refuse(name, message);
        texts.push(misconfigured(&store, expected).await);
    }

    assert!(texts[1..].iter().all(|text| text.contains("table-")));
    assert!(
        texts.iter().all(|text| text.contains("eu-central-1")),
        "{texts:?}"
    );
    proxy.refuse("ValidationException", "Invalid UpdateExpression");
    let defect = store.commit(NOW, vec![bump("n")]).await;
    assert!(
        matches!(defect, Err(CommitError::Store(StoreError::Misuse(_)))),
        "{defect:?}"
    );
}

async fn misconfigured(store: &DynamoDbStore, expected: &str) -> String {
    let key = Key::new("p", "a");
    let commits = [
        vec![bump("n")],
        vec![put(key.clone(), Expect::Absent)],
        vec![put(key.clone(), Expect::Version(1))],
    ];
    for writes in commits {
        let outcome = store.commit(NOW, writes).await;
        let Err(CommitError::Store(StoreError::Misconfigured(text))) = outcome else {
            panic!("{outcome:?} is not about the setup");
        };
        assert!(text.contains(expected), "{text}");
    }
    let page = store.query(NOW, &Range::all("p"), None, 1).await;
    assert!(
        matches!(page, Err(StoreError::Misconfigured(_))),
        "{page:?}"
    );
    match store.get_many(NOW, &[key]).await {
        Err(StoreError::Misconfigured(text)) => text,
        other => panic!("{other:?} is not about the setup"),
    }
}

/// Both are unavailable, after as many attempts as there may be, and say which it is.
#[tokio::test]
async fn a_database_that_is_down_and_one_that_throttles_are_unavailable() {
    let Some(Behind { store: _, proxy }) = fresh_behind("outages", Faults::NONE).await else {
        return;
    };
    let retries = Retries {
        most_attempts: 3,
        first_window: Duration::from_millis(1),
        ..Retries::default()
    };
    let throttled = open_with(proxy.url(), &next_table(), retries.clone());
    proxy.refuse("ThrottlingException", "Rate exceeded");
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let down = open_with(&url, &next_table(), retries);

    for (store, expected) in [(throttled, "Rate exceeded"), (down, "no answer")] {
        let outcome = store.commit(NOW, vec![bump("n")]).await;
        let Err(CommitError::Store(StoreError::Unavailable(text))) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(
            text.contains(expected) && text.contains("after 3 attempts"),
            "{text}"
        );
    }
    assert_eq!(proxy.take_requests()["TransactWriteItems"], 3);
}

#[tokio::test]
async fn attempts_end_with_their_time() {
    let Some(emulator) = Emulator::shared("times") else {
        return;
    };
    let faults = Faults {
        throttled: 1.0,
        ..Faults::NONE
    };
    let proxy = emulator::Proxy::start(emulator.url(), faults).await;
    let retries = Retries {
        most_attempts: u32::MAX,
        most_time: Duration::from_millis(300),
        ..Retries::default()
    };
    let store = open_with(proxy.url(), &next_table(), retries);

    let outcome = store.get_many(NOW, &[Key::new("p", "a")]).await;

    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_))),
        "{outcome:?}"
    );
    let requests = proxy.take_requests()["BatchGetItem"];
    assert!((2..100).contains(&requests), "{requests} attempts");
}

fn write(key: Key, expect: Expect, change: Change) -> Write {
    Write {
        key,
        expect,
        change,
    }
}

fn put(key: Key, expect: Expect) -> Write {
    Write::put(key, expect, &json!({ "n": 1 }))
}

fn delete(key: Key, expect: Expect) -> Write {
    write(key, expect, Change::Delete)
}

fn bump(name: &str) -> Write {
    bump_field(name, "n")
}

fn bump_field(name: &str, field: &str) -> Write {
    let field = field.to_owned();
    write(Key::new("count", name), Expect::Any, Change::Bump { field })
}

async fn apply(store: &DynamoDbStore, writes: Vec<Write>) {
    let outcome = store.commit(NOW, writes.clone()).await;
    assert!(outcome.is_ok(), "{writes:?}: {outcome:?}");
}

/// The versions of all items of a partition.
async fn versions(store: &DynamoDbStore, pk: &str) -> Vec<u64> {
    let items = store::query_all(store, NOW, &Range::all(pk)).await.unwrap();
    items.into_iter().map(|item| item.version).collect()
}
