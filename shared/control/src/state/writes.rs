//! What a record is in a store: the items that belong together, as they are written in one commit.

use std::collections::BTreeMap;

use api::policy::PolicyView;
use jiff::Timestamp;
use model::{AuditEvent, CohortName, DeviceState, Invite, Shard};
use store::{Expect, Key, Write};

use super::record::{
    AdminRecord, DeviceRecord, FleetRecord, GatewayRecord, LeaseRecord, NetworkRecord, numbered,
};
use super::{Drawer, Row, Spool, SpoolError, parsed};
use crate::items::{self, Body, Heartbeat, Taken};
use crate::publish::{Floor, Reserved};
use crate::roster::{self, ShardVersion};

/// The most items of WireGuard keys that are written together.
const MOST_KEYS: usize = 64;

/// What is written together, in this order; the last part has the record itself.
pub type Parts = Vec<Vec<Write>>;

fn put<T: Body>(key: Key, body: &T) -> Write {
    items::put(key, Expect::Absent, body)
}

/// The settings, and the floors of publishing.
pub fn network(record: &NetworkRecord) -> Parts {
    let seen = record.seen;
    let mut writes = vec![put(items::import_network(), &record.settings())];
    if seen.catalog > 0 {
        let reserved = Reserved {
            version: seen.catalog,
        };
        writes.push(put(items::reserved(), &reserved));
    }
    let floor = Floor {
        root_version: seen.root,
        targets_version: seen.targets,
        epoch: seen.epoch,
    };
    if floor != Floor::default() {
        writes.push(put(items::floor(), &floor));
    }
    vec![writes]
}

/// What becomes of a row; `last` is the last key of its drawer, where that is what is in force.
pub fn of(
    row: &Row,
    last: Option<&str>,
    spool: &dyn Spool,
    now: Timestamp,
) -> Result<Parts, SpoolError> {
    let is_last = last == Some(row.key.as_str());
    Ok(match row.drawer {
        Drawer::Invites => {
            let invite: Invite = parsed(row)?;
            vec![vec![put(items::invite(&invite.id), &invite)]]
        }
        Drawer::Policies => {
            let view: PolicyView = parsed(row)?;
            let mut writes = vec![put(items::policy_version(view.version), &view)];
            writes.extend(is_last.then(|| put(items::policy(), &view)));
            vec![writes]
        }
        Drawer::Fleet => {
            let FleetRecord { view, accepted } = parsed(row)?;
            let mut writes = vec![put(items::fleet_version(view.version), &view)];
            writes.extend(is_last.then(|| put(items::fleet(), &view)));
            writes.extend(accepted.then(|| put(items::fleet_accepted(), &view)));
            vec![writes]
        }
        Drawer::Admins => {
            let AdminRecord { admin, setup_codes } = parsed(row)?;
            let taken = Taken::by(&admin.id);
            let codes = setup_codes.iter();
            let mut writes: Vec<Write> =
                codes.map(|code| put(items::setup(code), &taken)).collect();
            writes.push(put(items::admin(&admin.id), &admin));
            vec![writes]
        }
        Drawer::Gateways => gateway(&parsed(row)?),
        Drawer::Devices => {
            let record: DeviceRecord = parsed(row)?;
            let lease = spool.get(Drawer::Leases, &numbered(record.device.lease.0.into()))?;
            let lease: Option<LeaseRecord> = lease.as_ref().map(parsed).transpose()?;
            device(&record, lease.as_ref(), now)
        }
        Drawer::Audit => {
            let event: AuditEvent = parsed(row)?;
            vec![vec![put(crate::audit::key(&event), &event)]]
        }
        Drawer::Leases | Drawer::Parts | Drawer::Claims => Vec::new(),
    })
}

/// Items of WireGuard keys, so many together.
fn keys(keys: &[[u8; 32]], taken: &Taken) -> Parts {
    let chunks = keys.chunks(MOST_KEYS);
    chunks
        .map(|keys| {
            let keys = keys.iter();
            keys.map(|key| put(items::wireguard_key(key), taken))
                .collect()
        })
        .collect()
}

fn gateway(record: &GatewayRecord) -> Parts {
    let gateway = &record.gateway;
    let mut parts = keys(&record.all_keys(), &Taken::by(&gateway.id));
    let mut writes = parts.pop().unwrap_or_default();
    writes.push(put(items::gateway(&gateway.id), gateway));
    if let Some(keys) = &gateway.keys {
        // Its next heartbeat expects another version, is told this one, and goes on from it.
        let quiet = Heartbeat {
            gateway: gateway.id.clone(),
            seen_at: None,
            load: 0,
        };
        writes.push(put(items::heartbeat(&gateway.id, &keys.identity), &quiet));
    }
    parts.push(writes);
    parts
}

fn device(record: &DeviceRecord, lease: Option<&LeaseRecord>, now: Timestamp) -> Parts {
    let device = &record.device;
    let taken = Taken::by(&device.id);
    let mut parts = keys(&record.all_keys(), &taken);
    let mut writes = parts.pop().unwrap_or_default();
    writes.push(put(items::device(&device.id), device));
    if let Some(slot) = record.slot {
        writes.push(put(items::slot(&device.invite, slot), &taken));
    }
    let lease = lease.filter(|lease| lease.device == device.id);
    // A lease that has ended is nowhere to be told from one that is not there.
    let lease = lease.filter(|lease| lease.until.is_none_or(|until| now < until));
    if let Some(lease) = lease {
        let key = items::lease(lease.index);
        writes.push(items::put_until(key, Expect::Absent, &taken, lease.until));
    }
    if device.state == DeviceState::Active {
        writes.push(roster::entry(device, now));
    }
    parts.push(writes);
    parts
}

/// The versions of all shards, in order.
pub fn rosters(
    rosters: &BTreeMap<CohortName, BTreeMap<Shard, u64>>,
) -> impl Iterator<Item = Write> {
    rosters.iter().flat_map(|(cohort, shards)| {
        shards.iter().map(|(shard, version)| {
            let body = ShardVersion { version: *version };
            put(items::roster_version(cohort, *shard), &body)
        })
    })
}
