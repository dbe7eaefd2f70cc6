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
use store::dynamodb::Settings as TableSettings;
use store::postgres::Settings;
use store::{Archive, DynamoDbStore, MemoryStore, PostgresStore, Randomness, Retries, SqliteStore};

use crate::data::Folder;

/// How the option names a store, for its help.
pub const NAMES: &str =
    "sqlite:PATH, memory:, postgres://USER:PASSWORD@HOST/DATABASE or dynamodb:TABLE";
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
    Postgres(Database),
    /// The table of this name.
    DynamoDb(String),
}

/// A PostgreSQL database.
#[derive(Clone, PartialEq, Eq)]
struct Database {
    /// The whole URL, with its password.
    url: String,
    /// The same without.
    shown: String,
    /// Which database it is, whoever calls.
    place: String,
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
            "postgres" | "postgresql" => {
                let settings: Settings = text.parse().map_err(anyhow::Error::msg)?;
                Kind::Postgres(Database {
                    url: text.to_owned(),
                    shown: settings.to_string(),
                    place: settings.database(),
                })
            }
            "dynamodb" => match edge::settings::table(rest) {
                Ok(table) => Kind::DynamoDb(table),
                Err(why) => bail!("dynamodb: must be followed by a table's name: {why}"),
            },
            _ => bail!("a store is named as {NAMES}"),
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
            Kind::Postgres(database) => f.write_str(&database.shown),
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

    /// What it names, without secrets, for who does not know the data folder.
    pub fn shown(&self, data: &Folder) -> String {
        match &self.0 {
            Kind::Sqlite(None) => match std::path::absolute(data.path(STATE)) {
                Ok(path) => format!("sqlite:{}", path.display()),
                Err(_) => self.to_string(),
            },
            _ => self.to_string(),
        }
    }

    /// Whether it is the one that an 'up' of `data` works on.
    pub fn is_of(&self, data: &Folder) -> anyhow::Result<bool> {
        Ok(self.place(data) == Self::of(data)?.place(data))
    }

    /// What it names, for comparison: without what may change while the database stays the same.
    fn place(&self, data: &Folder) -> String {
        match &self.0 {
            Kind::Postgres(database) => database.place.clone(),
            _ => self.shown(data),
        }
    }

    fn with_secrets(&self) -> String {
        match &self.0 {
            Kind::Postgres(database) => database.url.clone(),
            _ => self.to_string(),
        }
    }

    /// Opens it to read what it holds: what is not there is refused, and nothing is made in its place.
    pub async fn open_to_read(&self, data: &Folder) -> anyhow::Result<Arc<dyn Archive>> {
        let is_there = match &self.0 {
            Kind::Memory => {
                bail!("memory: ends with this command: name a store that outlives it with --store")
            }
            Kind::Sqlite(path) => path.clone().unwrap_or_else(|| data.path(STATE)).exists(),
            Kind::Postgres(database) => postgres(database)?.is_made().await?,
            // It says so itself when it is read.
            Kind::DynamoDb(_) => true,
        };
        if !is_there {
            bail!(
                "there is no store {}: name the right one with --store",
                self.shown(data)
            );
        }
        self.open(data).await
    }

    /// Opens it. It must be there, but for a SQLite file and for the tables of a PostgreSQL database, which
    /// are made.
    pub async fn open(&self, data: &Folder) -> anyhow::Result<Arc<dyn Archive>> {
        match &self.0 {
            Kind::Memory => Ok(Arc::new(MemoryStore::new())),
            Kind::Sqlite(path) => {
                let file = path.clone().unwrap_or_else(|| data.path(STATE));
                Ok(Arc::new(SqliteStore::open(&file)?))
            }
            Kind::DynamoDb(table) => Ok(Arc::new(dynamodb(table)?)),
            Kind::Postgres(database) => {
                let store = postgres(database)?;
                store.prepare().await?;
                Ok(Arc::new(store))
            }
        }
    }
}

/// Makes what `url` names ready for functions, which may make nothing: the table of DynamoDB, the tables of
/// PostgreSQL in this release's form.
pub async fn prepare(data: &Folder, url: &StoreUrl, json: bool) -> anyhow::Result<()> {
    match &url.0 {
        Kind::DynamoDb(table) => dynamodb(table)?.create_table().await?,
        Kind::Memory => bail!("there is nothing to prepare in memory"),
        Kind::Sqlite(_) | Kind::Postgres(_) => drop(url.open(data).await?),
    }
    if json {
        say!("{}", serde_json::json!({"prepared": url.to_string()}));
    } else {
        say!("{url} is ready.");
    }
    Ok(())
}

fn postgres(database: &Database) -> anyhow::Result<PostgresStore> {
    let settings = database.url.parse().map_err(anyhow::Error::msg)?;
    Ok(PostgresStore::new(
        settings,
        Retries::default(),
        randomness(),
    )?)
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
    let settings = TableSettings {
        region: access.region,
        endpoint: access.endpoint,
        access_key_id: access.access_key,
        secret_access_key: access.secret_key,
        session_token: access.session_token,
    };
    let store = DynamoDbStore::connect(settings, table, Retries::default(), randomness())?;
    Ok(store)
}

fn randomness() -> Randomness {
    Arc::new(|| crate::random().expect("the system's random source works"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let folder = tempfile::tempdir().unwrap();
        let data = Folder::new(folder.path().to_owned());
        (folder, data)
    }

    fn url(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    fn refusal<T>(of: anyhow::Result<T>) -> String {
        format!("{:#}", of.err().expect("it is to be refused"))
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        for (text, shown) in [
            ("sqlite:", "sqlite:"),
            ("sqlite:/a b/c.sqlite", "sqlite:/a b/c.sqlite"),
            ("memory:", "memory:"),
            ("dynamodb:postern-test", "dynamodb:postern-test"),
            (
                "postgres://u:hidden@db.example:5433/p?sslmode=require",
                "postgres://u@db.example:5433/p",
            ),
        ] {
            assert_eq!(url(text).to_string(), shown);
            assert_eq!(format!("{:?}", url(text)), shown);
        }
    }

    #[test]
    fn what_names_no_store_is_refused_without_being_repeated() {
        for text in [
            "",
            "hidden",
            "memory:hidden",
            "dynamodb:",
            "dynamodb:hidden table",
            "mysql://hidden",
            "postgres:hidden",
            "postgres://u:hidden@db.example",
            "postgres://u:hidden@db.example/p?sslmode=prefer",
        ] {
            let said = refusal(text.parse::<StoreUrl>());
            assert!(
                !said.is_empty() && !said.contains("hidden"),
                "{text}: {said}"
            );
            let parser = clap::Command::new("posternctl")
                .arg(clap::Arg::new("store").value_parser(clap::value_parser!(StoreUrl)));
            let said = parser.try_get_matches_from(["posternctl", text]);
            let said = said.unwrap_err().to_string();
            assert!(!said.contains("hidden"), "{text}: {said}");
        }
    }

    #[test]
    fn a_network_goes_on_with_the_store_that_it_began_with() {
        let (_folder, data) = folder();
        let first = url("postgres://u:old@db.example/p");
        assert!(StoreUrl::for_up(&data, None).unwrap() == StoreUrl::default());
        assert!(StoreUrl::for_up(&data, Some(&first)).unwrap() == first);
        first.keep(&data).unwrap();

        assert!(StoreUrl::for_up(&data, None).unwrap() == first);
        let other = url("postgres://u:old@db.example/other");
        let said = refusal(StoreUrl::for_up(&data, Some(&other)));

        assert!(said.contains("postgres://u@db.example:5432/p"), "{said}");
        let newer = url("postgres://someone:new@db.example/p?sslmode=require");
        assert!(StoreUrl::for_up(&data, Some(&newer)).unwrap() == newer);
        newer.keep(&data).unwrap();
        assert!(StoreUrl::of(&data).unwrap() == newer);
    }

    #[test]
    fn a_network_that_was_made_without_the_option_is_in_its_own_file() {
        let (_folder, data) = folder();
        data.write(STATE, b"").unwrap();

        assert!(StoreUrl::for_up(&data, None).unwrap() == StoreUrl::default());
        let same = format!("sqlite:{}", data.path(STATE).display());
        assert!(StoreUrl::for_up(&data, Some(&url(&same))).is_ok());
        for other in ["memory:", "sqlite:/elsewhere", "dynamodb:table"] {
            let said = refusal(StoreUrl::for_up(&data, Some(&url(other))));
            assert!(said.contains("is in sqlite:"), "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_read_and_not_made() {
        let (folder, data) = folder();
        let other = folder.path().join("mistyped");
        let named = url(&format!("sqlite:{}", other.display()));

        for (store, file) in [(&named, &other), (&StoreUrl::default(), &data.path(STATE))] {
            let said = refusal(store.open_to_read(&data).await);
            assert!(said.contains("there is no store sqlite:/"), "{said}");
            assert!(said.contains(&file.display().to_string()), "{said}");
            assert!(!file.exists());
            drop(store.open(&data).await.unwrap());
            drop(store.open_to_read(&data).await.unwrap());
        }
        assert!(
            refusal(url("memory:").open_to_read(&data).await).contains("ends with this command")
        );
    }

    #[test]
    fn the_store_of_a_folder_is_known_by_any_name() {
        let (folder, data) = folder();
        let own = format!("sqlite:{}", data.path(STATE).display());
        let other = format!("sqlite:{}", folder.path().join("other").display());

        assert!(url(&own).is_of(&data).unwrap() && url("sqlite:").is_of(&data).unwrap());
        assert!(!url(&other).is_of(&data).unwrap());
        assert_eq!(url("sqlite:").shown(&data), own);

        url("postgres://u:old@db.example/p").keep(&data).unwrap();
        assert!(url("postgres://u:new@db.example/p").is_of(&data).unwrap());
        assert!(!url(&own).is_of(&data).unwrap());
    }

    #[test]
    fn what_was_in_memory_is_not_gone_on_with() {
        let (_folder, data) = folder();
        url("memory:").keep(&data).unwrap();

        for asked in [None, Some(url("memory:"))] {
            let said = refusal(StoreUrl::for_up(&data, asked.as_ref()));
            assert!(said.contains("ended with its process"), "{said}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_holds_the_password_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, data) = folder();

        url("postgres://u:hidden@db.example/p").keep(&data).unwrap();

        let mode = std::fs::metadata(data.path(KEPT)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}
