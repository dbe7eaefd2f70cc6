//! An item that has expired at `now` is nowhere to be told from one that was deleted.

use std::sync::Arc;

use jiff::SignedDuration;

use super::{
    PK, apply, assert_failed, at, body, bump, contents, count, get, key, put, sort_keys, write,
};
use crate::{Change, Expect, Item, Range, Store, Write};

fn put_until(sk: &str, expect: Expect, n: i64, end: i64) -> Write {
    Write::put_until(key(sk), expect, &body(n), Some(at(end)))
}

/// Neither by its key nor in a query, in either direction; other items stay.
pub async fn reads_leave_out_what_has_expired(store: Arc<dyn Store>) {
    let writes = vec![
        put_until("a", Expect::Absent, 1, 10),
        put("b", Expect::Absent, 1),
        put_until("c", Expect::Absent, 1, 20),
        // Expired before it was written.
        put_until("d", Expect::Absent, 1, -1),
    ];
    apply(&*store, at(0), writes).await;

    for (now, expected) in [
        (0, ["a", "b", "c"].as_slice()),
        (9, &["a", "b", "c"]),
        (10, &["b", "c"]),
        (20, &["b"]),
    ] {
        let mut range = Range::all(PK);
        assert_eq!(sort_keys(&*store, at(now), &range).await, expected);
        range.descending = true;
        let mut descending = sort_keys(&*store, at(now), &range).await;
        descending.reverse();
        assert_eq!(descending, expected);

        let keys = ["a", "b", "c", "d"].map(key);
        let found = store.get_many(at(now), &keys).await;
        let found = found.expect("the store can be read");
        let found: Vec<_> = found
            .into_iter()
            .flatten()
            .map(|item| item.key.sk)
            .collect();
        assert_eq!(found, expected);
    }
}

/// `Absent` fails until the end, and holds from it on; `Present` the other way round.
pub async fn an_expired_item_is_absent_from_its_very_millisecond(store: Arc<dyn Store>) {
    apply(&*store, at(0), vec![put_until("a", Expect::Absent, 1, 10)]).await;
    let check = |expect| vec![write("a", expect, Change::Check)];
    let just_before = at(10) - SignedDuration::from_millis(1);

    assert_failed(&store.commit(just_before, check(Expect::Absent)).await, 0);
    apply(&*store, just_before, check(Expect::Present)).await;

    assert_failed(&store.commit(at(10), check(Expect::Present)).await, 0);
    apply(&*store, at(10), check(Expect::Absent)).await;
    apply(&*store, at(10), vec![put("a", Expect::Absent, 2)]).await;
    assert_failed(&store.commit(at(11), check(Expect::Absent)).await, 0);
}

/// Whoever holds the version of an item that has expired holds nothing.
pub async fn the_version_of_an_expired_item_does_not_match(store: Arc<dyn Store>) {
    apply(&*store, at(0), vec![put_until("a", Expect::Absent, 1, 10)]).await;
    let put_again = || vec![put("a", Expect::Version(1), 2)];

    assert_failed(&store.commit(at(10), put_again()).await, 0);
    assert_failed(
        &store
            .commit(at(11), vec![bump("a", Expect::Version(1))])
            .await,
        0,
    );
    assert_eq!(contents(&*store, at(11)).await, []);
}

/// Version, counts and end start again, by a put as by a bump, under `Absent` as under `Any`.
pub async fn what_is_written_over_an_expired_item_starts_again(store: Arc<dyn Store>) {
    for (index, over, n) in [
        (0, put("0", Expect::Absent, 7), 7),
        (1, put("1", Expect::Any, 7), 7),
        (2, bump("2", Expect::Absent), 1),
        (3, bump("3", Expect::Any), 1),
    ] {
        let sk = index.to_string();
        apply(&*store, at(0), vec![put_until(&sk, Expect::Absent, 40, 10)]).await;
        apply(&*store, at(1), vec![bump(&sk, Expect::Version(1))]).await;

        apply(&*store, at(10), vec![over]).await;

        let expected = Item {
            key: key(&sk),
            version: 1,
            body: body(n),
            expires_at: None,
        };
        assert_eq!(get(&*store, at(10), &sk).await, Some(expected));
    }

    // A delete of what has expired leaves nothing either.
    apply(&*store, at(0), vec![put_until("4", Expect::Absent, 40, 10)]).await;
    apply(
        &*store,
        at(10),
        vec![write("4", Expect::Absent, Change::Delete)],
    )
    .await;
    apply(&*store, at(10), vec![bump("4", Expect::Any)]).await;
    let found = get(&*store, at(10), "4").await.map(|item| count(&item));
    assert_eq!(found, Some(1));
}

/// What is finer than a millisecond is cut off, from ends and from `now`.
pub async fn lifetimes_are_in_whole_milliseconds(store: Arc<dyn Store>) {
    let end = at(10) + SignedDuration::from_micros(1_999);
    let put = Write::put_until(key("a"), Expect::Absent, &body(1), Some(end));
    apply(&*store, at(0), vec![put]).await;

    let kept = at(10) + SignedDuration::from_millis(1);
    let found = get(&*store, kept - SignedDuration::from_nanos(1), "a").await;
    assert_eq!(found.and_then(|item| item.expires_at), Some(kept));
    assert_eq!(get(&*store, kept, "a").await, None);
}

/// All that is live is found page by page, however much has expired between.
pub async fn pages_hold_all_though_many_have_expired(store: Arc<dyn Store>) {
    let writes = (0..90).map(|n| {
        let sk = format!("{n:02}");
        if n % 9 == 4 {
            put(&sk, Expect::Absent, n)
        } else {
            put_until(&sk, Expect::Absent, n, 10)
        }
    });
    apply(&*store, at(0), writes.collect()).await;

    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store
            .query(at(10), &Range::all(PK), after.as_deref(), 3)
            .await;
        let page = page.expect("the store can be read");
        assert!(page.items.len() <= 3);
        found.extend(page.items.iter().map(count));
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    assert_eq!(found, [4, 13, 22, 31, 40, 49, 58, 67, 76, 85]);
}
