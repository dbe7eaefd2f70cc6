//! Taking a backup: a snapshot of everything, item by item into a file that is encrypted and appears whole.

use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, bail};
use api::files::Replacement;
use jiff::Timestamp;
use store::{Archive, StoreError};

use super::age::{Drawn, Sealer};
use super::file::{Header, Totals, Writer};

/// How many items are read at once.
const PAGE: usize = 500;
/// How often a snapshot is begun again that others did not leave alone.
const MOST_TRIES: u32 = 5;
/// After so many items it says how far it is.
const SAID_EVERY: u64 = 100_000;

/// Writes everything in `store` at `now` to `path`. `work` is log₂ of what a passphrase costs to try.
pub async fn take(
    store: &dyn Archive,
    header: &Header,
    path: &Path,
    (passphrase, work): (&str, u8),
) -> anyhow::Result<Totals> {
    let mut tries = 1;
    loop {
        match attempt(store, header, path, (passphrase, work)).await {
            Err(error) if tries < MOST_TRIES && is_disturbed(&error) => {
                tries += 1;
                eprintln!("{error:#}\nIt begins again ({tries} of {MOST_TRIES}).");
            }
            other => return other,
        }
    }
}

/// Whether others changed the store while it was read.
fn is_disturbed(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Disturbed(_)))
}

/// What was read is of no one moment.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Disturbed(StoreError);

async fn attempt(
    store: &dyn Archive,
    header: &Header,
    path: &Path,
    (passphrase, work): (&str, u8),
) -> anyhow::Result<Totals> {
    let drawn = Drawn {
        file_key: crate::random()?,
        salt: crate::random()?,
        nonce: crate::random()?,
    };
    let place = || path.display().to_string();
    let file = BufWriter::new(Replacement::begin(path).with_context(place)?);
    let sealer = Sealer::begin(file, passphrase, work, &drawn)?;
    let mut writer = Writer::begin(sealer, header).with_context(place)?;
    let totals = everything(store, header.taken_at, &mut writer).await?;
    let (sealer, written) = writer.finish().with_context(place)?;
    if written.items != totals || totals == 0 {
        bail!("the store holds nothing: name the right one with --store");
    }
    let file = sealer.finish().with_context(place)?;
    let file = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    file.with_context(place)?.finish().with_context(place)?;
    Ok(written)
}

/// Writes all items of one moment; how many there are.
async fn everything(
    store: &dyn Archive,
    now: Timestamp,
    writer: &mut Writer<impl std::io::Write>,
) -> anyhow::Result<u64> {
    let mut snapshot = store.snapshot(now, control::items::is_settled).await?;
    let mut count: u64 = 0;
    loop {
        let items = snapshot.next(PAGE).await?;
        if items.is_empty() {
            break;
        }
        for item in &items {
            writer.item(item)?;
            count += 1;
            if count.is_multiple_of(SAID_EVERY) {
                eprintln!("{count} items");
            }
        }
    }
    match snapshot.confirm().await {
        Ok(()) => Ok(count),
        Err(error @ StoreError::Unavailable(_)) => Err(Disturbed(error).into()),
        Err(error) => Err(error.into()),
    }
}
