//! The keys of sealed slices that a device holds.
//!
//! Every answer of the control plane brings them. They go with a device only as long as they are of use:
//! those of the last answer, and older ones that open a catalog which the device keeps. So a device that
//! reaches no front door goes on reading what it has, whatever the control plane gives it meanwhile.

use std::borrow::Cow;

use api::enroll::DeviceAnswer;
use jiff::Timestamp;
use model::{Catalog, CatalogName, HeldKey};
use tuf::TrustedState;

use crate::{Device, standing};

/// All keys that `device` holds, the newest answer's first.
pub(crate) fn held(device: &Device) -> Cow<'_, [HeldKey]> {
    let given = device
        .answer
        .as_ref()
        .map_or(&[][..], |answer| &answer.keys);
    if device.old_keys.is_empty() {
        return Cow::Borrowed(given);
    }
    Cow::Owned(given.iter().chain(&device.old_keys).cloned().collect())
}

/// Keeps what the control plane said, and of the keys that it gave before those that are still needed.
pub(crate) fn heard(device: &mut Device, answer: DeviceAnswer) {
    let before = held(device).into_owned();
    let name = answer.catalog.clone();
    device.answer = Some(answer);
    let kept: Vec<Catalog> = [&device.trusted, &device.opened]
        .into_iter()
        .filter_map(|state| catalog(state.as_ref()?, &name))
        .collect();
    let given = device
        .answer
        .as_ref()
        .map_or(&[][..], |answer| &answer.keys);
    device.old_keys = before
        .into_iter()
        .filter(|key| kept.iter().any(|catalog| tuf::slices::is_for(key, catalog)))
        .filter(|key| !given.iter().any(|given| given.is_for_the_same(key)))
        .collect();
}

/// The catalog that `state` holds for who reads `name`, sealed as it is. None if it cannot be read: whoever
/// reads it for what it lists says why.
fn catalog(state: &TrustedState, name: &CatalogName) -> Option<Catalog> {
    let text = state.file(&standing::catalog_in(state, name)?.path())?;
    let (catalog, _) = Catalog::from_json(text).ok()?;
    Some(catalog)
}

/// Puts a newly verified state in the place of the last. If nothing in it can be opened, the last one that
/// could be stays beside it.
pub(crate) fn verified(device: &mut Device, state: TrustedState, is_shut: bool, now: Timestamp) {
    if !is_shut {
        device.opened = None;
    } else if device.opened.is_none() {
        let last = standing::known_if_sound(device, now).ok().flatten();
        device.opened = last
            .filter(|last| !last.sealed.is_shut())
            .and(device.trusted.take());
    }
    device.trusted = Some(state);
}

/// Drops the older state once the newest can be opened.
pub(crate) fn settle(device: &mut Device, now: Timestamp) {
    if device.opened.is_none() {
        return;
    }
    let Ok(Some(known)) = standing::known_if_sound(device, now) else {
        return;
    };
    if !known.sealed.is_shut() {
        device.opened = None;
    }
}

/// Whether an epoch has begun since the control plane last answered: the keys of the one after it, which
/// can be asked for now, are the only ones that this device lacks. One that did not answer is left alone as
/// long as ever.
pub(crate) fn end_soon(device: &Device, now: Timestamp) -> bool {
    let next = device
        .answer
        .as_ref()
        .and_then(|answer| answer.next_epoch_at);
    let heard = device.contacts.answered_at;
    next.is_some_and(|next| next <= now && heard.is_none_or(|heard| heard < next))
        && device.contacts.failures == 0
}

#[cfg(test)]
mod tests;
