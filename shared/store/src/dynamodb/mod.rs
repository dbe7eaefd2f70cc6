//! A store on one DynamoDB table, for a control plane of functions.
//!
//! - `plan` says what a write asks of DynamoDB, so that expiry and versions are as everywhere; `item`
//!   how an item is kept.
//! - `commit` and `send` make a commit one request, and have it applied exactly once whatever is lost
//!   on the way; `read` does the two reads.
//! - `scan` reads everything, `load` puts items as they are: for backups and moves.
//! - `retry` bounds the attempts, `failure` says what an error means.
//! - `table` makes the table, which functions never do.
//!
//! A call is one request, but for retries and for commits that guessed wrong (see `plan`). A
//! function's role needs six rights on the table: `dynamodb:BatchGetItem`, `Query`, `PutItem`,
//! `UpdateItem`, `DeleteItem` and `ConditionCheckItem`. Who reads everything needs `Scan` beside them,
//! which no function does.
//!
//! Nothing here knows the platform. The HTTP client, the sleep and the clock are those of the
//! [`Client`] that is passed in, the randomness is a closure: the same code runs in a Lambda function
//! and in a Worker. [`DynamoDbStore::connect`] makes a client for native programs.

mod commit;
mod failure;
mod item;
mod load;
#[cfg(not(target_family = "wasm"))]
mod native;
mod plan;
mod read;
mod retry;
mod scan;
mod send;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{SharedAsyncSleep, StalledStreamProtectionConfig};
use jiff::Timestamp;

use crate::limits::{validate_get, validate_load, validate_query};
pub use crate::retries::{Randomness, Retries};
use crate::{
    Archive, CommitError, Item, Key, Page, Range, Settled, Snapshot, Store, StoreError, Write,
    validate,
};
#[cfg(not(target_family = "wasm"))]
pub use native::{AMAZON_ROOTS, Settings};

/// A [`Store`] on one DynamoDB table.
#[derive(Debug)]
pub struct DynamoDbStore {
    connection: Arc<Connection>,
}

impl DynamoDbStore {
    /// The store on `table`, called through `client`, which must have a sleep and a time source, as
    /// every client has that is built for a platform.
    ///
    /// The client's own retries are set aside: `retries` says how often a call is tried.
    pub fn new(
        client: &Client,
        table: impl Into<String>,
        retries: Retries,
        randomness: Randomness,
    ) -> Result<Self, StoreError> {
        let config = client.config();
        let table = table.into();
        let region = config.region().map(ToString::to_string);
        let place = Place(format!(
            "DynamoDB's table {table:?} in {}",
            region.as_deref().unwrap_or("no region")
        ));
        let (Some(sleep), Some(clock)) = (config.sleep_impl(), config.time_source()) else {
            return Err(StoreError::Misconfigured(format!(
                "{place}: the client has no sleep or no time source"
            )));
        };
        let mut timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(retries.most_attempt_time);
        if let Some(connect) = config
            .timeout_config()
            .and_then(TimeoutConfig::connect_timeout)
        {
            timeouts = timeouts.connect_timeout(connect);
        }
        let config = config
            .to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build())
            // Answers are small and come whole: an attempt's timeout is enough.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        Ok(Self {
            connection: Arc::new(Connection {
                client: Client::from_conf(config.build()),
                table,
                place,
                retries,
                sleep,
                clock: Arc::new(move || clock.now()),
                randomness,
            }),
        })
    }

    /// The store on `table` for a native program. It must be called on a tokio runtime.
    #[cfg(not(target_family = "wasm"))]
    pub fn connect(
        settings: Settings,
        table: impl Into<String>,
        retries: Retries,
        randomness: Randomness,
    ) -> Result<Self, StoreError> {
        Self::new(&native::client(settings), table, retries, randomness)
    }

    /// Makes the table if it is not there: billed by request, what has expired is removed. It is for
    /// tools and tests, and waits until the table can be used.
    pub async fn create_table(&self) -> Result<(), StoreError> {
        table::create(&self.connection).await
    }
}

#[async_trait]
impl Store for DynamoDbStore {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        validate_get(keys)?;
        let mut tries = retry::Tries::begin(&self.connection);
        let found = read::get(&self.connection, &mut tries, keys.to_vec()).await?;
        let live = |key| {
            let stored = found.get(key).filter(|stored| stored.is_live(now));
            stored.map(|stored| stored.item.clone())
        };
        Ok(keys.iter().map(live).collect())
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        validate_query(range, after, limit)?;
        read::query(&self.connection, now, range, after, limit).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        validate(&writes)?;
        commit::commit(&self.connection, now, &writes).await
    }
}

#[async_trait]
impl Archive for DynamoDbStore {
    async fn snapshot(
        &self,
        now: Timestamp,
        settled: Settled,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        let snapshot = scan::Scanned::begin(Arc::clone(&self.connection), now, settled);
        Ok(Box::new(snapshot))
    }

    async fn load(&self, now: Timestamp, items: &[Item]) -> Result<(), CommitError> {
        validate_load(items)?;
        load::load(&self.connection, now, items).await
    }
}

/// What every call needs.
struct Connection {
    client: Client,
    table: String,
    place: Place,
    retries: Retries,
    sleep: SharedAsyncSleep,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    randomness: Randomness,
}

impl Connection {
    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    async fn sleep(&self, time: Duration) {
        use aws_sdk_dynamodb::config::AsyncSleep;
        self.sleep.sleep(time).await;
    }

    fn draw(&self) -> [u8; 16] {
        (self.randomness)()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("place", &self.place.0)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// Which table of which region, for whoever must look.
struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
