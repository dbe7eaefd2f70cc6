//! Devices.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CohortName, DeviceId, ExitKey, IdentityKey, InviteId, LeaseIndex, Tag, TunnelKey};

/// A client's enrolled identity, as the control plane keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// Derived from its first identity key.
    pub id: DeviceId,
    /// Whether its requests are answered and its keys let in.
    pub state: DeviceState,
    /// The key that signs its requests.
    pub identity_key: IdentityKey,
    /// The key that ingress gateways know.
    pub tunnel_key: TunnelKey,
    /// The key that egress gateways know.
    pub exit_key: ExitKey,
    /// Its place in the address pools.
    pub lease: LeaseIndex,
    /// Its rollout ring.
    pub cohort: CohortName,
    /// Marks that policies name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// The invite that let it in.
    pub invite: InviteId,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// The keys before the last rotation, while they still work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousDeviceKeys>,
    /// Since when an operator wants its keys rotated, until they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_wanted_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl Device {
    /// Its keys from before the last rotation, if they still work at `now`.
    pub fn previous_at(&self, now: Timestamp) -> Option<PreviousDeviceKeys> {
        self.previous.filter(|previous| now < previous.until)
    }

    /// Whether requests that `key` signs are its own at `now`.
    pub fn is_signed_by(&self, key: &IdentityKey, now: Timestamp) -> bool {
        let previous = self.previous_at(now).map(|previous| previous.identity_key);
        self.identity_key == *key || previous == Some(*key)
    }
}

/// A device's keys from before a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PreviousDeviceKeys {
    /// The key that signed its requests.
    pub identity_key: IdentityKey,
    /// The key that ingress gateways knew.
    pub tunnel_key: TunnelKey,
    /// The key that egress gateways knew.
    pub exit_key: ExitKey,
    /// From when on they are refused: the end of the grace.
    pub until: Timestamp,
}

/// A device's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// It may use the network.
    Active,
    /// It was shut out, for good: its requests are refused and its keys leave the gateways.
    Revoked,
}
