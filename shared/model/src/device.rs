//! Devices.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CohortName, DeviceId, ExitKey, IdentityKey, InviteId, LeaseIndex, TunnelKey};

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
    /// The rollout ring whose catalog it reads.
    pub cohort: CohortName,
    /// The invite that let it in.
    pub invite: InviteId,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
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
