//! Restoring a backup: the whole file is verified, then its items are put into an empty store, a batch at a
//! time, and what stands there is compared in the end.
//!
//! The first item to be put is a marker: which backup, and when this began. Whoever is interrupted after it
//! goes on with the same file: items are put as they are, so that what is there already is no harm, and what
//! becomes of each depends on nothing but the file and the marker. While the marker says that it is not done,
//! 'up' does not start on this store.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, bail};
use control::items::forms;
use control::restore::{self, Marker, Revival, Told};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use store::{Archive, CommitError, Item, MOST_COMMIT_BYTES, MOST_WRITES};

use super::age::Opener;
use super::file::{self, Header, Reader, Totals};

/// After so many items it says how far it is.
const SAID_EVERY: u64 = 100_000;
/// Bodies of a batch, so that a batch with its largest next item stays within a commit.
const MOST_BATCH_BYTES: usize = MOST_COMMIT_BYTES - store::MOST_BODY_BYTES;

/// A backup whose every byte was verified.
#[derive(Clone, PartialEq, Debug)]
pub struct Checked {
    /// Its first line.
    pub header: Header,
    /// Its last line.
    pub totals: Totals,
}

/// Reads all of the backup at `path`, whose items must be of forms that this program knows; writes nothing
/// anywhere.
pub fn check(path: &Path, passphrase: &str) -> anyhow::Result<Checked> {
    let mut reader = open(path, passphrase)?;
    let place = || format!("the backup {}", path.display());
    while let Some(item) = reader.next().with_context(place)? {
        forms::check(&item).with_context(place)?;
    }
    let totals = reader.totals().cloned();
    Ok(Checked {
        header: reader.header().clone(),
        totals: totals.expect("the last line was read"),
    })
}

fn open(path: &Path, passphrase: &str) -> anyhow::Result<Reader<Opener<BufReader<File>>>> {
    let place = || format!("the backup {}", path.display());
    let file = File::open(path).with_context(place)?;
    let opener = Opener::begin(BufReader::new(file), passphrase).with_context(place)?;
    Reader::begin(opener).with_context(place)
}

/// What a restore did.
#[derive(Debug)]
pub struct Done {
    /// What was restored, and when.
    pub marker: Marker,
    /// How many items stand there now.
    pub items: u64,
    /// What came back otherwise.
    pub told: Told,
    /// Whether it had been done before.
    pub already: bool,
}

/// Puts the backup at `path`, which was `checked`, into `store`.
pub async fn restore(
    context: &control::Context<'_>,
    store: &dyn Archive,
    (path, passphrase, checked): (&Path, &str, &Checked),
    as_it_was: bool,
) -> anyhow::Result<Done> {
    let marker = mark(store, context.moment.now, checked, as_it_was).await?;
    let mut revival = Revival::new(&marker).map_err(anyhow::Error::msg)?;
    if marker.done_at.is_some() {
        return Ok(Done {
            marker,
            items: 0,
            told: Told::default(),
            already: true,
        });
    }
    let put = load(store, path, passphrase, (&marker, &mut revival)).await?;
    let found = sum(store, &marker).await?;
    if found != put {
        bail!(
            "{} items were put, and {} stand there: something else writes to this store. Stop what works \
             on it, empty it, and restore again",
            put.count,
            found.count
        );
    }
    restore::end(context, &marker, put.count).await?;
    Ok(Done {
        marker,
        items: put.count,
        told: revival.told().clone(),
        already: false,
    })
}

/// The marker of this restore: of the one that was interrupted, or a new one in an empty store.
async fn mark(
    store: &dyn Archive,
    now: Timestamp,
    checked: &Checked,
    as_it_was: bool,
) -> anyhow::Result<Marker> {
    let wanted = Marker {
        backup: checked.totals.sha256.clone(),
        taken_at: checked.header.taken_at,
        restored_at: now,
        as_it_was,
        done_at: None,
    };
    if let Some((there, _)) = restore::marker(store, now).await? {
        if there.backup != wanted.backup {
            let state = match there.done_at {
                Some(at) => {
                    format!("holds a network that was restored from another backup at {at:.0}")
                }
                None => "holds a part of another backup".to_owned(),
            };
            bail!("the store {state}: empty it, or name another with --store");
        }
        if there.as_it_was != as_it_was && there.done_at.is_none() {
            bail!(
                "the restore of this backup was begun {} --as-it-was: go on in the same way, or empty the \
                 store",
                if there.as_it_was { "with" } else { "without" }
            );
        }
        return Ok(there);
    }
    let mut snapshot = store.snapshot(now, |_| false).await?;
    if let Some(item) = snapshot.next(1).await?.first() {
        bail!(
            "the store is not empty (it has {}/{}): restore into a new one, and name it with --store",
            item.key.pk,
            item.key.sk
        );
    }
    match restore::begin(store, now, &wanted).await {
        Ok(()) => Ok(wanted),
        Err(CommitError::Failed(_)) => bail!("another restore has just begun here: wait for it"),
        Err(error) => Err(error.into()),
    }
}

/// A count and a sum of items, which no order changes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Sum {
    count: u64,
    parts: [u64; 4],
}

impl Sum {
    fn add(&mut self, item: &Item) -> anyhow::Result<()> {
        let hash = Sha256::digest(file::bytes(item)?);
        for (part, bytes) in self.parts.iter_mut().zip(hash.chunks_exact(8)) {
            let bytes = bytes.try_into().expect("eight bytes each");
            *part = part.wrapping_add(u64::from_be_bytes(bytes));
        }
        self.count += 1;
        Ok(())
    }
}

/// Puts all items; what they sum up to, without those that have expired.
async fn load(
    store: &dyn Archive,
    path: &Path,
    passphrase: &str,
    (marker, revival): (&Marker, &mut Revival),
) -> anyhow::Result<Sum> {
    let mut reader = open(path, passphrase)?;
    let mut batch = Batch::new(store, marker.restored_at);
    while let Some(item) = reader.next()? {
        for item in revival.take(item)? {
            batch.add(item).await?;
        }
    }
    if reader.totals().map(|totals| &totals.sha256) != Some(&marker.backup) {
        bail!(
            "the backup {} has become another file meanwhile",
            path.display()
        );
    }
    for item in revival.finish()? {
        batch.add(item).await?;
    }
    batch.put().await?;
    Ok(batch.sum)
}

/// Items on their way.
struct Batch<'a> {
    store: &'a dyn Archive,
    now: Timestamp,
    items: Vec<Item>,
    bytes: usize,
    sum: Sum,
}

impl<'a> Batch<'a> {
    fn new(store: &'a dyn Archive, now: Timestamp) -> Self {
        Self {
            store,
            now,
            items: Vec::new(),
            bytes: 0,
            sum: Sum::default(),
        }
    }

    async fn add(&mut self, item: Item) -> anyhow::Result<()> {
        if !item.is_live(self.now) {
            return Ok(());
        }
        self.sum.add(&item)?;
        self.bytes += item.body.to_string().len();
        self.items.push(item);
        if self.items.len() == MOST_WRITES || self.bytes > MOST_BATCH_BYTES {
            self.put().await?;
        }
        if self.sum.count.is_multiple_of(SAID_EVERY) {
            eprintln!("{} items", self.sum.count);
        }
        Ok(())
    }

    async fn put(&mut self) -> anyhow::Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        match self.store.load(self.now, &self.items).await {
            Ok(()) => {}
            Err(CommitError::Failed(index)) => {
                let key = &self.items[index].key;
                bail!(
                    "{}/{} stands in the store and is another: something else writes to it. Stop what works \
                     on it, empty it, and restore again",
                    key.pk,
                    key.sk
                );
            }
            Err(error) => {
                return Err(error).context("the same command goes on where this was interrupted");
            }
        }
        self.items.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// What stands in `store` beside the marker.
async fn sum(store: &dyn Archive, marker: &Marker) -> anyhow::Result<Sum> {
    let mut snapshot = store.snapshot(marker.restored_at, |_| false).await?;
    let mut sum = Sum::default();
    loop {
        let items = snapshot.next(500).await?;
        if items.is_empty() {
            return Ok(sum);
        }
        let besides = items
            .iter()
            .filter(|item| item.key != control::items::restored());
        for item in besides {
            sum.add(item)?;
        }
    }
}

#[cfg(test)]
mod tests;
