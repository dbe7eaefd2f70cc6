//! What breaks a limit is refused as a misuse, whole, and what just keeps it is not.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    PK, apply, assert_failed, assert_misuse, at, body, bump, contents, get, key, put, write,
};
use crate::{
    Change, Expect, Key, MOST_BODY_BYTES, MOST_COMMIT_BYTES, MOST_KEYS, MOST_PAGE, MOST_WRITES,
    Range, Store, Write,
};

/// None is a misuse, a hundred are a commit, and one more is too many.
pub async fn a_commit_has_one_to_a_hundred_writes(store: Arc<dyn Store>) {
    let puts = |count: usize| {
        (0..count)
            .map(|n| put(&n.to_string(), Expect::Absent, 0))
            .collect()
    };

    assert_misuse(store.commit(at(0), Vec::new()).await);
    assert_misuse(store.commit(at(0), puts(MOST_WRITES + 1)).await);
    assert_eq!(contents(&*store, at(0)).await, []);

    apply(&*store, at(0), puts(MOST_WRITES)).await;
    assert_eq!(contents(&*store, at(0)).await.len(), MOST_WRITES);
    assert_failed(&store.commit(at(0), puts(MOST_WRITES)).await, 0);
}

/// Two writes to one item, of whatever kind, are a misuse even where both would hold.
pub async fn a_commit_writes_a_key_once(store: Arc<dyn Store>) {
    for second in [
        put("a", Expect::Any, 2),
        bump("a", Expect::Any),
        write("a", Expect::Any, Change::Delete),
        write("a", Expect::Absent, Change::Check),
    ] {
        let writes = vec![
            put("a", Expect::Absent, 1),
            put("b", Expect::Any, 1),
            second,
        ];
        assert_misuse(store.commit(at(0), writes).await);
        assert_eq!(contents(&*store, at(0)).await, []);
    }

    let elsewhere = Write::put(Key::new("q", "a"), Expect::Absent, &body(1));
    apply(&*store, at(0), vec![put("a", Expect::Absent, 1), elsewhere]).await;
}

/// Anything else is a misuse.
pub async fn a_body_is_an_object(store: Arc<dyn Store>) {
    for bad in [json!(null), json!(1), json!("text"), json!([]), json!([{}])] {
        refused(&*store, Write::put(key("a"), Expect::Absent, &bad)).await;
    }
}

/// To the byte.
pub async fn a_body_has_a_most_size(store: Arc<dyn Store>) {
    let largest = sized(MOST_BODY_BYTES);
    assert_eq!(largest.to_string().len(), MOST_BODY_BYTES);

    refused(
        &*store,
        Write::put(key("a"), Expect::Absent, &sized(MOST_BODY_BYTES + 1)),
    )
    .await;

    apply(
        &*store,
        at(0),
        vec![Write::put(key("a"), Expect::Absent, &largest)],
    )
    .await;
    let found = get(&*store, at(0), "a").await.map(|item| item.body);
    assert_eq!(found, Some(largest));
}

/// Thirty levels can be read back, one more is a misuse.
pub async fn a_body_has_a_most_depth(store: Arc<dyn Store>) {
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "x": inner }));

    refused(&*store, Write::put(key("a"), Expect::Absent, &nested(31))).await;

    apply(
        &*store,
        at(0),
        vec![Write::put(key("a"), Expect::Absent, &nested(30))],
    )
    .await;
    let found = get(&*store, at(0), "a").await.map(|item| item.body);
    assert_eq!(found, Some(nested(30)));
}

/// Bodies that are small enough alone can be too much together.
pub async fn a_commit_has_a_most_size(store: Arc<dyn Store>) {
    let count = MOST_COMMIT_BYTES / 370_000;
    let puts = |rest: usize| {
        let sizes = (1..count).map(|_| 370_000).chain([370_000 + rest]);
        let puts = sizes
            .enumerate()
            .map(|(n, size)| Write::put(key(&n.to_string()), Expect::Absent, &sized(size)));
        puts.collect::<Vec<_>>()
    };
    assert_eq!(count * 370_000, MOST_COMMIT_BYTES);

    assert_misuse(store.commit(at(0), puts(1)).await);
    assert_eq!(contents(&*store, at(0)).await, []);

    apply(&*store, at(0), puts(0)).await;
    assert_eq!(contents(&*store, at(0)).await.len(), count);
}

/// 1 to 1,024 bytes, of which a character may have several.
pub async fn the_parts_of_a_key_have_a_size(store: Arc<dyn Store>) {
    let long = "ä".repeat(512);
    let too_long = format!("{long}x");

    for (pk, sk) in [("", "a"), ("a", ""), (&too_long, "a"), ("a", &too_long)] {
        let key = Key::new(pk, sk);
        let put = Write::put(key.clone(), Expect::Absent, &body(1));
        refused(&*store, put).await;
        assert_misuse(store.get_many(at(0), &[key]).await);
    }

    let longest = Key::new(&long, &long);
    apply(
        &*store,
        at(0),
        vec![Write::put(longest, Expect::Absent, &body(1))],
    )
    .await;
    let page = store.query(at(0), &Range::all(&long), None, 1).await;
    let items = page.expect("the store can be read").items;
    assert_eq!(items.len(), 1);
    assert_eq!(items[0].key.sk, long);
}

/// 1 to 255 bytes; and a bump does not make a body larger than a put may.
pub async fn a_bumped_field_has_a_name(store: Arc<dyn Store>) {
    for length in [0, 256] {
        let field = "x".repeat(length);
        refused(&*store, write("a", Expect::Any, Change::Bump { field })).await;
    }
    let field = "x".repeat(255);
    apply(
        &*store,
        at(0),
        vec![write("a", Expect::Any, Change::Bump { field })],
    )
    .await;

    let full = Write::put(key("full"), Expect::Absent, &sized(MOST_BODY_BYTES));
    apply(&*store, at(0), vec![full]).await;
    refused(&*store, bump("full", Expect::Any)).await;
}

/// Keys and pages have a most number, and partitions a name.
pub async fn reads_have_limits(store: Arc<dyn Store>) {
    let keys: Vec<_> = (0..=MOST_KEYS).map(|n| key(&n.to_string())).collect();
    assert_misuse(store.get_many(at(0), &keys).await);
    let found = store.get_many(at(0), &keys[1..]).await;
    assert_eq!(found.expect("that many can be read").len(), MOST_KEYS);

    let range = Range::all(PK);
    for limit in [0, MOST_PAGE + 1] {
        assert_misuse(store.query(at(0), &range, None, limit).await);
    }
    let page = store.query(at(0), &range, None, MOST_PAGE).await;
    assert_eq!(page.expect("that many can be read").items, []);

    let long = "x".repeat(1025);
    assert_misuse(store.query(at(0), &range, Some(&long), 1).await);
    for pk in ["", &long] {
        assert_misuse(store.query(at(0), &Range::all(pk), None, 1).await);
    }
}

/// Asserts that `bad` is a misuse, alone and beside a good write, and changes nothing.
async fn refused(store: &dyn Store, bad: Write) {
    let before = contents(store, at(0)).await;
    assert_misuse(store.commit(at(0), vec![bad.clone()]).await);
    let beside = vec![put("beside", Expect::Any, 1), bad];
    assert_misuse(store.commit(at(0), beside).await);
    assert_eq!(contents(store, at(0)).await, before);
}

/// A body of so many bytes as compact JSON.
fn sized(bytes: usize) -> Value {
    let empty = json!({ "x": "" }).to_string().len();
    json!({ "x": "x".repeat(bytes - empty) })
}
