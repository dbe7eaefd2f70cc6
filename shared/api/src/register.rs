//! The routes of the function `register`, for gateways.

use jiff::Timestamp;
use model::{GatewayId, GatewayState, IdentityKey, NetworkId, Role, TunnelKey};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// `POST`: trades the one-time bootstrap secret for a place in service. Idempotent for the same
/// identity key.
pub fn registration(id: &GatewayId) -> String {
    format!("/v1/gateways/{id}/registration")
}

/// `POST`: says that the gateway is alive.
pub fn heartbeat(id: &GatewayId) -> String {
    format!("/v1/gateways/{id}/heartbeat")
}

/// `GET`: the gateway's signed config.
pub fn config(id: &GatewayId) -> String {
    format!("/v1/gateways/{id}/config")
}

/// Registers the gateway whose identity key signs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The bootstrap secret, base64url.
    pub secret: crate::enroll::InviteSecret,
    /// The key of its WireGuard interface.
    pub tunnel_key: TunnelKey,
}

/// What a gateway needs to go on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegisterAnswer {
    /// Seconds from one heartbeat to the next.
    pub heartbeat_seconds: u32,
    /// The version that the next heartbeat must expect.
    pub version: u64,
}

/// A sign of life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// The version that the last answer gave: no heartbeat counts twice.
    pub version: u64,
    /// How busy the gateway is, in percent of its capacity from 0 to 100.
    pub load: u8,
}

/// The answer to a heartbeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// The version that the next heartbeat must expect.
    pub version: u64,
}

/// A gateway's config, signed by a key of `trust.json` in the form of [`tuf`'s envelope].
///
/// [`tuf`'s envelope]: https://theupdateframework.github.io/specification/latest/#file-formats-object-format
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatewayConfig {
    /// [`GatewayConfig::SCHEMA`].
    pub schema: String,
    /// The network that it is for.
    pub network: NetworkId,
    /// The gateway that it is for: another one's is refused.
    pub gateway: GatewayId,
    /// What the gateway does.
    pub role: Role,
    /// Its state, as the control plane sees it.
    pub state: GatewayState,
    /// When it was signed: an older one than the last is refused.
    pub signed_at: Timestamp,
    /// Where its tunnels listen (UDP).
    pub endpoint: SocketAddr,
    /// Seconds from one heartbeat to the next.
    pub heartbeat_seconds: u32,
    /// Where an ingress gateway forwards to, and nowhere else: the egress gateways that are active
    /// or drain, since those that drain still serve the devices that they have. Empty for an
    /// egress gateway.
    pub forward_to: Vec<SocketAddr>,
    /// The key that the gateway signs with, as the control plane knows it: what is wanted of another
    /// one was done.
    pub identity_key: IdentityKey,
    /// Since when an operator wants its keys rotated: it shall do so now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_wanted_at: Option<Timestamp>,
}

impl GatewayConfig {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-gateway-config/1";
}
