//! The gist of what a device holds, so that a sync which finds nothing new need not read and open the
//! whole catalog again to know its doors and to tell of it.
//!
//! A gist is of exactly one trusted state, read with exactly these keys: it is taken only while their
//! digest is the same, so damage of the state is found as if it had been read. It stands in the
//! memory beside the device file, under the same owner.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use model::{Catalog, RecoveryKit};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tuf::slices::Sealed;

use crate::standing::{self, Known, Standing};
use crate::{Device, Error, keys};

/// What a sync wants to know of a trusted state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Gist {
    /// Digest of what it is of; none where that is not all in the trusted state.
    of: Option<String>,
    /// The front doors that the catalog names.
    pub front_doors: Vec<String>,
    /// The recovery kit.
    pub kit: Option<RecoveryKit>,
    /// When the catalog last changed.
    pub changed_at: Timestamp,
    /// The version at which it did.
    pub catalog_version: u64,
    /// How many gateways it lists, as far as this device can read it.
    pub gateways: usize,
    /// How many slices the newest catalog has, and were opened.
    pub sealed: Sealed,
    /// Until when the timestamp over it is valid.
    pub expires: Timestamp,
}

impl Gist {
    /// How the catalog stands.
    pub fn standing(&self, device: &Device, now: Timestamp) -> Standing {
        Standing::of(device, self.expires, now)
    }

    fn of(of: Option<String>, catalog: &Catalog, known: Rest) -> Self {
        Self {
            of,
            front_doors: catalog.front_doors.clone(),
            kit: known.kit,
            changed_at: catalog.changed_at,
            catalog_version: catalog.version,
            gateways: catalog.gateways().count(),
            sealed: known.sealed,
            expires: known.expires,
        }
    }
}

/// What of a gist does not stand in the catalog.
pub(crate) struct Rest {
    pub(crate) kit: Option<RecoveryKit>,
    pub(crate) sealed: Sealed,
    pub(crate) expires: Timestamp,
}

/// The gist of what `device` holds: as it is remembered, or read and verified anew. None if it holds
/// nothing, [`Error::Trusted`] if that is damaged.
pub fn gist(device: &Device, now: Timestamp) -> Result<Option<Gist>, Error> {
    let digest = digest(device);
    if let Some(gist) = &device.gist
        && digest.is_some()
        && gist.of == digest
    {
        return Ok(Some(gist.clone()));
    }
    let known = standing::known(device, now)?;
    Ok(known.map(|known| whole(digest, known)))
}

/// The same, for whoever can do without: a damaged state is None.
pub fn gist_if_sound(device: &Device, now: Timestamp) -> Result<Option<Gist>, Error> {
    match gist(device, now) {
        Err(Error::Trusted(_)) => Ok(None),
        gist => gist,
    }
}

/// Remembers the gist of what was just verified, and is in the device's trusted state now.
pub(crate) fn remember(device: &mut Device, catalog: &Catalog, rest: Rest) {
    device.gist = Some(Gist::of(digest(device), catalog, rest));
}

fn whole(of: Option<String>, known: Known) -> Gist {
    // Where nothing of the newest can be opened it is another state that is acted on.
    let of = of.filter(|_| !known.sealed.is_shut());
    let rest = Rest {
        kit: known.kit,
        sealed: known.sealed,
        expires: known.expires,
    };
    Gist::of(of, &known.catalog, rest)
}

/// Digest of the trusted state and of what it is read with; None without a state.
fn digest(device: &Device) -> Option<String> {
    let (Some(state), Some(answer)) = (&device.trusted, &device.answer) else {
        return None;
    };
    let mut hash = Sha256::new();
    hash.update(state.digest());
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(device.contact.network.as_str().as_bytes());
    part(answer.catalog.to_string().as_bytes());
    for key in keys::held(device).iter() {
        part(key.catalog.to_string().as_bytes());
        part(&key.epoch.to_be_bytes());
        part(&key.slices.to_be_bytes());
        part(&key.slice.to_be_bytes());
        part(key.key.as_bytes());
    }
    Some(HEXLOWER.encode(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, Repository, held};

    fn sealed_device() -> Device {
        let repository = Repository {
            sealed: (2, &[1]),
            ..Repository::default()
        };
        let mut device = repository.synced_device();
        device.answer.as_mut().unwrap().keys = vec![held(1, (0, 2))];
        device
    }

    fn remembered(device: &mut Device) -> Gist {
        let gist = gist(device, NOW).unwrap().unwrap();
        device.gist = Some(gist.clone());
        gist
    }

    #[test]
    fn a_gist_is_what_reading_it_all_would_say() {
        let mut device = sealed_device();
        let known = standing::known(&device, NOW).unwrap().unwrap();

        let told = remembered(&mut device);
        let again = gist(&device, NOW).unwrap().unwrap();

        assert_eq!(told, again);
        assert_eq!(told.gateways, known.catalog.gateways().count());
        assert_eq!((told.sealed, told.expires), (known.sealed, known.expires));
        assert_eq!(told.standing(&device, NOW), known.standing);
    }

    #[test]
    fn a_gist_of_another_state_or_of_other_keys_is_not_taken() {
        let mut device = sealed_device();
        let before = remembered(&mut device);
        let mut other_keys = device.clone();
        other_keys.answer.as_mut().unwrap().keys = vec![held(1, (1, 2))];
        let mut other_state = device.clone();
        other_state.trusted = Repository {
            version: 4,
            ..Repository::default()
        }
        .synced_device()
        .trusted;

        for device in [other_keys, other_state] {
            let known = standing::known(&device, NOW).unwrap().unwrap();
            let told = gist(&device, NOW).unwrap().unwrap();
            assert_ne!(told, before);
            assert_eq!(told.gateways, known.catalog.gateways().count());
            assert_eq!(told.catalog_version, known.catalog.version);
        }
    }

    #[test]
    fn damage_is_found_whatever_is_remembered() {
        let mut device = sealed_device();
        remembered(&mut device);
        let mut state = serde_json::to_value(device.trusted.as_ref().unwrap()).unwrap();
        let catalog = &mut state["files"]["catalogs/default.json"];
        *catalog = catalog
            .as_str()
            .unwrap()
            .replace("\"version\":3", "\"version\":4")
            .into();
        device.trusted = Some(serde_json::from_value(state).unwrap());

        assert!(matches!(gist(&device, NOW), Err(Error::Trusted(_))));
        assert_eq!(gist_if_sound(&device, NOW).unwrap(), None);
    }
}
