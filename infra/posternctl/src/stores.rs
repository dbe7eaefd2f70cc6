//! `--store URL`: which database holds a network's state.
//!
//! | URL | what it is |
//! |---|---|
//! | `sqlite:PATH` | a SQLite file; without a path the data folder's `state.sqlite`, which is the default |
//! | `memory:` | this process: nothing outlives it |
//! | `postgres://USER:PASSWORD@HOST/DATABASE` | a PostgreSQL database |
//! | `dynamodb:TABLE` | a DynamoDB table; region and credentials are those of the `AWS_…` variables |
//!
//! The first `up` of a network keeps the URL in the data folder's file `store`, which its owner alone may
//! read, for it may hold a password; without the option that is the network's store from then on. No
//! password is ever printed: not by `Display`, and not by what refuses a URL.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::builder::{TypedValueParser, ValueParserFactory};
use edge::settings::{Access, Reader};
use store::dynamodb::{Randomness, Retries, Settings};
use store::{Archive, DynamoDbStore, MemoryStore, SqliteStore};

use crate::data::Folder;

/// The file of the data folder that says which store a network was made with.
const KEPT: &str = "store";
/// The SQLite file of who names none.
const STATE: &str = "state.sqlite";

/// Which store.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StoreUrl(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// A file; the data folder's own without a path.
    Sqlite(Option<PathBuf>),
    Memory,
    Postgres(String),
    /// The table of this name.
    DynamoDb(String),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Sqlite(None)
    }
}

impl FromStr for StoreUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let kind = match scheme {
            "sqlite" if rest.is_empty() => Kind::Sqlite(None),
            "sqlite" => Kind::Sqlite(Some(std::path::absolute(rest)?)),
            "memory" if rest.is_empty() => Kind::Memory,
            "postgres" | "postgresql" => Kind::Postgres(text.to_owned()),
            "dynamodb" => match edge::settings::table(rest) {
                Ok(table) => Kind::DynamoDb(table),
                Err(why) => bail!("dynamodb: must be followed by a table's name: {why}"),
            },
            _ => bail!(
                "a store is named as sqlite:PATH, memory:, postgres://USER:PASSWORD@HOST/DATABASE \
                 or dynamodb:TABLE"
            ),
        };
        Ok(Self(kind))
    }
}

/// Without secrets.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Sqlite(None) => f.write_str("sqlite:"),
            Kind::Sqlite(Some(path)) => write!(f, "sqlite:{}", path.display()),
            Kind::Memory => f.write_str("memory:"),
            Kind::Postgres(_) => f.write_str("postgres://…"),
            Kind::DynamoDb(table) => write!(f, "dynamodb:{table}"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StoreUrl {
    /// The store of the network in `data`: what its first `up` was told, or the data folder's file.
    pub fn of(data: &Folder) -> anyhow::Result<Self> {
        if !data.path(KEPT).exists() {
            return Ok(Self::default());
        }
        let text = String::from_utf8(data.read(KEPT)?);
        let url = text.map(|text| text.trim_end().parse());
        url.context("it is no text")
            .flatten()
            .with_context(|| format!("{} cannot be read", data.path(KEPT).display()))
    }

    /// The store for an `up` that was told `asked`: the one of an earlier start, or what is asked for at the
    /// first.
    pub fn for_up(data: &Folder, asked: Option<&Self>) -> anyhow::Result<Self> {
        let has_begun = data.path(KEPT).exists() || data.path(STATE).exists();
        if !has_begun {
            return Ok(asked.cloned().unwrap_or_default());
        }
        let kept = Self::of(data)?;
        if kept.is_memory() {
            bail!(
                "this network was kept in memory and ended with its process: remove {} and begin again, \
                 or make another network with --data",
                data.root().display()
            );
        }
        match asked {
            Some(asked) if asked.place(data) != kept.place(data) => bail!(
                "this network's state is in {kept}: leave --store out, or make another network with --data. \
                 Where the state was moved, write the new URL into {}",
                data.path(KEPT).display()
            ),
            // The same database: with a new password, for example.
            Some(asked) => Ok(asked.clone()),
            None => Ok(kept),
        }
    }

    /// Keeps it as the network's store, once it could be opened.
    pub fn keep(&self, data: &Folder) -> anyhow::Result<()> {
        let is_kept = data.path(KEPT).exists();
        if !is_kept && *self == Self::default() {
            return Ok(());
        }
        data.write(KEPT, format!("{}\n", self.with_secrets()).as_bytes())
    }

    /// Whether nothing outlives the process.
    pub fn is_memory(&self) -> bool {
        self.0 == Kind::Memory
    }

    /// What it names, for comparison: without what may change while the database stays the same.
    fn place(&self, data: &Folder) -> String {
        match &self.0 {
            Kind::Sqlite(None) => match std::path::absolute(data.path(STATE)) {
                Ok(path) => format!("sqlite:{}", path.display()),
                Err(_) => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    fn with_secrets(&self) -> String {
        match &self.0 {
            Kind::Postgres(url) => url.clone(),
            _ => self.to_string(),
        }
    }

    /// Opens it, to be read as a whole or filled. It must be there, but for a SQLite file and for the tables
    /// of a PostgreSQL database, which are made.
    pub async fn open(&self, data: &Folder) -> anyhow::Result<Arc<dyn Archive>> {
        match &self.0 {
            Kind::Memory => Ok(Arc::new(MemoryStore::new())),
            Kind::Sqlite(path) => {
                let file = path.clone().unwrap_or_else(|| data.path(STATE));
                Ok(Arc::new(SqliteStore::open(&file)?))
            }
            Kind::DynamoDb(table) => Ok(Arc::new(dynamodb(table)?)),
            Kind::Postgres(_) => bail!("this program cannot use PostgreSQL"),
        }
    }
}

fn dynamodb(table: &str) -> anyhow::Result<DynamoDbStore> {
    let source = |name: &str| match std::env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let mut reader = Reader::new(&source);
    let access = Access::read(&mut reader);
    reader.finish()?;
    let access = access.expect("what is not there has a fault");
    let settings = Settings {
        region: access.region,
        endpoint: access.endpoint,
        access_key_id: access.access_key,
        secret_access_key: access.secret_key,
        session_token: access.session_token,
    };
    let randomness: Randomness =
        Arc::new(|| crate::random().expect("the system's random source works"));
    Ok(DynamoDbStore::connect(
        settings,
        table,
        Retries::default(),
        randomness,
    )?)
}

/// How `--store` reads it: what it refuses is not repeated, as clap would.
#[derive(Clone)]
pub struct Parser;

impl ValueParserFactory for StoreUrl {
    type Parser = Parser;

    fn value_parser() -> Parser {
        Parser
    }
}

impl TypedValueParser for Parser {
    type Value = StoreUrl;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        text: &OsStr,
    ) -> Result<StoreUrl, clap::Error> {
        let text = text.to_str().context("it is no text");
        text.and_then(str::parse).map_err(|error| {
            let name = argument.map_or_else(|| "--store URL".to_owned(), ToString::to_string);
            let kind = clap::error::ErrorKind::ValueValidation;
            clap::Error::raw(kind, format!("{name} cannot be used: {error:#}\n")).with_cmd(command)
        })
    }
}
