//! Enrollment: from an invite to a device with addresses.
//!
//! One read (the device, the invite and what is in force) and one commit: the device, its lease of an
//! address index, one use of the invite, its two WireGuard keys and the audit event, each written
//! only where nothing stands yet, and its entry in the roster. Where a lease or a use was taken by another, the next candidate is tried;
//! after some lost probes candidates are read in batches ([`rules::probing`]). The device's id is
//! the hash of its key, so a request that is sent again finds its own device and gets the same
//! answer. The invite is read and not checked in the commit: it is shared by all its guests, and a
//! check would make them collide.

use api::Kind;
use api::enroll::{DeviceAnswer, EnrollRequest};
use model::{
    Actor, Device, DeviceId, DeviceState, IdentityKey, Invite, InviteId, LeaseIndex, Policy,
};
use rules::epochs::Epochs;
use rules::probing;
use store::{CommitError, Expect, Item, StoreError, Write};

use crate::items::Taken;
use crate::{Context, Error, audit, checks, epochs, items, roster};

/// Positions of the writes in the commit.
mod at {
    pub const DEVICE: usize = 0;
    pub const LEASE: usize = 1;
    pub const SLOT: usize = 2;
    pub const TUNNEL_KEY: usize = 3;
    pub const EXIT_KEY: usize = 4;
}

/// Enrolls the device that holds `identity`, or tells again what it was told before.
pub async fn enroll(
    context: &Context<'_>,
    identity: IdentityKey,
    request: EnrollRequest,
) -> Result<DeviceAnswer, Error> {
    let now = context.moment.now;
    let secret = request.invite.bytes().ok_or_else(|| {
        Error::refused(
            Kind::MalformedRequest,
            "'invite' must be base64url without padding",
        )
    })?;
    checks::two_keys(&request.tunnel_key, &request.exit_key)?;
    let id = DeviceId::of(&identity);
    let invite_id = InviteId::of(&secret);
    let found = context
        .store
        .get_many(
            now,
            &[
                items::device(&id),
                items::invite(&invite_id),
                items::policy(),
                items::epochs(),
            ],
        )
        .await?;
    let rules = InForce::read(found[2].as_ref(), found[3].as_ref())?;
    if let Some(device) = items::read::<Device>(found[0].as_ref())? {
        return answer_again(context, &rules, &device, (identity, &request));
    }
    let invite = usable(context, items::read(found[1].as_ref())?)?;

    let device = Device {
        id: id.clone(),
        state: DeviceState::Active,
        identity_key: identity,
        tunnel_key: request.tunnel_key,
        exit_key: request.exit_key,
        lease: LeaseIndex(0),
        cohort: invite.cohort.clone(),
        tags: invite.tags.clone(),
        invite: invite_id,
        enrolled_at: now,
        previous: None,
        rotation_wanted_at: None,
        revoked_at: None,
    };
    let refusal = match place(context, device, &invite).await {
        Ok(Some(device)) => return Ok(answer(context, &rules, &device)),
        Ok(None) => Error::Contended,
        // The last place may have gone to this very request, sent twice.
        Err(
            refusal @ Error::Refused {
                kind: Kind::InviteUsedUp | Kind::PoolCrowded,
                ..
            },
        ) => refusal,
        Err(error) => return Err(error),
    };
    let found = context.store.get_many(now, &[items::device(&id)]).await?;
    match items::read::<Device>(found[0].as_ref())? {
        Some(device) => answer_again(context, &rules, &device, (identity, &request)),
        None => Err(refusal),
    }
}

/// Gives `device` a lease and a use of `invite`, and commits it; `None` if it is there already.
async fn place(
    context: &Context<'_>,
    mut device: Device,
    invite: &Invite,
) -> Result<Option<Device>, Error> {
    let mut leases = Candidates::new(
        probing::sequence(device.id.as_str(), "lease", context.network.pools.size())
            .filter(|index| context.network.pools.is_usable(LeaseIndex(*index))),
    );
    let mut slots = Candidates::new(probing::sequence(
        device.id.as_str(),
        invite.id.as_str(),
        invite.uses,
    ));
    device.lease = LeaseIndex(leases.next_lease(context).await?);
    let mut slot = slots.next_slot(context, invite).await?;
    loop {
        let writes = writes(context, &device, slot);
        match context.store.commit(context.moment.now, writes).await {
            Ok(()) => return Ok(Some(device)),
            Err(CommitError::Failed(at::DEVICE)) => return Ok(None),
            Err(CommitError::Failed(at::LEASE)) => {
                device.lease = LeaseIndex(leases.next_lease(context).await?);
            }
            Err(CommitError::Failed(at::SLOT)) => slot = slots.next_slot(context, invite).await?,
            Err(CommitError::Failed(at::TUNNEL_KEY | at::EXIT_KEY)) => {
                let detail = "another device holds one of the WireGuard keys: make new keys and enroll again";
                return Err(Error::refused(Kind::KeyInUse, detail));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What every answer to a device depends on, besides the device.
pub(crate) struct InForce {
    policy: Policy,
    epochs: Option<Epochs>,
}

impl InForce {
    /// Reads [`items::policy`] and [`items::epochs`].
    pub(crate) fn read(policy: Option<&Item>, epochs: Option<&Item>) -> Result<Self, StoreError> {
        Ok(Self {
            policy: crate::policy::in_force(policy)?.policy,
            epochs: items::read(epochs)?,
        })
    }
}

/// What a device is told of itself.
pub(crate) fn answer(context: &Context<'_>, rules: &InForce, device: &Device) -> DeviceAnswer {
    let InForce { policy, epochs } = rules;
    let catalog = rules::policy::catalog_of(policy, device.into());
    let keys = epochs::keys(context, policy, epochs.as_ref(), device, &catalog);
    let next = epochs.as_ref().filter(|_| !keys.is_empty());
    DeviceAnswer {
        next_epoch_at: next.map(|epochs| epochs.next.begins_at),
        keys,
        device: device.id.clone(),
        state: device.state,
        cohort: device.cohort.clone(),
        catalog,
        addresses: context.network.pools.addresses(&device.id, device.lease),
        enrolled_at: device.enrolled_at,
        identity_key: device.identity_key,
        tunnel_key: device.tunnel_key,
        exit_key: device.exit_key,
        previous_until: device
            .previous_at(context.moment.now)
            .map(|keys| keys.until),
        rotation_wanted_at: device.rotation_wanted_at,
    }
}

fn writes(context: &Context<'_>, device: &Device, slot: u32) -> Vec<Write> {
    let taken = Taken::by(&device.id);
    let take = |key| items::put(key, Expect::Absent, &taken);
    let actor = Actor::Device(device.id.clone());
    let mut writes = vec![
        items::put(items::device(&device.id), Expect::Absent, device),
        take(items::lease(device.lease)),
        take(items::slot(&device.invite, slot)),
        take(items::wireguard_key(device.tunnel_key.as_bytes())),
        take(items::wireguard_key(device.exit_key.as_bytes())),
        audit::write(
            context,
            0,
            &actor,
            "device.enrolled",
            &device.id,
            format!("by {}", device.invite),
        ),
    ];
    writes.extend(roster::put(context, device));
    writes
}

fn usable(context: &Context<'_>, invite: Option<Invite>) -> Result<Invite, Error> {
    let Some(invite) = invite else {
        let detail = "check that the whole invite was copied, or ask for a new one";
        return Err(Error::refused(Kind::InviteUnknown, detail));
    };
    if let Some(at) = invite.withdrawn_at {
        let detail = format!("it was withdrawn at {at:.0}: ask for a new one");
        return Err(Error::refused(Kind::InviteWithdrawn, detail));
    }
    if invite.expires_at <= context.moment.now {
        let detail = format!("it expired at {:.0}: ask for a new one", invite.expires_at);
        return Err(Error::refused(Kind::InviteExpired, detail));
    }
    Ok(invite)
}

fn answer_again(
    context: &Context<'_>,
    rules: &InForce,
    device: &Device,
    (identity, request): (IdentityKey, &EnrollRequest),
) -> Result<DeviceAnswer, Error> {
    if device.state == DeviceState::Revoked {
        return Err(crate::devices::revoked(device));
    }
    let ours = (device.identity_key, device.tunnel_key, device.exit_key);
    if ours != (identity, request.tunnel_key, request.exit_key) {
        let detail = "this identity is enrolled with other WireGuard keys, or its keys were rotated: \
                      use its device file, or enroll with a new identity";
        return Err(Error::refused(Kind::DeviceConflict, detail));
    }
    Ok(answer(context, rules, device))
}

/// Candidates in the order in which they are tried.
struct Candidates<I> {
    all: I,
    tried: usize,
    /// Candidates that were read and found free, last first; `None` until reading starts.
    known_free: Option<Vec<u32>>,
}

impl<I: Iterator<Item = u32>> Candidates<I> {
    fn new(all: I) -> Self {
        Self {
            all,
            tried: 0,
            known_free: None,
        }
    }

    /// The next index that may be free.
    async fn next_lease(&mut self, context: &Context<'_>) -> Result<u32, Error> {
        loop {
            if let Some(free) = self.known_free.as_mut().and_then(Vec::pop) {
                return Ok(free);
            }
            if self.tried < probing::TRIED_ONE_BY_ONE {
                self.tried += 1;
                return self.all.next().ok_or_else(crowded);
            }
            let room = probing::MOST_PROBES - self.tried;
            let batch: Vec<u32> = self.all.by_ref().take(room.min(store::MOST_KEYS)).collect();
            if batch.is_empty() {
                return Err(crowded());
            }
            self.tried += batch.len();
            let keys: Vec<_> = batch
                .iter()
                .map(|index| items::lease(LeaseIndex(*index)))
                .collect();
            let found = context.store.get_many(context.moment.now, &keys).await?;
            let free = batch
                .into_iter()
                .zip(found)
                .filter(|(_, item)| item.is_none());
            let mut free: Vec<u32> = free.map(|(index, _)| index).collect();
            free.reverse();
            self.known_free = Some(free);
        }
    }

    /// The next use of `invite` that may be free. All of an invite's taken uses are in one
    /// partition, so that the answer is exact: it is used up only if every use is taken.
    async fn next_slot(&mut self, context: &Context<'_>, invite: &Invite) -> Result<u32, Error> {
        if self.tried >= probing::TRIED_ONE_BY_ONE && self.known_free.is_none() {
            let range = store::Range::all(items::slots(&invite.id));
            let taken = store::query_all(context.store, context.moment.now, &range).await?;
            let taken: std::collections::BTreeSet<String> =
                taken.into_iter().map(|item| item.key.sk).collect();
            let free = self.all.by_ref();
            let free = free.filter(|slot| !taken.contains(&items::slot(&invite.id, *slot).sk));
            let mut free: Vec<u32> = free.collect();
            free.reverse();
            self.known_free = Some(free);
        }
        let next = if let Some(free) = &mut self.known_free {
            free.pop()
        } else {
            self.tried += 1;
            self.all.next()
        };
        next.ok_or_else(|| {
            let detail = format!("all {} uses are taken: ask for a new invite", invite.uses);
            Error::refused(Kind::InviteUsedUp, detail)
        })
    }
}

fn crowded() -> Error {
    let detail = "the network's address pool is nearly full: try again, and tell the operator";
    Error::refused(Kind::PoolCrowded, detail)
}
