//! A commit happens whole or not at all, and at most once where it is guarded.

use std::sync::Arc;

use serde_json::json;

use super::{
    apply, assert_corrupt, assert_failed, at, body, bump, contents, count, get, key, put, write,
};
use crate::{Change, Expect, Key, Store, Write};

/// The writes of a commit may be to any partitions, and of every kind.
pub async fn a_commit_reaches_several_partitions(store: Arc<dyn Store>) {
    let keys: Vec<Key> = (0..25).map(|n| Key::new(format!("p{n}"), "a")).collect();
    let puts = keys
        .iter()
        .map(|key| Write::put(key.clone(), Expect::Absent, &body(1)))
        .collect();
    apply(&*store, at(0), puts).await;

    let bumps = keys.iter().map(|key| Write {
        key: key.clone(),
        expect: Expect::Version(1),
        change: Change::Bump {
            field: "n".to_owned(),
        },
    });
    apply(&*store, at(0), bumps.collect()).await;

    let found = store.get_many(at(0), &keys).await.expect("it can be read");
    let counts: Vec<_> = found.iter().flatten().map(count).collect();
    assert_eq!(counts, [2; 25]);
}

/// Whichever write of a commit fails, none of the others is applied.
pub async fn a_failed_write_leaves_nothing_of_the_others(store: Arc<dyn Store>) {
    let start = ["b", "c", "d"].map(|sk| put(sk, Expect::Absent, 1));
    apply(&*store, at(0), start.to_vec()).await;
    let before = contents(&*store, at(0)).await;
    let good = [
        put("a", Expect::Absent, 2),
        put("b", Expect::Version(1), 2),
        bump("c", Expect::Present),
        write("d", Expect::Any, Change::Delete),
    ];

    for bad in [
        put("x", Expect::Present, 2),
        bump("x", Expect::Version(1)),
        write("x", Expect::Present, Change::Delete),
        write("x", Expect::Version(1), Change::Check),
    ] {
        for index in 0..=good.len() {
            let mut writes = good.to_vec();
            writes.insert(index, bad.clone());
            let outcome = store.commit(at(0), writes).await;
            assert_failed(&outcome, index);
            assert_eq!(contents(&*store, at(0)).await, before);
        }
    }
}

/// Where several expectations fail, the first in the order of the writes is named.
pub async fn the_first_failed_write_is_named(store: Arc<dyn Store>) {
    apply(&*store, at(0), vec![put("m", Expect::Absent, 1)]).await;

    let outcome = store
        .commit(
            at(0),
            vec![
                put("z", Expect::Absent, 1),
                put("y", Expect::Any, 1),
                put("m", Expect::Absent, 1),
                put("a", Expect::Present, 1),
                bump("b", Expect::Version(1)),
            ],
        )
        .await;

    assert_failed(&outcome, 2);
}

/// A field that cannot be bumped stops the whole commit.
pub async fn a_failed_bump_leaves_nothing_of_the_others(store: Arc<dyn Store>) {
    let text = Write::put(key("text"), Expect::Absent, &json!({"n": "one"}));
    apply(&*store, at(0), vec![text]).await;
    let before = contents(&*store, at(0)).await;

    let outcome = store
        .commit(
            at(0),
            vec![
                put("a", Expect::Absent, 1),
                bump("text", Expect::Present),
                put("z", Expect::Absent, 1),
            ],
        )
        .await;

    assert_corrupt(&outcome);
    assert_eq!(contents(&*store, at(0)).await, before);
}

/// All expectations are checked before the first change is made.
pub async fn a_failed_expectation_comes_before_a_failed_bump(store: Arc<dyn Store>) {
    let text = Write::put(key("text"), Expect::Absent, &json!({"n": "one"}));
    apply(&*store, at(0), vec![text]).await;

    let outcome = store
        .commit(
            at(0),
            vec![
                bump("text", Expect::Present),
                put("missing", Expect::Present, 1),
            ],
        )
        .await;

    assert_failed(&outcome, 1);
}

/// A check makes the other writes depend on an item that it leaves as it is.
pub async fn a_check_guards_the_writes_beside_it(store: Arc<dyn Store>) {
    apply(&*store, at(0), vec![put("guard", Expect::Absent, 1)]).await;
    let writes = vec![
        write("guard", Expect::Version(1), Change::Check),
        bump("count", Expect::Any),
    ];

    apply(&*store, at(0), writes.clone()).await;
    apply(&*store, at(0), writes.clone()).await;
    apply(&*store, at(0), vec![bump("guard", Expect::Any)]).await;
    let outcome = store.commit(at(0), writes).await;

    assert_failed(&outcome, 0);
    let found = get(&*store, at(0), "count").await;
    assert_eq!(found.map(|item| count(&item)), Some(2));
}

/// After a lost answer the same commit is tried again: its record stands, so it is applied once.
pub async fn a_commit_tried_again_fails_on_its_absent_guard(store: Arc<dyn Store>) {
    let writes = vec![
        bump("count", Expect::Any),
        put("record", Expect::Absent, 1),
        put("last", Expect::Any, 1),
    ];

    apply(&*store, at(0), writes.clone()).await;
    let after_first = contents(&*store, at(0)).await;
    for second in 1..4 {
        let outcome = store.commit(at(second), writes.clone()).await;
        assert_failed(&outcome, 1);
    }

    assert_eq!(contents(&*store, at(5)).await, after_first);
    let found = get(&*store, at(5), "count").await;
    assert_eq!(found.map(|item| (item.version, count(&item))), Some((1, 1)));
}

/// As with a record, so with a version: what the commit changed no longer has it.
pub async fn a_commit_tried_again_fails_on_its_version_guard(store: Arc<dyn Store>) {
    apply(&*store, at(0), vec![put("state", Expect::Absent, 1)]).await;
    let writes = vec![
        put("state", Expect::Version(1), 2),
        bump("count", Expect::Any),
    ];

    apply(&*store, at(0), writes.clone()).await;
    let outcome = store.commit(at(1), writes).await;

    assert_failed(&outcome, 0);
    let found = get(&*store, at(1), "count").await;
    assert_eq!(found.map(|item| count(&item)), Some(1));
}
