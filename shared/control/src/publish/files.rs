//! The files of a repository, in the order in which a mirror gets them: those that never change,
//! then those that do.

use model::CatalogName;
use tuf::repository::{self, Pin};

use super::{Head, Offline, Whole};

/// A file, and what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct File {
    pub path: String,
    pub what: What,
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// The root at this place of the chain.
    Root(usize),
    /// The offline targets.
    Targets,
    /// A target file that the offline keys signed, by target path.
    Offline(String),
    /// A catalog.
    Catalog(CatalogName),
    /// The delegated role's metadata.
    Catalogs,
    /// The snapshot.
    Snapshot,
    /// The timestamp: it changes.
    Timestamp,
    /// A catalog's bundle, or the one for gateways: it changes.
    Bundle(Option<CatalogName>),
}

impl What {
    /// Whether other bytes take the place of these with the next version.
    pub(super) fn changes(&self) -> bool {
        matches!(self, Self::Timestamp | Self::Bundle(_))
    }
}

impl File {
    fn new(path: String, what: What) -> Self {
        Self { path, what }
    }
}

/// The immutable files of `head` that a mirror lacks which holds `whole`. A catalog that last changed
/// at a version has been in every head since: whoever holds a later one whole has it.
pub(super) fn immutable(offline: &Offline, head: &Head, whole: &Whole) -> Vec<File> {
    let mut all = Vec::new();
    let known = usize::try_from(whole.root_version).unwrap_or(usize::MAX);
    for (place, number) in (0..offline.roots.len()).zip(1..).skip(known) {
        all.push(File::new(repository::root_path(number), What::Root(place)));
    }
    if whole.targets_version != head.targets_version {
        let path = repository::targets_path(head.targets_version);
        all.push(File::new(path, What::Targets));
        for (path, bytes) in &offline.files {
            let places = repository::target_paths(path, &Pin::of(1, bytes).sha256);
            let what = What::Offline(path.clone());
            all.extend(
                places
                    .into_iter()
                    .map(|place| File::new(place, what.clone())),
            );
        }
    }
    for (name, pin) in &head.catalogs {
        if pin.version > whole.version {
            let places = repository::target_paths(&name.path(), &pin.sha256);
            let what = What::Catalog(name.clone());
            all.extend(
                places
                    .into_iter()
                    .map(|place| File::new(place, what.clone())),
            );
        }
    }
    if whole.version != head.version {
        let version = head.version;
        all.push(File::new(
            repository::catalogs_path(version),
            What::Catalogs,
        ));
        all.push(File::new(
            repository::snapshot_path(version),
            What::Snapshot,
        ));
    }
    all
}

/// The files of `head` that change, the timestamp first: on no mirror does a bundle hold a newer
/// version than the timestamp, so that reading the one tells how far the mirror is. All that it
/// leads to never changes and is there before.
pub(super) fn changing<'a>(names: impl Iterator<Item = &'a CatalogName>) -> Vec<File> {
    let timestamp = File::new(repository::TIMESTAMP_PATH.to_owned(), What::Timestamp);
    let bundles = [None].into_iter().chain(names.map(Some)).map(|name| {
        let what = What::Bundle(name.cloned());
        File::new(repository::bundle_path(name), what)
    });
    [timestamp].into_iter().chain(bundles).collect()
}
