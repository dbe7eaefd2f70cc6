//! Random commits and queries: the store in memory does what a naive model of the trait's docs does,
//! and the ones in a SQLite file, in a PostgreSQL database and in a DynamoDB table what the one in memory
//! does.

mod common;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use store::{Change, CommitError, Expect, Item, Key, MemoryStore, Range, Store, StoreError, Write};

const START: Timestamp = Timestamp::constant(1_767_225_600, 0);
const PARTITIONS: [&str; 2] = ["p", "p\0"];
const SORT_KEYS: [&str; 5] = ["a", "a\0", "b", "ä", "🦀"];

#[derive(Clone, Debug)]
enum Step {
    /// Time goes on by so many milliseconds.
    Wait(i64),
    Commit(Vec<Write>),
    Query {
        range: Range,
        after: Option<String>,
        limit: usize,
    },
}

/// How a commit ended, without its messages.
#[derive(PartialEq, Debug)]
enum Outcome {
    Applied,
    Failed(usize),
    Corrupt,
    Misuse,
    Unavailable,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn memory_does_what_the_model_does(steps in steps()) {
        let store = MemoryStore::new();
        let mut model = Model::default();
        let mut now = START;
        block_on(async {
            for step in steps {
                match step {
                    Step::Wait(millis) => now += SignedDuration::from_millis(millis),
                    Step::Commit(writes) => {
                        let expected = model.commit(now, &writes);
                        prop_assert_eq!(commit(&store, now, writes).await, expected);
                    }
                    Step::Query { range, after, limit } => {
                        let page = store.query(now, &range, after.as_deref(), limit).await.unwrap();
                        let (items, is_last) = model.query(now, &range, after.as_deref(), limit);
                        let next = items.last().map(|item| item.key.sk.clone());
                        prop_assert_eq!(page.items, items);
                        prop_assert_eq!(page.next, next.filter(|_| !is_last));
                    }
                }
                let expected = model.live(now).cloned().collect::<Vec<_>>();
                prop_assert_eq!(contents(&store, now).await, expected);
            }
            Ok(())
        })?;
    }
}

#[cfg(feature = "sqlite")]
proptest! {
    // Each case makes a file and syncs every commit.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sqlite_does_what_memory_does(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = store::SqliteStore::open(&folder.path().join("store")).unwrap();
        block_on(does_what_memory_does(&sqlite, steps))?;
    }
}

#[cfg(feature = "dynamodb")]
proptest! {
    // Each case makes a table, and every step of it is some requests.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn dynamodb_does_what_memory_does(steps in steps()) {
        block_on(async {
            match common::dynamodb::fresh("the model of DynamoDB").await {
                Some(store) => does_what_memory_does(&store, steps).await,
                None => Ok(()),
            }
        })?;
    }
}

#[cfg(feature = "postgres")]
proptest! {
    // Each case makes a database and syncs every commit.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn postgres_does_what_memory_does(steps in steps()) {
        block_on(async {
            match common::postgres::fresh("the model of PostgreSQL").await {
                Some(store) => does_what_memory_does(&store, steps).await,
                None => Ok(()),
            }
        })?;
    }
}

#[cfg(any(feature = "sqlite", feature = "dynamodb", feature = "postgres"))]
async fn does_what_memory_does(store: &dyn Store, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let memory = MemoryStore::new();
    let mut now = START;
    for step in steps {
        match step {
            Step::Wait(millis) => now += SignedDuration::from_millis(millis),
            Step::Commit(writes) => {
                let expected = commit(&memory, now, writes.clone()).await;
                prop_assert_eq!(commit(store, now, writes).await, expected);
            }
            Step::Query {
                range,
                after,
                limit,
            } => {
                let expected = pages(&memory, now, &range, after.clone(), limit).await;
                prop_assert_eq!(pages(store, now, &range, after, limit).await, expected);
            }
        }
        let expected = contents(&memory, now).await;
        prop_assert_eq!(contents(store, now).await, expected);
    }
    Ok(())
}

/// All items of the pages from behind `after` on, however they are spread.
#[cfg(any(feature = "sqlite", feature = "dynamodb", feature = "postgres"))]
async fn pages(
    store: &dyn Store,
    now: Timestamp,
    range: &Range,
    mut after: Option<String>,
    limit: usize,
) -> Vec<Item> {
    let mut items = Vec::new();
    // More pages than there are keys would be pages without end.
    for _ in 0..20 {
        let page = store.query(now, range, after.as_deref(), limit).await;
        let page = page.unwrap();
        assert!(page.items.len() <= limit);
        items.extend(page.items);
        if page.next.is_none() {
            return items;
        }
        after = page.next;
    }
    panic!("{range:?} has no last page");
}

/// The docs of the trait, as plainly as they can be written: a list in the order of its keys.
#[derive(Default)]
struct Model {
    items: Vec<Item>,
}

impl Model {
    fn live(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &Item> {
        let has_expired = move |item: &Item| item.expires_at.is_some_and(|end| end <= now);
        self.items.iter().filter(move |item| !has_expired(item))
    }

    fn commit(&mut self, now: Timestamp, writes: &[Write]) -> Outcome {
        for (index, write) in writes.iter().enumerate() {
            if writes[..index]
                .iter()
                .any(|earlier| earlier.key == write.key)
            {
                return Outcome::Misuse;
            }
        }
        if writes.is_empty() {
            return Outcome::Misuse;
        }

        for (index, write) in writes.iter().enumerate() {
            let found = self.live(now).find(|item| item.key == write.key);
            let holds = match (write.expect, found) {
                (Expect::Any, _) | (Expect::Absent, None) | (Expect::Present, Some(_)) => true,
                (Expect::Version(version), Some(item)) => item.version == version,
                _ => false,
            };
            if !holds {
                return Outcome::Failed(index);
            }
        }

        let mut items: Vec<Item> = self.live(now).cloned().collect();
        for write in writes {
            let place = items.iter().position(|item| item.key == write.key);
            let old = place.map(|place| items.remove(place));
            match new_item(write, old) {
                Ok(new) => items.extend(new),
                Err(outcome) => return outcome,
            }
        }
        items.sort_by(|one, other| one.key.cmp(&other.key));
        self.items = items;
        Outcome::Applied
    }

    /// A page, and whether it is the last.
    fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<Item>, bool) {
        let mut items: Vec<Item> = self
            .live(now)
            .filter(|item| item.key.pk == range.pk)
            .filter(|item| item.key.sk >= range.from)
            .filter(|item| {
                range
                    .until
                    .as_ref()
                    .is_none_or(|until| item.key.sk < *until)
            })
            .filter(|item| {
                let sk = item.key.sk.as_str();
                let is_behind = |after| {
                    if range.descending {
                        sk < after
                    } else {
                        sk > after
                    }
                };
                after.is_none_or(is_behind)
            })
            .cloned()
            .collect();
        if range.descending {
            items.reverse();
        }
        let is_last = items.len() <= limit;
        items.truncate(limit);
        (items, is_last)
    }
}

/// What `write` makes of `old`.
fn new_item(write: &Write, old: Option<Item>) -> Result<Option<Item>, Outcome> {
    let version = old.as_ref().map_or(1, |old| old.version + 1);
    let key = write.key.clone();
    let new = match &write.change {
        Change::Put { body, expires_at } => Item {
            key,
            version,
            body: body.clone(),
            expires_at: *expires_at,
        },
        Change::Bump { field } => {
            let mut body = old.as_ref().map_or(json!({}), |old| old.body.clone());
            let n = match &body[field] {
                Value::Null => 0,
                Value::Number(n) => n.as_i64().unwrap(),
                _ => return Err(Outcome::Corrupt),
            };
            body[field] = json!(n + 1);
            Item {
                key,
                version,
                body,
                expires_at: old.and_then(|old| old.expires_at),
            }
        }
        Change::Delete => return Ok(None),
        Change::Check => return Ok(old),
    };
    Ok(Some(new))
}

async fn commit(store: &dyn Store, now: Timestamp, writes: Vec<Write>) -> Outcome {
    match store.commit(now, writes).await {
        Ok(()) => Outcome::Applied,
        Err(CommitError::Failed(index)) => Outcome::Failed(index),
        Err(CommitError::Store(StoreError::Corrupt(_))) => Outcome::Corrupt,
        Err(CommitError::Store(StoreError::Misuse(_))) => Outcome::Misuse,
        Err(CommitError::Store(StoreError::Unavailable(_) | StoreError::Misconfigured(_))) => {
            Outcome::Unavailable
        }
        Err(CommitError::Store(error @ StoreError::Newer(_))) => {
            panic!("a store knows no forms: {error}")
        }
    }
}

/// All that is there, in the order of its keys.
async fn contents(store: &dyn Store, now: Timestamp) -> Vec<Item> {
    let keys: Vec<Key> = PARTITIONS
        .iter()
        .flat_map(|pk| SORT_KEYS.iter().map(|sk| Key::new(*pk, *sk)))
        .collect();
    let found = store.get_many(now, &keys).await.unwrap();
    found.into_iter().flatten().collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0..3000_i64).prop_map(Step::Wait),
        6 => prop::collection::vec(write(), 0..5).prop_map(Step::Commit),
        2 => query(),
    ];
    prop::collection::vec(step, 1..40)
}

fn write() -> impl Strategy<Value = Write> {
    (key(), expect(), change()).prop_map(|(key, expect, change)| Write {
        key,
        expect,
        change,
    })
}

fn key() -> impl Strategy<Value = Key> {
    let pk = prop::sample::select(&PARTITIONS[..]);
    (pk, sort_key()).prop_map(|(pk, sk)| Key::new(pk, sk))
}

fn sort_key() -> impl Strategy<Value = String> {
    prop::sample::select(&SORT_KEYS[..]).prop_map(str::to_owned)
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        2 => Just(Expect::Absent),
        2 => (0..5_u64).prop_map(Expect::Version),
        2 => Just(Expect::Present),
        6 => Just(Expect::Any),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let body = prop_oneof![
        4 => (-3..3_i64).prop_map(|n| json!({ "n": n })),
        2 => (0..3_i64).prop_map(|m| json!({ "m": m })),
        1 => Just(json!({"n": "text"})),
    ];
    // Whole milliseconds from the start, of which the steps reach about a minute.
    let end = prop::option::of(
        (-1000..60_000_i64).prop_map(|millis| START + SignedDuration::from_millis(millis)),
    );
    let field = prop::sample::select(&["n", "m"][..]).prop_map(str::to_owned);
    prop_oneof![
        4 => (body, end).prop_map(|(body, expires_at)| Change::Put { body, expires_at }),
        3 => field.prop_map(|field| Change::Bump { field }),
        1 => Just(Change::Delete),
        1 => Just(Change::Check),
    ]
}

fn query() -> impl Strategy<Value = Step> {
    let pk = prop::sample::select(&PARTITIONS[..]);
    let from = prop_oneof![Just(String::new()), sort_key()];
    let bounds = (from, prop::option::of(sort_key()), any::<bool>());
    let page = (prop::option::of(sort_key()), 1..7_usize);
    (pk, bounds, page).prop_map(
        |(pk, (from, until, descending), (after, limit))| Step::Query {
            range: Range {
                pk: pk.to_owned(),
                from,
                until,
                descending,
            },
            after,
            limit,
        },
    )
}
