//! The roster, as a gateway pulls it: the keys that it lets in, shard by shard.
//!
//! A gateway tells the versions of the shards that it holds; the answer has those that differ, and
//! says whether more are to come. A part is signed as a config is, so that nobody but the holder
//! of a config key can add a key to a gateway. It holds no device's id: an ingress gateway learns
//! tunnel keys alone and an egress gateway exit keys alone.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use model::policy::EgressRule;
use model::{CatalogName, CohortName, ExitKey, GatewayId, NetworkId, Shard, TunnelKey};
use serde::{Deserialize, Serialize};

/// `POST`: the shards that differ from those that the gateway holds.
pub fn roster(id: &GatewayId) -> String {
    format!("/v1/gateways/{id}/roster")
}

/// What a gateway holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterRequest {
    /// The version of the policy that the shards below were made under. Under another one, all of
    /// them count as changed.
    pub policy_version: u64,
    /// The version of each shard that it holds.
    pub shards: BTreeMap<CohortName, BTreeMap<Shard, u64>>,
}

/// A part of a gateway's roster, signed as [`crate::register::GatewayConfig`] is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RosterPart {
    /// [`RosterPart::SCHEMA`].
    pub schema: String,
    /// The network that it is for.
    pub network: NetworkId,
    /// The gateway that it is for: another one's is refused.
    pub gateway: GatewayId,
    /// When it was signed: an older one than the last is refused.
    pub signed_at: Timestamp,
    /// The version of the policy that it was made under.
    pub policy_version: u64,
    /// All cohorts of the gateway: it drops the shards of others.
    pub cohorts: Vec<CohortName>,
    /// The shards that differ, whole.
    pub shards: Vec<RosterShard>,
    /// At an egress gateway, the rules that the devices of these shards are under, in order; the
    /// first that matches decides, none is a no.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<CatalogName, Vec<EgressRule>>,
    /// Whether more shards differ: ask again at once.
    pub more: bool,
}

impl RosterPart {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-roster/1";
}

/// The devices of one shard that a gateway lets in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RosterShard {
    /// Whose devices they are.
    pub cohort: CohortName,
    /// Which part of them.
    pub shard: Shard,
    /// Its version.
    pub version: u64,
    /// The devices.
    pub peers: Peers,
}

/// Devices, as a gateway of one role knows them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peers {
    /// At an ingress gateway.
    Ingress(Vec<IngressPeer>),
    /// At an egress gateway.
    Egress(Vec<EgressPeer>),
}

/// A device, as ingress gateways know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IngressPeer {
    /// Its key.
    pub tunnel_key: TunnelKey,
    /// Its key from before a rotation, while that still works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous<TunnelKey>>,
    /// Its address in the outer tunnel.
    pub outer: Ipv4Addr,
    /// Its IPv6 address in the outer tunnel.
    pub outer6: Ipv6Addr,
}

/// A device, as egress gateways know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EgressPeer {
    /// Its key.
    pub exit_key: ExitKey,
    /// Its key from before a rotation, while that still works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous<ExitKey>>,
    /// Its address in the inner tunnel.
    pub inner: Ipv4Addr,
    /// Its IPv6 address in the inner tunnel.
    pub inner6: Ipv6Addr,
    /// Which of [`RosterPart::rules`] it is under.
    pub rules: CatalogName,
}

/// A key from before a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Previous<K> {
    /// The key.
    pub key: K,
    /// From when on it is refused.
    pub until: Timestamp,
}
