//! The routes of the function `admin` for those who operate; who they are is in [`crate::admins`].
//!
//! Ids and secrets are made by the caller and only hashes travel, so a request that is sent twice
//! changes nothing twice, and the control plane never holds a secret that it does not need.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::{AuditId, CohortName, Gateway, GatewayId, Invite, InviteId, PoolName, Role, Tag};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// `POST` makes an invite, `GET` lists them.
pub const INVITES: &str = "/v1/admin/invites";
/// `GET` lists the devices.
pub const DEVICES: &str = "/v1/admin/devices";
/// `POST` makes the record and the bootstrap token of a gateway, `GET` lists them.
pub const GATEWAYS: &str = "/v1/admin/gateways";
/// `GET`: what was published last, and alarms.
pub const CATALOG: &str = "/v1/admin/catalog";
/// `GET`: audit events.
pub const AUDIT: &str = "/v1/admin/audit";

/// `POST`: shuts a device out, for good.
pub fn revocation(device: &model::DeviceId) -> String {
    format!("{DEVICES}/{device}/revocation")
}

/// `POST`: asks a device for new keys; it takes them with its next contact.
pub fn device_rotation(device: &model::DeviceId) -> String {
    format!("{DEVICES}/{device}/rotation")
}

/// `POST`: asks a gateway for new keys; it takes them when it has pulled its next config.
pub fn gateway_rotation(gateway: &GatewayId) -> String {
    format!("{GATEWAYS}/{gateway}/rotation")
}

/// `POST`: takes a gateway out of service, puts it back, or ends it.
pub fn gateway_state(gateway: &GatewayId) -> String {
    format!("{GATEWAYS}/{gateway}/state")
}

/// `POST`: ends an invite before its time. Devices that are enrolled with it stay.
pub fn withdrawal(invite: &InviteId) -> String {
    format!("{INVITES}/{invite}/withdrawal")
}

/// Makes an invite.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// The hash of the secret that the caller made.
    pub id: InviteId,
    /// The cohort that its devices join: one of the signed limits.
    pub cohort: CohortName,
    /// The tags that its devices get.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// How many devices may enroll with it.
    pub uses: u32,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// What to remember about it; may be empty. At most 500 bytes, without control characters.
    #[serde(default)]
    pub note: String,
}

/// An invite and how much of it is used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InviteView {
    /// The invite.
    #[serde(flatten)]
    pub invite: Invite,
    /// How many of its uses are taken.
    pub used: u32,
}

/// Makes the record of a gateway.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewGateway {
    /// Its id, which the caller chose.
    pub id: GatewayId,
    /// What it does.
    pub role: Role,
    /// Where it stands: 1 to 32 visible ASCII characters.
    pub region: String,
    /// Where its tunnels are reached (UDP): within the networks of the signed limits.
    pub endpoint: SocketAddr,
    /// The pool that policies know it by.
    pub pool: PoolName,
    /// The cohorts that may use it, at least one: all of the signed limits.
    pub cohorts: Vec<CohortName>,
    /// The hash of the bootstrap secret that the caller made.
    pub bootstrap_hash: String,
    /// From when on the bootstrap secret is refused.
    pub bootstrap_expires_at: Timestamp,
}

/// Changes a gateway's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeState {
    /// Where it shall be.
    pub state: WantedState,
}

/// The states that an admin may ask for; all others follow from what a gateway does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WantedState {
    /// It serves the devices that it has and is listed no more.
    Draining,
    /// Drained no longer: it is listed again.
    Active,
    /// Gone for good: its requests are refused, its record stays.
    Retired,
}

/// A gateway and its last sign of life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatewayView {
    /// The gateway.
    #[serde(flatten)]
    pub gateway: Gateway,
    /// When its last heartbeat arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,
}

/// What was published last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CatalogView {
    /// The version of the repository.
    pub version: u64,
    /// When it was published.
    pub published_at: Timestamp,
    /// Why the control plane holds back, in words; empty while all is well.
    pub alarms: Vec<String>,
}

/// A part of a list, and where it goes on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Give this as the query's `after` for the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The query of a list of things with ids `I`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery<I> {
    /// Where to go on, from the last part's `next`.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub after: Option<I>,
}

fn none<I>() -> Option<I> {
    None
}

/// The query of the audit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Which day (UTC), as `2026-11-22`; today if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<jiff::civil::Date>,
    /// Where to go on, from the last part's `next`: events from before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<AuditId>,
}
