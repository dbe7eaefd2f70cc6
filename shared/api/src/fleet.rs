//! What travels about the fleet: the document itself, what may be done at providers.

use jiff::Timestamp;
use model::{Amount, Fleet, Mode, ProviderName, ProviderPolicy};
use serde::{Deserialize, Serialize};

/// Puts a fleet in the place of the one that the caller has seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyFleet {
    /// The version in whose place it comes; 0 for the first one.
    pub expected_version: u64,
    /// The fleet.
    pub fleet: Fleet,
}

/// The fleet that is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FleetView {
    /// Its version; 0 before one was applied.
    pub version: u64,
    /// When it was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
    /// The fleet; none before one was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Fleet>,
}

/// Says what may be done at a provider from now on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMode {
    /// What may be done.
    pub mode: Mode,
    /// Why; needed for [`Mode::Live`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When an approval of [`Mode::Live`] ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The most that the node of a smoke run may cost an hour; as before if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke_most_per_hour: Option<Amount>,
}

/// What may be done at a provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProviderView {
    /// The provider.
    pub provider: ProviderName,
    /// What an operator allows there.
    #[serde(flatten)]
    pub policy: ProviderPolicy,
}
