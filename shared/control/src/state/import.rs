//! From a settled spool to a store: batches of records, each with the place where to go on.
//!
//! The invariant: a commit holds whole records (or, of one that is too large, a part) and the cursor behind
//! them, and expects the cursor that was there before. So it is applied at most once, and whoever reads the
//! cursor knows exactly what is there. An import that was stopped, at whatever point, is run again with the
//! same document; two that run at once cannot both go on.

use jiff::Timestamp;
use model::NetworkId;
use serde::Serialize;
use store::{Archive, CommitError, Expect, MOST_COMMIT_BYTES, MOST_WRITES, Write};

use super::cursor::{Cursor, Stage};
use super::record::numbered;
use super::spool::Pages;
use super::writes::{self, Parts};
use super::{Document, Drawer, Settled, Spool, SpoolError, StateError, Step, Watcher};
use crate::items;
use crate::items::Read as _;

/// The place of the cursor in a commit.
const CURSOR: usize = 0;
/// The most bytes of the bodies of a commit, less what the cursor takes.
const MOST_BYTES: usize = MOST_COMMIT_BYTES - 4096;

/// What an import came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Imported {
    /// How many records are there.
    pub records: u64,
    /// How many of them an earlier run had put there.
    pub before: u64,
    /// How many commits this run made.
    pub commits: u64,
}

/// Puts what was settled of `document` into `store`, which must be empty, or be where an import of this very
/// document was begun.
pub async fn import(
    store: &dyn Archive,
    now: Timestamp,
    (document, settled): (&Document, &Settled),
    spool: &dyn Spool,
    watcher: &mut dyn Watcher,
) -> Result<Imported, StateError> {
    if document.counts.fatal + settled.counts.fatal > 0 {
        let why = "nothing was imported: what is reported as fatal must be mended first";
        return Err(StateError::Document(why.to_owned()));
    }
    let (cursor, version) = begin(store, now, document).await?;
    let before = cursor.records;
    let sections = settled.taken.iter();
    let sections = sections.filter(|(name, _)| **name != Drawer::Leases.name());
    let total = sections.map(|(_, count)| count).sum();
    let mut importing = Importing {
        store,
        now,
        watcher,
        total,
        last: cursor.clone(),
        cursor,
        version,
        batch: Vec::new(),
        bytes: 0,
        commits: 0,
    };
    importing.run(document, settled, spool).await?;
    Ok(Imported {
        records: importing.cursor.records,
        before,
        commits: importing.commits,
    })
}

/// Where to go on, and the version of the cursor's item if there is one.
async fn begin(
    store: &dyn Archive,
    now: Timestamp,
    document: &Document,
) -> Result<(Cursor, Option<u64>), StateError> {
    let found = store.get_many(now, &[items::import_cursor()]).await?;
    let network = &document.network.id;
    if let Some(item) = &found[0] {
        let cursor: Cursor = item.read()?;
        same_import(&cursor, document, network)?;
        return Ok((cursor, Some(item.version)));
    }
    let mut snapshot = store.snapshot(now, |_| true).await?;
    if let Some(item) = snapshot.next(1).await?.first() {
        return Err(StateError::Refused(format!(
            "the store is not empty: it holds another network, or this one in use (an item '{}' is there). \
             A document is imported into an empty store",
            item.key.pk
        )));
    }
    let cursor = Cursor {
        document: document.sha256.clone(),
        network: network.clone(),
        begun_at: now,
        stage: Stage::Network,
        after: String::new(),
        parts: 0,
        records: 0,
        done_at: None,
    };
    Ok((cursor, None))
}

fn same_import(
    cursor: &Cursor,
    document: &Document,
    network: &NetworkId,
) -> Result<(), StateError> {
    if cursor.network != *network {
        return Err(StateError::Refused(format!(
            "the store holds the network {}, and the document is of {network}",
            cursor.network
        )));
    }
    if cursor.document != document.sha256 {
        let state = match cursor.done_at {
            Some(_) => "was imported into this store",
            None => "is being imported into this store: finish that one first",
        };
        return Err(StateError::Refused(format!(
            "another document (SHA-256 {}) {state}; this one has the SHA-256 {}",
            cursor.document, document.sha256
        )));
    }
    Ok(())
}

struct Importing<'a> {
    store: &'a dyn Archive,
    now: Timestamp,
    watcher: &'a mut dyn Watcher,
    total: u64,
    /// As it is in the store.
    last: Cursor,
    /// As it is behind what is in the batch.
    cursor: Cursor,
    /// The version of the cursor's item.
    version: Option<u64>,
    batch: Vec<Write>,
    bytes: usize,
    commits: u64,
}

impl Importing<'_> {
    async fn run(
        &mut self,
        document: &Document,
        settled: &Settled,
        spool: &dyn Spool,
    ) -> Result<(), StateError> {
        if self.cursor.stage == Stage::Network {
            let parts = writes::network(&document.network);
            self.add(String::new(), parts).await?;
            self.cursor.records = 0;
            self.enter(Stage::Invites);
        }
        let stages = [
            (Stage::Invites, Drawer::Invites, Stage::Policies),
            (Stage::Policies, Drawer::Policies, Stage::Fleet),
            (Stage::Fleet, Drawer::Fleet, Stage::Admins),
            (Stage::Admins, Drawer::Admins, Stage::Gateways),
            (Stage::Gateways, Drawer::Gateways, Stage::Devices),
            (Stage::Devices, Drawer::Devices, Stage::Audit),
            (Stage::Audit, Drawer::Audit, Stage::Rosters),
        ];
        for (stage, drawer, next) in stages {
            if self.cursor.stage == stage {
                self.drawer(drawer, spool).await?;
                self.enter(next);
            }
        }
        if self.cursor.stage == Stage::Rosters {
            self.rosters(settled).await?;
            self.enter(Stage::Done);
            self.cursor.done_at = Some(self.now);
        }
        if self.cursor != self.last {
            self.flush().await?;
        }
        Ok(())
    }

    fn enter(&mut self, stage: Stage) {
        self.cursor.stage = stage;
        self.cursor.after = String::new();
        self.cursor.parts = 0;
    }

    async fn drawer(&mut self, drawer: Drawer, spool: &dyn Spool) -> Result<(), StateError> {
        let last = match drawer {
            Drawer::Policies | Drawer::Fleet => last(drawer, spool)?,
            _ => None,
        };
        let mut rows = Pages::of(drawer, &self.cursor.after);
        while let Some(row) = rows.next(spool)? {
            let parts = writes::of(&row, last.as_deref(), spool, self.now)?;
            self.add(row.key, parts).await?;
        }
        Ok(())
    }

    async fn rosters(&mut self, settled: &Settled) -> Result<(), StateError> {
        let done = self.cursor.after.parse::<usize>().unwrap_or(0);
        let records = self.cursor.records;
        let writes = writes::rosters(&settled.rosters).enumerate().skip(done);
        for (index, write) in writes {
            self.add(numbered(index as u64 + 1), vec![vec![write]])
                .await?;
            // They are no records of the document.
            self.cursor.records = records;
        }
        Ok(())
    }

    /// Adds what is left of a record, and commits what was added before where it does not fit.
    async fn add(&mut self, key: String, parts: Parts) -> Result<(), StateError> {
        let done = usize::try_from(self.cursor.parts).unwrap_or(usize::MAX);
        for part in parts.into_iter().skip(done) {
            let bytes: usize = part.iter().map(size).sum();
            let full = self.batch.len() + part.len() >= MOST_WRITES;
            if full || self.bytes + bytes > MOST_BYTES {
                self.flush().await?;
            }
            self.batch.extend(part);
            self.bytes += bytes;
            self.cursor.parts += 1;
        }
        self.cursor.after = key;
        self.cursor.parts = 0;
        self.cursor.records += 1;
        Ok(())
    }

    /// Commits what was added, with the cursor behind it.
    async fn flush(&mut self) -> Result<(), StateError> {
        let expect = self.version.map_or(Expect::Absent, Expect::Version);
        let mut writes = vec![items::put(items::import_cursor(), expect, &self.cursor)];
        writes.append(&mut self.batch);
        self.bytes = 0;
        let keys: Vec<_> = writes.iter().map(|write| write.key.clone()).collect();
        match self.store.commit(self.now, writes).await {
            Ok(()) => {}
            Err(CommitError::Failed(CURSOR)) => {
                let why = "another import works on this store: let it end, or stop it";
                return Err(StateError::Refused(why.to_owned()));
            }
            Err(CommitError::Failed(at)) => {
                return Err(StateError::Refused(format!(
                    "something else writes to this store: {} / {} is there already. Import into an empty \
                     store, and start the control plane when the import is over",
                    keys[at].pk, keys[at].sk
                )));
            }
            Err(CommitError::Store(error)) => return Err(error.into()),
        }
        self.version = Some(self.version.map_or(1, |version| version + 1));
        self.last = self.cursor.clone();
        self.commits += 1;
        let records = self.cursor.records;
        self.watcher
            .progress(Step::Importing, records, Some(self.total));
        Ok(())
    }
}

/// The last key of a drawer whose rows are few.
fn last(drawer: Drawer, spool: &dyn Spool) -> Result<Option<String>, SpoolError> {
    let mut rows = Pages::of(drawer, "");
    let mut last = None;
    while let Some(row) = rows.next(spool)? {
        last = Some(row.key);
    }
    Ok(last)
}

/// The bytes of a write's body.
fn size(write: &Write) -> usize {
    match &write.change {
        store::Change::Put { body, .. } => body.to_string().len(),
        _ => 0,
    }
}
