//! A gateway takes new keys, of itself or because an operator wants it to.
//!
//! One read (the gateway and its heartbeats by the old and the new key) and one commit: the gateway
//! with its new keys, guarded by its version, the tunnel key where nobody holds it, the heartbeat's
//! item under the new key with what was last heard under the old one, and the audit event. Heartbeats
//! by the old key end with it: their item is gone, so that they cannot be confused with the new row.
//! Configs and rosters are given to the old key until the end of the grace, and devices that have not
//! seen the new catalog use the old tunnel key as long.

use api::Kind;
use api::rotation::{GatewayRotated, RotateGateway};
use jiff::{SignedDuration, Timestamp};
use model::gateway::{GatewayKeys, PreviousGatewayKeys};
use model::{Actor, Gateway, GatewayId, IdentityKey, id};
use store::{Change, CommitError, Expect, Item, Write};

use super::FIRST_VERSION;
use crate::items::Read as _;
use crate::items::{Heartbeat, Taken};
use crate::{Context, Error, MOST_TRIES, audit, checks, items};

/// Positions of the writes in a rotation's commit.
mod at {
    pub const TUNNEL_KEY: usize = 1;
}

/// Gives the gateway `id` the key in `request` and `signer` as its identity, or tells again what was
/// told before.
pub async fn rotate(
    context: &Context<'_>,
    signer: IdentityKey,
    id: &GatewayId,
    request: &RotateGateway,
) -> Result<GatewayRotated, Error> {
    checks::endorsement(request.check(&context.network.id, id, signer))?;
    let now = context.moment.now;
    let keys = GatewayKeys {
        identity: signer,
        tunnel: request.tunnel_key,
    };
    let asked = [
        items::gateway(id),
        items::heartbeat(id, &request.from),
        items::heartbeat(id, &signer),
    ];
    for _ in 0..MOST_TRIES {
        let found = context.store.get_many(now, &asked).await?;
        let gateway: Option<Gateway> = items::read(found[0].as_ref())?;
        let (Some(gateway), Some(item)) = (gateway, &found[0]) else {
            return Err(unknown(id));
        };
        if let (Some(beat), true) = (&found[2], gateway.keys == Some(keys)) {
            return Ok(answer(&gateway, beat.version, now));
        }
        if !gateway.is_signed_by(&request.from, now) {
            return Err(unknown(id));
        }
        let present = gateway.keys.map(|keys| keys.identity);
        let (Some(beat), true) = (&found[1], present == Some(request.from)) else {
            let detail = "its keys were rotated since: only the present identity key can endorse new \
                          ones. Use the newest copy of its state";
            return Err(Error::refused(Kind::GatewayConflict, detail));
        };
        let (rotated, writes) = rotation(context, gateway, item.version, beat, keys)?;
        match context.store.commit(now, writes).await {
            Ok(()) => return Ok(answer(&rotated, FIRST_VERSION, now)),
            Err(CommitError::Failed(at::TUNNEL_KEY)) => {
                let detail = "another holds or held this WireGuard key: make a new one";
                return Err(Error::refused(Kind::KeyInUse, detail));
            }
            // The gateway or its heartbeat went on meanwhile: judged again.
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

/// Asks the gateway `id` for new keys: it takes them when it has pulled its next config. Asking again
/// changes nothing.
pub async fn want(context: &Context<'_>, actor: &Actor, id: &GatewayId) -> Result<Gateway, Error> {
    for _ in 0..MOST_TRIES {
        let (mut gateway, version) = super::find(context, id).await?;
        if gateway.rotation_wanted_at.is_some() {
            return Ok(gateway);
        }
        if gateway.keys.is_none() {
            let detail = format!(
                "it is {}: only one that has registered has keys to rotate",
                gateway.state
            );
            return Err(Error::refused(Kind::GatewayState, detail));
        }
        gateway.rotation_wanted_at = Some(context.moment.now);
        let writes = vec![
            items::put(items::gateway(id), Expect::Version(version), &gateway),
            audit::write(context, 0, actor, "gateway.rotation-wanted", id, ""),
        ];
        match context.store.commit(context.moment.now, writes).await {
            Ok(()) => return Ok(gateway),
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

/// The gateway with its new keys, and what commits it.
fn rotation(
    context: &Context<'_>,
    mut gateway: Gateway,
    version: u64,
    beat: &Item,
    keys: GatewayKeys,
) -> Result<(Gateway, Vec<Write>), Error> {
    let now = context.moment.now;
    let grace = SignedDuration::from_secs(i64::from(context.network.timing.rotation_grace));
    let heard: Heartbeat = beat.read()?;
    gateway.previous = gateway.keys.map(|keys| PreviousGatewayKeys {
        keys,
        until: now.checked_add(grace).unwrap_or(Timestamp::MAX),
    });
    gateway.keys = Some(keys);
    gateway.rotation_wanted_at = None;

    let id = &gateway.id;
    let actor = Actor::Gateway(id.clone());
    let detail = format!("key {}", id::key_hash(&keys.identity));
    let writes = vec![
        items::put(items::gateway(id), Expect::Version(version), &gateway),
        items::put(
            items::wireguard_key(keys.tunnel.as_bytes()),
            Expect::Absent,
            &Taken::by(id),
        ),
        items::put(items::heartbeat(id, &keys.identity), Expect::Absent, &heard),
        Write {
            key: beat.key.clone(),
            expect: Expect::Version(beat.version),
            change: Change::Delete,
        },
        audit::write(context, 0, &actor, "gateway.rotated", id, detail),
    ];
    Ok((gateway, writes))
}

fn answer(gateway: &Gateway, version: u64, now: Timestamp) -> GatewayRotated {
    GatewayRotated {
        version,
        previous_until: gateway.previous.map_or(now, |previous| previous.until),
    }
}

fn unknown(id: &GatewayId) -> Error {
    let detail = format!(
        "{id} is not registered here under the key that endorses the new ones: register with its \
         bootstrap token"
    );
    Error::refused(Kind::GatewayUnknown, detail)
}
