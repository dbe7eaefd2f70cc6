//! A device takes new keys, of itself or because an operator wants it to.
//!
//! One read (the device and what is in force) and one commit: the device with its new keys, guarded by its
//! version, the two WireGuard keys where nobody holds them, the roster's entry and the audit event.
//! The present identity key alone can endorse new ones: a thief of an older key cannot rotate with it.
//! The device keeps its id, its lease and its cohort. The items of old WireGuard keys stay: no key ever
//! comes back, so that an old request that is sent again cannot undo a rotation.
//!
//! The keys of before work until the end of the grace. Those of before these end at once: at any time
//! there are two sets at most.

use api::Kind;
use api::enroll::DeviceAnswer;
use api::rotation::RotateDevice;
use jiff::{SignedDuration, Timestamp};
use model::device::PreviousDeviceKeys;
use model::{Actor, Device, DeviceId, DeviceState, IdentityKey, id};
use store::{CommitError, Expect, Write};

use super::{find, missing, revoked};
use crate::enroll::InForce;
use crate::items::Taken;
use crate::{Context, Error, MOST_TRIES, audit, checks, items, roster};

/// Positions of the writes in a rotation's commit.
mod at {
    pub const DEVICE: usize = 0;
}

/// Gives the device `id` the keys in `request` and `signer` as its identity, or tells again what was
/// told before.
pub async fn rotate(
    context: &Context<'_>,
    signer: IdentityKey,
    id: &DeviceId,
    request: &RotateDevice,
) -> Result<DeviceAnswer, Error> {
    checks::endorsement(request.check(&context.network.id, id, signer))?;
    checks::two_keys(&request.tunnel_key, &request.exit_key)?;
    let now = context.moment.now;
    for _ in 0..MOST_TRIES {
        let keys = [items::device(id), items::policy(), items::epochs()];
        let found = context.store.get_many(now, &keys).await?;
        let device: Option<Device> = items::read(found[0].as_ref())?;
        let (Some(device), Some(item)) = (device, &found[0]) else {
            return Err(unknown(id));
        };
        let rules = InForce::read(found[1].as_ref(), found[2].as_ref())?;
        match judge(&device, signer, request, now)? {
            Judged::Done => return Ok(crate::enroll::answer(context, &rules, &device)),
            Judged::Due => {}
        }
        let (rotated, writes) = rotation(context, device, item.version, signer, request);
        match context.store.commit(now, writes).await {
            Ok(()) => return Ok(crate::enroll::answer(context, &rules, &rotated)),
            // It changed meanwhile, perhaps by this very request sent twice: judged again.
            Err(CommitError::Failed(at::DEVICE)) => {}
            Err(CommitError::Failed(_)) => {
                let detail =
                    "another holds or held one of the WireGuard keys: make new keys and try again";
                return Err(Error::refused(Kind::KeyInUse, detail));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

/// Asks the device `id` for new keys: it takes them with its next contact. Asking again changes
/// nothing.
pub async fn want(context: &Context<'_>, actor: &Actor, id: &DeviceId) -> Result<Device, Error> {
    for _ in 0..MOST_TRIES {
        let Some((mut device, version)) = find(context, id).await? else {
            return Err(missing(id));
        };
        if device.state == DeviceState::Revoked {
            return Err(revoked(&device));
        }
        if device.rotation_wanted_at.is_some() {
            return Ok(device);
        }
        device.rotation_wanted_at = Some(context.moment.now);
        let writes = vec![
            items::put(items::device(id), Expect::Version(version), &device),
            audit::write(context, 0, actor, "device.rotation-wanted", id, ""),
        ];
        match context.store.commit(context.moment.now, writes).await {
            Ok(()) => return Ok(device),
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

enum Judged {
    /// The device holds these keys already.
    Done,
    /// It may take them.
    Due,
}

fn judge(
    device: &Device,
    signer: IdentityKey,
    request: &RotateDevice,
    now: Timestamp,
) -> Result<Judged, Error> {
    let asked = (signer, request.tunnel_key, request.exit_key);
    let held = (device.identity_key, device.tunnel_key, device.exit_key);
    // Whoever holds none of its keys learns nothing, not even whether the device exists.
    if asked != held && !device.is_signed_by(&request.from, now) {
        return Err(unknown(&device.id));
    }
    if device.state == DeviceState::Revoked {
        return Err(revoked(device));
    }
    if asked == held {
        return Ok(Judged::Done);
    }
    if device.identity_key != request.from {
        let detail = "its keys were rotated since: only the present identity key can endorse new ones. \
                      Use the newest copy of its device file";
        return Err(Error::refused(Kind::DeviceConflict, detail));
    }
    Ok(Judged::Due)
}

/// The device with its new keys, and what commits it.
fn rotation(
    context: &Context<'_>,
    mut device: Device,
    version: u64,
    signer: IdentityKey,
    request: &RotateDevice,
) -> (Device, Vec<Write>) {
    let now = context.moment.now;
    let grace = SignedDuration::from_secs(i64::from(context.network.timing.rotation_grace));
    device.previous = Some(PreviousDeviceKeys {
        identity_key: device.identity_key,
        tunnel_key: device.tunnel_key,
        exit_key: device.exit_key,
        until: now.checked_add(grace).unwrap_or(Timestamp::MAX),
    });
    device.identity_key = signer;
    device.tunnel_key = request.tunnel_key;
    device.exit_key = request.exit_key;
    device.rotation_wanted_at = None;

    let taken = Taken::by(&device.id);
    let take = |key| items::put(key, Expect::Absent, &taken);
    let actor = Actor::Device(device.id.clone());
    let detail = format!("key {}", id::key_hash(&signer));
    let mut writes = vec![
        items::put(items::device(&device.id), Expect::Version(version), &device),
        take(items::wireguard_key(request.tunnel_key.as_bytes())),
        take(items::wireguard_key(request.exit_key.as_bytes())),
        audit::write(context, 0, &actor, "device.rotated", &device.id, detail),
    ];
    writes.extend(roster::put(context, &device));
    (device, writes)
}

fn unknown(id: &DeviceId) -> Error {
    let detail = format!(
        "{id} is not enrolled here under the key that endorses the new ones: enroll with an invite"
    );
    Error::refused(Kind::DeviceUnknown, detail)
}
