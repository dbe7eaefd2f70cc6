//! The state as one document: `postern-state/1`, which people read, diff and move old systems with.
//!
//! A document has what a network is made of ([`record`]), sorted and a line a record, so that the same
//! state always gives the same bytes. What the control plane makes of that state (roster entries, items of
//! WireGuard keys, uses of invites) is not written twice: records carry what it takes to make it again.
//! What it makes anew (sessions, heartbeats, secrets of epochs, drafts) stays behind. `docs/state.md` is
//! the page for operators.
//!
//! - [`export`](export()) reads a whole store as of one moment and writes the document;
//! - [`read`](read()) parses a document record by record, and [`settle`](settle()) holds the records against
//!   each other: both report what cannot be taken, and why;
//! - [`import`](import()) commits what was settled, each record with all that belongs to it and with the
//!   place where to go on ([`Cursor`]), so that a run that was stopped anywhere is gone on with, and nothing
//!   is done twice.
//!
//! Documents are larger than memory, and records refer to one another in any order. So between the steps the
//! records lie in a [`Spool`], which sorts and finds them; where that is (a file, for `posternctl`) is none
//! of this module's business, and a step holds no more than a page of it.

mod assemble;
mod cursor;
mod export;
mod gather;
mod import;
mod read;
pub mod record;
mod report;
mod settle;
mod spool;
mod strict;
mod writes;

pub use cursor::{Cursor, Stage};
pub use export::{Exported, export};
pub use import::{Imported, import};
pub use read::{Document, read};
pub use report::{Counts, Finding, Level, Place, Step, Watcher};
pub use settle::{Rules, Settled, settle};
pub use spool::{Drawer, MemorySpool, Row, Spool, SpoolError};

use store::StoreError;

/// The only version of a document that this program writes and takes.
pub const VERSION: &str = "postern-state/1";

/// How many rows of a spool, or items of a snapshot, are held at once.
const PAGE: usize = 500;

/// Why a document was not written, or not taken at all.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is no document of this form, or a part without which nothing can be taken is wrong: the text says
    /// what, and where.
    #[error("{0}")]
    Document(String),
    /// The store is not one that this document can go to: the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// The store failed. What was committed stays, and the same import goes on from there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The spool failed: most likely its disk is full.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The document's bytes could not be read or written.
    #[error("the document: {0}")]
    Io(#[from] std::io::Error),
}

/// What a row of a spool holds, which this module wrote there itself.
fn parsed<T: serde::de::DeserializeOwned>(row: &Row) -> Result<T, SpoolError> {
    serde_json::from_str(&row.body)
        .map_err(|error| SpoolError(format!("{:?} {}: {error}", row.drawer, row.key)))
}

/// A record as it lies in a spool and in a document: one line.
fn line<T: serde::Serialize>(record: &T) -> String {
    serde_json::to_string(record).expect("records are plain data with string keys")
}
