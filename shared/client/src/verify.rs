//! A repository or a bundle checked offline, as a sync would check it.
//!
//! Trust starts from the device's state, or from the root pin of an invite: so an operator can
//! check a mirror before the world does, and anybody can check a copy that came on a stick.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::{CatalogName, FirstContact};
use serde::Serialize;
use tuf::{MOST_BUNDLE_BYTES, Start, TrustedState, Verified, VerifyError, Wanted};

use crate::standing::Standing;
use crate::{Device, Error};

/// Where trust starts, and for whom.
#[derive(Clone, Debug)]
pub struct Basis {
    contact: FirstContact,
    trusted: Option<TrustedState>,
    catalog: Option<CatalogName>,
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
    /// The catalog that was checked; None: the part for gateways was.
    pub catalog: Option<CatalogName>,
    /// How many gateways the catalog lists.
    pub gateways: Option<usize>,
    /// What was left out of the catalog, a line each.
    pub skipped: Vec<String>,
}

impl Basis {
    /// Starts from what the device trusts, or from its first contact's pin.
    pub fn of_device(device: &Device) -> Self {
        Self {
            contact: device.contact.clone(),
            trusted: device.trusted.clone(),
            catalog: device.answer.as_ref().map(|answer| answer.catalog.clone()),
        }
    }

    /// Starts from the pin of a first contact.
    pub fn of_contact(contact: FirstContact) -> Self {
        Self {
            contact,
            trusted: None,
            catalog: None,
        }
    }

    /// Checks this catalog.
    #[must_use]
    pub fn for_catalog(mut self, catalog: CatalogName) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// Checks the repository in the folder `path`, or the bundle in the file.
    pub fn verify(&self, path: &Path, now: Timestamp) -> Result<Report, Error> {
        let start = match &self.trusted {
            Some(state) => Start::State(state),
            None => Start::Pin(&self.contact.root),
        };
        let catalog = self.catalog.clone().or_else(|| catalog_of(path));
        let wanted = Wanted {
            network: &self.contact.network,
            catalog: catalog.as_ref(),
        };
        let verified = if path.is_dir() {
            let mut source = |name: &str, most| read(path, name, most);
            tuf::verify_source(start, &wanted, &mut source, now)
        } else {
            let bytes = read_capped(path, MOST_BUNDLE_BYTES).map_err(|source| Error::File {
                path: path.to_owned(),
                doing: "read",
                source,
            })?;
            tuf::verify_bundle(start, &wanted, &bytes, now)
        };
        let verified = verified.map_err(|error| Error::Refused {
            path: path.to_owned(),
            error,
        })?;
        Ok(Report::of(path, catalog, &verified, now))
    }
}

impl Report {
    fn of(path: &Path, catalog: Option<CatalogName>, verified: &Verified, now: Timestamp) -> Self {
        let state = &verified.state;
        let gateways = verified.catalog.as_ref();
        Self {
            path: path.to_owned(),
            root_version: state.root_version(),
            version: state.timestamp_version(),
            expires: state.timestamp_expires(),
            standing: Standing::at(state.timestamp_expires(), now),
            changed: verified.changed,
            catalog,
            gateways: gateways.map(|catalog| catalog.gateways().count()),
            skipped: verified.skipped.clone(),
        }
    }
}

/// Whose bundle a file is, by where the repository's layout puts it: `bundles/cohort/<cohort>`.
fn catalog_of(path: &Path) -> Option<CatalogName> {
    let below_cohort = path.parent()?.file_name()? == "cohort";
    let name = path.file_name()?.to_str()?;
    below_cohort.then(|| name.parse().ok()).flatten()
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
mod tests {
    use super::*;
    use crate::fixture::{NOW, Repository, later};

    fn basis(repository: &Repository) -> Basis {
        let contact = repository.invite(&[], &[]).contact;
        Basis::of_contact(contact).for_catalog("default".parse().unwrap())
    }

    #[test]
    fn a_folder_and_a_bundle_verify_alike_and_an_altered_one_does_not() {
        let repository = Repository::default();
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in repository.files() {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let bundle = folder.path().join("bundle");
        std::fs::write(&bundle, repository.bundle()).unwrap();

        let by_file = basis(&repository).verify(folder.path(), NOW).unwrap();
        let by_bundle = basis(&repository).verify(&bundle, NOW).unwrap();
        assert_eq!((by_file.version, by_file.gateways), (3, Some(4)));
        assert_eq!((by_bundle.version, by_bundle.gateways), (3, Some(4)));

        let mut bytes = repository.bundle();
        let last = bytes.len() / 2;
        bytes[last] ^= 1;
        std::fs::write(&bundle, bytes).unwrap();
        let error = basis(&repository).verify(&bundle, NOW).unwrap_err();
        assert_eq!(error.kind(), "altered");
        let expired = basis(&repository).verify(folder.path(), later(25));
        assert_eq!(expired.unwrap_err().kind(), "expired");
    }

    #[test]
    fn a_bundle_in_its_place_says_whose_it_is() {
        let catalog = catalog_of(Path::new("/mirror/bundles/cohort/early"));
        assert_eq!(catalog, Some("early".parse().unwrap()));
        assert_eq!(catalog_of(Path::new("/mirror/bundles/trust")), None);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../x", "/etc/passwd", "a//b", "a/./b", "a\\..\\b"] {
            assert!(read(folder.path(), name, 10).is_err(), "{name}");
        }
    }
}
