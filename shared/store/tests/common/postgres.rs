//! Stores in databases of a test server, each in one of its own. The tests of other crates use this file
//! too.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use emulator::Postgres;
use store::{PostgresStore, Retries};

/// An empty store, if a server is installed; else says that `tests` do not run.
pub async fn fresh(tests: &str) -> Option<PostgresStore> {
    Some(prepared(&Postgres::shared(tests)?.fresh_database()).await)
}

/// The store at `url`, whose tables are made.
pub async fn prepared(url: &str) -> PostgresStore {
    let store = open(url);
    store.prepare().await.unwrap();
    store
}

/// The store at `url` as it is. It tries for longer than a program would: a server that was killed takes
/// some seconds to come back on a busy machine.
pub fn open(url: &str) -> PostgresStore {
    let retries = Retries {
        most_attempts: 1000,
        most_time: Duration::from_mins(1),
        most_attempt_time: Duration::from_secs(10),
        ..Retries::default()
    };
    open_with(url, retries)
}

/// The store at `url`, which tries as often as `retries` says.
pub fn open_with(url: &str, retries: Retries) -> PostgresStore {
    let randomness = Arc::new(|| fastrand::u128(..).to_be_bytes());
    PostgresStore::new(url.parse().unwrap(), retries, randomness).unwrap()
}
