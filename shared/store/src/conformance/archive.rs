//! A store as a whole: read as of one moment, and filled as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::{
    PK, apply, assert_failed, assert_misuse, at, body, bump, contents, count, get, key, put, write,
};
use crate::{Archive, Change, Expect, Item, Key, MOST_WRITES, StoreError, Write};

/// In which partitions the cases have items.
const PARTITIONS: [&str; 5] = [PK, "a", "p\0", "pp", "ä"];

/// Of one moment with all others.
fn all(_: &Key) -> bool {
    true
}

/// Everything there is, in the order of the keys, if it is of one moment.
async fn read(store: &dyn Archive, seconds: i64, most: usize) -> Result<Vec<Item>, StoreError> {
    let mut snapshot = store.snapshot(at(seconds), all).await?;
    let mut items = Vec::new();
    loop {
        let more = snapshot.next(most).await?;
        assert!(more.len() <= most, "{} of {most}", more.len());
        if more.is_empty() {
            break;
        }
        items.extend(more);
    }
    snapshot.confirm().await?;
    items.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(items)
}

/// Puts so many items into each of [`PARTITIONS`].
async fn fill(store: &dyn Archive, each: usize) -> BTreeSet<Key> {
    let keys: BTreeSet<Key> = PARTITIONS
        .iter()
        .flat_map(|pk| (0..each).map(move |n| Key::new(*pk, n.to_string())))
        .collect();
    let keys: Vec<Key> = keys.into_iter().collect();
    for keys in keys.chunks(MOST_WRITES) {
        let puts = keys
            .iter()
            .map(|key| Write::put(key.clone(), Expect::Absent, &body(1)));
        apply(store, at(0), puts.collect()).await;
    }
    keys.into_iter().collect()
}

/// All items of all partitions, whole, whatever the size of the pages; an empty store has none.
pub async fn a_snapshot_holds_everything_once(store: Arc<dyn Archive>) {
    let nothing = read(&*store, 0, 10).await.expect("nobody is writing");
    assert_eq!(nothing, []);
    let keys = fill(&*store, 50).await;
    apply(&*store, at(0), vec![bump("7", Expect::Present)]).await;

    for most in [1, 7, 100, 1000] {
        let items = read(&*store, 0, most).await.expect("nobody is writing");

        let found: Vec<Key> = items.iter().map(|item| item.key.clone()).collect();
        assert_eq!(found, keys.iter().cloned().collect::<Vec<_>>());
        for item in items {
            let expected: u64 = if item.key == key("7") { 2 } else { 1 };
            assert_eq!(
                (item.version, count(&item)),
                (expected, expected.cast_signed())
            );
        }
    }
}

/// What has expired is left out, what has not comes with its end.
pub async fn a_snapshot_leaves_out_what_has_expired(store: Arc<dyn Archive>) {
    let until = |sk, end| Write::put_until(key(sk), Expect::Absent, &body(1), Some(at(end)));
    let puts = vec![
        until("early", 10),
        until("late", 20),
        put("always", Expect::Absent, 1),
    ];
    apply(&*store, at(0), puts).await;

    for (now, expected) in [
        (
            9,
            vec![
                ("always", None),
                ("early", Some(at(10))),
                ("late", Some(at(20))),
            ],
        ),
        (10, vec![("always", None), ("late", Some(at(20)))]),
        (20, vec![("always", None)]),
    ] {
        let items = read(&*store, now, 2).await.expect("nobody is writing");
        let found: Vec<_> = items
            .iter()
            .map(|item| (item.key.sk.as_str(), item.expires_at))
            .collect();
        assert_eq!(found, expected);
    }
}

/// However much was read before it: a commit is in the snapshot with all its writes or with none, or
/// the snapshot says that it is of no one moment.
pub async fn a_commit_is_wholly_in_a_snapshot_or_not_at_all(store: Arc<dyn Archive>) {
    fill(&*store, 4).await;
    for before in 0..21 {
        let old = read(&*store, 0, 100).await.expect("nobody is writing");
        let mut writes: Vec<Write> = PARTITIONS
            .iter()
            .map(|pk| Write::put(Key::new(*pk, "1"), Expect::Present, &body(before)))
            .collect();
        for pk in PARTITIONS {
            let (gone, new) = (format!("gone {before}"), format!("gone {}", before + 1));
            writes.push(Write {
                key: Key::new(pk, gone),
                expect: Expect::Any,
                change: Change::Delete,
            });
            writes.push(Write::put(Key::new(pk, new), Expect::Absent, &body(before)));
        }

        let mut snapshot = store.snapshot(at(0), all).await.expect("it can be read");
        let mut items = Vec::new();
        for _ in 0..before {
            items.extend(snapshot.next(1).await.expect("it can be read"));
        }
        apply(&*store, at(0), writes).await;
        loop {
            let more = snapshot.next(3).await.expect("it can be read");
            if more.is_empty() {
                break;
            }
            items.extend(more);
        }
        let confirmed = snapshot.confirm().await;

        let new = read(&*store, 0, 100).await.expect("nobody is writing");
        assert_ne!(old, new);
        items.sort_by(|a, b| a.key.cmp(&b.key));
        match confirmed {
            Ok(()) => assert!(items == old || items == new, "after {before} items"),
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Items that need not be of one moment with the others may change at any time.
pub async fn what_is_not_settled_may_change(store: Arc<dyn Archive>) {
    fill(&*store, 4).await;
    let mut snapshot = store
        .snapshot(at(0), |key| key.pk != PK)
        .await
        .expect("it can be read");
    let mut items = snapshot.next(2).await.expect("it can be read");
    for sk in ["0", "1", "2", "3"] {
        apply(&*store, at(0), vec![bump(sk, Expect::Present)]).await;
    }
    loop {
        let more = snapshot.next(2).await.expect("it can be read");
        if more.is_empty() {
            break;
        }
        items.extend(more);
    }

    snapshot
        .confirm()
        .await
        .expect("nothing settled has changed");

    let settled = items.iter().filter(|item| item.key.pk != PK);
    assert_eq!(settled.count(), 16);
    let keys: BTreeSet<&Key> = items.iter().map(|item| &item.key).collect();
    assert_eq!((items.len(), keys.len()), (20, 20));
}

/// What is loaded is there as it was: body, version and lifetime; and goes on from there.
pub async fn what_is_loaded_is_there_as_it_was(store: Arc<dyn Archive>) {
    let items = vec![
        item("plain", 1, None),
        item("old", 41, None),
        item("brief", 7, Some(60)),
        Item {
            body: json!({"": [null, {"a": "ä"}], "n": -1, "big": u64::MAX}),
            ..item("odd \0", 1 << 40, Some(90))
        },
    ];
    store.load(at(0), &items).await.expect("it is empty");

    let mut expected = items;
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(read(&*store, 0, 3).await.expect("nobody writes"), expected);
    assert_eq!(contents(&*store, at(0)).await, expected);
    apply(&*store, at(1), vec![put("old", Expect::Version(41), 5)]).await;
    apply(&*store, at(1), vec![bump("brief", Expect::Version(7))]).await;
    let old = get(&*store, at(1), "old").await.expect("it was put");
    assert_eq!((old.version, count(&old)), (42, 5));
    let brief = get(&*store, at(59), "brief").await.expect("it is live");
    assert_eq!((brief.version, brief.expires_at), (8, Some(at(60))));
    assert_eq!(get(&*store, at(60), "brief").await, None);
}

/// To load again what is there already, all of it or some, changes nothing.
pub async fn to_load_twice_is_harmless(store: Arc<dyn Archive>) {
    let items: Vec<Item> = (0..30)
        .map(|n| item(&format!("{n:02}"), n + 1, Some(60)))
        .collect();

    store
        .load(at(0), &items[10..15])
        .await
        .expect("it is empty");
    store
        .load(at(0), &items)
        .await
        .expect("what is there is the same");
    store.load(at(1), &items).await.expect("all is there");

    assert_eq!(contents(&*store, at(1)).await, items);
}

/// Another body, version or lifetime in the place of one fails, names it, and leaves nothing of the
/// others.
pub async fn another_item_in_the_place_is_left_there(store: Arc<dyn Archive>) {
    let there = item("m", 3, Some(60));
    store
        .load(at(0), std::slice::from_ref(&there))
        .await
        .expect("it is empty");
    let others = [
        Item {
            body: json!({"n": "other"}),
            ..there.clone()
        },
        Item {
            version: 4,
            ..there.clone()
        },
        Item {
            expires_at: Some(at(61)),
            ..there.clone()
        },
        Item {
            expires_at: None,
            ..there.clone()
        },
    ];

    for other in others {
        for index in 0..3 {
            let mut items = vec![item("a", 1, None), item("z", 1, None)];
            items.insert(index, other.clone());
            let outcome = store.load(at(0), &items).await;
            assert_failed(&outcome, index);
            assert_eq!(contents(&*store, at(0)).await, [there.clone()]);
        }
    }
}

/// Of several the first is named.
pub async fn the_first_place_that_is_taken_is_named(store: Arc<dyn Archive>) {
    let there = ["b", "d"].map(|sk| item(sk, 2, None));
    store.load(at(0), &there).await.expect("it is empty");

    let items = ["a", "b", "c", "d"].map(|sk| item(sk, 1, None));
    let outcome = store.load(at(0), &items).await;

    assert_failed(&outcome, 1);
    assert_eq!(contents(&*store, at(0)).await, there);
}

/// What has expired is nowhere: loaded it counts as put, and in the way it is not.
pub async fn what_has_expired_counts_as_loaded(store: Arc<dyn Archive>) {
    store
        .load(at(0), &[item("a", 5, Some(10))])
        .await
        .expect("it is empty");
    let other = item("a", 2, Some(60));

    let outcome = store.load(at(9), std::slice::from_ref(&other)).await;
    assert_failed(&outcome, 0);
    let expired = [item("b", 1, Some(10)), other.clone(), item("c", 1, Some(5))];
    store
        .load(at(10), &expired)
        .await
        .expect("nothing live is there");
    store
        .load(at(11), &expired[..1])
        .await
        .expect("it has expired");

    assert_eq!(contents(&*store, at(10)).await, [other]);
    apply(&*store, at(11), vec![put("b", Expect::Absent, 1)]).await;
}

/// A lifetime is kept in whole milliseconds, and compared so.
pub async fn loaded_lifetimes_are_in_whole_milliseconds(store: Arc<dyn Archive>) {
    let mut finer = item("a", 1, None);
    finer.expires_at = Some(at(9) + jiff::SignedDuration::from_micros(1_234));
    store
        .load(at(0), std::slice::from_ref(&finer))
        .await
        .expect("it is empty");
    store
        .load(at(0), std::slice::from_ref(&finer))
        .await
        .expect("it is the same");

    let found = get(&*store, at(0), "a").await.expect("it is there");
    let end = at(9) + jiff::SignedDuration::from_millis(1);
    assert_eq!(found.expires_at, Some(end));
}

/// The limits are those of a commit.
pub async fn what_is_loaded_is_within_the_limits(store: Arc<dyn Archive>) {
    let many: Vec<Item> = (0..=MOST_WRITES)
        .map(|n| item(&n.to_string(), 1, None))
        .collect();
    store
        .load(at(0), &many[..MOST_WRITES])
        .await
        .expect("it is empty");

    assert_misuse(store.load(at(0), &[]).await);
    assert_misuse(store.load(at(0), &many).await);
    assert_misuse(store.load(at(0), &[item("x", 0, None)]).await);
    assert_misuse(
        store
            .load(at(0), &[item("x", 1, None), item("x", 1, None)])
            .await,
    );
    let list = Item {
        body: json!([]),
        ..item("x", 1, None)
    };
    assert_misuse(store.load(at(0), &[list]).await);
    let large = Item {
        body: json!({"text": "x".repeat(400_000)}),
        ..item("x", 1, None)
    };
    assert_misuse(store.load(at(0), &[large]).await);
    assert_eq!(get(&*store, at(0), "x").await, None);
}

/// Loading and commits at once: each place has one winner, and a load is whole.
pub async fn a_load_and_a_commit_do_not_mix(store: Arc<dyn Archive>) {
    for round in 0..8 {
        let sks = ["x", "y"].map(|sk| format!("{round} {sk}"));
        let items = sks.clone().map(|sk| item(&sk, 9, None));
        let one = put(&sks[1], Expect::Absent, 1);

        let (loaded, committed) =
            tokio::join!(store.load(at(0), &items), store.commit(at(0), vec![one]));

        let found = [
            get(&*store, at(0), &sks[0]).await,
            get(&*store, at(0), &sks[1]).await,
        ];
        let versions = found.map(|item| item.map(|item| item.version));
        if loaded.is_ok() {
            assert_failed(&committed, 0);
            assert_eq!(versions, [Some(9), Some(9)]);
        } else {
            assert_failed(&loaded, 1);
            assert!(committed.is_ok(), "{committed:?}");
            assert_eq!(versions, [None, Some(1)]);
        }
    }
    let check = write("0 y", Expect::Present, Change::Check);
    apply(&*store, at(0), vec![check]).await;
}

fn item(sk: &str, version: u64, end: Option<i64>) -> Item {
    Item {
        key: key(sk),
        version,
        body: body(1),
        expires_at: end.map(at),
    }
}
