//! The suite that every backend passes: what the users of a [`Store`] and of an
//! [`Archive`](crate::Archive) rely on, one case for each behaviour.
//!
//! [`conformance!`](crate::conformance!) makes a test of each case:
//!
//! ```ignore
//! async fn make() -> Arc<dyn Archive> { /* an empty store */ }
//! store::conformance!(make);
//! ```
//!
//! A backend that is not everywhere returns an `Option<Arc<dyn Archive>>`: where it gives `None`, which
//! it must say, the case does not run.
//!
//! Each case gets a store of its own, empty and reached by nobody else. Its times begin at
//! 2026-01-01 and go on by at most some minutes; no case waits for the system's clock.
#![allow(
    clippy::missing_panics_doc,
    reason = "a case is a test: it panics where the store is wrong"
)]

pub mod archive;
pub mod atomicity;
pub mod concurrency;
pub mod expiry;
pub mod limits;
pub mod queries;
mod watched;
pub mod writes;

pub use watched::{Between, Call, Fate, Kept, Watched};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    Change, CommitError, Expect, Item, Key, MOST_KEYS, Range, Store, StoreError, Write, query_all,
};

/// Makes one `#[test]` of each case of the suite. `$make` is an async function (or a closure that
/// returns a future) without arguments; it returns an empty store as an `Arc<dyn Archive>`, or perhaps none.
#[macro_export]
macro_rules! conformance {
    ($make:expr) => {
        $crate::conformance! { @cases $make;
            writes:
                put_under_every_expectation,
                bump_under_every_expectation,
                delete_under_every_expectation,
                check_under_every_expectation,
                versions_count_the_changes_from_one,
                put_replaces_body_and_lifetime,
                bodies_come_back_as_they_were,
                bump_counts_from_zero_and_keeps_the_rest,
                bump_keeps_the_lifetime,
                bump_of_what_is_no_integer_is_corrupt;
            atomicity:
                a_commit_reaches_several_partitions,
                a_failed_write_leaves_nothing_of_the_others,
                the_first_failed_write_is_named,
                a_failed_bump_leaves_nothing_of_the_others,
                a_failed_expectation_comes_before_a_failed_bump,
                a_check_guards_the_writes_beside_it,
                a_commit_tried_again_fails_on_its_absent_guard,
                a_commit_tried_again_fails_on_its_version_guard;
            expiry:
                reads_leave_out_what_has_expired,
                an_expired_item_is_absent_from_its_very_millisecond,
                the_version_of_an_expired_item_does_not_match,
                what_is_written_over_an_expired_item_starts_again,
                lifetimes_are_in_whole_milliseconds,
                pages_hold_all_though_many_have_expired;
            queries:
                many_are_read_in_the_order_of_their_keys,
                a_query_goes_in_the_order_of_bytes,
                bounds_are_inclusive_and_exclusive,
                bounds_that_cross_hold_nothing,
                pages_join_without_gap_or_repetition,
                a_page_goes_on_behind_a_removed_item,
                a_cursor_outside_the_range_does_not_widen_it,
                partitions_are_apart,
                odd_keys_are_kept_apart;
            limits:
                a_commit_has_one_to_a_hundred_writes,
                a_commit_writes_a_key_once,
                a_body_is_an_object,
                a_body_has_a_most_size,
                a_body_has_a_most_depth,
                a_commit_has_a_most_size,
                the_parts_of_a_key_have_a_size,
                a_bumped_field_has_a_name,
                reads_have_limits;
            concurrency:
                no_update_is_lost,
                absent_has_one_winner,
                bumps_count_exactly,
                transfers_keep_their_sum,
                readers_see_whole_items;
            archive:
                a_snapshot_holds_everything_once,
                a_snapshot_leaves_out_what_has_expired,
                a_commit_is_wholly_in_a_snapshot_or_not_at_all,
                what_is_not_settled_may_change,
                what_is_loaded_is_there_as_it_was,
                to_load_twice_is_harmless,
                another_item_in_the_place_is_left_there,
                the_first_place_that_is_taken_is_named,
                what_has_expired_counts_as_loaded,
                loaded_lifetimes_are_in_whole_milliseconds,
                what_is_loaded_is_within_the_limits,
                a_load_and_a_commit_do_not_mix;
        }
    };
    (@cases $make:expr; $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[test]
            fn $case() {
                $crate::conformance::run(async {
                    let store: Option<std::sync::Arc<dyn $crate::Archive>> =
                        ($make)().await.into();
                    if let Some(store) = store {
                        $crate::conformance::$module::$case(store).await;
                    }
                });
            }
        )+)+
    };
}

/// Runs one case to its end, on a runtime of its own with several threads.
pub fn run(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("the system has threads to spare")
        .block_on(case);
}

/// The partition that the cases write to.
const PK: &str = "p";

/// The time `seconds` after the cases begin.
fn at(seconds: i64) -> Timestamp {
    Timestamp::constant(1_767_225_600, 0) + SignedDuration::from_secs(seconds)
}

fn key(sk: &str) -> Key {
    Key::new(PK, sk)
}

fn write(sk: &str, expect: Expect, change: Change) -> Write {
    Write {
        key: key(sk),
        expect,
        change,
    }
}

fn put(sk: &str, expect: Expect, n: i64) -> Write {
    Write::put(key(sk), expect, &body(n))
}

fn bump(sk: &str, expect: Expect) -> Write {
    let field = "n".to_owned();
    write(sk, expect, Change::Bump { field })
}

fn body(n: i64) -> Value {
    json!({ "n": n })
}

fn count(item: &Item) -> i64 {
    item.body["n"].as_i64().expect("the case wrote an integer")
}

/// Commits what must succeed.
async fn apply(store: &dyn Store, now: Timestamp, writes: Vec<Write>) {
    let outcome = store.commit(now, writes).await;
    outcome.expect("the commit holds");
}

async fn get(store: &dyn Store, now: Timestamp, sk: &str) -> Option<Item> {
    let found = store.get_many(now, &[key(sk)]).await;
    let [item]: [Option<Item>; 1] = found
        .expect("the store can be read")
        .try_into()
        .expect("one key gives one place");
    item
}

/// All items of the partition that the cases write to.
async fn contents(store: &dyn Store, now: Timestamp) -> Vec<Item> {
    let items = query_all(store, now, &Range::all(PK)).await;
    items.expect("the store can be read")
}

async fn sort_keys(store: &dyn Store, now: Timestamp, range: &Range) -> Vec<String> {
    let items = query_all(store, now, range).await;
    let items = items.expect("the store can be read");
    items.into_iter().map(|item| item.key.sk).collect()
}

/// Puts an item at each of `sks`.
async fn fill(store: &dyn Store, sks: &[impl AsRef<str>]) {
    for sks in sks.chunks(MOST_KEYS) {
        let puts = sks.iter().map(|sk| put(sk.as_ref(), Expect::Absent, 0));
        apply(store, at(0), puts.collect()).await;
    }
}

#[track_caller]
fn assert_failed(outcome: &Result<(), CommitError>, index: usize) {
    assert!(
        matches!(outcome, Err(CommitError::Failed(found)) if *found == index),
        "expected write {index} to fail, got {outcome:?}"
    );
}

#[track_caller]
fn assert_corrupt(outcome: &Result<(), CommitError>) {
    assert!(
        matches!(outcome, Err(CommitError::Store(StoreError::Corrupt(_)))),
        "expected Corrupt, got {outcome:?}"
    );
}

#[track_caller]
fn assert_misuse<T: std::fmt::Debug>(outcome: Result<T, impl Into<CommitError>>) {
    let outcome = outcome.map_err(Into::into);
    assert!(
        matches!(outcome, Err(CommitError::Store(StoreError::Misuse(_)))),
        "expected Misuse, got {outcome:?}"
    );
}
