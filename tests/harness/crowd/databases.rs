//! Every database that a control plane can stand on, as tests have them: a line each in
//! [`Backend::start`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use edge::{Clock as _, SystemClock};
use emulator::{Emulator, Faults, Proxy};
use model::Network;
use serde::Deserialize;
use store::{Archive, DynamoDbStore, MemoryStore, PostgresStore, Retries, SqliteStore};

use crate::invariants::Books;
use crate::programs::free_ports;
use crate::serverless::Table;
use crate::{Tap, Up};

/// How long a store tries whose database is going to be killed: callers are to be told, and by default it
/// tries for 10 s.
const IMPATIENT: Retries = Retries {
    most_attempts: 25,
    most_time: Duration::from_millis(500),
    most_attempt_time: Duration::from_secs(3),
    first_window: Duration::from_millis(25),
    largest_window: Duration::from_millis(100),
};
/// What the way to DynamoDB does to a store besides: it throttles, refuses what overlaps, and loses
/// answers.
const FAULTS: Faults = Faults {
    conflicts: true,
    throttled: 0.01,
    lost: 0.01,
};

/// The kinds of databases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// In this process.
    Memory,
    /// A file.
    Sqlite,
    /// A table of the emulator's.
    DynamoDb,
    /// A database of a server.
    Postgres,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Sqlite, Self::Postgres, Self::DynamoDb];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "SQLite",
            Self::DynamoDb => "DynamoDB's emulator",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// A new, empty one; `None`, which is said, where this machine lacks what `test` needs for it.
    pub async fn start(self, test: &str) -> Option<Box<dyn Database>> {
        Some(match self {
            Self::Memory => Box::new(Memory::default()),
            Self::Sqlite => Box::new(Sqlite::new()),
            Self::DynamoDb => Box::new(DynamoDb::start(test).await?),
            Self::Postgres => Box::new(Postgres::start(test, Retries::default()).await?),
        })
    }

    /// The same, which can be killed.
    ///
    /// # Panics
    ///
    /// For memory, of which nothing would be left.
    pub async fn start_mortal(self, test: &str) -> Option<Box<dyn Mortal>> {
        Some(match self {
            Self::Memory => panic!("nothing outlives the process"),
            Self::Sqlite => Box::new(SqliteUp::start().await),
            Self::DynamoDb => Box::new(DynamoDb::start_behind(test, FAULTS, IMPATIENT).await?),
            Self::Postgres => Box::new(Postgres::start(test, IMPATIENT).await?),
        })
    }
}

/// An empty database, until it is dropped.
#[async_trait]
pub trait Database: Send + Sync {
    /// The store in it, as a control plane in this process opens it.
    fn store(&self) -> Arc<dyn Archive>;

    /// Everything in it.
    async fn books(&self) -> Books {
        let now = SystemClock.moment().now;
        let books = Books::read(&*self.store(), now).await;
        books.expect("the store is read")
    }
}

/// A database that can be killed.
#[async_trait]
pub trait Mortal: Database {
    /// The base URL of the control plane that dies with it, and the network's settings; none where it
    /// is a server, which control planes outlive.
    fn control_plane(&self) -> Option<(String, Network)> {
        None
    }

    /// Ends it without a word.
    async fn kill(&mut self);

    /// Starts it again where it was, and waits until it answers.
    async fn restart(&mut self);

    /// Waits until nothing is under way in it.
    async fn rest(&mut self) {}
}

/// In this process: nothing outlives it.
#[derive(Default)]
struct Memory {
    store: Arc<MemoryStore>,
}

impl Database for Memory {
    fn store(&self) -> Arc<dyn Archive> {
        self.store.clone()
    }
}

/// A file in a folder of its own.
struct Sqlite {
    store: Arc<SqliteStore>,
    _folder: tempfile::TempDir,
}

const FILE: &str = "state.sqlite";

impl Sqlite {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join(FILE)).expect("a store");
        Self {
            store: Arc::new(store),
            _folder: folder,
        }
    }
}

impl Database for Sqlite {
    fn store(&self) -> Arc<dyn Archive> {
        self.store.clone()
    }
}

/// A file that a process of `posternctl up` holds.
struct SqliteUp {
    up: Option<Up>,
    control: String,
    data: PathBuf,
    _folder: tempfile::TempDir,
}

impl SqliteUp {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_ports(&mut fastrand::Rng::new()).to_string();
        let options = ["--gateways=0", "--port", &port];
        let up = Up::start(&folder.path().join("network"), &options).await;
        Self {
            control: up.control.clone(),
            data: up.data.clone(),
            up: Some(up),
            _folder: folder,
        }
    }
}

impl Database for SqliteUp {
    /// A second process may have the file open.
    fn store(&self) -> Arc<dyn Archive> {
        let store = SqliteStore::open(&self.data.join(FILE));
        Arc::new(store.expect("the store opens"))
    }
}

/// The process is killed, as it is: `SIGKILL`.
#[async_trait]
impl Mortal for SqliteUp {
    fn control_plane(&self) -> Option<(String, Network)> {
        #[derive(Deserialize)]
        struct Settings {
            network: Network,
        }
        let settings = std::fs::read(self.data.join("network.json")).expect("'up' has made it");
        let settings: Settings = serde_json::from_slice(&settings).expect("settings");
        Some((self.control.clone(), settings.network))
    }

    async fn kill(&mut self) {
        self.up.take().expect("it runs").kill().await;
    }

    async fn restart(&mut self) {
        self.up = Some(Up::start(&self.data, &[]).await);
    }

    /// Only what does not run publishes nothing.
    async fn rest(&mut self) {
        self.kill().await;
    }
}

/// A table of the emulator's.
pub struct DynamoDb {
    store: Arc<DynamoDbStore>,
    /// What stands between the store and the table, if anything does.
    way: Option<(Tap, Proxy)>,
}

impl DynamoDb {
    /// A new table, and nothing between it and the store. `None`, which is said, where the emulator is
    /// not installed: then `test` does not run.
    pub async fn start(test: &str) -> Option<Self> {
        let table = Self::table(test).await?;
        let store = Arc::new(table.open(Retries::default()));
        Some(Self { store, way: None })
    }

    /// A new table behind `faults` and a way that can be cut. Its store tries as `retries` says.
    pub async fn start_behind(test: &str, faults: Faults, retries: Retries) -> Option<Self> {
        let table = Self::table(test).await?;
        let proxy = Proxy::start(&table.endpoint, faults).await;
        let tap = Tap::to(proxy.url());
        let through = Table {
            endpoint: tap.url(),
            ..table
        };
        Some(Self {
            store: Arc::new(through.open(retries)),
            way: Some((tap, proxy)),
        })
    }

    async fn table(test: &str) -> Option<Table> {
        let emulator = Emulator::shared(test)?;
        let name = format!("crowd-{}-{:016x}", std::process::id(), fastrand::u64(..));
        Some(Table::make(emulator.url(), &name).await)
    }

    fn tap(&mut self) -> &mut Tap {
        let (tap, _) = self.way.as_mut().expect("there is a way to cut");
        tap
    }
}

impl Database for DynamoDb {
    fn store(&self) -> Arc<dyn Archive> {
        self.store.clone()
    }
}

/// Its connections are cut, and no new one is taken. What the database has begun goes on.
#[async_trait]
impl Mortal for DynamoDb {
    async fn kill(&mut self) {
        self.tap().shut().await;
    }

    async fn restart(&mut self) {
        self.tap().open();
    }
}

/// A database of a server of its own.
pub struct Postgres {
    store: Arc<PostgresStore>,
    server: emulator::Postgres,
}

impl Postgres {
    /// A new server, whose store tries as `retries` says. `None`, which is said, where `PostgreSQL` is not
    /// installed: then `test` does not run.
    pub async fn start(test: &str, retries: Retries) -> Option<Self> {
        let server = emulator::Postgres::start(test)?;
        let settings = server.fresh_database().parse();
        let randomness = Arc::new(|| fastrand::u128(..).to_be_bytes());
        let settings = settings.expect("it is a URL");
        let store = PostgresStore::new(settings, retries, randomness);
        let store = store.expect("the settings are complete");
        store.prepare().await.expect("the tables are made");
        Some(Self {
            store: Arc::new(store),
            server,
        })
    }
}

impl Database for Postgres {
    fn store(&self) -> Arc<dyn Archive> {
        self.store.clone()
    }
}

/// All its processes are killed, as they are: `SIGKILL`.
#[async_trait]
impl Mortal for Postgres {
    async fn kill(&mut self) {
        tokio::task::block_in_place(|| self.server.kill());
    }

    async fn restart(&mut self) {
        tokio::task::block_in_place(|| self.server.start_again());
    }
}
