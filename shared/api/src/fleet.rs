//! What travels about the fleet: the document itself, what may be done at providers, and what is asked of
//! the functions that hold their credentials. Those answer with what they did, in words of
//! `control::fleet`.

use jiff::Timestamp;
use model::{
    Amount, Fleet, GatewayId, ImageName, Mode, ProviderName, ProviderPolicy, RegionName, Role,
    SizeName,
};
use serde::{Deserialize, Serialize};

/// Where the fleet that is wanted is.
pub const FLEET: &str = "/v1/admin/fleet";
/// What may be done at the providers.
pub const PROVIDERS: &str = "/v1/admin/providers";
/// Where a plan is asked for.
pub const PLAN: &str = "/v1/reconcile/plan";
/// Where a run is asked for.
pub const RUNS: &str = "/v1/reconcile/runs";

/// Where it is said what may be done at a provider.
pub fn mode(provider: &ProviderName) -> String {
    format!("{PROVIDERS}/{provider}/mode")
}

/// Where a provider is checked.
pub fn check(provider: &ProviderName) -> String {
    format!("/v1/reconcile/providers/{provider}/check")
}

/// What a provider lists as the network's.
pub fn inventory(provider: &ProviderName) -> String {
    format!("/v1/reconcile/providers/{provider}/inventory")
}

/// Where a smoke run of a provider begins.
pub fn smoke(provider: &ProviderName) -> String {
    format!("/v1/reconcile/providers/{provider}/smoke")
}

/// Where the smoke run of a gateway goes on.
pub fn smoke_step(gateway: &GatewayId) -> String {
    format!("/v1/reconcile/smoke/{gateway}")
}

/// Where a provider is cleaned up.
pub fn cleanup(provider: &ProviderName) -> String {
    format!("/v1/cleanup/providers/{provider}")
}

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

/// Asks for the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// Whether what carries live labels and has no record is to be removed.
    pub remove_unknown: bool,
}

/// Asks for one run, which is bounded: ask again until it has nothing under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RunRequest {
    /// Carry out the plan that was shown.
    Apply {
        /// Its hash.
        plan: String,
        /// As it was asked for.
        remove_unknown: bool,
    },
    /// Go on with what is under way, and begin nothing. A member besides is refused because of the braces.
    Finish {},
}

/// Begins a trial of a provider, or finds the one that is not over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmokeRequest {
    /// As what.
    pub role: Role,
    /// Where, if not as the fleet's first pool of this role and provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// How large, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeName>,
    /// From what, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
}

/// A trial that goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SmokeBegun {
    /// Its node's gateway.
    pub gateway: GatewayId,
}

/// Removes what a provider bills for and nobody needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CleanRequest {
    /// Only says what would be removed.
    pub dry_run: bool,
    /// Also trials that have not expired yet.
    pub all_trials: bool,
    /// Also what carries live labels and has no record.
    pub unknown_live: bool,
}
