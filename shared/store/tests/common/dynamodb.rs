//! Stores on an emulator's tables, each on one of its own. The tests of other crates use this file too.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use emulator::{Emulator, Faults, Proxy};
use store::DynamoDbStore;
use store::dynamodb::{Retries, Settings};

/// A store, and the proxy before its table.
pub struct Behind {
    pub store: DynamoDbStore,
    pub proxy: Proxy,
}

/// An empty store on the emulator, if it is installed; else says that `tests` do not run.
pub async fn fresh(tests: &str) -> Option<DynamoDbStore> {
    let emulator = Emulator::shared(tests)?;
    let store = open(emulator.url(), &next_table());
    store.create_table().await.unwrap();
    Some(store)
}

/// An empty store on the emulator behind a proxy with these faults, if it is installed.
pub async fn fresh_behind(tests: &str, faults: Faults) -> Option<Behind> {
    let emulator = Emulator::shared(tests)?;
    let proxy = Proxy::start(emulator.url(), faults).await;
    let table = next_table();
    open(emulator.url(), &table).create_table().await.unwrap();
    Some(Behind {
        store: open(proxy.url(), &table),
        proxy,
    })
}

/// The store in `table` of the DynamoDB at `endpoint`. It tries as often as a storm behind faults may
/// need, and soon again: there is no network in between.
pub fn open(endpoint: &str, table: &str) -> DynamoDbStore {
    let retries = Retries {
        most_attempts: 200,
        most_time: Duration::from_mins(1),
        first_window: Duration::from_millis(4),
        largest_window: Duration::from_millis(100),
        ..Retries::default()
    };
    open_with(endpoint, table, retries)
}

/// The store in `table` of the DynamoDB at `endpoint`, which tries as often as `retries` says.
pub fn open_with(endpoint: &str, table: &str, retries: Retries) -> DynamoDbStore {
    let settings = Settings {
        region: "eu-central-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        access_key_id: "key".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
    };
    let randomness = Arc::new(|| fastrand::u128(..).to_be_bytes());
    DynamoDbStore::connect(settings, table, retries, randomness).unwrap()
}

/// The name of a table that no other test of this program has.
pub fn next_table() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A database that outlives this program may have tables of others.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("table-{}-{number}", std::process::id())
}
