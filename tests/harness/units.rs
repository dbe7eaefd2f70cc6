//! Request units: what DynamoDB counts of a call, by its documented rules, for on-demand tables.
//!
//! The store reads consistently (a unit for each 4 KB of an item, for what is not there, too; of a page for
//! all of it at once) and writes (a unit for each 1 KB of an item as it is after or before, twice where
//! several are written at once). What an item has besides its body is in `store::dynamodb::item`.

use std::sync::Mutex;

use store::{Change, Item, Key, Page, Write};

/// Bytes of an item besides its key and its body: names of attributes, version, two ids, times.
const BESIDES: usize = 130;

/// Read and write request units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Units {
    /// Of reads.
    pub read: u64,
    /// Of writes.
    pub write: u64,
}

/// Counts what calls cost.
#[derive(Default)]
pub struct Meter(Mutex<Units>);

impl Meter {
    /// A read of these keys, which found these items.
    pub fn got(&self, keys: &[Key], found: &[Option<Item>]) {
        let of = |item: &Option<Item>| item.as_ref().map_or(1, |item| blocks(size(item), 4096));
        let units = found.iter().map(of).sum::<u64>();
        debug_assert_eq!(keys.len(), found.len());
        self.add(units, 0);
    }

    /// A page of a partition.
    pub fn queried(&self, page: &Page) {
        self.add(blocks(page.items.iter().map(size).sum(), 4096), 0);
    }

    /// A commit. Of what is bumped or removed only the key is known here: it is taken to be small.
    pub fn committed(&self, writes: &[Write]) {
        let units: u64 = writes
            .iter()
            .map(|write| match &write.change {
                Change::Put { body, .. } => {
                    blocks(key(&write.key) + body.to_string().len() + BESIDES, 1024)
                }
                Change::Bump { .. } | Change::Delete | Change::Check => 1,
            })
            .sum();
        self.add(0, units * if writes.len() > 1 { 2 } else { 1 });
    }

    /// What was counted since the last time.
    pub fn take(&self) -> Units {
        std::mem::take(&mut self.0.lock().expect("nobody panicked"))
    }

    fn add(&self, read: u64, write: u64) {
        let mut units = self.0.lock().expect("nobody panicked");
        units.read += read;
        units.write += write;
    }
}

fn key(key: &Key) -> usize {
    key.pk.len() + key.sk.len()
}

fn size(item: &Item) -> usize {
    key(&item.key) + item.body.to_string().len() + BESIDES
}

fn blocks(bytes: usize, of: usize) -> u64 {
    bytes.div_ceil(of).max(1) as u64
}
