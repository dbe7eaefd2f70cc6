//! A repository or a bundle checked offline, as a sync would check it.
//!
//! Trust starts from the device's state, or from the root pin of an invite: so an operator can
//! check a mirror before the world does, and anybody can check a copy that came on a stick. Of the
//! state, only the root and the versions count: its files never stand in for those that are
//! checked. In a folder, every file that the metadata lists must be there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::{Catalog, CatalogName, FirstContact, HeldKey};
use serde::Serialize;
pub use tuf::slices::Sealed;
use tuf::{Bundle, MOST_BUNDLE_BYTES, Start, TrustedState, VerifyError, Wanted};

use crate::standing::Standing;
use crate::{Device, Error, keys};

/// Where trust starts, and for whom.
#[derive(Clone, Debug)]
pub struct Basis {
    contact: FirstContact,
    trusted: Option<TrustedState>,
    catalog: Option<CatalogName>,
    /// Open sealed slices.
    keys: Vec<HeldKey>,
}

/// What a folder or a file holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// What was checked.
    pub path: PathBuf,
    /// The version of its root.
    pub root_version: u64,
    /// The version of its timestamp.
    pub version: u64,
    /// Until when its timestamp is valid.
    pub expires: Timestamp,
    /// How that stands.
    pub standing: Standing,
    /// Whether it holds what the device does not know yet.
    pub changed: bool,
    /// The catalogs that were checked; none in a bundle for gateways.
    pub catalogs: Vec<Listed>,
    /// How many target files were checked.
    pub files: usize,
    /// What was left out of the catalogs, a line each.
    pub skipped: Vec<String>,
}

/// A catalog that was checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Listed {
    /// Whose.
    pub catalog: CatalogName,
    /// How many gateways it lists that can be read here.
    pub gateways: usize,
    /// How many of its slices are sealed, and were opened.
    pub sealed: Sealed,
}

impl Basis {
    /// Starts from what the device trusts, or from its first contact's pin.
    pub fn of_device(device: &Device) -> Self {
        Self {
            contact: device.contact.clone(),
            trusted: device.trusted.clone(),
            catalog: None,
            keys: keys::held(device).into_owned(),
        }
    }

    /// Starts from the pin of a first contact.
    pub fn of_contact(contact: FirstContact) -> Self {
        Self {
            contact,
            trusted: None,
            catalog: None,
            keys: Vec::new(),
        }
    }

    /// Insists on this catalog.
    #[must_use]
    pub fn for_catalog(mut self, catalog: CatalogName) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// Checks the repository in the folder `path`, or the bundle in the file.
    pub fn verify(&self, path: &Path, now: Timestamp) -> Result<Report, Error> {
        let report = if path.is_dir() {
            self.folder(path, now)
        } else {
            let bytes = read_capped(path, MOST_BUNDLE_BYTES).map_err(|source| Error::File {
                path: path.to_owned(),
                doing: "read",
                source,
            })?;
            self.bundle(path, &bytes, now)
        };
        report.map_err(|error| Error::Refused {
            path: path.to_owned(),
            error,
        })
    }

    /// What the device knows gives the root and says what is too old. It never stands in for what
    /// the folder or the bundle lacks.
    fn start(&self) -> Start<'_> {
        match &self.trusted {
            Some(state) => Start::Floor(state),
            None => Start::Pin(&self.contact.root),
        }
    }

    fn folder(&self, path: &Path, now: Timestamp) -> Result<Report, VerifyError> {
        let mut source = |name: &str, most| read(path, name, most);
        let network = &self.contact.network;
        let whole = tuf::verify_whole(self.start(), network, &self.keys, &mut source, now)?;
        let catalogs: Vec<_> = whole.catalogs.iter().map(Listed::of).collect();
        if let Some(name) = &self.catalog
            && !catalogs.iter().any(|listed| listed.catalog == *name)
        {
            let why = format!("{} is not in the repository", name.path());
            return Err(VerifyError::Missing(why));
        }
        Ok(self.report(path, &whole.state, catalogs, whole.skipped, now))
    }

    /// Checks every catalog that the bundle should or does hold; if none, it is one for gateways.
    fn bundle(&self, path: &Path, bytes: &[u8], now: Timestamp) -> Result<Report, VerifyError> {
        let mut names: BTreeSet<_> = Bundle::read(bytes)?.names().filter_map(held).collect();
        names.extend(self.catalog.clone().or_else(|| catalog_of(path)));
        let verify = |catalog: Option<&CatalogName>| {
            let network = &self.contact.network;
            let wanted = Wanted {
                network,
                catalog,
                keys: &self.keys,
            };
            tuf::verify_bundle(self.start(), &wanted, bytes, now)
        };
        if names.is_empty() {
            let verified = verify(None)?;
            return Ok(self.report(path, &verified.state, Vec::new(), verified.skipped, now));
        }
        let mut catalogs = Vec::new();
        let mut skipped = Vec::new();
        let mut last = None;
        for name in &names {
            let verified = verify(Some(name))?;
            let read = verified.catalog.map(|catalog| (catalog, verified.sealed));
            catalogs.extend(read.as_ref().map(Listed::of));
            skipped.extend(verified.skipped);
            last = Some(verified.state);
        }
        let state = last.ok_or_else(|| VerifyError::Missing("a catalog".to_owned()))?;
        Ok(self.report(path, &state, catalogs, skipped, now))
    }

    fn report(
        &self,
        path: &Path,
        state: &TrustedState,
        catalogs: Vec<Listed>,
        skipped: Vec<String>,
        now: Timestamp,
    ) -> Report {
        let known = self.trusted.as_ref();
        let known = known.map(|known| (known.root_version(), known.timestamp_version()));
        Report {
            path: path.to_owned(),
            root_version: state.root_version(),
            version: state.timestamp_version(),
            expires: state.timestamp_expires(),
            standing: Standing::at(state.timestamp_expires(), now),
            changed: known != Some((state.root_version(), state.timestamp_version())),
            catalogs,
            files: state.paths().count(),
            skipped,
        }
    }
}

impl Listed {
    fn of((catalog, sealed): &(Catalog, Sealed)) -> Self {
        Self {
            sealed: *sealed,
            catalog: catalog.name.clone(),
            gateways: catalog.gateways().count(),
        }
    }
}

/// Whose bundle a file is, by where the repository's layout puts it: `bundles/cohort/<cohort>`.
fn catalog_of(path: &Path) -> Option<CatalogName> {
    let below_cohort = path.parent()?.file_name()? == "cohort";
    let name = path.file_name()?.to_str()?;
    below_cohort.then(|| name.parse().ok()).flatten()
}

/// Whose catalog a part of a bundle claims to be: `targets/catalogs/<hash>.<cohort>.json`.
fn held(part: &str) -> Option<CatalogName> {
    let (_, name) = part.strip_prefix("targets/catalogs/")?.split_once('.')?;
    name.strip_suffix(".json")?.parse().ok()
}

/// A file of the repository in `folder`. Names come from metadata, whose signers are not
/// necessarily friends of this machine: none leads out of the folder.
fn read(folder: &Path, name: &str, most: u64) -> Result<Option<Vec<u8>>, VerifyError> {
    let plain = name
        .split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains('\\'));
    if !plain {
        return Err(VerifyError::Malformed(format!("'{name}' is no plain path")));
    }
    match read_capped(&folder.join(name), most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(VerifyError::Unreadable {
            name: name.to_owned(),
            why: error.to_string(),
        }),
    }
}

/// At most one byte more than allowed, so that what is too large is seen to be.
fn read_capped(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
