//! Gateways and their life.

use std::fmt;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CohortName, GatewayId, IdentityKey, PoolName, TunnelKey};

/// What a gateway does with the packets of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Devices enter here: it forwards nothing but UDP to listed egress gateways.
    Ingress,
    /// Devices leave to the internet here.
    Egress,
}

/// Where a gateway is in its life:
/// `provisioning → registered → active ⇄ unhealthy`, `active → draining → drained → retired`, and
/// `failed`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayState {
    /// Intended or booting: it has not registered yet.
    Provisioning,
    /// It proved its bootstrap token and gave its keys, and has not sent a heartbeat yet.
    Registered,
    /// In service: listed in the catalog.
    Active,
    /// It missed its heartbeats: not listed until they come back.
    Unhealthy,
    /// It serves the devices that it has and is no longer listed.
    Draining,
    /// No device uses it.
    Drained,
    /// Gone, kept for the record.
    Retired,
    /// It never came into service.
    Failed,
}

impl GatewayState {
    /// Whether the state machine has an arrow from `self` to `next`.
    pub fn can_become(self, next: Self) -> bool {
        use GatewayState::{
            Active, Drained, Draining, Failed, Provisioning, Registered, Retired, Unhealthy,
        };
        matches!(
            (self, next),
            (Provisioning, Registered | Failed)
                | (Registered, Active | Failed)
                | (Active, Unhealthy | Draining)
                | (Unhealthy, Active | Draining)
                | (Draining, Drained | Active)
                | (Drained | Failed, Retired)
        )
    }

    /// Whether it serves nobody and never will again.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Retired | Self::Failed)
    }
}

impl fmt::Display for GatewayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provisioning => "provisioning",
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Retired => "retired",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// A node, as the control plane keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gateway {
    /// Chosen before the node exists.
    pub id: GatewayId,
    /// What it does.
    pub role: Role,
    /// Where it is in its life.
    pub state: GatewayState,
    /// Where it stands, free text for people and preferences (`fsn1`, `home`).
    pub region: String,
    /// Where its tunnels are reached (UDP).
    pub endpoint: SocketAddr,
    /// The pool that policies know it by.
    pub pool: PoolName,
    /// The cohorts whose catalogs may list it: a gateway can go to a few before all.
    pub cohorts: Vec<CohortName>,
    /// The hash of its one-time bootstrap secret, until it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// The keys that it registered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<GatewayKeys>,
    /// The keys before the last rotation, while they still work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousGatewayKeys>,
    /// Since when an operator wants its keys rotated, until they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_wanted_at: Option<Timestamp>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
}

impl Gateway {
    /// Whether requests that `key` signs are its own at `now`.
    pub fn is_signed_by(&self, key: &IdentityKey, now: Timestamp) -> bool {
        let previous = self.previous.filter(|previous| now < previous.until);
        let keys = self.keys.iter().chain(previous.iter().map(|p| &p.keys));
        keys.into_iter().any(|keys| keys.identity == *key)
    }
}

/// A one-time bootstrap token, as stored: the secret itself is never kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bootstrap {
    /// [`crate::id::bootstrap_hash`] of the secret.
    pub hash: String,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// What a gateway registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatewayKeys {
    /// The key that signs its requests.
    pub identity: IdentityKey,
    /// The key of its WireGuard interface.
    pub tunnel: TunnelKey,
}

/// A gateway's keys from before a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PreviousGatewayKeys {
    /// The keys.
    pub keys: GatewayKeys,
    /// From when on they are refused: the end of the grace.
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::GatewayState::*;

    #[test]
    fn the_way_into_service_and_out_of_it_is_open_and_no_other() {
        let life = [Provisioning, Registered, Active, Draining, Drained, Retired];
        assert!(life.windows(2).all(|pair| pair[0].can_become(pair[1])));
        assert!(!Provisioning.can_become(Active));
        assert!(!Retired.can_become(Active));
        assert!(!Active.can_become(Retired));
        assert!(!Unhealthy.can_become(Registered));
    }
}
