//! Rotation: this device takes new keys, of itself or because an operator wants it to.
//!
//! The new keys are on disk before they are first asked for, beside the ones in use, and stay there
//! until an answer tells which of both stand. The request is right whether an earlier copy of it
//! arrived or not (`api::rotation`), so whatever is lost (the request, its answer, this process at any
//! point), the next attempt sends the same again and ends in the same place. New keys are given up
//! only where the control plane says of the present one that it still stands.

use api::rotation::{RotateDevice, device_keys};
use api::{Kind, Problem};
use http::Method;
use jiff::Timestamp;
use serde::Serialize;

use crate::contact::{Ask, ask, contact};
use crate::device::{Keys, RANDOM_BYTES};
use crate::{Context, Device, Error, Locked, keys};

/// What a rotation came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rotated {
    /// Until when tunnels with the keys from before go on working.
    pub previous_until: Option<Timestamp>,
    /// Whether it finished an earlier attempt.
    pub resumed: bool,
}

/// Takes new keys, made of `random`, or goes on where an earlier attempt ended. The device is saved.
pub async fn rotate(
    file: &Locked,
    device: &mut Device,
    random: &[u8; RANDOM_BYTES],
    context: &Context<'_>,
) -> Result<Rotated, Error> {
    let id = device.enrolled()?.device.clone();
    let resumed = device.next_keys.is_some();
    let next = device
        .next_keys
        .get_or_insert_with(|| Keys::from_random(random))
        .clone();
    file.save(device)?;

    let request = RotateDevice::new(
        device.network(),
        &id,
        &device.identity,
        next.identity.public(),
        (next.tunnel.tunnel_key(), next.exit.exit_key()),
    );
    let asked = Ask::json(Method::POST, device_keys(&id), &request)?;
    let answer = match ask(device, &next.identity, &asked, context).await {
        Ok(answer) => answer,
        Err(Error::Problem(problem)) => return Err(refused(file, device, problem, context).await?),
        Err(error) => return Err(error),
    };
    if answer.identity_key != next.identity.public() {
        return Err(Error::Internal(
            "the control plane answered a rotation with other keys than it was asked for"
                .to_owned(),
        ));
    }
    device.identity = next.identity;
    device.tunnel = next.tunnel;
    device.exit = next.exit;
    device.next_keys = None;
    let previous_until = answer.previous_until;
    keys::heard(device, answer);
    device.contacts.answered(context.clock.now());
    file.save(device)?;
    Ok(Rotated {
        previous_until,
        resumed,
    })
}

/// What a refusal comes to. If the control plane can never take the new keys, and says that they do
/// not stand, they are given up, so that the next rotation makes others.
async fn refused(
    file: &Locked,
    device: &mut Device,
    problem: Problem,
    context: &Context<'_>,
) -> Result<Error, Error> {
    let hopeless = problem.is(Kind::KeyInUse) || problem.is(Kind::DeviceConflict);
    let next = device.next_keys.as_ref().map(|next| next.identity.public());
    if hopeless
        && let Ok(told) = contact(device, context).await
        && Some(told.identity_key) != next
    {
        device.next_keys = None;
        file.save(device)?;
    }
    Ok(Error::Problem(problem))
}

#[cfg(test)]
mod tests;
