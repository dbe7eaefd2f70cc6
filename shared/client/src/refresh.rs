//! A refresh: all that a device does to be up to date, in one go (`postern sync`).
//!
//! Contact with the control plane where it is due, beside the race for the catalog; new keys where an
//! operator wants them or an earlier rotation has not ended; the catalog once more where contact told
//! of another one, and read again where it brought the keys of what could not be opened; and at last the tunnel configs, anew where anything in them changed. Each part
//! stands on its own: a control plane that is blocked keeps no catalog back, and doors that all fail
//! keep no rotation back. What each came to is part of the report.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::contact::contact;
use crate::device::RANDOM_BYTES;
use crate::reissue::{Reissued, reissue};
use crate::rotate::{Rotated, rotate};
use crate::sync::{self, sync_kept};
use crate::{Context, Device, Error, Locked, keys};

/// For how long a sync waits for the control plane, beside the doors or after them. A healthy one
/// answers in tens of milliseconds; a blocked one must not hold people up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a refresh came to.
#[derive(Debug)]
pub struct Refreshed {
    /// How contact with the control plane went; None where it was not due.
    pub contact: Option<Contacted>,
    /// New keys, where they were due.
    pub rotation: Option<Result<Rotated, Error>>,
    /// The sync of the catalog.
    pub sync: Result<sync::Report, Error>,
    /// The configs that were written anew.
    pub reissue: Result<Option<Reissued>, Error>,
}

/// How contact went.
#[derive(Debug)]
pub enum Contacted {
    /// The control plane answered.
    Answered {
        /// Whether the device reads another catalog from now on.
        other_catalog: bool,
    },
    /// The control plane lists other keys: another copy of the device file rotated. Those of this
    /// copy end then.
    OtherKeys {
        /// When this copy's keys end.
        until: Option<Timestamp>,
    },
    /// There was no answer, or a refusal.
    Failed(Error),
}

/// Whether to ask the control plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Asking {
    /// In any case.
    Now,
    /// Where it is time.
    WhenDue,
}

/// Brings the device up to date. `random` makes new keys where they are due. What was learnt is
/// saved, whatever failed; an error is only that the device file cannot be used.
pub async fn refresh(
    file: &Locked,
    device: &mut Device,
    asking: Asking,
    random: &[u8; RANDOM_BYTES],
    context: &Context<'_>,
) -> Result<Refreshed, Error> {
    device.enrolled()?;
    let now = context.clock.now();
    let due = asking == Asking::Now || device.contacts.is_due(now) || keys::end_soon(device, now);
    // A rotation that has not ended is asked for again instead: its answer says all that contact does.
    let unended = device.next_keys.is_some();
    let asked = device.clone();
    let told = async {
        if !due || unended {
            return None;
        }
        Some(patiently(contact(&asked, context)).await)
    };
    let (told, synced) = tokio::join!(told, sync_kept(file, device, context));

    // Whoever can open nothing of what is there asks for keys now, whenever contact was last made. And
    // what failed is asked once more where the sync brought another control key to seal it to.
    let is_shut = matches!(&synced, Ok(report) if report.sealed.is_shut());
    let other_key = device.contact.control_key != asked.contact.control_key;
    let told = match told {
        None if is_shut && !unended => Some(patiently(contact(device, context)).await),
        Some(Err(_)) if other_key => Some(patiently(contact(device, context)).await),
        told => told,
    };
    let contact = told.map(|told| heard(device, told, context.clock.now()));
    let wanted = device
        .answer
        .as_ref()
        .is_some_and(|answer| answer.rotation_wanted_at.is_some());
    let answered = matches!(contact, Some(Contacted::Answered { .. }));
    let rotation = if unended || (wanted && answered) {
        let catalog = device.enrolled()?.catalog.clone();
        let rotated = patiently(rotate(file, device, random, context)).await;
        if rotated.is_err() {
            device.contacts.failed(context.clock.now());
        }
        Some((rotated, catalog != device.enrolled()?.catalog))
    } else {
        None
    };
    let other_catalog = matches!(
        contact,
        Some(Contacted::Answered {
            other_catalog: true
        })
    ) || matches!(rotation, Some((_, true)));
    let mut synced = if other_catalog {
        sync_kept(file, device, context).await
    } else {
        synced
    };
    if let Ok(report) = &mut synced
        && report.sealed.is_shut()
    {
        sync::look_again(device, report, context.clock.now())?;
    }
    keys::settle(device, context.clock.now());
    let reissue = reissue(device, context.clock.now());
    file.save(device)?;
    Ok(Refreshed {
        contact,
        rotation: rotation.map(|(rotated, _)| rotated),
        sync: synced,
        reissue,
    })
}

/// Waits for the control plane, but not for long.
async fn patiently<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let answered = tokio::time::timeout(PATIENCE, asking).await;
    answered.unwrap_or_else(|_| {
        let tried = vec![format!("no answer within {} s", PATIENCE.as_secs())];
        Err(Error::Unreachable { tried })
    })
}

/// Keeps what contact told.
fn heard(
    device: &mut Device,
    told: Result<api::enroll::DeviceAnswer, Error>,
    now: Timestamp,
) -> Contacted {
    let answer = match told {
        Ok(answer) => answer,
        Err(error) => {
            device.contacts.failed(now);
            return Contacted::Failed(error);
        }
    };
    device.contacts.answered(now);
    let known = device.answer.as_ref().map(|known| &known.catalog);
    let other_catalog = known != Some(&answer.catalog);
    let other_keys = answer.identity_key != device.identity.public();
    let until = answer.previous_until;
    keys::heard(device, answer);
    if other_keys {
        return Contacted::OtherKeys { until };
    }
    Contacted::Answered { other_catalog }
}

#[cfg(test)]
mod tests;
