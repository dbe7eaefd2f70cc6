//! From items of a store to a spool: what each kind of item means to a document.
//!
//! Every kind of item is named here. One that is not known stops an export: what a later program keeps must
//! not be lost in silence.

use std::collections::BTreeMap;

use api::fleet::FleetView;
use api::policy::PolicyView;
use model::{
    Admin, AuditEvent, CohortName, Device, DeviceId, Gateway, Invite, LeaseIndex, Network, Shard,
};
use rules::epochs::Epochs;
use store::{Item, StoreError};

use super::record::{FleetRecord, LeaseRecord, Seen, numbered};
use super::report::Desk;
use super::strict::unknown;
use super::{Drawer, Level, Place, Row, Spool, StateError, line};
use crate::items::Read as _;
use crate::items::{self, Body, Taken, forms};
use crate::publish::{Floor, Head, Reserved};
use crate::roster::ShardVersion;

/// What is no record of a section.
#[derive(Default)]
pub struct Gathered {
    /// The settings that an import has left.
    pub network: Option<Network>,
    /// The highest versions that are known.
    pub seen: Seen,
    /// The versions of the rosters' shards.
    pub rosters: BTreeMap<CohortName, BTreeMap<Shard, u64>>,
    /// How many items of each kind stay behind.
    pub left: BTreeMap<&'static str, u64>,
    /// The versions of the policy and of the fleet in force.
    pub current: BTreeMap<Drawer, u64>,
}

/// Puts `item` into `spool` as the record, or the part of one, that it is.
pub fn gather(
    item: &Item,
    gathered: &mut Gathered,
    spool: &mut dyn Spool,
    desk: &mut Desk<'_>,
) -> Result<(), StateError> {
    let mut on = On {
        item,
        gathered,
        spool,
        desk,
    };
    let (pk, sk) = (item.key.pk.as_str(), item.key.sk.as_str());
    let (kind, of) = pk.split_once('#').unwrap_or((pk, ""));
    match kind {
        "device" => on.record::<Device>(Drawer::Devices, |device| device.id.to_string()),
        "gateway" => on.record::<Gateway>(Drawer::Gateways, |gateway| gateway.id.to_string()),
        "invite" => on.record::<Invite>(Drawer::Invites, |invite| invite.id.to_string()),
        "admin" => on.record::<Admin>(Drawer::Admins, |admin| admin.id.to_string()),
        "audit" => on.record::<AuditEvent>(Drawer::Audit, |event| event.id.to_string()),
        "policy" => on.policy(),
        "fleet" if *sk == *items::fleet_run().sk => on.stays("runs"),
        "fleet" => on.fleet(),
        "lease" => on.lease(of),
        "key" => on.part(&format!("key {of}")),
        "slot" => on.part(&format!("slot {of} {sk}")),
        "setup" => on.part(&format!("setup {of}")),
        "catalog" => on.catalog(sk),
        "epoch" => on.epoch(sk),
        // Made again from the devices.
        "roster" => Ok(()),
        "roster-versions" => on.shard(of),
        "import" => on.import(sk),
        "restore" => on.stays("marks of restores"),
        "migration" => on.stays("marks of migrations"),
        "heartbeat" => on.stays("heartbeats"),
        "challenge" => on.stays("challenges"),
        "session" => on.stays("sessions"),
        "node" => on.stays("nodes"),
        "pool" => on.stays("pools"),
        "provider" => on.stays("providers"),
        "provider-rest" => on.stays("providers' rests"),
        _ => Err(on.corrupt("this program does not know this kind of item")),
    }
}

struct On<'a, 'd> {
    item: &'a Item,
    gathered: &'a mut Gathered,
    spool: &'a mut dyn Spool,
    desk: &'a mut Desk<'d>,
}

impl On<'_, '_> {
    fn corrupt(&self, why: &str) -> StateError {
        let key = &self.item.key;
        StoreError::Corrupt(format!("{}/{}: {why}", key.pk, key.sk)).into()
    }

    /// It has no place in a document.
    #[allow(
        clippy::unnecessary_wraps,
        reason = "the form of what is done with each kind"
    )]
    fn stays(&mut self, kind: &'static str) -> Result<(), StateError> {
        *self.gathered.left.entry(kind).or_default() += 1;
        Ok(())
    }

    fn read<T: Body>(&self) -> Result<T, StateError> {
        Ok(self.item.read()?)
    }

    /// A record whose body is the item's.
    fn record<T: Body>(
        &mut self,
        drawer: Drawer,
        key: impl Fn(&T) -> String,
    ) -> Result<(), StateError> {
        let body: T = self.read()?;
        let id = key(&body);
        let again =
            serde_json::to_value(&body).map_err(|error| self.corrupt(&error.to_string()))?;
        let there = forms::newest(T::KIND, self.item)?;
        for name in unknown(&there.into(), &again) {
            let reason = format!("the store's item has '{name}', which the document has not");
            self.desk.about(Level::Rejected, (drawer, &id, 0), reason);
        }
        self.put(drawer, id, line(&body))
    }

    fn put(&mut self, drawer: Drawer, key: String, body: String) -> Result<(), StateError> {
        let row = Row {
            drawer,
            key,
            line: 0,
            body,
        };
        let there = self.spool.put(row.clone())?;
        if there.is_some_and(|there| there != row) {
            return Err(self.corrupt("two items say different things of one record"));
        }
        Ok(())
    }

    /// Something that its holder's record will have.
    fn part(&mut self, what: &str) -> Result<(), StateError> {
        let taken: Taken = self.read()?;
        self.put(Drawer::Parts, format!("{} {what}", taken.by), String::new())
    }

    fn lease(&mut self, index: &str) -> Result<(), StateError> {
        let index = u32::from_str_radix(index, 16)
            .map(LeaseIndex)
            .map_err(|error| self.corrupt(&error.to_string()))?;
        let taken: Taken = self.read()?;
        let device: DeviceId = taken
            .by
            .parse()
            .map_err(|error: model::Invalid| self.corrupt(&error.to_string()))?;
        let lease = LeaseRecord {
            index,
            device,
            until: self.item.expires_at,
        };
        self.put(Drawer::Leases, numbered(index.0.into()), line(&lease))
    }

    fn policy(&mut self) -> Result<(), StateError> {
        let view: PolicyView = self.read()?;
        self.in_force(
            Drawer::Policies,
            view.version,
            self.item.key == items::policy(),
        );
        self.put(Drawer::Policies, numbered(view.version), line(&view))
    }

    fn fleet(&mut self) -> Result<(), StateError> {
        let view: FleetView = self.read()?;
        let version = view.version;
        if self.item.key == items::fleet_accepted() {
            // Its own item is somewhere else in the snapshot: joined when the document is written.
            let key = format!("fleet {}", numbered(version));
            return self.put(Drawer::Parts, key, line(&view));
        }
        self.in_force(Drawer::Fleet, version, self.item.key == items::fleet());
        let record = FleetRecord {
            view,
            accepted: false,
        };
        self.put(Drawer::Fleet, numbered(version), line(&record))
    }

    fn in_force(&mut self, drawer: Drawer, version: u64, is_current: bool) {
        if is_current {
            self.gathered.current.insert(drawer, version);
        }
    }

    fn catalog(&mut self, sk: &str) -> Result<(), StateError> {
        match sk {
            "reserved" => {
                let reserved: Reserved = self.read()?;
                let seen = &mut self.gathered.seen;
                seen.catalog = reserved.version.max(seen.catalog);
            }
            "head" => {
                let head: Head = self.read()?;
                let seen = &mut self.gathered.seen;
                seen.catalog = head.version.max(seen.catalog);
                seen.root = head.root_version.max(seen.root);
                seen.targets = head.targets_version.max(seen.targets);
            }
            "floor" => {
                let floor: Floor = self.read()?;
                let seen = &mut self.gathered.seen;
                seen.root = floor.root_version.max(seen.root);
                seen.targets = floor.targets_version.max(seen.targets);
                seen.epoch = floor.epoch.max(seen.epoch);
            }
            "draft" => return self.stays("drafts"),
            "alarm" => return self.stays("alarms"),
            "judged" => return self.stays("marks of listening"),
            sk if sk.starts_with("mirror#") => return self.stays("mirrors' states"),
            _ => return Err(self.corrupt("this program does not know this kind of item")),
        }
        Ok(())
    }

    fn epoch(&mut self, sk: &str) -> Result<(), StateError> {
        match sk {
            "current" => {
                let epochs: Epochs = self.read()?;
                let seen = &mut self.gathered.seen;
                // Devices are given the next one's keys, too.
                seen.epoch = epochs.next.number.max(seen.epoch);
                Ok(())
            }
            "revocations" => self.stays("counts of revocations"),
            _ => Err(self.corrupt("this program does not know this kind of item")),
        }
    }

    fn shard(&mut self, cohort: &str) -> Result<(), StateError> {
        let invalid = |error: model::Invalid| self.corrupt(&error.to_string());
        let cohort: CohortName = cohort.parse().map_err(invalid)?;
        let shard: Shard = self.item.key.sk.parse().map_err(invalid)?;
        let version = self.read::<ShardVersion>()?.version;
        let shards = self.gathered.rosters.entry(cohort).or_default();
        shards.insert(shard, version);
        Ok(())
    }

    fn import(&mut self, sk: &str) -> Result<(), StateError> {
        match sk {
            "cursor" => {
                let cursor: super::Cursor = self.read()?;
                if cursor.done_at.is_none() {
                    let why =
                        "an import into this store is not over: finish it first (run it again)";
                    return Err(StateError::Refused(why.to_owned()));
                }
                self.stays("records of an import")
            }
            "network" => {
                self.gathered.network = Some(self.read()?);
                Ok(())
            }
            _ => Err(self.corrupt("this program does not know this kind of item")),
        }
    }
}

/// What a store has and no record can carry.
pub fn orphan(desk: &mut Desk<'_>, what: &str) {
    let place = Place {
        section: "store",
        id: None,
        line: 0,
    };
    let reason = format!("'{what}' belongs to no record, and is not in the document");
    desk.tell(Level::Rejected, place, reason);
}
