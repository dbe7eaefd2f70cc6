//! The forms of items' bodies: which there were, how each becomes the next, and which one is written.
//!
//! A body says its form in the field [`SCHEMA`]. The number is that of its fixture,
//! `data/fixtures/items/<kind>/<number>.json`; a body without one is of before there were numbers, and counts as
//! the first form. The table below has for each kind of item the number that is written, and what leads from each
//! form to the next ([`lifts`](super::lifts)): reading goes through them, so that use cases see the newest form
//! alone, and the background rewrites what is older ([`crate::migration`]). Nothing reads or writes a body in
//! another way: [`Read::read`], [`put`] and [`put_until`].
//!
//! **A next form**, where functions of two releases work side by side (docs/adr/0118):
//!
//! 1. Change the type; `shared/control/tests/forms.rs` asks for its fixture, and this table for a lift. The number
//!    under `writes` stays: this release reads the new form, and neither writes it nor needs what is new in it.
//! 2. The release after that raises `writes`. What it writes can be read by all that still runs.
//!
//! A program that finds a form of which it does not know answers [`StoreError::Newer`], and changes nothing.

use api::fleet::FleetView;
use api::policy::PolicyView;
use model::node::PoolState;
use model::{Admin, AuditEvent, Device, Gateway, Invite, Network, Node, ProviderPolicy};
use rules::epochs::Epochs;
use rules::listening::Listening;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use store::{Change, Expect, Item, Key, StoreError, Write};

use super::lifts::{self, Lift, grew};
use super::{
    ADMINS, CATALOG, EPOCHS, FLEET, GATEWAYS, HEARTBEATS, Heartbeat, IMPORT, INVITES, NODES,
    POLICY, POOLS, PROVIDERS, RESTS, Taken,
};
use crate::epochs::Revocations;
use crate::fleet::Rest;
use crate::migration::{self, Progress};
use crate::publish::{Alarm, Draft, Floor, Head, MirrorState, Reserved};
use crate::restore::Marker;
use crate::roster::{Entry, ShardVersion};
use crate::sessions::{Challenge, Session};
use crate::state::Cursor;

/// The field of a body that says its form.
pub const SCHEMA: &str = "schema";

/// What an item's body is read as and made of.
pub trait Body: Serialize + DeserializeOwned {
    /// Its kind.
    const KIND: &'static Kind;
}

/// A kind of item: the forms of its bodies.
#[derive(Debug)]
pub struct Kind {
    /// Its name: that of its folder of fixtures.
    pub name: &'static str,
    /// The number of the form that this program writes, from 1.
    pub writes: u32,
    lifts: &'static [Lift],
    place: Where,
    rewrite: fn(&Item) -> Result<Value, StoreError>,
}

/// Where the items of a kind are, as far as it can be said without reading anything.
#[derive(Debug)]
enum Where {
    /// In one partition.
    In(&'static str),
    /// In the partitions of the devices.
    OfDevices,
    /// In partitions that others name: a kind that is there has one form so far, or the background must learn
    /// how to find its items before a second one is written.
    Scattered,
}

impl Kind {
    /// The number of the newest form that this program knows.
    pub fn known(&self) -> u32 {
        u32::try_from(self.lifts.len()).expect("a kind has few forms") + 1
    }

    /// The partitions in which all of its items are; none if that cannot be said.
    pub fn partitions(&self) -> Vec<String> {
        match self.place {
            Where::In(pk) => vec![pk.to_owned()],
            Where::OfDevices => super::DEVICE_PARTITIONS
                .chars()
                .map(super::devices)
                .collect(),
            Where::Scattered => Vec::new(),
        }
    }

    /// The body of `item`, which is of this kind, in the form that this program writes.
    pub fn rewritten(&self, item: &Item) -> Result<Value, StoreError> {
        (self.rewrite)(item)
    }
}

macro_rules! kinds {
    // What has one form needs no type to become it: types weigh, and the background is in every deployment.
    (@rewrite) => { |item| as_it_is(Self::KIND, item) };
    (@rewrite $($lift:expr),+) => { |item| Ok(body(&item.read::<Self>()?)) };
    ($($body:ty: $name:literal $place:expr, writes $writes:literal, [$($lift:expr),*];)*) => {
        $(impl Body for $body {
            const KIND: &'static Kind = &Kind {
                name: $name,
                writes: $writes,
                lifts: &[$($lift),*],
                place: $place,
                rewrite: kinds!(@rewrite $($lift),*),
            };
        })*

        /// Every kind.
        pub const ALL: &[&Kind] = &[$(<$body as Body>::KIND),*];
    };
}

// Each lift leads to the form behind it: the first one from 1 to 2.
kinds! {
    Admin: "admin" Where::In(ADMINS), writes 1, [];
    Alarm: "alarm" Where::In(CATALOG), writes 1, [];
    AuditEvent: "audit" Where::Scattered, writes 1, [];
    Challenge: "challenge" Where::Scattered, writes 1, [];
    Device: "device" Where::OfDevices, writes 2, [grew];
    Draft: "draft" Where::In(CATALOG), writes 1, [];
    Epochs: "epochs" Where::In(EPOCHS), writes 1, [];
    FleetView: "fleet" Where::In(FLEET), writes 1, [];
    Floor: "floor" Where::In(CATALOG), writes 1, [];
    Gateway: "gateway" Where::In(GATEWAYS), writes 2, [lifts::gateway_in_a_pool];
    Head: "head" Where::In(CATALOG), writes 4, [grew, lifts::head_of_pins, grew];
    Heartbeat: "heartbeat" Where::In(HEARTBEATS), writes 1, [];
    Cursor: "import-cursor" Where::In(IMPORT), writes 1, [];
    Invite: "invite" Where::In(INVITES), writes 3, [grew, grew];
    Listening: "judged" Where::In(CATALOG), writes 1, [];
    Progress: "migration" Where::In(migration::PARTITION), writes 1, [];
    MirrorState: "mirror" Where::In(CATALOG), writes 3, [lifts::mirror_on_its_way, grew];
    Network: "network" Where::In(IMPORT), writes 1, [];
    Node: "node" Where::In(NODES), writes 2, [grew];
    PolicyView: "policy" Where::In(POLICY), writes 2, [grew];
    PoolState: "pool" Where::In(POOLS), writes 1, [];
    ProviderPolicy: "provider" Where::In(PROVIDERS), writes 1, [];
    Rest: "provider-rest" Where::In(RESTS), writes 1, [];
    Reserved: "reserved" Where::In(CATALOG), writes 1, [];
    Marker: "restore" Where::In("restore"), writes 1, [];
    Revocations: "revocations" Where::In(EPOCHS), writes 1, [];
    Entry: "roster-entry" Where::Scattered, writes 1, [];
    Session: "session" Where::Scattered, writes 1, [];
    ShardVersion: "shard-version" Where::Scattered, writes 1, [];
    Taken: "taken" Where::Scattered, writes 1, [];
}

/// The kind of the item at `key`; none if this program knows no such item.
pub fn of(key: &Key) -> Option<&'static Kind> {
    let (pk, _) = key.pk.split_once('#').unwrap_or((&key.pk, ""));
    Some(match (pk, key.sk.as_str()) {
        ("invite", _) => Invite::KIND,
        ("slot" | "lease" | "key" | "setup", _) | ("fleet", "run") => Taken::KIND,
        ("device", _) => Device::KIND,
        ("gateway", _) => Gateway::KIND,
        ("heartbeat", _) => Heartbeat::KIND,
        ("admin", _) => Admin::KIND,
        ("challenge", _) => Challenge::KIND,
        ("session", _) => Session::KIND,
        ("catalog", "reserved") => Reserved::KIND,
        ("catalog", "head") => Head::KIND,
        ("catalog", "floor") => Floor::KIND,
        ("catalog", "draft") => Draft::KIND,
        ("catalog", "alarm") => Alarm::KIND,
        ("catalog", "judged") => Listening::KIND,
        ("catalog", sk) if sk.starts_with("mirror#") => MirrorState::KIND,
        ("policy", _) => PolicyView::KIND,
        ("epoch", "current") => Epochs::KIND,
        ("epoch", "revocations") => Revocations::KIND,
        ("fleet", _) => FleetView::KIND,
        ("node", _) => Node::KIND,
        ("pool", _) => PoolState::KIND,
        ("provider", _) => ProviderPolicy::KIND,
        ("provider-rest", _) => Rest::KIND,
        ("roster", _) => Entry::KIND,
        ("roster-versions", _) => ShardVersion::KIND,
        ("restore", _) => Marker::KIND,
        ("import", "cursor") => Cursor::KIND,
        ("import", "network") => Network::KIND,
        ("migration", _) => Progress::KIND,
        ("audit", _) => AuditEvent::KIND,
        _ => return None,
    })
}

/// `body` as it is written.
///
/// # Panics
///
/// If it has no form as a JSON object: a map whose keys are not strings, or a failing `Serialize`.
pub fn body<T: Body>(body: &T) -> Value {
    let mut body = serde_json::to_value(body).expect("items are plain data with string keys");
    let fields = body.as_object_mut().expect("items are objects");
    fields.insert(SCHEMA.to_owned(), T::KIND.writes.into());
    body
}

/// The body of `item`, which has the one form of `kind`, as it is written.
fn as_it_is(kind: &Kind, item: &Item) -> Result<Value, StoreError> {
    let mut body = newest(kind, item)?;
    body.insert(SCHEMA.to_owned(), kind.writes.into());
    Ok(Value::Object(body))
}

/// Puts `body`, where `expect` holds.
///
/// # Panics
///
/// As [`body`] does.
pub fn put<T: Body>(key: Key, expect: Expect, body: &T) -> Write {
    put_until(key, expect, body, None)
}

/// Puts `body` until `expires_at`, where `expect` holds.
///
/// # Panics
///
/// As [`body`] does.
pub fn put_until<T: Body>(
    key: Key,
    expect: Expect,
    body: &T,
    expires_at: Option<jiff::Timestamp>,
) -> Write {
    debug_assert!(
        of(&key).is_some_and(|kind| kind.name == T::KIND.name),
        "{key:?} is no place for a body of '{}'",
        T::KIND.name
    );
    let body = self::body(body);
    Write {
        key,
        expect,
        change: Change::Put { body, expires_at },
    }
}

/// Reading items, whatever form they have.
pub trait Read {
    /// The body as the type `T`. Fails with [`StoreError::Newer`] where a newer program wrote it in a form that
    /// this one does not know, with [`StoreError::Corrupt`] where it has no form of its kind.
    fn read<T: Body>(&self) -> Result<T, StoreError>;
}

impl Read for Item {
    fn read<T: Body>(&self) -> Result<T, StoreError> {
        let body = newest(T::KIND, self)?;
        T::deserialize(Value::Object(body)).map_err(|error| corrupt(&self.key, &error.to_string()))
    }
}

/// The number of the form of `item`. Fails with [`StoreError::Corrupt`] where what stands there is none.
pub fn number(item: &Item) -> Result<u32, StoreError> {
    let Some(number) = item.body.get(SCHEMA) else {
        return Ok(1);
    };
    let number = number
        .as_u64()
        .and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| corrupt(&item.key, "its schema is no number from 1 on"))
}

/// Whether this program knows the form of `item`; so it is with items of kinds that it does not know. Fails as
/// [`Read::read`] does.
pub fn check(item: &Item) -> Result<(), StoreError> {
    match of(&item.key) {
        Some(kind) => known(kind, item).map(drop),
        None => Ok(()),
    }
}

/// The number of the form of `item`, if this program knows it.
fn known(kind: &Kind, item: &Item) -> Result<u32, StoreError> {
    let number = number(item)?;
    let known = kind.known();
    if number <= known {
        return Ok(number);
    }
    Err(StoreError::Newer(format!(
        "{}/{} has the form {number} of '{}', and this program knows forms up to {known}: install the newest \
         release",
        item.key.pk, item.key.sk, kind.name
    )))
}

/// The fields of `item`, which is of this kind, in the newest form that this program knows, without its number.
pub fn newest(kind: &Kind, item: &Item) -> Result<Map<String, Value>, StoreError> {
    let number = known(kind, item)?;
    let Value::Object(mut body) = item.body.clone() else {
        return Err(corrupt(&item.key, "it is no object"));
    };
    body.remove(SCHEMA);
    for lift in kind.lifts.iter().skip(number as usize - 1) {
        lift(&mut body);
    }
    Ok(body)
}

fn corrupt(key: &Key, why: &str) -> StoreError {
    StoreError::Corrupt(format!("{}/{}: {why}", key.pk, key.sk))
}

#[cfg(test)]
mod tests;
