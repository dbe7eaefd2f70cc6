//! Devices: record, lease, use of the invite, keys, roster, events.

use std::collections::BTreeMap;

use control::items::Read as _;
use control::items::{self, Taken};
use control::roster::{Entry, PreviousKeys, ShardVersion};
use jiff::SignedDuration;
use model::device::PreviousDeviceKeys;
use model::{
    Actor, CohortName, Device, DeviceId, DeviceState, InviteId, LeaseIndex, Network, Shard, id,
};
use store::Key;

use super::{Audit, changes, held, wants};
use crate::ledger::{DeviceTale, KeySet, Ledger};

/// Where each device's use of its invite is.
type Slots = BTreeMap<(InviteId, String), Vec<Key>>;

/// Checks all devices.
pub fn check(audit: &mut Audit<'_>, ledger: &Ledger, network: &Network) {
    let slots = slots(audit, ledger);
    let mut shards: BTreeMap<(CohortName, Shard), u64> = BTreeMap::new();
    let mut holders: BTreeMap<LeaseIndex, DeviceId> = BTreeMap::new();
    // Those that were refused have nothing: whatever they left belongs to nobody.
    for tale in ledger.devices.iter().filter(|tale| !tale.sets.is_empty()) {
        let Some(device) = record(audit, ledger, tale) else {
            continue;
        };
        let sets = tale.taken(&device);
        lease(audit, network, tale, &device);
        if let Some(other) = holders.insert(device.lease, device.id.clone()) {
            audit.breach(format!("{} and {other} hold one address", device.id));
        }
        let id = device.id.as_str();
        match slots.get(&(tale.invite.clone(), id.to_owned())) {
            Some(keys) if keys.len() == 1 => held(audit, id, &keys[0]),
            keys => audit.breach(format!("{id}: its use of the invite is at {keys:?}")),
        }
        for set in &sets {
            held(audit, id, &items::wireguard_key(set.tunnel.as_bytes()));
            held(audit, id, &items::wireguard_key(set.exit.as_bytes()));
        }
        roster(audit, &device);
        let revoked = u64::from(device.state == DeviceState::Revoked);
        let shard = (device.cohort.clone(), Shard::of(&device.id));
        *shards.entry(shard).or_default() += u64::try_from(sets.len()).expect("a count") + revoked;
        events(audit, ledger, &device, &sets);
    }
    for ((cohort, shard), count) in shards {
        let key = items::roster_version(&cohort, shard);
        if let Some((found, item)) = audit.claim::<ShardVersion>("a shard", &key) {
            let counts = (found.version, item.version);
            audit.equal(
                &format!("changes of {cohort} {shard}"),
                &counts,
                &(count, count),
            );
        }
    }
}

/// The uses of all invites, by who took them.
fn slots(audit: &Audit<'_>, ledger: &Ledger) -> Slots {
    let mut slots = Slots::new();
    for invite in ledger.admins.invites.keys() {
        for item in audit.books.partition(&items::slots(invite)) {
            let Ok(taken) = item.read::<Taken>() else {
                continue;
            };
            let keys = slots.entry((invite.clone(), taken.by)).or_default();
            keys.push(item.key.clone());
        }
    }
    slots
}

/// The record, which must say what the device was told last and what was done to it.
fn record(audit: &mut Audit<'_>, ledger: &Ledger, tale: &DeviceTale) -> Option<Device> {
    let id = tale.id.as_str();
    let (found, item) = audit.claim::<Device>(id, &items::device(&tale.id))?;
    changes(audit, id, item.version);
    let sets = tale.taken(&found);
    let set = sets.last().expect("it was let in");
    let told = tale.told.as_ref();
    let revoked_at = ledger.admins.revoked.get(&tale.id).copied();
    let before = sets.len().checked_sub(2).map(|at| sets[at]);
    // What nobody was told can only be as it is found.
    let is_told = told.is_some_and(|told| told.identity_key == found.identity_key);
    let until = told
        .filter(|_| is_told)
        .and_then(|told| told.previous_until)
        .or(found.previous.map(|previous| previous.until));
    let expected = Device {
        id: tale.id.clone(),
        state: match revoked_at {
            Some(_) => DeviceState::Revoked,
            None => DeviceState::Active,
        },
        identity_key: set.identity,
        tunnel_key: set.tunnel,
        exit_key: set.exit,
        lease: found.lease,
        cohort: "default".parse().expect("a cohort"),
        tags: std::collections::BTreeSet::new(),
        invite: tale.invite.clone(),
        enrolled_at: told.map_or(found.enrolled_at, |told| told.enrolled_at),
        previous: before.zip(until).map(|(set, until)| PreviousDeviceKeys {
            identity_key: set.identity,
            tunnel_key: set.tunnel,
            exit_key: set.exit,
            until,
        }),
        rotation_wanted_at: found.rotation_wanted_at.filter(|_| revoked_at.is_none()),
        revoked_at,
    };
    audit.equal("a device's record", &found, &expected);
    Some(found)
}

/// The address, which a revoked device keeps until it has rested.
fn lease(audit: &mut Audit<'_>, network: &Network, tale: &DeviceTale, device: &Device) {
    let id = device.id.as_str();
    let key = items::lease(device.lease);
    if let Some((taken, item)) = audit.claim::<Taken>(id, &key) {
        audit.equal("who holds the lease", &taken.by.as_str(), &id);
        let rest = SignedDuration::from_secs(i64::from(network.timing.lease_rest));
        let until = device.revoked_at.map(|at| at + rest);
        audit.equal(&format!("{id}: the lease's end"), &item.expires_at, &until);
    }
    if let Some(told) = &tale.told {
        let addresses = network.pools.addresses(&device.id, device.lease);
        audit.equal(&format!("{id}: addresses"), &addresses, &told.addresses);
    }
}

/// Its entry in the roster, with the keys of its record. A revoked one has none: what is there
/// belongs to nobody.
fn roster(audit: &mut Audit<'_>, device: &Device) {
    if device.state == DeviceState::Revoked {
        return;
    }
    let key = items::roster_entry(&device.cohort, &device.id);
    if let Some((found, _)) = audit.claim::<Entry>(device.id.as_str(), &key) {
        let expected = Entry {
            device: device.id.clone(),
            tunnel_key: device.tunnel_key,
            exit_key: device.exit_key,
            lease: device.lease,
            tags: device.tags.clone(),
            previous: device.previous.map(|previous| PreviousKeys {
                tunnel_key: previous.tunnel_key,
                exit_key: previous.exit_key,
                until: previous.until,
            }),
        };
        audit.equal("an entry of the roster", &found, &expected);
    }
}

/// One event for each change.
fn events(audit: &mut Audit<'_>, ledger: &Ledger, device: &Device, sets: &[KeySet]) {
    let id = device.id.as_str();
    let itself = Actor::Device(device.id.clone());
    audit.one(id, "device.enrolled", |event| {
        event.actor == itself && event.at == device.enrolled_at
    });
    for set in &sets[1..] {
        let detail = format!("key {}", id::key_hash(&set.identity));
        audit.one(id, "device.rotated", |event| {
            event.actor == itself && event.detail == detail
        });
    }
    if let Some(at) = device.revoked_at {
        audit.one(id, "device.revoked", |event| {
            matches!(event.actor, Actor::Admin(_)) && event.at == at
        });
    }
    let since = device.rotation_wanted_at;
    let open = since.is_some() || device.revoked_at.is_some();
    let most = sets.len() - 1 + usize::from(open);
    let wanted = (id, "device.rotation-wanted");
    wants(audit, ledger, wanted, since, most);
}
