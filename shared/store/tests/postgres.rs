//! The suite, run on the store in a PostgreSQL database, and what such a database promises beyond it.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::postgres::{fresh, open, open_with, prepared};
use emulator::Postgres;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store::{
    Archive, Change, CommitError, Expect, Key, PostgresStore, Range, Retries, Store, StoreError,
    Write, query_all,
};
use tokio::task::JoinSet;

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

async fn make() -> Option<Arc<dyn Archive>> {
    let store = fresh("the suite on PostgreSQL").await?;
    Some(Arc::new(store))
}

store::conformance!(make);

mod through_a_pooler {
    use super::*;

    /// `PgBouncer`, which gives each transaction another connection and knows no prepared statements.
    async fn make() -> Option<Arc<dyn Archive>> {
        let tests = "the suite on PostgreSQL through a pooler";
        let server = Postgres::shared(tests)?;
        let url = server.fresh_database();
        prepared(&url).await;
        let pooled = server.pooled_url(tests, url.rsplit('/').next()?)?;
        Some(Arc::new(open(&pooled)))
    }

    store::conformance!(make);
}

#[tokio::test]
async fn what_was_committed_is_there_for_another_program() {
    let Some(server) = Postgres::shared("another program") else {
        return;
    };
    let url = server.fresh_database();
    let store = prepared(&url).await;
    let odd = Key::new("p\0\u{1}", "\u{10ffff}\0");
    let body = json!({"\0": "\0\u{1}\"\\", "large": u64::MAX, "1.0": 1.0, "1": 1, "tiny": 5e-324});
    apply(&store, vec![Write::put(odd.clone(), Expect::Absent, &body)]).await;

    let other = open(&url);

    let found = other.get_many(NOW, &[odd]).await.unwrap();
    let found = found[0].as_ref().unwrap();
    assert_eq!((found.version, &found.body), (1, &body));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_programs_work_on_one_database_at_once() {
    let Some(server) = Postgres::shared("two programs") else {
        return;
    };
    let url = server.fresh_database();
    let stores = [prepared(&url).await, prepared(&url).await].map(Arc::new);

    let mut writers = JoinSet::new();
    for number in 0..32_usize {
        let store = Arc::clone(&stores[number % 2]);
        writers.spawn(async move {
            let record = Key::new("record", number.to_string());
            for _ in 0..5 {
                apply(&store, vec![bump("shared"), bump(&format!("own {number}"))]).await;
            }
            apply(&store, vec![put(record, Expect::Absent), bump("shared")]).await;
        });
    }
    writers.join_all().await;

    assert_eq!(count(&stores[0], "shared").await, 32 * 6);
    assert_eq!(count(&stores[1], "own 31").await, 5);
    assert_eq!(versions(&stores[1], "record").await, [1; 32]);
}

/// Each checks what the other one makes: where both looked first, both would be in.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_commit_only_checks_does_not_change_before_it_is_done() {
    let Some(store) = fresh("checks").await else {
        return;
    };
    let store = Arc::new(store);
    for round in 0..50 {
        let pair = ["a", "b"].map(|name| Key::new("pair", format!("{name} {round}")));
        let mut rivals = JoinSet::new();
        for [own, other] in [pair.clone(), [pair[1].clone(), pair[0].clone()]] {
            let store = Arc::clone(&store);
            rivals.spawn(async move {
                let other = write(other, Expect::Absent, Change::Check);
                let outcome = store.commit(NOW, vec![put(own, Expect::Any), other]).await;
                match outcome {
                    Ok(()) => 1,
                    Err(CommitError::Failed(1)) => 0,
                    other => panic!("{other:?}"),
                }
            });
        }
        let applied: i32 = rivals.join_all().await.into_iter().sum();
        assert_eq!(applied, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_connections_are_made_than_may_be() {
    let Some(server) = Postgres::shared("connections") else {
        return;
    };
    let url = server.fresh_database();
    let store = Arc::new(prepared(&format!("{url}?connections=3&application_name=few")).await);

    let mut calls = JoinSet::new();
    for number in 0..40 {
        let store = Arc::clone(&store);
        calls.spawn(async move {
            apply(&store, vec![bump("n")]).await;
            store
                .get_many(NOW, &[Key::new("p", number.to_string())])
                .await
                .unwrap();
        });
    }
    calls.join_all().await;

    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'few'";
    let made: i32 = server.sql("postgres", sql).trim().parse().unwrap();
    assert!((1..=3).contains(&made), "{made} connections");
    assert_eq!(count(&store, "n").await, 40);
}

/// As after a night of silence, or where a pooler was restarted.
#[tokio::test]
async fn connections_that_were_cut_while_idle_are_made_anew() {
    let Some(server) = Postgres::shared("cut connections") else {
        return;
    };
    let url = server.fresh_database();
    let store = prepared(&url).await;
    apply(&store, vec![bump("n")]).await;

    for round in 2..5 {
        cut_all(server, &url);
        apply(&store, vec![bump("n")]).await;
        cut_all(server, &url);
        assert_eq!(count(&store, "n").await, round);
    }
}

/// A call that is given up must not leave its locks behind, nor its transaction to another call.
#[tokio::test]
async fn a_commit_that_is_given_up_leaves_nothing_behind() {
    let Some(store) = fresh("given up").await else {
        return;
    };
    apply(&store, vec![bump("n")]).await;
    let before = count(&store, "n").await;

    for _ in 0..20 {
        let mut commit =
            Box::pin(store.commit(NOW, vec![put(Key::new("p", "x"), Expect::Present)]));
        // Polled once: begun, and then given up before its answer.
        tokio::select! {
            biased;
            _ = &mut commit => {}
            () = async {} => {}
        }
    }

    assert_eq!(count(&store, "n").await, before);
    apply(&store, vec![put(Key::new("p", "x"), Expect::Absent)]).await;
}

/// What was acknowledged is there, what was not is there whole or not at all, and the store goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_has_lost_nothing() {
    const WRITERS: usize = 8;
    let Some(server) = Postgres::start("a killed server") else {
        return;
    };
    let store = Arc::new(prepared(&server.fresh_database()).await);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, stopped, tell) = (Arc::clone(&store), stopped.clone(), tell.clone());
        writers.spawn(async move {
            let mut acknowledged = 0;
            while !*stopped.borrow() {
                let pair = ["one", "two"].map(|half| {
                    let key = Key::new(half, format!("{writer} {acknowledged}"));
                    put(key, Expect::Absent)
                });
                match store.commit(NOW, pair.to_vec()).await {
                    // Its outcome was unclear, and it was in.
                    Ok(()) | Err(CommitError::Failed(0)) => {
                        acknowledged += 1;
                        tell.send(()).unwrap();
                    }
                    Err(CommitError::Store(StoreError::Unavailable(_))) => {}
                    other => panic!("{other:?}"),
                }
            }
            acknowledged
        });
    }

    for _ in 0..3 {
        for _ in 0..100 {
            told.recv().await.unwrap();
        }
        server.kill();
        server.start_again();
    }
    for _ in 0..100 {
        told.recv().await.unwrap();
    }
    stop.send_replace(true);
    let acknowledged: usize = writers.join_all().await.into_iter().sum();

    let [one, two] = ["one", "two"].map(Range::all);
    let one = query_all(&*store, NOW, &one).await.unwrap();
    let two = query_all(&*store, NOW, &two).await.unwrap();
    let keys = |items: Vec<store::Item>| -> Vec<String> {
        items.into_iter().map(|item| item.key.sk).collect()
    };
    let one = keys(one);
    assert_eq!(one, keys(two), "a half of a commit is there");
    assert_eq!(one.len(), acknowledged);
}

#[tokio::test]
async fn what_has_long_expired_is_removed() {
    let Some(server) = Postgres::shared("sweeps") else {
        return;
    };
    let url = server.fresh_database();
    let store = prepared(&url).await;
    let until = |sk: String, hours| {
        let end = NOW + SignedDuration::from_hours(hours);
        Write::put_until(Key::new("p", sk), Expect::Any, &json!({}), Some(end))
    };
    for batch in 0..10 {
        let puts = (0..100).map(|n| until(format!("{batch} {n}"), batch % 2));
        apply(&store, puts.collect()).await;
    }
    apply(&store, vec![until("later".to_owned(), 100)]).await;

    let now = NOW + SignedDuration::from_hours(24) + SignedDuration::from_mins(1);
    for _ in 0..8 {
        store.commit(now, vec![bump("n")]).await.unwrap();
    }

    // Those of the odd batches have expired for less than a day.
    assert_eq!(rows(server, &url), 502);
}

/// What an operator must tell apart, and what to look for in the text.
#[tokio::test]
async fn errors_say_what_is_wrong_and_never_the_password() {
    let Some(server) = Postgres::shared("errors") else {
        return;
    };
    let url = server.fresh_database();
    let name = url.rsplit('/').next().unwrap();
    let bare = server.fresh_database();
    let latin = server.fresh_database() + "_latin";
    let latin_name = latin.rsplit('/').next().unwrap();
    let sql =
        format!("CREATE DATABASE {latin_name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    server.sql("postgres", &sql);
    prepared(&url).await;
    server.sql(name, "CREATE ROLE poor LOGIN PASSWORD 'secret'");
    server.sql(name, "CREATE ROLE hasty LOGIN PASSWORD 'secret'");
    server.sql(name, "ALTER ROLE hasty SET synchronous_commit = off");
    let as_user = |user: &str, password: &str| {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/{name}",
            server.port()
        )
    };

    for (url, expected) in [
        (as_user("postern", "wrong"), "look at user and password"),
        (as_user("nobody", "secret"), "look at user and password"),
        (as_user("poor", "secret"), "has no right"),
        (as_user("hasty", "secret"), "synchronous_commit"),
        (format!("{url}_missing"), "no such database"),
        (bare, "posternctl prepare"),
        (latin, "ENCODING 'UTF8'"),
        (format!("{url}?sslmode=require"), "has no TLS"),
    ] {
        let store = open(&url);
        let text = misconfigured(&store).await;
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("127.0.0.1"), "{text}");
        for secret in ["wrong", "secret", "of%"] {
            assert!(!text.contains(secret), "{text}");
            assert!(!format!("{store:?}").contains(secret));
        }
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_after_so_many_attempts() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nowhere.local_addr().unwrap().port();
    drop(nowhere);
    let retries = Retries {
        most_attempts: 3,
        first_window: Duration::from_millis(1),
        ..Retries::default()
    };
    let store = open_with(&format!("postgres://u:secret@127.0.0.1:{port}/p"), retries);

    let outcome = store.commit(NOW, vec![bump("n")]).await;

    let Err(CommitError::Store(StoreError::Unavailable(text))) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(
        text.contains("after 3 attempts") && text.contains("no answer"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

/// Functions need no right to make tables, and `prepare` needs none where there is nothing to do.
#[tokio::test]
async fn a_user_with_four_rights_is_enough_once_the_tables_are_there() {
    let Some(server) = Postgres::shared("rights") else {
        return;
    };
    let url = server.fresh_database();
    let name = url.rsplit('/').next().unwrap();
    prepared(&url).await;
    server.sql(
        name,
        "CREATE ROLE modest LOGIN PASSWORD 'modest';
         GRANT SELECT, INSERT, UPDATE, DELETE ON postern_items TO modest;
         GRANT SELECT ON postern_migrations TO modest;",
    );
    let url = format!(
        "postgres://modest:modest@127.0.0.1:{}/{name}",
        server.port()
    );

    let store = prepared(&url).await;

    apply(
        &store,
        vec![bump("n"), put(Key::new("p", "a"), Expect::Absent)],
    )
    .await;
    apply(
        &store,
        vec![write(Key::new("p", "a"), Expect::Present, Change::Delete)],
    )
    .await;
    assert_eq!(count(&store, "n").await, 1);
}

/// What stands in the `Misconfigured` of every call.
async fn misconfigured(store: &PostgresStore) -> String {
    let outcome = store.commit(NOW, vec![bump("n")]).await;
    assert!(
        matches!(
            outcome,
            Err(CommitError::Store(StoreError::Misconfigured(_)))
        ),
        "{outcome:?}"
    );
    let page = store.query(NOW, &Range::all("p"), None, 1).await;
    assert!(
        matches!(page, Err(StoreError::Misconfigured(_))),
        "{page:?}"
    );
    match store.get_many(NOW, &[Key::new("p", "a")]).await {
        Err(StoreError::Misconfigured(text)) => text,
        other => panic!("{other:?} is not about the setup"),
    }
}

/// Cuts all connections to the database of `url`, and waits until they are gone.
fn cut_all(server: &Postgres, url: &str) {
    let name = url.rsplit('/').next().unwrap();
    let sql = format!(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"
    );
    let cut = server.sql("postgres", &sql);
    assert!(cut.contains('t') && !cut.contains('f'), "{cut}");
}

/// How many rows the table has, expired ones too.
fn rows(server: &Postgres, url: &str) -> i32 {
    let name = url.rsplit('/').next().unwrap();
    let counted = server.sql(name, "SELECT count(*) FROM postern_items");
    counted.trim().parse().unwrap()
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

fn bump(name: &str) -> Write {
    let field = "n".to_owned();
    write(Key::new("count", name), Expect::Any, Change::Bump { field })
}

async fn apply(store: &PostgresStore, writes: Vec<Write>) {
    let outcome = store.commit(NOW, writes.clone()).await;
    assert!(outcome.is_ok(), "{writes:?}: {outcome:?}");
}

async fn count(store: &PostgresStore, name: &str) -> i64 {
    let found = store
        .get_many(NOW, &[Key::new("count", name)])
        .await
        .unwrap();
    found[0]
        .as_ref()
        .map_or(0, |item| item.body["n"].as_i64().unwrap())
}

/// The versions of all items of a partition.
async fn versions(store: &PostgresStore, pk: &str) -> Vec<u64> {
    let items = query_all(store, NOW, &Range::all(pk)).await.unwrap();
    items.into_iter().map(|item| item.version).collect()
}
