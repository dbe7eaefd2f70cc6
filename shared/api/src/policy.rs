//! The routes of the function `admin` for the policy.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use jiff::Timestamp;
use model::policy::Transport;
use model::{CatalogName, CohortName, DeviceId, GatewayId, Policy, PoolName, Role, RuleName, Tag};
use serde::{Deserialize, Serialize};

/// `GET` shows the policy in force, `PUT` puts another in its place.
pub const POLICY: &str = "/v1/admin/policy";
/// `POST`: what the policy decides about a device, and by which rule.
pub const EXPLANATION: &str = "/v1/admin/policy/explanation";
/// `GET`: the epochs of the slices' keys.
pub const EPOCHS: &str = "/v1/admin/epochs";
/// `POST`: lets the next epoch begin now.
pub const BEGIN_EPOCH: &str = "/v1/admin/epochs/begin";

/// Puts a policy in the place of the one that the caller has seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyPolicy {
    /// The version in whose place it comes, as `GET` shows it: another one's work is not lost.
    pub expected_version: u64,
    /// The policy.
    pub policy: Policy,
}

/// The policy in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its version; 0 for the default policy, before one was applied.
    pub version: u64,
    /// When it was applied; absent for the default policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
    /// The policy.
    pub policy: Policy,
}

/// Asks what the policy decides about a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainPolicy {
    /// Which device.
    pub who: Asker,
    /// Which gateways; all if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Through>,
    /// Where its packets go; if it is not given, only the use of gateways is explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<SocketAddr>,
    /// The transport of the packets.
    #[serde(default = "tcp")]
    pub protocol: Transport,
}

fn tcp() -> Transport {
    Transport::Tcp
}

/// A device, or what one would be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Asker {
    /// This device.
    Device(DeviceId),
    /// Any device of this cohort with these tags.
    Kind {
        /// Its cohort.
        cohort: CohortName,
        /// Its tags.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        tags: BTreeSet<Tag>,
    },
}

/// Gateways that a device may want to use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Through {
    /// This gateway.
    Gateway(GatewayId),
    /// All gateways of this pool.
    Pool(PoolName),
}

/// What the policy decides about a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The version of the policy that was asked.
    pub policy_version: u64,
    /// The device's cohort.
    pub cohort: CohortName,
    /// The device's tags.
    pub tags: BTreeSet<Tag>,
    /// The catalog that such a device reads.
    pub catalog: CatalogName,
    /// Whether the device was revoked: then no gateway lets it in, whatever the policy says.
    pub revoked: bool,
    /// What is decided about the gateways that were asked about.
    pub decisions: Vec<Decision>,
}

/// What is decided about gateways that the policy cannot tell apart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// The gateways, ordered by id.
    pub gateways: Vec<GatewayId>,
    /// What they do.
    pub role: Role,
    /// Their pool.
    pub pool: PoolName,
    /// Whether the device may use them: they are in its catalog while they are active, and let it
    /// in.
    pub usable: Ruling,
    /// For egress gateways, if a destination was asked about: whether the device reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaches: Option<Ruling>,
}

/// Yes or no, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ruling {
    /// Yes or no.
    pub allowed: bool,
    /// The rule that decides; absent where none does, which is a no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// The reason in words.
    pub why: String,
}

/// The epochs of the slices' keys: without their secrets, which no admin needs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EpochsView {
    /// Those that are over and whose keys still open new catalogs, the oldest first: until when.
    pub past: Vec<EpochView>,
    /// The present one, and when it began; absent before the first sealed catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<EpochView>,
    /// The next one, and when it shall begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<EpochView>,
}

/// An epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpochView {
    /// Its number. Numbers can be left out: a next epoch whose secret was replaced has another.
    pub number: u64,
    /// When it ends, began or begins.
    pub at: Timestamp,
}

/// Lets the next epoch begin in the place of the one that the caller has seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginEpoch {
    /// The number of the present epoch: once another has begun, the same request begins none.
    pub over: u64,
}
