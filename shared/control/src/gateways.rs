//! Gateways: the record, registration, rotation, heartbeats and the signed config.
//!
//! A heartbeat is one conditional put and no read: the item's key holds the hash of the key that
//! signed, its version the place in the row of heartbeats. A replayed one finds another version.
//! Whether a gateway is in service is judged by `publish`, not here.

pub mod rotation;
pub mod states;

use std::collections::BTreeMap;

use api::Kind;
use api::admin::{GatewayView, NewGateway};
use api::register::{
    GatewayConfig, HeartbeatAnswer, HeartbeatRequest, RegisterAnswer, RegisterRequest,
};
use model::gateway::{Bootstrap, GatewayKeys};
use model::{Actor, Gateway, GatewayId, GatewayState, IdentityKey, Limits, Role, id};
use rules::health::Observed;
use store::{CommitError, Expect, Range, Write};

use crate::items::Read as _;
use crate::items::{Heartbeat, Taken};
use crate::{Context, Error, MOST_TRIES, audit, checks, items};

/// The version of a heartbeat item when it was just made.
const FIRST_VERSION: u64 = 1;

/// Positions of the writes in a registration's commit.
mod at {
    pub const TUNNEL_KEY: usize = 1;
}

/// Makes the record of a gateway within the signed `limits`, with the hash of its bootstrap secret.
pub async fn create(
    context: &Context<'_>,
    limits: &Limits,
    actor: &Actor,
    new: NewGateway,
) -> Result<Gateway, Error> {
    let now = context.moment.now;
    if new.cohorts.is_empty() {
        let detail = "'cohorts' must name at least one cohort";
        return Err(checks::malformed(detail));
    }
    if new.bootstrap_expires_at <= now {
        let detail = "'bootstrap_expires_at' is in the past: choose a later time";
        return Err(checks::malformed(detail));
    }
    checks::region(&new.region)?;
    checks::endpoint(limits, new.endpoint)?;
    checks::bootstrap_hash(&new.bootstrap_hash)?;
    for cohort in &new.cohorts {
        checks::cohort(limits, cohort)?;
    }
    let gateway = Gateway {
        id: new.id,
        role: new.role,
        state: GatewayState::Provisioning,
        region: new.region,
        endpoint: new.endpoint,
        pool: new.pool,
        cohorts: new.cohorts,
        bootstrap: Some(Bootstrap {
            hash: new.bootstrap_hash,
            expires_at: new.bootstrap_expires_at,
        }),
        keys: None,
        previous: None,
        rotation_wanted_at: None,
        created_at: now,
        changed_at: now,
    };
    let detail = format!("{} at {}", gateway.role, gateway.endpoint);
    let writes = vec![
        items::put(items::gateway(&gateway.id), Expect::Absent, &gateway),
        audit::write(context, 0, actor, "gateway.created", &gateway.id, detail),
    ];
    match context.store.commit(now, writes).await {
        Ok(()) => Ok(gateway),
        Err(CommitError::Failed(_)) => {
            let (there, _) = find(context, &gateway.id).await?;
            let times = Gateway {
                created_at: there.created_at,
                changed_at: there.changed_at,
                ..gateway
            };
            if times == there {
                return Ok(there);
            }
            let detail = "choose another id, or use the gateway that is there";
            Err(Error::refused(Kind::GatewayConflict, detail))
        }
        Err(error) => Err(error.into()),
    }
}

/// Trades the bootstrap secret of the gateway `id` for a place in service; the same identity may
/// ask again and is told the same.
pub async fn register(
    context: &Context<'_>,
    identity: IdentityKey,
    id: &GatewayId,
    request: &RegisterRequest,
) -> Result<RegisterAnswer, Error> {
    let now = context.moment.now;
    let keys = GatewayKeys {
        identity,
        tunnel: request.tunnel_key,
    };
    let mut key_in_use = false;
    for _ in 0..MOST_TRIES {
        let found = context
            .store
            .get_many(now, &[items::gateway(id), items::heartbeat(id, &identity)])
            .await?;
        let (Some(item), beat) = (&found[0], &found[1]) else {
            return Err(unknown(id));
        };
        let gateway: Gateway = item.read()?;
        if let (Some(beat), true) = (beat, gateway.keys == Some(keys)) {
            return Ok(registered(context, beat.version));
        }
        check_bootstrap(context, &gateway, request)?;
        if key_in_use {
            let detail = "another device or gateway holds this WireGuard key: make a new one";
            return Err(Error::refused(Kind::KeyInUse, detail));
        }
        let writes = registration(context, gateway, item.version, keys);
        match context.store.commit(now, writes).await {
            Ok(()) => return Ok(registered(context, FIRST_VERSION)),
            // The holder may be this very gateway, by the same request sent twice.
            Err(CommitError::Failed(at::TUNNEL_KEY)) => key_in_use = true,
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

/// What registers `gateway`, which stands at `version`, with `keys`.
fn registration(
    context: &Context<'_>,
    mut gateway: Gateway,
    version: u64,
    keys: GatewayKeys,
) -> Vec<Write> {
    let id = gateway.id.clone();
    gateway.bootstrap = None;
    gateway.keys = Some(keys);
    gateway.state = GatewayState::Registered;
    gateway.changed_at = context.moment.now;
    let quiet = Heartbeat {
        gateway: id.clone(),
        seen_at: None,
        load: 0,
    };
    let actor = Actor::Gateway(id.clone());
    let detail = format!("key {}", id::key_hash(&keys.identity));
    vec![
        items::put(items::gateway(&id), Expect::Version(version), &gateway),
        items::put(
            items::wireguard_key(keys.tunnel.as_bytes()),
            Expect::Absent,
            &Taken::by(&id),
        ),
        items::put(
            items::heartbeat(&id, &keys.identity),
            Expect::Absent,
            &quiet,
        ),
        audit::write(context, 0, &actor, "gateway.registered", &id, detail),
    ]
}

fn registered(context: &Context<'_>, version: u64) -> RegisterAnswer {
    RegisterAnswer {
        heartbeat_seconds: context.network.timing.heartbeat,
        version,
    }
}

fn check_bootstrap(
    context: &Context<'_>,
    gateway: &Gateway,
    request: &RegisterRequest,
) -> Result<(), Error> {
    let refuse = |detail: &str| Err(Error::refused(Kind::BootstrapRefused, detail));
    let Some(bootstrap) = &gateway.bootstrap else {
        return refuse("it was used by another identity: make a new gateway");
    };
    let sent = request
        .secret
        .bytes()
        .map(|secret| id::bootstrap_hash(&secret));
    if sent.as_deref() != Some(&bootstrap.hash) {
        return refuse("it is not this gateway's: check that the whole token was copied");
    }
    if bootstrap.expires_at <= context.moment.now {
        return refuse("it has expired: make a new gateway");
    }
    if !gateway.state.can_become(GatewayState::Registered) {
        return Err(Error::refused(
            Kind::GatewayState,
            format!("it is {}: make a new gateway", gateway.state),
        ));
    }
    Ok(())
}

/// Takes a sign of life.
pub async fn heartbeat(
    context: &Context<'_>,
    identity: IdentityKey,
    id: &GatewayId,
    request: &HeartbeatRequest,
) -> Result<HeartbeatAnswer, Error> {
    let now = context.moment.now;
    if request.load > 100 {
        return Err(checks::malformed("'load' must be from 0 to 100"));
    }
    let beat = Heartbeat {
        gateway: id.clone(),
        seen_at: Some(now),
        load: request.load,
    };
    let key = items::heartbeat(id, &identity);
    let write = items::put(key.clone(), Expect::Version(request.version), &beat);
    match context.store.commit(now, vec![write]).await {
        Ok(()) => Ok(HeartbeatAnswer {
            version: request.version + 1,
        }),
        Err(CommitError::Failed(_)) => {
            let found = context.store.get_many(now, &[key]).await?;
            let there = found[0].as_ref().ok_or_else(|| unknown(id))?;
            if there.version == request.version.saturating_add(1) {
                // The answer to this very heartbeat was lost.
                return Ok(HeartbeatAnswer {
                    version: there.version,
                });
            }
            Err(Error::Refused {
                kind: Kind::HeartbeatOutOfStep,
                detail: format!("go on from version {}", there.version),
                version: Some(there.version),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// The config of the gateway `id`, to be signed. An ingress gateway forwards to every egress that
/// is active or drains: one that drains still serves the devices that it has.
pub async fn config(
    context: &Context<'_>,
    identity: IdentityKey,
    id: &GatewayId,
) -> Result<GatewayConfig, Error> {
    let now = context.moment.now;
    let items = store::query_all(context.store, now, &Range::all(items::GATEWAYS)).await?;
    let gateways: Vec<Gateway> = items
        .iter()
        .map(store::Item::read)
        .collect::<Result<_, _>>()?;
    let own = gateways.iter().find(|gateway| gateway.id == *id);
    let own = own.filter(|own| own.is_signed_by(&identity, now));
    let Some((own, keys)) = own.and_then(|own| Some((own, own.keys?))) else {
        return Err(unknown(id));
    };
    let forward_to = gateways
        .iter()
        .filter(|other| own.role == Role::Ingress && other.role == Role::Egress)
        .filter(|other| matches!(other.state, GatewayState::Active | GatewayState::Draining))
        .map(|other| other.endpoint)
        .collect();
    Ok(GatewayConfig {
        schema: GatewayConfig::SCHEMA.to_owned(),
        network: context.network.id.clone(),
        gateway: id.clone(),
        role: own.role,
        state: own.state,
        signed_at: now,
        endpoint: own.endpoint,
        heartbeat_seconds: context.network.timing.heartbeat,
        forward_to,
        identity_key: keys.identity,
        rotation_wanted_at: own.rotation_wanted_at,
    })
}

/// All gateways with their last sign of life, ordered by id, and the versions of their records.
pub async fn observe(context: &Context<'_>) -> Result<Vec<(Observed, u64)>, Error> {
    let now = context.moment.now;
    // The gateways first: one that came into service meanwhile must not seem to be without a beat.
    let items = store::query_all(context.store, now, &Range::all(items::GATEWAYS)).await?;
    let beats = store::query_all(context.store, now, &Range::all(items::HEARTBEATS)).await?;
    // By the gateway and not by its key: a rotation that came between the two queries moved the beat.
    let mut last: BTreeMap<GatewayId, Heartbeat> = BTreeMap::new();
    for item in &beats {
        let beat: Heartbeat = item.read()?;
        if last
            .get(&beat.gateway)
            .is_none_or(|other| other.seen_at < beat.seen_at)
        {
            last.insert(beat.gateway.clone(), beat);
        }
    }
    items
        .iter()
        .map(|item| {
            let gateway: Gateway = item.read()?;
            let beat = last.get(&gateway.id);
            let observed = Observed {
                seen_at: beat.and_then(|beat| beat.seen_at),
                load: beat.map_or(0, |beat| beat.load),
                gateway,
            };
            Ok((observed, item.version))
        })
        .collect()
}

/// All gateways, for people.
pub async fn list(context: &Context<'_>) -> Result<Vec<GatewayView>, Error> {
    let observed = observe(context).await?;
    let views = observed.into_iter().map(|(observed, _)| GatewayView {
        gateway: observed.gateway,
        seen_at: observed.seen_at,
    });
    Ok(views.collect())
}

async fn find(context: &Context<'_>, id: &GatewayId) -> Result<(Gateway, u64), Error> {
    let found = context
        .store
        .get_many(context.moment.now, &[items::gateway(id)])
        .await?;
    let item = found[0].as_ref().ok_or_else(|| missing(id))?;
    Ok((item.read()?, item.version))
}

/// The refusal of an admin who names no gateway.
fn missing(id: &GatewayId) -> Error {
    let detail = format!("there is no gateway {id}: see 'posternctl gateways'");
    Error::refused(Kind::GatewayUnknown, detail)
}

/// The refusal of whoever does not hold the gateway's key.
pub(crate) fn unknown(id: &GatewayId) -> Error {
    let detail =
        format!("{id} is not registered here under this key: register with its bootstrap token");
    Error::refused(Kind::GatewayUnknown, detail)
}
