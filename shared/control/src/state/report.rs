//! What is told of a document: every record that is not taken as it stands, and how far the work is.

use std::fmt;

use serde::Serialize;

use super::Drawer;

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is taken, but not quite as it stands.
    Note,
    /// It is not taken; the others are.
    Rejected,
    /// Nothing is taken: what is wrong decides about all else.
    Fatal,
}

/// Where a finding is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// The section, or `network`, or `document`.
    pub section: &'static str,
    /// What it is about, as far as that could be read: an id, an index, a version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The line of the document on which the record begins, from 1; 0 where it is of no document.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: u64,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde's `skip_serializing_if` wants"
)]
fn is_zero(line: &u64) -> bool {
    *line == 0
}

/// Something that an operator should know of a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// Which record.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong, or what was done about it.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Note => "note",
            Level::Rejected => "rejected",
            Level::Fatal => "fatal",
        };
        write!(f, "{level}: {}", self.place.section)?;
        if let Some(id) = &self.place.id {
            write!(f, " {id}")?;
        }
        if self.place.line > 0 {
            write!(f, " (line {})", self.place.line)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What is being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Reading a document, counted in bytes.
    Reading,
    /// Holding records against each other.
    Checking,
    /// Committing records to a store.
    Importing,
    /// Reading items of a store.
    Gathering,
    /// Writing records to a document.
    Writing,
}

/// Who is told what is found, as soon as it is, and how far the work is.
pub trait Watcher: Send {
    /// Something was found.
    fn found(&mut self, finding: Finding);

    /// So much of so much is done; it is not always known of how much.
    fn progress(&mut self, step: Step, done: u64, of: Option<u64>);
}

/// How many findings there were of each level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Taken, but not quite as they stand.
    pub notes: u64,
    /// Not taken.
    pub rejected: u64,
    /// Reasons to take nothing.
    pub fatal: u64,
}

/// A watcher, and the counts of what it was told.
pub(super) struct Desk<'a> {
    pub watcher: &'a mut dyn Watcher,
    pub counts: Counts,
}

impl<'a> Desk<'a> {
    pub fn new(watcher: &'a mut dyn Watcher) -> Self {
        Self {
            watcher,
            counts: Counts::default(),
        }
    }

    pub fn tell(&mut self, level: Level, place: Place, reason: impl Into<String>) {
        let count = match level {
            Level::Note => &mut self.counts.notes,
            Level::Rejected => &mut self.counts.rejected,
            Level::Fatal => &mut self.counts.fatal,
        };
        *count += 1;
        self.watcher.found(Finding {
            level,
            place,
            reason: reason.into(),
        });
    }

    /// About the record of a row.
    pub fn about(
        &mut self,
        level: Level,
        (drawer, id, line): (Drawer, &str, u64),
        reason: impl Into<String>,
    ) {
        let place = Place {
            section: drawer.name(),
            id: Some(id.to_owned()),
            line,
        };
        self.tell(level, place, reason);
    }
}
