//! How far an import is: an item of the store that every commit of it replaces.

use jiff::Timestamp;
use model::NetworkId;
use serde::{Deserialize, Serialize};

/// What is imported, one after the other. Gateways pull rosters by the versions of their shards, so these
/// come last: what they see before has no version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The settings, and what nothing may be published below.
    Network,
    /// Invites.
    Invites,
    /// Policies.
    Policies,
    /// Fleets.
    Fleet,
    /// Admins, with the setup codes that they burned.
    Admins,
    /// Gateways, with their WireGuard keys and a heartbeat to go on from.
    Gateways,
    /// Devices, each with its WireGuard keys, lease, use of an invite and entry in the roster.
    Devices,
    /// The audit.
    Audit,
    /// The versions of the rosters' shards.
    Rosters,
    /// All of it is there.
    Done,
}

/// The body of [`crate::items::import_cursor`]: it stays when the import is over, and says what the store
/// began with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cursor {
    /// The SHA-256 of the document, lowercase hexadecimal.
    pub document: String,
    /// The network that it is of.
    pub network: NetworkId,
    /// When the import was begun.
    pub begun_at: Timestamp,
    /// What is being imported.
    pub stage: Stage,
    /// The last record of this stage that is there whole; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// How many parts of the record behind that one are there: one with more WireGuard keys than fit a
    /// commit is put in parts, the record itself last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parts: u64,
    /// How many records are there.
    pub records: u64,
    /// When all was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde's `skip_serializing_if` wants"
)]
fn is_zero(parts: &u64) -> bool {
    *parts == 0
}
