//! The connections: made as they are needed, lent to one call each, closed unless they come back clean.
//!
//! A call that is dropped in the middle takes its connection with it, and the server rolls back: nobody is
//! lent a connection with a transaction of somebody else's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_postgres::{Client, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::Trouble;
use super::settings::Settings;
use super::{Database, schema, tls};
use crate::StoreError;

/// The connections to one database.
pub(super) struct Pool {
    settings: Settings,
    connector: Option<MakeRustlsConnect>,
    idle: Mutex<Vec<Client>>,
    turns: Semaphore,
}

/// A connection while a call has it.
pub(super) struct Lent<'a> {
    /// The connection.
    pub client: Client,
    pool: &'a Pool,
    _turn: SemaphorePermit<'a>,
}

impl Pool {
    /// No connection is made yet.
    pub fn new(settings: Settings) -> Result<Self, StoreError> {
        Ok(Self {
            connector: tls::connector(&settings.tls)?,
            idle: Mutex::new(Vec::new()),
            turns: Semaphore::new(settings.connections),
            settings,
        })
    }

    /// A connection, as soon as fewer than the most are lent.
    pub async fn lend<'a>(&'a self, database: &Database) -> Result<Lent<'a>, Trouble> {
        let turn = timeout(database.retries.most_time, self.turns.acquire()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Trouble::Passing {
                why: format!(
                    "all {} connections are in use: see the parameter 'connections'",
                    self.settings.connections
                ),
                is_cut: false,
            });
        };
        let idle = self.idle().pop();
        let client = match idle {
            Some(client) => client,
            None => self.connect(database).await?,
        };
        Ok(Lent {
            client,
            pool: self,
            _turn: turn,
        })
    }

    /// A connection of the caller's own, to a database that this program can work with.
    pub async fn connect(&self, database: &Database) -> Result<Client, Trouble> {
        let client = self.connect_unchecked(database).await?;
        schema::check(database, &client).await?;
        Ok(client)
    }

    /// A connection to whatever is there.
    pub async fn connect_unchecked(&self, database: &Database) -> Result<Client, Trouble> {
        database.within(self.begin()).await
    }

    async fn begin(&self) -> Result<Client, Error> {
        let config = &self.settings.config;
        // The connection's own end is told to the calls that are under way on it, by their errors.
        if let Some(connector) = &self.connector {
            let (client, connection) = config.connect(connector.clone()).await?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(client)
        } else {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(client)
        }
    }

    /// Closes what nobody uses: after a cut, all of them may be dead.
    pub fn forget_idle(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    /// Gives a connection back that is in no transaction.
    pub fn give_back(self) {
        if !self.client.is_closed() {
            self.pool.idle().push(self.client);
        }
    }
}
