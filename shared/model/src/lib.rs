//! The nouns of Postern, as the glossary of `docs/architecture.md` names them.
//!
//! Every type here is plain data with the validation that makes it well-formed. Nothing in this
//! crate does I/O, reads a clock or draws randomness, so the same types serve the functions, the
//! gateways, the clients and a browser.
//!
//! Times are [`jiff::Timestamp`]s (UTC, RFC 3339 in JSON), durations are whole seconds, and all
//! binary values are standard base64 in JSON, as WireGuard's tools print them.

pub mod address;
pub mod admin;
pub mod audit;
mod base64;
pub mod catalog;
pub mod control_key;
pub mod device;
pub mod fleet;
pub mod gateway;
pub mod id;
pub mod invite;
pub mod key;
pub mod kit;
pub mod money;
pub mod name;
pub mod network;
pub mod node;
pub mod policy;
pub mod provider;
pub mod roster;
pub mod slice_key;

pub use address::{AddressPools, Addresses, LeaseIndex};
pub use admin::{Admin, AdminRole, SetupCode};
pub use audit::{Actor, AuditEvent, AuditId};
pub use catalog::{Catalog, CatalogGateway, SealedSlice, Slice, WrappedKey};
pub use control_key::ControlKey;
pub use device::{Device, DeviceState};
pub use fleet::{Fleet, Pool};
pub use gateway::{Gateway, GatewayState, Role};
pub use id::{AdminId, DeviceId, GatewayId, InviteId, NetworkId};
pub use invite::Invite;
pub use key::{ExitKey, IdentityKey, TunnelKey};
pub use kit::{FirstContact, FrontDoor, Limits, RecoveryKit, RootPin, TrustedKeys};
pub use money::{Amount, Currency};
pub use name::{
    CatalogName, CohortName, ImageName, PoolName, ProviderName, RegionName, RuleName, SizeName, Tag,
};
pub use network::{Network, Timing};
pub use node::{Node, Place, Stage};
pub use policy::{Disclosure, Policy};
pub use provider::{Mode, ProviderPolicy};
pub use roster::Shard;
pub use slice_key::{EpochSecret, HeldKey, SliceKey};

/// A value that is not well-formed: what it was, and what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not valid: {why}")]
pub struct Invalid {
    /// The noun, as the glossary writes it.
    pub what: &'static str,
    /// What is wrong, and what a valid value looks like.
    pub why: String,
}

impl Invalid {
    /// An error about the noun `what`.
    pub fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self {
            what,
            why: why.into(),
        }
    }
}
