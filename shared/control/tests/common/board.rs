//! A switchboard that the calls of a store or of mirrors go through: it counts them, and lets one
//! fail before or after it was done, or freezes its caller until it is thawed.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use control::publish::{Etag, Mirror, MirrorError, Object, Replaced};
use jiff::Timestamp;
use store::{CommitError, Item, Key, Page, Range, Store, StoreError, Write};
use tokio::sync::Semaphore;

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// It is not done, and its caller gets an error.
    FailBefore,
    /// It is done, and its caller gets an error.
    FailAfter,
    /// Its caller waits before it until [`Board::thaw`].
    Freeze,
}

/// Counts the calls that its filter picks, from 0.
pub struct Board {
    counted: fn(&str) -> bool,
    log: Mutex<Log>,
    frozen: Semaphore,
    thawed: Semaphore,
}

struct Log {
    calls: Vec<String>,
    plan: BTreeMap<usize, Act>,
}

impl Board {
    /// A board that counts the calls whose names `counted` picks, and does to those at the given
    /// numbers what `plan` says.
    pub fn new(
        counted: fn(&str) -> bool,
        plan: impl IntoIterator<Item = (usize, Act)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            counted,
            log: Mutex::new(Log {
                calls: Vec::new(),
                plan: plan.into_iter().collect(),
            }),
            frozen: Semaphore::new(0),
            thawed: Semaphore::new(0),
        })
    }

    /// A board that only counts.
    pub fn watching() -> Arc<Self> {
        Self::new(|_| true, [])
    }

    /// The names of the counted calls.
    pub fn calls(&self) -> Vec<String> {
        self.log().calls.clone()
    }

    /// Whether everything planned has happened.
    pub fn is_spent(&self) -> bool {
        self.log().plan.is_empty()
    }

    /// Waits until a caller is frozen.
    pub async fn until_frozen(&self) {
        self.frozen.acquire().await.unwrap().forget();
    }

    /// Lets a frozen caller go on.
    pub fn thaw(&self) {
        self.thawed.add_permits(1);
    }

    /// Counts a call, and does it or lets it fail, as is planned.
    pub async fn call<T, E>(
        &self,
        name: String,
        error: impl FnOnce() -> E + Send,
        act: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        match self.next(name) {
            Some(Act::FailBefore) => return Err(error()),
            Some(Act::FailAfter) => {
                let _ = act.await;
                return Err(error());
            }
            Some(Act::Freeze) => {
                self.frozen.add_permits(1);
                self.thawed.acquire().await.unwrap().forget();
            }
            None => {}
        }
        act.await
    }

    fn next(&self, name: String) -> Option<Act> {
        if !(self.counted)(&name) {
            return None;
        }
        let mut log = self.log();
        let number = log.calls.len();
        log.calls.push(name);
        log.plan.remove(&number)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }
}

/// A store behind a board: its calls are named `store get_many`, `store query`, `store commit`.
pub struct BoardStore {
    pub board: Arc<Board>,
    pub store: Arc<dyn Store>,
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("by the board".to_owned())
}

#[async_trait]
impl Store for BoardStore {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        let act = self.store.get_many(now, keys);
        self.board
            .call("store get_many".to_owned(), unavailable, act)
            .await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let act = self.store.query(now, range, after, limit);
        self.board
            .call("store query".to_owned(), unavailable, act)
            .await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        let act = self.store.commit(now, writes);
        let error = || CommitError::Store(unavailable());
        self.board.call("store commit".to_owned(), error, act).await
    }
}

/// A mirror behind a board: its calls are named `<mirror> get|create|replace <path>`.
pub struct BoardMirror {
    pub board: Arc<Board>,
    pub mirror: Arc<dyn Mirror>,
}

impl BoardMirror {
    async fn call<T>(
        &self,
        verb: &str,
        path: &str,
        act: impl Future<Output = Result<T, MirrorError>> + Send,
    ) -> Result<T, MirrorError> {
        let name = format!("{} {verb} {path}", self.mirror.name());
        let error = || MirrorError::Unavailable("by the board".to_owned());
        self.board.call(name, error, act).await
    }
}

#[async_trait]
impl Mirror for BoardMirror {
    fn name(&self) -> &str {
        self.mirror.name()
    }

    async fn get(&self, path: &str) -> Result<Option<Object>, MirrorError> {
        self.call("get", path, self.mirror.get(path)).await
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        self.call("create", path, self.mirror.create(path, bytes))
            .await
    }

    async fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        over: Option<&Etag>,
    ) -> Result<Replaced, MirrorError> {
        self.call("replace", path, self.mirror.replace(path, bytes, over))
            .await
    }
}
