//! Enrollment: from an invite to a place in the network.
//!
//! The keys are on disk before the first request is sent. The control plane derives the device's
//! id from them, so a request that is sent again (after a lost answer, a crash, a second
//! `postern enroll`) finds the same device and gets the same answer: no device is ever lost
//! between the two sides, and none is made twice.
//!
//! Whoever is enrolled and is given an invite of the same network takes its front doors, and asks nobody: so a
//! device all of whose doors are shut, or whose only door is a thief's, is helped by a text that comes on
//! another way. Doors can forge nothing; root and control key stay those that it has.

use api::InviteText;
use api::contact::is_private;
use api::enroll::{ENROLL, EnrollRequest};
use http::Method;
use model::Invalid;

use crate::contact::{Ask, ask};
use crate::device::RANDOM_BYTES;
use crate::{Context, Device, Error, Locked};

/// What [`enroll`] came to.
#[derive(Debug)]
pub struct Enrolled {
    /// The device, enrolled and saved.
    pub device: Device,
    /// Whether it was enrolled before.
    pub already: bool,
    /// How many front doors of the invite it did not know. They are saved.
    pub new_doors: usize,
}

/// Enrolls with `invite`, or goes on where an earlier attempt with it ended. `random` makes the
/// keys of a device that does not exist yet.
pub async fn enroll(
    file: &Locked,
    invite: &InviteText,
    random: &[u8; RANDOM_BYTES],
    context: &Context<'_>,
) -> Result<Enrolled, Error> {
    check_control(invite)?;
    let mut device = match file.load()? {
        None => Device::new(invite, random),
        Some(device) => resume(device, invite)?,
    };
    if device.answer.is_some() {
        let new_doors = device.contact.take_doors(&invite.contact);
        file.save(&device)?;
        return Ok(Enrolled {
            device,
            already: true,
            new_doors,
        });
    }
    file.save(&device)?;

    let Some(secret) = device.invite_secret.clone() else {
        return Err(Error::Unfinished {
            device: device.id(),
        });
    };
    let request = EnrollRequest {
        invite: secret,
        tunnel_key: device.tunnel.tunnel_key(),
        exit_key: device.exit.exit_key(),
    };
    let asked = Ask::json(Method::POST, ENROLL, &request)?;
    let answer = ask(&device, &device.identity, &asked, context).await?;
    device.contacts.answered(context.clock.now());
    device.answer = Some(answer);
    device.invite_secret = None;
    file.save(&device)?;
    Ok(Enrolled {
        device,
        already: false,
        new_doors: 0,
    })
}

/// The device to go on with, if `invite` may be used on it.
fn resume(mut device: Device, invite: &InviteText) -> Result<Device, Error> {
    if device.contact.network != invite.contact.network {
        let network = device.network();
        let held = match &device.answer {
            Some(answer) => format!(
                "this device is already enrolled as {} in another network, {network}",
                answer.device
            ),
            None => format!("this device file waits for enrollment in the network {network}"),
        };
        return Err(Error::OtherInvite { held });
    }
    if device.answer.is_some() {
        return Ok(device);
    }
    // The first invite was refused, ran out, or names what is not reached: the same keys try again with
    // this one, so that a device which did get in is found again.
    let fresh = Device::new(invite, &[0; RANDOM_BYTES]);
    device.contact = fresh.contact;
    device.invite = fresh.invite;
    device.invite_secret = fresh.invite_secret;
    Ok(device)
}

/// Refuses an invite whose secret would be sent in the clear.
fn check_control(invite: &InviteText) -> Result<(), Error> {
    for base in &invite.contact.control {
        if !is_private(base) {
            let why = format!(
                "its control endpoint {base} is not https, so others could read what is sent to it: ask for an invite with https"
            );
            return Err(Error::Invite(Invalid::new("invite", why)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
