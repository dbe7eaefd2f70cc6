//! How the tables come to be, and from one form to the next.

use std::sync::Arc;

use emulator::Postgres;
use jiff::Timestamp;
use serde_json::json;

use super::schema::MIGRATIONS;
use super::{PostgresStore, Settings};
use crate::{Expect, Key, Retries, Store, StoreError, Write};

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

fn open(url: &str) -> PostgresStore {
    let settings: Settings = url.parse().unwrap();
    let randomness = Arc::new(|| fastrand::u128(..).to_be_bytes());
    PostgresStore::new(settings, Retries::default(), randomness).unwrap()
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// Which migrations have run, and how often.
fn applied(server: &Postgres, url: &str) -> String {
    let sql = "SELECT version FROM postern_migrations ORDER BY version";
    server.sql(name(url), sql).trim().replace('\n', " ")
}

async fn works(store: &PostgresStore) {
    let key = Key::new("p", "a");
    let put = Write::put(key.clone(), Expect::Any, &json!({"n": 1}));
    store.commit(NOW, vec![put]).await.unwrap();
    assert!(store.get_many(NOW, &[key]).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn every_earlier_form_is_brought_to_the_last_one_with_what_it_holds() {
    let Some(server) = Postgres::shared("migrations") else {
        return;
    };
    for earlier in 0..=MIGRATIONS.len() {
        let url = server.fresh_database();
        let store = open(&url);
        store.migrate(&MIGRATIONS[..earlier]).await.unwrap();
        if earlier > 0 {
            // As a program of that time had written it: the columns of the first form.
            let sql = "INSERT INTO postern_items (pk, sk, version, body) VALUES ('old', 'a', 3, '{\"n\":1}')";
            server.sql(name(&url), sql);
        }

        store.prepare().await.unwrap();

        works(&store).await;
        let old = store.get_many(NOW, &[Key::new("old", "a")]).await.unwrap();
        assert_eq!(
            old[0].as_ref().map(|item| item.version),
            (earlier > 0).then_some(3)
        );
        assert_eq!(applied(server, &url), "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_programs_that_start_at_once_one_migrates() {
    let Some(server) = Postgres::shared("starts at once") else {
        return;
    };
    let url = server.fresh_database();

    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = open(&url);
        starts.spawn(async move {
            store.prepare().await.unwrap();
            works(&store).await;
        });
    }
    starts.join_all().await;

    assert_eq!(applied(server, &url), "1");
}

/// A program of the next release was here: its one more migration stays, and this program keeps off.
#[tokio::test]
async fn a_newer_form_is_refused_and_left_as_it_is() {
    let Some(server) = Postgres::shared("newer forms") else {
        return;
    };
    let url = server.fresh_database();
    let mut migrations = MIGRATIONS.to_vec();
    migrations.push("ALTER TABLE postern_items ADD COLUMN next text;");
    open(&url).migrate(&migrations).await.unwrap();
    let this = open(&url);

    let prepared = this.prepare().await;
    let read = this.get_many(NOW, &[Key::new("p", "a")]).await;

    for error in [prepared.err(), read.err()] {
        let Some(StoreError::Corrupt(text)) = error else {
            panic!("{error:?}");
        };
        assert!(text.contains("install a newer release"), "{text}");
    }
    assert_eq!(applied(server, &url), "1 2");
}

/// Of a migration that fails nothing is left, not even the ones before it in the same start.
#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let Some(server) = Postgres::shared("failed migrations") else {
        return;
    };
    let url = server.fresh_database();
    let mut migrations = MIGRATIONS.to_vec();
    migrations.push("CREATE TABLE other (n integer); SELECT 1 / 0;");

    let failed = open(&url).migrate(&migrations).await;

    assert!(
        matches!(failed, Err(StoreError::Misconfigured(_))),
        "{failed:?}"
    );
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(server.sql(name(&url), tables).trim(), "0");
}

#[tokio::test]
async fn a_table_of_another_program_is_left_alone() {
    let Some(server) = Postgres::shared("another program's table") else {
        return;
    };
    let url = server.fresh_database();
    server.sql(name(&url), "CREATE TABLE postern_items (n integer)");

    let refused = open(&url).prepare().await;

    let Err(StoreError::Corrupt(text)) = refused else {
        panic!("{refused:?}");
    };
    assert!(text.contains("another program"), "{text}");
}
