//! Devices after enrollment: what they are told, rotation, and revocation.

pub mod rotation;

use api::Kind;
use api::enroll::DeviceAnswer;
use jiff::SignedDuration;
use model::{Actor, Device, DeviceId, DeviceState, IdentityKey};
use store::{CommitError, Expect, Range};

use crate::enroll::InForce;
use crate::items::Read as _;
use crate::items::Taken;
use crate::{Context, Error, MOST_TRIES, audit, epochs, items, roster};

/// The most devices of one answer.
const PAGE: usize = 500;

/// What the device `id` is told when it asks with `signer`.
pub async fn show(
    context: &Context<'_>,
    signer: IdentityKey,
    id: &DeviceId,
) -> Result<DeviceAnswer, Error> {
    let keys = [items::device(id), items::policy(), items::epochs()];
    let found = context.store.get_many(context.moment.now, &keys).await?;
    // Whoever does not hold the key learns nothing, not even whether the device exists.
    let device: Option<Device> = items::read(found[0].as_ref())?;
    let Some(device) = device.filter(|device| device.is_signed_by(&signer, context.moment.now))
    else {
        let detail = format!("{id} is not enrolled here under this key: enroll with an invite");
        return Err(Error::refused(Kind::DeviceUnknown, detail));
    };
    if device.state == DeviceState::Revoked {
        return Err(revoked(&device));
    }
    let rules = InForce::read(found[1].as_ref(), found[2].as_ref())?;
    Ok(crate::enroll::answer(context, &rules, &device))
}

/// Shuts the device `id` out, for good: gateways let it in no more, and what is sealed from the next epoch
/// on it cannot read. Its address rests until no gateway can hold an older config. Doing it again changes nothing.
pub async fn revoke(context: &Context<'_>, actor: &Actor, id: &DeviceId) -> Result<Device, Error> {
    let now = context.moment.now;
    let rest = SignedDuration::from_secs(i64::from(context.network.timing.lease_rest));
    for _ in 0..MOST_TRIES {
        let Some((mut device, version)) = find(context, id).await? else {
            return Err(missing(id));
        };
        if device.state == DeviceState::Revoked {
            return Ok(device);
        }
        device.state = DeviceState::Revoked;
        device.revoked_at = Some(now);
        device.rotation_wanted_at = None;
        let lease = items::put_until(
            items::lease(device.lease),
            Expect::Present,
            &Taken::by(id),
            now.checked_add(rest).ok(),
        );
        let mut writes = vec![
            items::put(items::device(id), Expect::Version(version), &device),
            lease,
            audit::write(context, 0, actor, "device.revoked", id, ""),
        ];
        writes.extend(roster::remove(&device));
        writes.push(epochs::revoked());
        match context.store.commit(now, writes).await {
            Ok(()) => return Ok(device),
            // Most likely another revocation: whose answer is this one's, too.
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

/// Up to 500 devices, from behind the id `after`; and where to go on.
pub async fn list(
    context: &Context<'_>,
    after: Option<&str>,
) -> Result<(Vec<Device>, Option<String>), Error> {
    // `after` is a device id: it tells its own partition.
    let mut after = after.map(str::to_owned);
    let started = after.as_deref().and_then(|id| id.chars().nth(2));
    let mut devices = Vec::new();
    let partitions = items::DEVICE_PARTITIONS.chars();
    for first in partitions.skip_while(|first| started.is_some_and(|started| *first < started)) {
        let range = Range::all(items::devices(first));
        let room = PAGE - devices.len();
        let after = after.take();
        let (items, _) = items::read_up_to(context, &range, after.as_deref(), room).await?;
        for item in &items {
            devices.push(item.read()?);
        }
        if devices.len() >= PAGE {
            let last = devices.last().map(|device: &Device| device.id.to_string());
            return Ok((devices, last));
        }
    }
    Ok((devices, None))
}

async fn find(context: &Context<'_>, id: &DeviceId) -> Result<Option<(Device, u64)>, Error> {
    let found = context
        .store
        .get_many(context.moment.now, &[items::device(id)])
        .await?;
    let Some(item) = &found[0] else {
        return Ok(None);
    };
    Ok(Some((item.read()?, item.version)))
}

/// The refusal of an admin who names no device.
fn missing(id: &DeviceId) -> Error {
    let detail = format!("there is no device {id}: see 'posternctl devices'");
    Error::refused(Kind::DeviceUnknown, detail)
}

/// The refusal that a revoked device gets.
pub(crate) fn revoked(device: &Device) -> Error {
    let detail = format!(
        "{} was revoked: ask the operator for a new invite",
        device.id
    );
    Error::refused(Kind::DeviceRevoked, detail)
}
