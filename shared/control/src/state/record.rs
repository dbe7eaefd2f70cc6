//! The records of a document: what the model has, and what belongs to it.
//!
//! A record has everything that the control plane cannot find out again: a device its use of its invite and
//! the WireGuard keys that it once had, an admin the setup code that they burned. So a record stands for
//! itself, and a line of a document says all that there is of one thing.

use std::collections::{BTreeMap, BTreeSet};

use api::fleet::FleetView;
use jiff::Timestamp;
use model::{
    AddressPools, Admin, AdminId, CohortName, Device, DeviceId, DeviceState, Gateway, GatewayState,
    Invalid, Invite, LeaseIndex, Network, NetworkId, Shard, Timing, id, invite::MOST_USES,
};
use serde::{Deserialize, Serialize};

use crate::checks;

/// The section `network`: its settings, and what people have seen of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its id.
    pub id: NetworkId,
    /// Where tunnel addresses come from.
    pub pools: AddressPools,
    /// Its rhythm; the default one if it is not given.
    #[serde(default)]
    pub timing: Timing,
    /// Whether it takes sealed requests only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed_only: bool,
    /// What devices and gateways have seen, below which nothing may be published.
    #[serde(default)]
    pub seen: Seen,
    /// How often each shard of each cohort's roster was changed: gateways hold shards by these versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rosters: BTreeMap<CohortName, BTreeMap<Shard, u64>>,
}

/// The highest versions that anybody may have seen; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Of `timestamp`, `snapshot` and `catalogs`, reserved ones too.
    pub catalog: u64,
    /// Of the root.
    pub root: u64,
    /// Of the offline targets.
    pub targets: u64,
    /// The last epoch of which devices were given keys.
    pub epoch: u64,
}

impl NetworkRecord {
    /// The settings, as every function knows them.
    pub fn settings(&self) -> Network {
        Network {
            id: self.id.clone(),
            pools: self.pools.clone(),
            timing: self.timing,
            sealed_only: self.sealed_only,
        }
    }
}

/// A WireGuard key that somebody once had, and that may never come back; as standard base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RetiredKey([u8; 32]);

impl RetiredKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<String> for RetiredKey {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| Invalid::new("retired key", "standard base64 of 32 bytes is expected"))
    }
}

impl From<RetiredKey> for String {
    fn from(key: RetiredKey) -> Self {
        data_encoding::BASE64.encode(&key.0)
    }
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// Which use of its invite it took. A document of old need not say: a free one is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The WireGuard keys from before its present and its previous ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub retired_keys: BTreeSet<RetiredKey>,
}

impl DeviceRecord {
    /// The WireGuard keys that the device itself tells.
    pub fn own_keys(device: &Device) -> Vec<[u8; 32]> {
        let mut keys = vec![*device.tunnel_key.as_bytes(), *device.exit_key.as_bytes()];
        if let Some(previous) = &device.previous {
            keys.push(*previous.tunnel_key.as_bytes());
            keys.push(*previous.exit_key.as_bytes());
        }
        keys
    }

    /// Every WireGuard key that is or was its own.
    pub fn all_keys(&self) -> Vec<[u8; 32]> {
        let mut keys = Self::own_keys(&self.device);
        keys.extend(self.retired_keys.iter().map(|key| key.0));
        keys
    }
}

/// A gateway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatewayRecord {
    /// The gateway.
    #[serde(flatten)]
    pub gateway: Gateway,
    /// The WireGuard keys from before its present and its previous one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub retired_keys: BTreeSet<RetiredKey>,
}

impl GatewayRecord {
    /// The WireGuard keys that the gateway itself tells.
    pub fn own_keys(gateway: &Gateway) -> Vec<[u8; 32]> {
        let previous = gateway.previous.iter().map(|previous| &previous.keys);
        let keys = gateway.keys.iter().chain(previous);
        keys.map(|keys| *keys.tunnel.as_bytes()).collect()
    }

    /// Every WireGuard key that is or was its own.
    pub fn all_keys(&self) -> Vec<[u8; 32]> {
        let mut keys = Self::own_keys(&self.gateway);
        keys.extend(self.retired_keys.iter().map(|key| key.0));
        keys
    }
}

/// An index of the address pools that is taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The index.
    pub index: LeaseIndex,
    /// Who has it.
    pub device: DeviceId,
    /// When it is free again: of a device that was revoked, whose address rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A fleet that is or was wanted; the one of the highest version is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FleetRecord {
    /// The fleet with its version.
    #[serde(flatten)]
    pub view: FleetView,
    /// Whether it is the last one of which somebody has carried out a plan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
}

/// An admin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdminRecord {
    /// The admin.
    #[serde(flatten)]
    pub admin: Admin,
    /// The hashes of setup codes that they burned.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub setup_codes: BTreeSet<String>,
}

/// The key of a number on a drawer: its order is that of the numbers.
pub(super) fn numbered(number: u64) -> String {
    format!("{number:020}")
}

/// What is wrong with the settings, if anything is.
pub(super) fn check_network(record: &NetworkRecord) -> Result<(), String> {
    record.timing.check().map_err(|error| error.to_string())
}

/// What is wrong with a device by itself, if anything is.
pub(super) fn check_device(record: &DeviceRecord, pools: &AddressPools) -> Result<(), String> {
    let device = &record.device;
    match (device.state, device.revoked_at) {
        (DeviceState::Active, Some(_)) => {
            return Err("it is active, and 'revoked_at' says that it was revoked".to_owned());
        }
        (DeviceState::Revoked, None) => {
            return Err("it is revoked, and 'revoked_at' does not say when".to_owned());
        }
        _ => {}
    }
    if !pools.is_usable(device.lease) {
        return Err(format!(
            "'lease' {} lies outside what devices get of the address pools",
            device.lease.0
        ));
    }
    distinct(&record.all_keys())
}

/// What is wrong with a gateway by itself, if anything is.
pub(super) fn check_gateway(record: &GatewayRecord) -> Result<(), String> {
    let gateway = &record.gateway;
    if gateway.cohorts.is_empty() {
        return Err("'cohorts' must name at least one cohort".to_owned());
    }
    checks::region(&gateway.region).map_err(|error| error.to_string())?;
    if gateway.endpoint.port() == 0 {
        return Err("'endpoint' must have a port from 1 to 65535".to_owned());
    }
    let has_served = matches!(
        gateway.state,
        GatewayState::Registered
            | GatewayState::Active
            | GatewayState::Unhealthy
            | GatewayState::Draining
            | GatewayState::Drained
    );
    if has_served && gateway.keys.is_none() {
        return Err(format!(
            "it is {}, and has no keys: only one that registered can be",
            gateway.state
        ));
    }
    if let Some(bootstrap) = &gateway.bootstrap {
        checks::bootstrap_hash(&bootstrap.hash).map_err(|error| error.to_string())?;
    }
    distinct(&record.all_keys())
}

/// What is wrong with an invite by itself, if anything is.
pub(super) fn check_invite(invite: &Invite) -> Result<(), String> {
    if !(1..=MOST_USES).contains(&invite.uses) {
        return Err(format!("'uses' must be from 1 to {MOST_USES}"));
    }
    checks::note(&invite.note).map_err(|error| error.to_string())
}

/// What is wrong with a lease by itself, if anything is.
pub(super) fn check_lease(lease: &LeaseRecord, pools: &AddressPools) -> Result<(), String> {
    if pools.is_usable(lease.index) {
        return Ok(());
    }
    Err("the index lies outside what devices get of the address pools".to_owned())
}

/// What is wrong with an admin by themselves, if anything is.
pub(super) fn check_admin(record: &AdminRecord) -> Result<(), String> {
    let expected = AdminId::of(&record.admin.key);
    if record.admin.id != expected {
        return Err(format!("the id of this key is {expected}"));
    }
    if let Some(code) = record.setup_codes.iter().find(|code| !id::is_hash(code)) {
        return Err(format!("'{code}' is not the hash of a setup code"));
    }
    crate::admins::check_name(&record.admin.name).map_err(|error| error.to_string())
}

/// Whether all keys differ.
fn distinct(keys: &[[u8; 32]]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match keys.iter().find(|key| !seen.insert(**key)) {
        None => Ok(()),
        Some(key) => Err(format!(
            "it names the WireGuard key {} twice",
            data_encoding::BASE64.encode(key)
        )),
    }
}
