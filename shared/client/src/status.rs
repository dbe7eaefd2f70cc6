//! What a device knows of itself and of the network.

use std::collections::BTreeMap;

use api::enroll::DeviceAnswer;
use jiff::Timestamp;
use model::{Addresses, CohortName, DeviceId, NetworkId};
use rules::clock::{Evidence, Verdict};
use rules::ranking::History;
use serde::Serialize;
use tuf::TrustedState;
use tuf::slices::Sealed;

use crate::device::Selection;
use crate::standing::{self, Standing};
use crate::{Context, Device, Error, contact, doors};

/// A device's status.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its id.
    pub device: DeviceId,
    /// Its network.
    pub network: NetworkId,
    /// Whether the control plane has answered its enrollment.
    pub enrolled: bool,
    /// Its cohort.
    pub cohort: Option<CohortName>,
    /// Its tunnel addresses.
    pub addresses: Option<Addresses>,
    /// The last verified catalog; None if there is none, or if it is damaged.
    pub catalog: Option<CatalogStatus>,
    /// What is wrong with the catalog in the device file: a sync fetches it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
    /// What is to be thought of this device's clock: now, or else at the last sync.
    pub clock: Verdict,
    /// The gateways in use.
    pub selection: Option<Selection>,
    /// The regions that it prefers.
    pub regions: Vec<String>,
    /// Every known front door and what is remembered of it.
    pub doors: BTreeMap<String, History>,
    /// What the control plane says now, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<Online>,
}

/// The last verified catalog.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CatalogStatus {
    /// The version of the repository: of its timestamp.
    pub version: u64,
    /// The version at which the catalog last changed.
    pub catalog_version: u64,
    /// Until when its timestamp is valid.
    pub expires: Timestamp,
    /// Whether it has expired.
    pub stale: bool,
    /// Until when it may be used.
    pub usable_until: Timestamp,
    /// Both in one.
    pub standing: Standing,
    /// How many gateways it lists, as far as this device can read it.
    pub gateways: usize,
    /// How many slices the newest one has, and can be opened. If none can, the rest is told of the last
    /// one that could.
    pub sealed: Sealed,
}

/// What the control plane says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Online {
    /// It knows the device.
    Answer(Box<DeviceAnswer>),
    /// It did not say so.
    Error {
        /// [`Error::kind`].
        kind: String,
        /// In words.
        message: String,
    },
}

/// The status from the device file alone.
pub fn status(device: &Device, now: Timestamp) -> Result<Status, Error> {
    let (known, damaged) = match standing::known(device, now) {
        Ok(known) => (known, None),
        Err(Error::Trusted(error)) => (None, Some(error.to_string())),
        Err(error) => return Err(error),
    };
    let kit = known.as_ref().and_then(|known| known.kit.as_ref());
    let catalog = known.as_ref().map(|known| &known.catalog);
    let listed = catalog.map_or(&[][..], |catalog| &catalog.front_doors);
    let doors = doors::known(&device.contact, kit, listed)
        .into_iter()
        .map(|door| {
            let memory = device.doors.get(&door.url);
            let history = memory.map(|memory| memory.history.clone());
            (door.url, history.unwrap_or_default())
        })
        .collect();
    let catalog = match (&device.trusted, &known) {
        (Some(state), Some(known)) => Some(CatalogStatus {
            version: state.timestamp_version(),
            catalog_version: known.catalog.version,
            expires: known.expires,
            stale: known.standing.is_stale(),
            usable_until: known.standing.usable_until(),
            standing: known.standing,
            gateways: known.catalog.gateways().count(),
            sealed: known.sealed,
        }),
        _ => None,
    };
    let answer = device.answer.as_ref();
    let clock = clock(device, known.as_ref(), now);
    Ok(Status {
        device: device.id(),
        network: device.network().clone(),
        enrolled: answer.is_some(),
        cohort: answer.map(|answer| answer.cohort.clone()),
        addresses: answer.map(|answer| answer.addresses),
        catalog,
        damaged,
        clock,
        selection: device.selection.clone(),
        regions: device.preferences.regions.clone(),
        doors,
        online: None,
    })
}

/// What the files and the last sync say of the clock.
fn clock(device: &Device, known: Option<&standing::Known>, now: Timestamp) -> Verdict {
    let verdict = rules::clock::judge(&Evidence {
        now,
        signed: known.map(|known| known.catalog.changed_at),
        remembered: device.trusted.as_ref().map(TrustedState::verified_at),
        doors: Vec::new(),
    });
    match &device.clock {
        Some(memory) if verdict.is_plausible() => memory.verdict,
        _ => verdict,
    }
}

/// The status with the control plane's word: a problem is part of the answer, not an error.
pub async fn online(device: &Device, context: &Context<'_>) -> Result<Status, Error> {
    let mut status = status(device, context.clock.now())?;
    status.online = Some(match contact::contact(device, context).await {
        Ok(mut answer) => {
            // They are secret, and a status is shown around.
            answer.keys.clear();
            Online::Answer(Box::new(answer))
        }
        Err(error) => Online::Error {
            kind: error.kind().to_owned(),
            message: error.to_string(),
        },
    });
    Ok(status)
}
