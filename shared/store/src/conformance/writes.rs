//! One write: every expectation with every change, and what each change makes of an item.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{apply, assert_corrupt, assert_failed, at, body, bump, contents, get, key, put, write};
use crate::{Change, Expect, Item, Store, Write};

/// What is at a key before the write.
#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Missing,
    /// Version 2, `n` 5, until second 100.
    Live,
    /// As `Live`, but expired.
    Expired,
}

/// What is there after a write: version, body and end, if it is there.
type After = Option<(u64, Value, Option<Timestamp>)>;

/// When the writes of the combinations are made.
const NOW: i64 = 20;

/// A put counts on from a live item, and starts at 1 elsewhere.
pub async fn put_under_every_expectation(store: Arc<dyn Store>) {
    let change = Change::Put {
        body: body(7),
        expires_at: Some(at(50)),
    };
    combine(&*store, &change, |state| match state {
        State::Live => Some((3, body(7), Some(at(50)))),
        State::Missing | State::Expired => Some((1, body(7), Some(at(50)))),
    })
    .await;
}

/// A bump counts on from a live item, and starts at 1 elsewhere, without an end.
pub async fn bump_under_every_expectation(store: Arc<dyn Store>) {
    let field = "n".to_owned();
    combine(&*store, &Change::Bump { field }, |state| match state {
        State::Live => Some((3, body(6), Some(at(100)))),
        State::Missing | State::Expired => Some((1, body(1), None)),
    })
    .await;
}

/// A delete leaves nothing, wherever it is allowed.
pub async fn delete_under_every_expectation(store: Arc<dyn Store>) {
    combine(&*store, &Change::Delete, |_| None).await;
}

/// A check leaves what was there.
pub async fn check_under_every_expectation(store: Arc<dyn Store>) {
    combine(&*store, &Change::Check, before).await;
}

/// Tries `change` under every expectation in every state.
async fn combine(store: &dyn Store, change: &Change, after: fn(State) -> After) {
    let expectations = [
        (Expect::Absent, [State::Missing, State::Expired].as_slice()),
        (Expect::Version(0), &[]),
        (Expect::Version(1), &[]),
        (Expect::Version(2), &[State::Live]),
        (Expect::Version(3), &[]),
        (Expect::Version(u64::MAX), &[]),
        (Expect::Present, &[State::Live]),
        (Expect::Any, &[State::Missing, State::Live, State::Expired]),
    ];
    for state in [State::Missing, State::Live, State::Expired] {
        for (expect, holds_in) in &expectations {
            let sk = format!("{state:?} {expect:?}");
            arrange(store, &sk, state).await;

            let outcome = store
                .commit(at(NOW), vec![write(&sk, *expect, change.clone())])
                .await;

            let expected = if holds_in.contains(&state) {
                assert!(outcome.is_ok(), "{change:?} at {sk}: {outcome:?}");
                after(state)
            } else {
                assert_failed(&outcome, 0);
                before(state)
            };
            let found = get(store, at(NOW), &sk).await;
            let found = found.map(|item| (item.version, item.body, item.expires_at));
            assert_eq!(found, expected, "{change:?} at {sk}");
        }
    }
}

async fn arrange(store: &dyn Store, sk: &str, state: State) {
    let end = match state {
        State::Missing => return,
        State::Live => at(100),
        State::Expired => at(NOW - 5),
    };
    for (expect, n) in [(Expect::Absent, 4), (Expect::Version(1), 5)] {
        let put = Write::put_until(key(sk), expect, &body(n), Some(end));
        apply(store, at(0), vec![put]).await;
    }
}

fn before(state: State) -> After {
    match state {
        State::Live => Some((2, body(5), Some(at(100)))),
        State::Missing | State::Expired => None,
    }
}

/// Puts and bumps count, checks do not, and after a delete it starts again.
pub async fn versions_count_the_changes_from_one(store: Arc<dyn Store>) {
    let delete = || write("a", Expect::Present, Change::Delete);
    let steps = [
        (put("a", Expect::Absent, 1), Some(1)),
        (put("a", Expect::Version(1), 1), Some(2)),
        (bump("a", Expect::Version(2)), Some(3)),
        (write("a", Expect::Version(3), Change::Check), Some(3)),
        (put("a", Expect::Present, 9), Some(4)),
        (put("a", Expect::Any, 9), Some(5)),
        (delete(), None),
        (put("a", Expect::Any, 1), Some(1)),
        (delete(), None),
        (bump("a", Expect::Any), Some(1)),
    ];
    for (step, version) in steps {
        apply(&*store, at(0), vec![step.clone()]).await;
        let found = get(&*store, at(0), "a").await.map(|item| item.version);
        assert_eq!(found, version, "after {step:?}");
    }
}

/// Nothing of the item before is left, neither its fields nor its end.
pub async fn put_replaces_body_and_lifetime(store: Arc<dyn Store>) {
    let first = Write::put_until(key("a"), Expect::Absent, &json!({"x": 1}), Some(at(10)));
    apply(&*store, at(0), vec![first]).await;

    let second = Write::put(key("a"), Expect::Version(1), &json!({"y": 2}));
    apply(&*store, at(1), vec![second]).await;

    let expected = Item {
        key: key("a"),
        version: 2,
        body: json!({"y": 2}),
        expires_at: None,
    };
    assert_eq!(get(&*store, at(1000), "a").await, Some(expected));
}

/// Every kind of JSON, the ends of its integers, and characters that are hard to carry.
pub async fn bodies_come_back_as_they_were(store: Arc<dyn Store>) {
    let bodies = [
        json!({}),
        json!({"": "", "a.b": {"$c": [null, true, false, {}, [], [[1]]]}}),
        json!({"integers": [0, -1, i64::MIN, i64::MAX, u64::MAX]}),
        json!({"text": "\0 \u{1} \n \" \\ ' ä 🦀 \u{FFFF}", "ключ\0": 1}),
        json!({"halves": [0.5, -0.25]}),
    ];
    for (index, body) in bodies.into_iter().enumerate() {
        let sk = index.to_string();
        apply(
            &*store,
            at(0),
            vec![Write::put(key(&sk), Expect::Absent, &body)],
        )
        .await;
        let found = get(&*store, at(0), &sk).await.map(|item| item.body);
        assert_eq!(found, Some(body));
    }
}

/// A missing field counts as 0, a negative one is an integer too, and other fields stay.
pub async fn bump_counts_from_zero_and_keeps_the_rest(store: Arc<dyn Store>) {
    let start = json!({"name": "x", "n": -1, "deep": {"n": 5}});
    apply(
        &*store,
        at(0),
        vec![Write::put(key("a"), Expect::Absent, &start)],
    )
    .await;

    for field in ["n", "n", "other", "a.b"] {
        let field = field.to_owned();
        let change = Change::Bump { field };
        apply(&*store, at(0), vec![write("a", Expect::Present, change)]).await;
    }

    let found = get(&*store, at(0), "a").await.expect("it is there");
    let expected = json!({"name": "x", "n": 1, "deep": {"n": 5}, "other": 1, "a.b": 1});
    assert_eq!((found.version, found.body), (5, expected));
}

/// A bump does not prolong.
pub async fn bump_keeps_the_lifetime(store: Arc<dyn Store>) {
    let put = Write::put_until(key("a"), Expect::Absent, &body(1), Some(at(10)));
    apply(&*store, at(0), vec![put]).await;

    apply(&*store, at(9), vec![bump("a", Expect::Version(1))]).await;

    let found = get(&*store, at(9), "a").await.expect("it is there");
    assert_eq!((found.version, found.expires_at), (2, Some(at(10))));
    assert_eq!(get(&*store, at(10), "a").await, None);
}

/// Text, fractions, null, and the last integer: an operator must look, and nothing is changed.
pub async fn bump_of_what_is_no_integer_is_corrupt(store: Arc<dyn Store>) {
    let values = [
        json!("1"),
        json!(null),
        json!(true),
        json!([1]),
        json!({"n": 1}),
        json!(0.5),
        json!(i64::MAX),
        json!(u64::MAX),
    ];
    for (index, value) in values.iter().enumerate() {
        let body = json!({ "n": value });
        let put = Write::put(key(&index.to_string()), Expect::Absent, &body);
        apply(&*store, at(0), vec![put]).await;
    }
    let before = contents(&*store, at(0)).await;

    for index in 0..values.len() {
        let outcome = store
            .commit(at(0), vec![bump(&index.to_string(), Expect::Any)])
            .await;
        assert_corrupt(&outcome);
    }
    assert_eq!(contents(&*store, at(0)).await, before);
}
