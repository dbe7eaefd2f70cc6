//! Enrollment, and contact with the control plane afterwards.
//!
//! The keys are on disk before the first request is sent. The control plane derives the device's
//! id from them, so a request that is sent again (after a lost answer, a crash, a second
//! `postern enroll`) finds the same device and gets the same answer: no device is ever lost
//! between the two sides, and none is made twice.

use api::enroll::{DeviceAnswer, ENROLL, EnrollRequest};
use api::{InviteText, Problem, signed};
use http::{HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE};
use model::{DeviceId, Invalid};
use url::{Host, Url};

use crate::device::RANDOM_BYTES;
use crate::standing;
use crate::{Context, Device, Error, Locked};

/// What [`enroll`] came to.
#[derive(Debug)]
pub struct Enrolled {
    /// The device, enrolled and saved.
    pub device: Device,
    /// Whether it was enrolled with this invite before.
    pub already: bool,
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
        return Ok(Enrolled {
            device,
            already: true,
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
    let body = serde_json::to_vec(&request)
        .map_err(|error| Error::Internal(format!("the request is not JSON: {error}")))?;
    let answer = ask(&device, &Method::POST, ENROLL, &body, context).await?;
    device.answer = Some(answer);
    device.invite_secret = None;
    file.save(&device)?;
    Ok(Enrolled {
        device,
        already: false,
    })
}

/// Asks the control plane what it knows of this device.
pub async fn contact(device: &Device, context: &Context<'_>) -> Result<DeviceAnswer, Error> {
    let path = api::enroll::device(&device.enrolled()?.device);
    ask(device, &Method::GET, &path, b"", context).await
}

/// The device to go on with, if `invite` may be used on it.
fn resume(mut device: Device, invite: &InviteText) -> Result<Device, Error> {
    if device.invite == invite.id() {
        return Ok(device);
    }
    if let Some(answer) = &device.answer {
        let held = format!(
            "this device is already enrolled as {} in {} with another invite",
            answer.device,
            device.network()
        );
        return Err(Error::OtherInvite { held });
    }
    if device.contact.network != invite.contact.network {
        let held = format!(
            "this device file waits for enrollment in the network {}",
            device.network()
        );
        return Err(Error::OtherInvite { held });
    }
    // The first invite was refused or ran out: the same keys try again with this one, so that a
    // device which did get in is found again.
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

/// Whether nobody on the way reads what is sent to a control endpoint: HTTPS, or this machine
/// itself. What front doors serve is public and signed, so that for them plain HTTP will do.
fn is_private(base: &str) -> bool {
    let Ok(url) = Url::parse(base) else {
        return false;
    };
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// Sends a signed request to each control endpoint in turn, until one answers for this device. A
/// refusal is not believed while another endpoint may say yes; if none does, the first one counts.
async fn ask(
    device: &Device,
    method: &Method,
    path: &str,
    body: &[u8],
    context: &Context<'_>,
) -> Result<DeviceAnswer, Error> {
    let ours = DeviceId::of(&device.identity.public());
    let mut refused = None;
    let mut tried = Vec::new();
    for base in endpoints(device, context)? {
        if !is_private(&base) {
            tried.push(format!("{base}: not https, not asked"));
            continue;
        }
        match ask_one(device, method, &base, path, body, context).await {
            Ok(Ok(answer)) if answer.device == ours => return Ok(answer),
            Ok(Ok(answer)) => tried.push(format!(
                "{base}: it answered for {}, this device is {ours}",
                answer.device
            )),
            Ok(Err(problem)) if problem.status < 500 && problem.status != 429 => {
                refused.get_or_insert(problem);
            }
            Ok(Err(problem)) => tried.push(format!("{base}: {problem}")),
            Err(why) => tried.push(format!("{base}: {why}")),
        }
    }
    match refused {
        Some(problem) => Err(Error::Problem(problem)),
        None => Err(Error::Unreachable { tried }),
    }
}

/// The control endpoints of the first contact, then those that only the recovery kit names.
fn endpoints(device: &Device, context: &Context<'_>) -> Result<Vec<String>, Error> {
    let known = standing::known_if_sound(device, context.clock.now())?;
    let kit = known
        .and_then(|known| known.kit)
        .map_or(Vec::new(), |kit| kit.control);
    let mut all: Vec<String> = Vec::new();
    for base in device.contact.control.iter().chain(&kit) {
        let base = base.trim_end_matches('/').to_owned();
        if !all.contains(&base) {
            all.push(base);
        }
    }
    Ok(all)
}

/// One endpoint: an answer, a problem, or why there was neither.
async fn ask_one(
    device: &Device,
    method: &Method,
    base: &str,
    path: &str,
    body: &[u8],
    context: &Context<'_>,
) -> Result<Result<DeviceAnswer, Problem>, String> {
    let url = format!("{base}{path}");
    let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
    let mut headers = signed::sign(
        &device.identity,
        device.network(),
        method,
        &uri,
        body,
        context.clock.now(),
    );
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let (status, answer) = context
        .web
        .send(method.clone(), &url, headers, body.to_vec())
        .await
        .map_err(|failure| failure.why)?;
    if status == StatusCode::OK || status == StatusCode::CREATED {
        return match serde_json::from_slice(&answer) {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => Err(format!("its answer cannot be read: {error}")),
        };
    }
    match serde_json::from_slice::<Problem>(&answer) {
        Ok(problem) => Ok(Err(problem)),
        Err(_) => Err(format!("HTTP status {status}")),
    }
}

#[cfg(test)]
mod tests;
