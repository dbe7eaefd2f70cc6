//! From a store to a document, as of one moment.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use model::Network;
use serde::Serialize;
use store::{Archive, Key};

use super::assemble::assemble;
use super::gather::{Gathered, gather};
use super::record::{NetworkRecord, Seen};
use super::report::Desk;
use super::spool::Pages;
use super::{Counts, Drawer, PAGE, Spool, StateError, Step, Watcher};
use crate::items;

/// What an export came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Exported {
    /// How many records the document has.
    pub records: u64,
    /// How many items of each kind stayed behind, because they are made anew.
    pub left: BTreeMap<&'static str, u64>,
    /// What was found: anything rejected is in the store and not in the document.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Writes what `store` holds at `now` as a document, by way of the empty `spool`. `network` has the settings,
/// which are in no store but one that a document was imported into.
pub async fn export(
    store: &dyn Archive,
    now: Timestamp,
    network: Option<&Network>,
    (spool, document): (&mut dyn Spool, &mut dyn Write),
    watcher: &mut dyn Watcher,
) -> Result<Exported, StateError> {
    let mut desk = Desk::new(watcher);
    let mut gathered = Gathered::default();
    let mut snapshot = store.snapshot(now, is_settled).await?;
    let mut read = 0;
    loop {
        let items = snapshot.next(PAGE).await?;
        if items.is_empty() {
            break;
        }
        for item in &items {
            gather(item, &mut gathered, spool, &mut desk)?;
        }
        read += items.len() as u64;
        desk.watcher.progress(Step::Gathering, read, None);
    }
    snapshot.confirm().await?;
    if read == 0 {
        let why = "the store is empty: check that it is the one that was meant";
        return Err(StateError::Refused(why.to_owned()));
    }
    check_in_force(&gathered, spool)?;

    let network = header(network, &gathered)?;
    let records = assemble(&network, spool, document, &mut desk)?;
    Ok(Exported {
        records,
        left: gathered.left,
        counts: desk.counts,
    })
}

/// Nothing of a document depends on heartbeats.
fn is_settled(key: &Key) -> bool {
    key.pk != items::HEARTBEATS
}

fn header(network: Option<&Network>, gathered: &Gathered) -> Result<NetworkRecord, StateError> {
    let network = match (network, &gathered.network) {
        (Some(network), Some(imported)) if network.id != imported.id => {
            return Err(StateError::Refused(format!(
                "the store holds the network {}, and the settings are of {}",
                imported.id, network.id
            )));
        }
        (Some(network), _) => network,
        (None, Some(imported)) => imported,
        (None, None) => {
            let why =
                "the network's settings are not in the store: name the data folder that has them";
            return Err(StateError::Refused(why.to_owned()));
        }
    };
    let seen: Seen = gathered.seen;
    Ok(NetworkRecord {
        id: network.id.clone(),
        pools: network.pools.clone(),
        timing: network.timing,
        sealed_only: network.sealed_only,
        seen,
        rosters: gathered.rosters.clone(),
    })
}

/// In a document the last policy and the last fleet are in force, so they must be in the store.
fn check_in_force(gathered: &Gathered, spool: &dyn Spool) -> Result<(), StateError> {
    for drawer in [Drawer::Policies, Drawer::Fleet] {
        let mut rows = Pages::of(drawer, "");
        let mut last = None;
        while let Some(row) = rows.next(spool)? {
            last = Some(row.key);
        }
        let current = gathered.current.get(&drawer).copied();
        if last != current.map(super::record::numbered) {
            return Err(StateError::Refused(format!(
                "of the {}, the one in force is not the last: a document cannot say that",
                drawer.name()
            )));
        }
    }
    Ok(())
}
