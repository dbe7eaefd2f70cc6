//! Audit events: who changed what, when. Each is part of the commit that makes the change.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AdminId, DeviceId, GatewayId};

/// A `UUIDv7` (RFC 9562): audit events order by it.
pub type AuditId = uuid::Uuid;

/// One change of state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its id, ordered by time.
    pub id: AuditId,
    /// When the change was made.
    pub at: Timestamp,
    /// Who made it.
    pub actor: Actor,
    /// What was done, as `<noun>.<verb in the past>`: `device.enrolled`.
    pub action: String,
    /// The id of what was changed.
    pub subject: String,
    /// What a reader of the audit needs beyond that; never a secret. Empty if nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Who made a change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "lowercase")]
pub enum Actor {
    /// An admin, whose session asked.
    Admin(AdminId),
    /// A device, of itself.
    Device(DeviceId),
    /// A gateway, of itself.
    Gateway(GatewayId),
    /// A scheduled function, by name.
    Schedule(String),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Admin(id) => write!(f, "{id}"),
            Self::Device(id) => write!(f, "{id}"),
            Self::Gateway(id) => write!(f, "{id}"),
            Self::Schedule(name) => write!(f, "schedule {name}"),
        }
    }
}
