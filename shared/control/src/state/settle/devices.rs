//! Devices and their leases: what belongs to them is held against all others, and found where documents of
//! old leave it out.

use jiff::SignedDuration;
use model::{DeviceState, Invite, Shard};
use rules::probing;

use super::super::record::{self, DeviceRecord, LeaseRecord, numbered};
use super::super::{Drawer, Level, Row, SpoolError, StateError, line, parsed};
use super::{Judged, Settling, Verdict, shown};

impl Settling<'_> {
    pub(super) fn devices(&mut self) -> Result<(), StateError> {
        self.each(Drawer::Devices, |this, row| {
            let record: DeviceRecord = parsed(row)?;
            let judged = this.device(&record)?;
            if judged.is_err() {
                this.roster_changed = true;
            }
            Ok(judged)
        })
    }

    fn device(&mut self, record: &DeviceRecord) -> Result<Judged, SpoolError> {
        let device = &record.device;
        let id = device.id.as_str();
        if let Err(why) = record::check_device(record, &self.network.pools) {
            return Ok(Err(why));
        }
        if let Some(why) = self.rules.unknown([&device.cohort].into_iter()) {
            return Ok(Err(why));
        }
        let Some(invite) = self.spool.get(Drawer::Invites, device.invite.as_str())? else {
            return Ok(Err(format!(
                "its invite {} is not taken or not there",
                device.invite
            )));
        };
        let invite: Invite = parsed(&invite)?;
        if let Some(slot) = record.slot {
            if slot >= invite.uses {
                return Ok(Err(format!(
                    "'slot' is {slot}, and its invite has {} uses, from 0",
                    invite.uses
                )));
            }
            if let Some(other) = self.holder(&slot_claim(&invite, slot))? {
                return Ok(Err(format!("{other} has the use {slot} of its invite")));
            }
        }
        let keys = record.all_keys();
        if let Some(why) = self.key_held(&keys)? {
            return Ok(Err(why));
        }
        let lease = self.lease_at(device.lease.0)?;
        let is_active = device.state == DeviceState::Active;
        match &lease {
            Some(lease) if lease.device != device.id && is_active => {
                return Ok(Err(format!(
                    "{} has its address, the index {}",
                    lease.device, device.lease.0
                )));
            }
            Some(lease) if lease.device == device.id && is_active && lease.until.is_some() => {
                return Ok(Err(
                    "its lease ends, as only a revoked device's does".to_owned()
                ));
            }
            _ => {}
        }

        self.claim_keys(&keys, id)?;
        match record.slot {
            Some(slot) => self.claim(slot_claim(&invite, slot), id)?,
            None => self.incomplete = true,
        }
        self.incomplete |= is_active && lease.is_none();
        let shards = self.shards.entry(device.cohort.clone()).or_default();
        *shards.entry(Shard::of(&device.id)).or_default() += 1;
        Ok(Ok(Verdict::Taken))
    }

    fn lease_at(&self, index: u32) -> Result<Option<LeaseRecord>, SpoolError> {
        let row = self.spool.get(Drawer::Leases, &numbered(index.into()))?;
        row.as_ref().map(parsed).transpose()
    }

    /// Finds what documents of old leave out, once all is claimed that they do say.
    pub(super) fn complete(&mut self) -> Result<(), StateError> {
        if !self.incomplete {
            return Ok(());
        }
        self.each(Drawer::Devices, |this, row| {
            let record: DeviceRecord = parsed(row)?;
            let judged = this.completed(row, record)?;
            this.roster_changed |= judged.is_err();
            Ok(judged)
        })
    }

    fn completed(&mut self, row: &Row, mut record: DeviceRecord) -> Result<Judged, SpoolError> {
        let device = &record.device;
        let id = device.id.to_string();
        if device.state == DeviceState::Active {
            match self.lease_at(device.lease.0)? {
                None => {
                    let lease = LeaseRecord {
                        index: device.lease,
                        device: device.id.clone(),
                        until: None,
                    };
                    self.spool.replace(Row {
                        drawer: Drawer::Leases,
                        key: numbered(lease.index.0.into()),
                        line: 0,
                        body: line(&lease),
                    })?;
                    let reason = "no lease says so: its address is leased to it";
                    self.desk
                        .about(Level::Note, (row.drawer, &id, row.line), reason);
                }
                Some(lease) if lease.device != device.id => {
                    return Ok(Err(format!(
                        "{} has its address, the index {}",
                        lease.device, device.lease.0
                    )));
                }
                Some(_) => {}
            }
        }
        if record.slot.is_some() {
            return Ok(Ok(Verdict::Taken));
        }
        let Some(invite) = self.spool.get(Drawer::Invites, device.invite.as_str())? else {
            return Ok(Err(format!("its invite {} is not there", device.invite)));
        };
        let invite: Invite = parsed(&invite)?;
        for slot in probing::sequence(&id, invite.id.as_str(), invite.uses) {
            if self.holder(&slot_claim(&invite, slot))?.is_none() {
                self.claim(slot_claim(&invite, slot), &id)?;
                record.slot = Some(slot);
                return Ok(Ok(Verdict::As(line(&record))));
            }
        }
        Ok(Err(format!(
            "all {} uses of its invite are taken",
            invite.uses
        )))
    }

    pub(super) fn leases(&mut self) -> Result<(), StateError> {
        let rest = SignedDuration::from_secs(i64::from(self.network.timing.lease_rest));
        self.each(Drawer::Leases, |this, row| {
            let mut lease: LeaseRecord = parsed(row)?;
            if let Err(why) = record::check_lease(&lease, &this.network.pools) {
                return Ok(Err(why));
            }
            let Some(device) = this.spool.get(Drawer::Devices, lease.device.as_str())? else {
                return Ok(Err(format!(
                    "the device {} is not taken or not there",
                    lease.device
                )));
            };
            let device = parsed::<DeviceRecord>(&device)?.device;
            if device.lease != lease.index {
                return Ok(Err(format!(
                    "the device {} has another address, the index {}",
                    device.id, device.lease.0
                )));
            }
            let (Some(revoked_at), None) = (device.revoked_at, lease.until) else {
                return Ok(Ok(Verdict::Taken));
            };
            lease.until = revoked_at.checked_add(rest).ok();
            let reason = "its device is revoked: it ends when the address has rested";
            let name = shown(row.drawer, &row.key);
            this.desk
                .about(Level::Note, (row.drawer, &name, row.line), reason);
            Ok(Ok(Verdict::As(line(&lease))))
        })
    }
}

fn slot_claim(invite: &Invite, slot: u32) -> String {
    format!("slot {} {slot:05}", invite.id)
}
