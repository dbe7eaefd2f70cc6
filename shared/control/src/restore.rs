//! A backup comes back: what of an older state may stand as it was, and what may not.
//!
//! What happened between the backup and its return is forgotten here, and not elsewhere: gateways remember
//! the rosters that they pulled, mirrors serve newer catalogs, devices hold newer keys, providers bill for
//! newer nodes. So some items come back otherwise than they were ([`Revival`]; docs/adr/0112 goes through all
//! kinds):
//!
//! - **Numbers are not given out twice.** Of what is counted and remembered elsewhere, the count goes on past
//!   all that can have been given out meanwhile ([`Revival::gap`]).
//! - **What could be used once is used up.** Nobody knows whether it was, so invites are withdrawn and
//!   bootstrap tokens end. Sessions and challenges are gone.
//! - **What was allowed must be allowed again**: providers are back in `plan`, no fleet is accepted.
//! - **Keys that the revoked may hold end soon**: the next epoch begins with the first publication, with a
//!   secret that nobody was given.
//!
//! Everything is decided by the item, by when the backup was made and by when it comes back, so that a restore
//! that was interrupted makes the same of it ([`Marker`]).

mod guard;

pub use guard::Guarded;

use jiff::{SignedDuration, Timestamp};
use model::{Actor, Admin, Device, DeviceState, Gateway, GatewayId, Invite};
use rules::epochs::Epochs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{CommitError, Expect, Item, Key, Store, StoreError};

use crate::epochs::Revocations;
use crate::items::Read as _;
use crate::items::{self, Body, Heartbeat};
use crate::publish::Reserved;
use crate::{Context, Error, audit};
use api::fleet::FleetView;
use api::policy::PolicyView;

/// The name under which a restore stands in the audit.
const ACTOR: &str = "restore";

/// Says that a backup is being, or was, restored here. It is the first item to be put and the last to be
/// changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Marker {
    /// SHA-256 of the backup's contents, lowercase hexadecimal.
    pub backup: String,
    /// When the backup was made.
    pub taken_at: Timestamp,
    /// When its restore began: what is made of each item depends on it.
    pub restored_at: Timestamp,
    /// Whether everything is put as it was: nothing has happened since the backup.
    pub as_it_was: bool,
    /// When it was done; until then nothing may work on this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
}

/// The last restore into this store, and the version of its marker.
pub async fn marker(
    store: &dyn Store,
    now: Timestamp,
) -> Result<Option<(Marker, u64)>, StoreError> {
    let found = store.get_many(now, &[items::restored()]).await?;
    let Some(item) = &found[0] else {
        return Ok(None);
    };
    Ok(Some((item.read()?, item.version)))
}

/// Begins a restore: puts its marker, where none is.
pub async fn begin(store: &dyn Store, now: Timestamp, marker: &Marker) -> Result<(), CommitError> {
    let write = items::put(items::restored(), Expect::Absent, marker);
    store.commit(now, vec![write]).await
}

/// Ends a restore of so many items: from now on the state may be worked on.
pub async fn end(context: &Context<'_>, marker: &Marker, items: u64) -> Result<(), Error> {
    let now = context.moment.now;
    let done = Marker {
        done_at: Some(now),
        ..marker.clone()
    };
    let actor = Actor::Schedule(ACTOR.to_owned());
    let how = if marker.as_it_was {
        ", as they were"
    } else {
        ""
    };
    let detail = format!("{items} items of {}{how}", marker.taken_at);
    let writes = vec![
        items::put(items::restored(), Expect::Version(1), &done),
        audit::write(context, 0, &actor, "state.restored", &marker.backup, detail),
    ];
    Ok(context.store.commit(now, writes).await?)
}

/// What comes back otherwise, for people.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Told {
    /// The admins, with their roles: some may have been removed since the backup.
    pub admins: Vec<String>,
    /// How many devices are active: some may have been revoked since.
    pub active_devices: u64,
    /// Notes or ids of the invites that were withdrawn.
    pub invites: Vec<String>,
    /// Gateways whose bootstrap token ended before they had registered.
    pub unregistered: Vec<GatewayId>,
    /// Providers that are back in mode `plan`, and the mode that they were in.
    pub providers: Vec<String>,
    /// Whether there was a fleet that the schedule kept to.
    pub had_accepted_fleet: bool,
    /// Nodes that were rented.
    pub nodes: u64,
    /// The version of the policy from now on.
    pub policy_version: u64,
    /// Items that came back otherwise or not at all.
    pub changed: u64,
}

/// What becomes of the items of one backup.
#[derive(Debug)]
pub struct Revival {
    at: Timestamp,
    gap: u64,
    as_it_was: bool,
    has: Has,
    told: Told,
}

/// Of what there is one and must be one afterwards.
#[derive(Default, Debug)]
struct Has {
    reserved: bool,
    policy: bool,
    revocations: bool,
}

impl Revival {
    /// For the backup of `marker`. Fails, with what to do, where it is of a time that has not come yet.
    pub fn new(marker: &Marker) -> Result<Self, String> {
        let gone = marker.restored_at.duration_since(marker.taken_at);
        if gone < SignedDuration::ZERO {
            return Err(format!(
                "the backup was made at {}, and it is {} now: set the clock right",
                marker.taken_at, marker.restored_at
            ));
        }
        Ok(Self {
            at: marker.restored_at,
            gap: gone.as_secs().unsigned_abs() * 2 + 2,
            as_it_was: marker.as_it_was,
            has: Has::default(),
            told: Told::default(),
        })
    }

    /// By how much counts go on: twice the seconds since the backup, and two. What is counted is not given out
    /// more often than once a second, so that a second restore of the same backup goes past all that came after
    /// the first.
    pub fn gap(&self) -> u64 {
        self.gap
    }

    /// What is told to the operator of all items so far.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// What is put for `item`: most often just that.
    pub fn take(&mut self, item: Item) -> Result<Vec<Item>, StoreError> {
        // The marker of a restore before belongs to that.
        if item.key == items::restored() {
            return Ok(Vec::new());
        }
        if self.as_it_was {
            return Ok(vec![item]);
        }
        let before = (item.key.clone(), item.version, item.body.clone());
        let put = self.revive(item)?;
        let is_same = matches!(put.as_slice(), [one] if (&one.key, one.version, &one.body)
            == (&before.0, before.1, &before.2));
        self.told.changed += u64::from(!is_same);
        Ok(put)
    }

    fn revive(&mut self, item: Item) -> Result<Vec<Item>, StoreError> {
        let (pk, _) = item.key.pk.split_once('#').unwrap_or((&item.key.pk, ""));
        match (pk, item.key.sk.as_str()) {
            ("invite", _) => self.invite(item),
            ("device", _) => self.device(item),
            ("gateway", _) => self.gateway(item),
            ("admin", _) => self.admin(item),
            // Heartbeats are made anew for each gateway, for a recorded one must find another version. The rest
            // is of logins, of work that was under way, and of who listened.
            ("heartbeat" | "challenge" | "session", _)
            | ("catalog", "draft" | "judged")
            | ("fleet", "run") => Ok(Vec::new()),
            ("catalog", "reserved") => self.reserved(Some(item)),
            ("policy", "current") => self.policy(Some(item)),
            ("epoch", "current") => self.epochs(item),
            ("epoch", "revocations") => self.revocations(Some(item)),
            ("fleet", "current") => self.fleet(item),
            ("fleet", "accepted") => {
                self.told.had_accepted_fleet = true;
                Ok(Vec::new())
            }
            ("provider", name) => {
                let mode = item.body.get("mode").and_then(Value::as_str);
                let mode = mode.unwrap_or("plan");
                self.told.providers.push(format!("{name} (was {mode})"));
                Ok(Vec::new())
            }
            ("node", _) => {
                self.told.nodes += 1;
                Ok(vec![item])
            }
            _ => Ok(vec![item]),
        }
    }

    /// What must be there although the backup had none of it: after the last item.
    pub fn finish(&mut self) -> Result<Vec<Item>, StoreError> {
        let mut put = Vec::new();
        if self.as_it_was {
            return Ok(put);
        }
        if !self.has.reserved {
            put.extend(self.reserved(None)?);
        }
        if !self.has.policy {
            put.extend(self.policy(None)?);
        }
        if !self.has.revocations {
            put.extend(self.revocations(None)?);
        }
        self.told.changed += put.len() as u64;
        Ok(put)
    }

    fn invite(&mut self, item: Item) -> Result<Vec<Item>, StoreError> {
        let mut invite: Invite = item.read()?;
        if invite.withdrawn_at.is_some() || invite.expires_at <= self.at {
            return Ok(vec![item]);
        }
        invite.withdrawn_at = Some(self.at);
        let name = if invite.note.is_empty() {
            invite.id.to_string()
        } else {
            format!("{} ({})", invite.id, invite.note)
        };
        self.told.invites.push(name);
        Ok(vec![changed(item, &invite)])
    }

    fn device(&mut self, item: Item) -> Result<Vec<Item>, StoreError> {
        let device: Device = item.read()?;
        self.told.active_devices += u64::from(device.state == DeviceState::Active);
        Ok(vec![item])
    }

    fn admin(&mut self, item: Item) -> Result<Vec<Item>, StoreError> {
        let admin: Admin = item.read()?;
        if admin.removed_at.is_none() {
            let text = format!("{} {} ({})", admin.id, admin.name, admin.role);
            self.told.admins.push(text);
        }
        Ok(vec![item])
    }

    /// Its bootstrap token ends, and its heartbeats begin anew: at a version that none had before.
    fn gateway(&mut self, item: Item) -> Result<Vec<Item>, StoreError> {
        let mut gateway: Gateway = item.read()?;
        let Some(keys) = gateway.keys else {
            if gateway.bootstrap.take().is_none() {
                return Ok(vec![item]);
            }
            self.told.unregistered.push(gateway.id.clone());
            return Ok(vec![changed(item, &gateway)]);
        };
        let beat = Heartbeat {
            gateway: gateway.id.clone(),
            seen_at: None,
            load: 0,
        };
        let version = self.at.as_millisecond().unsigned_abs().max(1);
        let beat = new(
            items::heartbeat(&gateway.id, &keys.identity),
            version,
            &beat,
        );
        Ok(vec![item, beat])
    }

    fn reserved(&mut self, item: Option<Item>) -> Result<Vec<Item>, StoreError> {
        self.has.reserved = true;
        let last: Option<Reserved> = items::read(item.as_ref())?;
        let reserved = Reserved {
            version: last.map_or(0, |last| last.version) + self.gap,
        };
        Ok(vec![again(item, items::reserved(), &reserved)])
    }

    /// Gateways hold the roster under the policy's version: under another one they pull all of it.
    fn policy(&mut self, item: Option<Item>) -> Result<Vec<Item>, StoreError> {
        self.has.policy = true;
        let last = crate::policy::in_force(item.as_ref())?;
        let view = PolicyView {
            version: last.version + self.gap,
            ..last
        };
        self.told.policy_version = view.version;
        let record = new(items::policy_version(view.version), 1, &view);
        Ok(vec![again(item, items::policy(), &view), record])
    }

    fn fleet(&mut self, item: Item) -> Result<Vec<Item>, StoreError> {
        let last: FleetView = item.read()?;
        let view = FleetView {
            version: last.version + self.gap,
            ..last
        };
        let record = new(items::fleet_version(view.version), 1, &view);
        Ok(vec![changed(item, &view), record])
    }

    /// The next epoch is due, and of another number. That its secret is replaced before it begins, the
    /// count of revocations sees to.
    fn epochs(&mut self, item: Item) -> Result<Vec<Item>, StoreError> {
        let mut epochs: Epochs = item.read()?;
        epochs.past.retain(|epoch| self.at < epoch.until);
        epochs.next.number += self.gap;
        epochs.next.begins_at = self.at;
        Ok(vec![changed(item, &epochs)])
    }

    fn revocations(&mut self, item: Option<Item>) -> Result<Vec<Item>, StoreError> {
        self.has.revocations = true;
        let last: Option<Revocations> = items::read(item.as_ref())?;
        let revocations = Revocations {
            count: last.unwrap_or_default().count + self.gap,
        };
        Ok(vec![again(item, items::revocations(), &revocations)])
    }
}

/// `item` with another body.
fn changed(item: Item, body: &impl Body) -> Item {
    let expires_at = item.expires_at;
    Item {
        expires_at,
        ..new(item.key, item.version + 1, body)
    }
}

/// `item` with another body, or a new one at `key`.
fn again(item: Option<Item>, key: Key, body: &impl Body) -> Item {
    match item {
        Some(item) => changed(item, body),
        None => new(key, 1, body),
    }
}

fn new(key: Key, version: u64, body: &impl Body) -> Item {
    Item {
        key,
        version,
        body: items::body(body),
        expires_at: None,
    }
}
