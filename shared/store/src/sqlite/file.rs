//! Opening the file: who may read it, whose it is, and which version of the schema it has.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, OpenFlags};

use super::store_error;
use crate::StoreError;

/// The version of the schema that this program reads and writes.
const SCHEMA_VERSION: i64 = 1;
/// The mark of our files in their header: `Post` in ASCII.
const APPLICATION_ID: i64 = 0x506F_7374;

/// How long a connection waits for the locks of other processes. A group of commits takes some
/// milliseconds, and the functions that call us give up after some ten seconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often, and how far apart, to try to set a file up, in all as long as [`BUSY_TIMEOUT`]. SQLite
/// does not wait by itself where two processes turn a new file to WAL mode together.
const SETUP_TRIES: u32 = 50;
const SETUP_PAUSE: Duration = Duration::from_millis(100);

/// The single table. The index is for the sweep of what has expired.
const SCHEMA: &str = "
    CREATE TABLE items (
        pk TEXT NOT NULL,
        sk TEXT NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL,
        expires_at_ms INTEGER,
        PRIMARY KEY (pk, sk)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX items_expiry ON items (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
";

/// Held while a file is made and set up. A process that closes any handle of a file loses all its
/// locks on it (POSIX), so no connection may be open to a file that we are still making.
static OPENING: Mutex<()> = Mutex::new(());

/// Opens or makes the file at `path`. Returns its absolute path and the connection to write with.
pub(super) fn open(path: &Path) -> Result<(PathBuf, Connection), StoreError> {
    let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = create(path).map_err(|error| {
        StoreError::Unavailable(format!("{} cannot be opened: {error}", path.display()))
    })?;
    let connection = connect(&path).map_err(|error| store_error(&error))?;

    let wait = |time| {
        connection
            .busy_timeout(time)
            .map_err(|error| store_error(&error))
    };
    wait(Duration::ZERO)?;
    let mut tries = 1;
    loop {
        match set_up(&connection) {
            Ok(()) => break,
            Err(SetupError::Sqlite(error)) if is_busy(&error) && tries < SETUP_TRIES => {
                tries += 1;
                thread::sleep(SETUP_PAUSE);
            }
            Err(SetupError::Sqlite(error)) => return Err(store_error(&error)),
            Err(SetupError::Store(error)) => return Err(error),
        }
    }
    wait(BUSY_TIMEOUT)?;
    Ok((path, connection))
}

/// A connection to the file at `path`, which must be there.
pub(super) fn connect(path: &Path) -> Result<Connection, Error> {
    // No URI names, and no mutex: a connection is only ever used by one thread at a time.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // `fullfsync` is for macOS, where a plain sync does not reach the disk.
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA trusted_schema = OFF;",
    )?;
    // 64 MB: after a burst the log goes back to what some thousand commits need.
    connection.query_row("PRAGMA journal_size_limit = 67108864", [], |_| Ok(()))?;
    Ok(connection)
}

enum SetupError {
    Sqlite(Error),
    Store(StoreError),
}

impl From<Error> for SetupError {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Makes the file if it is not there, closes it to all but its owner, and returns its absolute path,
/// which has no meaning of its own for SQLite as `:memory:` has.
fn create(path: &Path) -> io::Result<PathBuf> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }

    // By its path, for to open and close it would drop the locks. SQLite's `-wal` and `-shm` files
    // get the mode of the file itself.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        }
    }
    fs::canonicalize(path)
}

/// Checks whose file it is before it changes anything, then brings it to the schema's version.
fn set_up(connection: &Connection) -> Result<(), SetupError> {
    let version = check_owner(connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| {
        row.get("journal_mode")
    })?;
    if mode != "wal" {
        return Err(SetupError::Store(StoreError::Unavailable(format!(
            "the file cannot be in WAL mode (it is in {mode:?}): is it on a network disk?"
        ))));
    }

    if version == SCHEMA_VERSION {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let schema = make_schema(connection);
    connection.execute_batch(if schema.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    schema
}

/// Makes the table, within the transaction that has the file's lock, if nobody was faster.
fn make_schema(connection: &Connection) -> Result<(), SetupError> {
    if check_owner(connection)? == 0 {
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(())
}

/// The version of the file's schema, 0 for an empty file, if this program can work with it.
fn check_owner(connection: &Connection) -> Result<i64, SetupError> {
    let header = |name| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0));
    let (owner, version): (i64, i64) = (header("application_id")?, header("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;

    let refusal = if version > SCHEMA_VERSION {
        format!(
            "its schema has version {version}, and this program knows versions up to \
             {SCHEMA_VERSION}: install a newer release of Postern"
        )
    } else if tables > 0 && (owner != APPLICATION_ID || version < SCHEMA_VERSION) {
        "it is the database of another program".to_owned()
    } else {
        return Ok(version);
    };
    let file = connection.path().unwrap_or_default();
    Err(SetupError::Store(StoreError::Corrupt(format!(
        "{file}: {refusal}"
    ))))
}

fn is_busy(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
