//! Reads: by keys, and in order, page by page, in both directions.

use std::sync::Arc;

use super::{PK, apply, at, body, count, fill, key, put, sort_keys, write};
use crate::{Change, Expect, Key, Range, Store, Write};

/// Keys whose order or whose characters are easily got wrong, in the order of bytes. The last two
/// come the other way round in UTF-16.
const ODD: [&str; 27] = [
    "\0",
    "\0\0",
    "\n",
    " ",
    "\"",
    "#",
    "%",
    "'",
    "/",
    "0",
    "10",
    "9",
    "Z",
    "\\",
    "_",
    "a",
    "a\0",
    "a\0b",
    "a b",
    "aa",
    "a\u{301}",
    "z",
    "\u{7f}",
    "á",
    "日本",
    "\u{FFFF}",
    "\u{10000}🦀",
];

/// Missing ones keep their place, and a key may be asked for twice.
pub async fn many_are_read_in_the_order_of_their_keys(store: Arc<dyn Store>) {
    let puts = vec![put("a", Expect::Absent, 1), put("b", Expect::Absent, 2)];
    apply(&*store, at(0), puts).await;

    let keys = ["b", "missing", "a", "b"].map(key);
    let found = store.get_many(at(0), &keys).await;
    let none = store.get_many(at(0), &[]).await;

    let found = found.expect("the store can be read");
    let counts: Vec<_> = found.iter().map(|item| item.as_ref().map(count)).collect();
    assert_eq!(counts, [Some(2), None, Some(1), Some(2)]);
    assert_eq!(none.expect("the store can be read"), []);
}

/// Ascending, and descending the same from its end.
pub async fn a_query_goes_in_the_order_of_bytes(store: Arc<dyn Store>) {
    let mut sks = ODD;
    sks.reverse();
    fill(&*store, &sks).await;

    let mut range = Range::all(PK);
    assert_eq!(sort_keys(&*store, at(0), &range).await, ODD);
    range.descending = true;
    assert_eq!(sort_keys(&*store, at(0), &range).await, sks);
}

/// `from` is within the range and `until` is not, in both directions.
pub async fn bounds_are_inclusive_and_exclusive(store: Arc<dyn Store>) {
    fill(&*store, &["a", "b", "b\0", "c", "d"]).await;

    for (from, until, expected) in [
        ("", None, ["a", "b", "b\0", "c", "d"].as_slice()),
        ("b", None, &["b", "b\0", "c", "d"]),
        ("b\0", Some("d"), &["b\0", "c"]),
        ("b", Some("b\0"), &["b"]),
        ("aa", Some("cc"), &["b", "b\0", "c"]),
        ("", Some("b"), &["a"]),
        ("d", None, &["d"]),
        ("e", None, &[]),
        ("", Some("a"), &[]),
    ] {
        let mut range = bounded(from, until);
        assert_eq!(
            sort_keys(&*store, at(0), &range).await,
            expected,
            "{range:?}"
        );
        range.descending = true;
        let mut found = sort_keys(&*store, at(0), &range).await;
        found.reverse();
        assert_eq!(found, expected, "{range:?}");
    }
}

/// Bounds that meet, cross, or end before the first key are no error.
pub async fn bounds_that_cross_hold_nothing(store: Arc<dyn Store>) {
    fill(&*store, &["a", "b", "c"]).await;

    for (from, until) in [("b", "b"), ("c", "a"), ("", "")] {
        for descending in [false, true] {
            let mut range = bounded(from, Some(until));
            range.descending = descending;
            for after in [None, Some("a"), Some("b"), Some("c")] {
                let page = store.query(at(0), &range, after, 10).await;
                let page = page.expect("the store can be read");
                assert_eq!((page.items, page.next), (Vec::new(), None), "{range:?}");
            }
        }
    }
}

/// Whatever the size of the pages, each item comes once and in order, and the last page says so.
pub async fn pages_join_without_gap_or_repetition(store: Arc<dyn Store>) {
    fill(&*store, &ODD).await;

    for limit in [1, 2, 5, ODD.len() - 1, ODD.len(), 1000] {
        for descending in [false, true] {
            let mut range = bounded("\0\0", Some("\u{FFFF}"));
            range.descending = descending;
            let mut expected = ODD[1..ODD.len() - 2].to_vec();
            if descending {
                expected.reverse();
            }

            let mut found = Vec::new();
            let mut after = None;
            loop {
                let page = store.query(at(0), &range, after.as_deref(), limit).await;
                let page = page.expect("the store can be read");
                assert!(page.items.len() <= limit);
                found.extend(page.items.into_iter().map(|item| item.key.sk));
                assert!(
                    found.len() <= expected.len(),
                    "more than there is: {found:?}"
                );
                let Some(next) = page.next else { break };
                after = Some(next);
            }
            assert_eq!(found, expected, "{limit} a page, {descending}");
        }
    }
}

/// The item that a cursor names may be gone by then.
pub async fn a_page_goes_on_behind_a_removed_item(store: Arc<dyn Store>) {
    fill(&*store, &["a", "b", "c", "d", "e"]).await;
    apply(
        &*store,
        at(0),
        vec![write("c", Expect::Present, Change::Delete)],
    )
    .await;

    for (descending, expected) in [(false, ["d", "e"]), (true, ["b", "a"])] {
        let mut range = Range::all(PK);
        range.descending = descending;
        let page = store.query(at(0), &range, Some("c"), 10).await;
        let items = page.expect("the store can be read").items;
        let found: Vec<_> = items.into_iter().map(|item| item.key.sk).collect();
        assert_eq!(found, expected);
    }
}

/// A cursor only ever narrows a range.
pub async fn a_cursor_outside_the_range_does_not_widen_it(store: Arc<dyn Store>) {
    fill(&*store, &["a", "b", "c", "d", "e"]).await;

    for (after, descending, expected) in [
        ("a", false, ["b", "c"].as_slice()),
        ("A", false, &["b", "c"]),
        ("z", true, &["c", "b"]),
        ("e", false, &[]),
        ("e", true, &["c", "b"]),
        ("a", true, &[]),
    ] {
        let mut range = bounded("b", Some("d"));
        range.descending = descending;
        let page = store.query(at(0), &range, Some(after), 10).await;
        let items = page.expect("the store can be read").items;
        let found: Vec<_> = items.into_iter().map(|item| item.key.sk).collect();
        assert_eq!(found, expected, "after {after}, {descending}");
    }
}

/// A query sees its own partition, whatever the names of its neighbours.
pub async fn partitions_are_apart(store: Arc<dyn Store>) {
    let partitions = ["p", "p\0", "p ", "pp", "P", "o\u{10FFFF}", "q", "%", "p%"];
    for (pk, n) in partitions.iter().zip(0..) {
        let keys = ["a", "b"].map(|sk| Key::new(*pk, sk));
        let puts = keys.map(|key| Write::put(key, Expect::Absent, &body(n)));
        apply(&*store, at(0), puts.to_vec()).await;
    }

    for (pk, n) in partitions.iter().zip(0..) {
        for descending in [false, true] {
            let mut range = Range::all(*pk);
            range.descending = descending;
            let page = store.query(at(0), &range, None, 1000).await;
            let items = page.expect("the store can be read").items;
            let counts: Vec<_> = items.iter().map(count).collect();
            assert_eq!(counts, [n, n], "{pk:?}");
        }
    }
    let nothing = sort_keys(&*store, at(0), &Range::all("x")).await;
    assert_eq!(nothing, [""; 0]);
}

/// No two of them are the same to a store, as partitions or as sort keys.
pub async fn odd_keys_are_kept_apart(store: Arc<dyn Store>) {
    let keys = || {
        ODD.iter()
            .flat_map(|odd| [Key::new(*odd, "a"), Key::new("a", *odd)])
    };
    // ("a", "a") is among both.
    let mut expected: Vec<(Key, i64)> = keys().zip(0..).collect();
    expected.sort();
    expected.dedup_by(|one, other| one.0 == other.0);

    for (key, n) in &expected {
        let put = Write::put(key.clone(), Expect::Absent, &body(*n));
        apply(&*store, at(0), vec![put]).await;
    }

    let keys: Vec<_> = expected.iter().map(|(key, _)| key.clone()).collect();
    let found = store.get_many(at(0), &keys).await;
    let found = found.expect("the store can be read").into_iter().flatten();
    let found: Vec<_> = found.map(|item| (item.key.clone(), count(&item))).collect();
    assert_eq!(found, expected);
}

fn bounded(from: &str, until: Option<&str>) -> Range {
    Range {
        pk: PK.to_owned(),
        from: from.to_owned(),
        until: until.map(str::to_owned),
        descending: false,
    }
}
