//! The tables, and how they come to the form that this program knows.
//!
//! Migrations are numbered from 1 and never changed once released. They run in one transaction under an
//! advisory lock, so that of several programs which start at once one migrates and the others find it
//! done. Which have run is in the table `postern_migrations`; each new connection looks there, so that no
//! program works with a form that it does not know, be it newer or older.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::Database;
use super::failure::Trouble;
use crate::StoreError;

/// What leads from one form to the next; the first one from nothing.
pub(super) const MIGRATIONS: [&str; 1] = [
    // Keys are bytes: their order is that of bytes whatever the database's collation, and they may hold a
    // zero byte, which `text` cannot. Bodies are JSON as it was written, where a zero is always escaped.
    // The index is for the sweep of what has expired.
    "CREATE TABLE postern_items (
        pk bytea NOT NULL,
        sk bytea NOT NULL,
        version bigint NOT NULL,
        body text NOT NULL,
        expires_at_ms bigint,
        PRIMARY KEY (pk, sk)
    );
    CREATE INDEX postern_items_expiry ON postern_items (expires_at_ms)
        WHERE expires_at_ms IS NOT NULL;",
];

/// The last one that has run.
const LAST: &str = "SELECT coalesce(max(version), 0) FROM postern_migrations";
/// `Postern` and a zero byte in ASCII: who holds this advisory lock migrates.
const LOCK: i64 = 0x506F_7374_6572_6E00;
/// The oldest PostgreSQL that the tests know.
const OLDEST_SERVER: i32 = 150_000;

/// Brings the tables to the form after the last of `migrations`; what has run stays as it is.
pub(super) async fn migrate(
    database: &Database,
    client: &mut Client,
    migrations: &[&str],
) -> Result<(), Trouble> {
    database
        .within(client.batch_execute(&format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
             SELECT pg_advisory_xact_lock({LOCK});"
        )))
        .await?;
    let migrated = migrate_locked(database, client, migrations).await;
    // A connection whose transaction failed is closed by the caller, which rolls back.
    if migrated.is_ok() {
        database.within(client.batch_execute("COMMIT")).await?;
    }
    migrated
}

async fn migrate_locked(
    database: &Database,
    client: &Client,
    migrations: &[&str],
) -> Result<(), Trouble> {
    // Asked for first, for a user who may make no tables needs none if they are there.
    if !is_made(database, client).await? {
        let table = "CREATE TABLE postern_migrations (
            version integer PRIMARY KEY,
            applied_at timestamptz NOT NULL DEFAULT now()
        )";
        database.within(client.batch_execute(table)).await?;
    }
    let last = client.query_typed_one(LAST, &[]);
    let last: i32 = get(database, &database.within(last).await?, 0)?;
    let last = usize::try_from(last).unwrap_or(usize::MAX);
    if last > migrations.len() {
        return Err(newer(database, last, migrations.len()));
    }
    for (migration, version) in migrations.iter().zip(1_i32..).skip(last) {
        database.within(client.batch_execute(migration)).await?;
        let version = [(&version as _, Type::INT4)];
        let record = "INSERT INTO postern_migrations (version) VALUES ($1)";
        database
            .within(client.query_typed(record, &version))
            .await?;
    }
    Ok(())
}

/// Whether a release has made its tables there.
pub(super) async fn is_made(database: &Database, client: &Client) -> Result<bool, Trouble> {
    let there = client.query_typed_one("SELECT to_regclass('postern_migrations') IS NOT NULL", &[]);
    get(database, &database.within(there).await?, 0)
}

/// Whether this program can work with what `client` is connected to, as it is.
pub(super) async fn check(database: &Database, client: &Client) -> Result<(), Trouble> {
    let last = client.query_typed_one(LAST, &[]);
    let (server, last) = tokio::join!(
        biased;
        check_server(database, client),
        database.within(last),
    );
    server?;
    let last: i32 = get(database, &last?, 0)?;
    let last = usize::try_from(last).unwrap_or(usize::MAX);
    if last > MIGRATIONS.len() {
        return Err(newer(database, last, MIGRATIONS.len()));
    }
    if last < MIGRATIONS.len() {
        return Err(misconfigured(
            database,
            &format!(
                "its tables have the form {last}, and this program needs {}: run 'posternctl prepare \
                 --store URL' of this release",
                MIGRATIONS.len()
            ),
        ));
    }
    Ok(())
}

/// Whether the server keeps what it acknowledges, and can hold every text.
pub(super) async fn check_server(database: &Database, client: &Client) -> Result<(), Trouble> {
    let settings = client.query_typed_one(
        "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'),
                current_setting('synchronous_commit'), current_setting('fsync')",
        &[],
    );
    let row = database.within(settings).await?;
    let version: i32 = get(database, &row, 0)?;
    let [encoding, synchronous, fsync]: [String; 3] = [
        get(database, &row, 1)?,
        get(database, &row, 2)?,
        get(database, &row, 3)?,
    ];
    let refusal = if version < OLDEST_SERVER {
        format!("the server has the version {version}: Postern needs PostgreSQL 15 or newer")
    } else if encoding != "UTF8" {
        format!("its encoding is {encoding}: create the database with ENCODING 'UTF8'")
    } else if synchronous == "off" || fsync == "off" {
        "it forgets what it has acknowledged if the machine fails: set synchronous_commit (ALTER ROLE … \
         SET synchronous_commit = on) and fsync to on"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(misconfigured(database, &refusal))
}

/// A value of a row.
fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    database: &Database,
    row: &'a Row,
    column: usize,
) -> Result<T, Trouble> {
    row.try_get(column)
        .map_err(|error| super::failure::trouble(&database.place, &error))
}

fn newer(database: &Database, last: usize, known: usize) -> Trouble {
    Trouble::Lasting(StoreError::Corrupt(format!(
        "{}: its tables have the form {last}, and this program knows forms up to {known}: install a newer \
         release of Postern",
        database.place
    )))
}

fn misconfigured(database: &Database, why: &str) -> Trouble {
    let why = format!("{}: {why}", database.place);
    Trouble::Lasting(StoreError::Misconfigured(why))
}
