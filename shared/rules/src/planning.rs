//! Planning a fleet: from what is there to what is wanted, step by step, with reasons and costs.
//!
//! [`plan`] is a pure function. The same fleet, records, lists and prices give the same plan, down to
//! the ids of nodes that are yet to be made, so that what an operator was shown can be told by its
//! hash from what would be done now. Times are part of a plan only where they were recorded ("since"),
//! never as how long ago that is.
//!
//! - A step that something stands in the way of is shown and costed, and says by [`Step::held`] what
//!   holds it; [`Plan::blocked`] says once for each cause what to do. What cannot even be made a step
//!   of (no such region) stands there alone.
//! - What is wanted otherwise (another size) is made first and then takes the old one's place: a pool
//!   has at most one node more than it counts meanwhile.
//! - If too many gateways went silent at once, the control plane suspects itself and replaces nothing.
//! - A provider whose lists cannot be read, or not believed ([`disbelief`]), is left alone, and the
//!   others are not. A gateway that is heard is not gone because a list lacks its server.
//! - The spend cap counts everything that is there, is intended or would be made, and nothing that is
//!   yet to go: it holds at every moment on the way.
//!
//! [`life`] decides what comes next for one node, [`cleaning`] what may be removed of a provider's list.

mod belief;
mod choice;
pub mod cleaning;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod labels;
pub mod life;
mod pools;
mod seen;
mod spending;
mod unknown;
pub mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::node::PoolState;
use model::provider::{Inventory, Labels, Offers, Price, ResourceKind};
use model::{
    CohortName, Currency, Fleet, Gateway, GatewayId, Mode, NetworkId, Node, Place, PoolName,
    ProviderName, ProviderPolicy, Role,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use belief::{alive, disbelief};
pub use choice::{choose, price};
pub use spending::fits;

/// How long a node has from its server's making to its registration, and from there into service, in
/// seconds: some five times what a boot takes.
pub const REGISTRATION_SECONDS: u32 = 15 * 60;
/// How old a resource must be before it counts as unknown, in seconds: longer than any run, whose
/// commit of what it has just made may be on its way.
pub const UNKNOWN_SECONDS: u32 = 3600;

/// All that a plan is made of.
pub struct Input<'a> {
    /// Whose fleet it is.
    pub network: &'a NetworkId,
    /// What is wanted.
    pub fleet: &'a Fleet,
    /// The version of that.
    pub fleet_version: u64,
    /// All records of nodes, those that are gone included.
    pub nodes: &'a [Node],
    /// The gateways' records.
    pub gateways: &'a BTreeMap<GatewayId, Gateway>,
    /// The gateways that were heard of within as many heartbeats as may be missed.
    pub heard: &'a BTreeSet<GatewayId>,
    /// What the pools went through.
    pub pools: &'a BTreeMap<PoolName, PoolState>,
    /// What is known of the providers. One that a node or a pool names and that is missing here is
    /// not set up.
    pub providers: &'a BTreeMap<ProviderName, Providing<'a>>,
    /// Whether the control plane suspects itself, because too many gateways went silent at once.
    pub mass_silence: bool,
    /// Whether resources that carry live labels and that no record knows may be removed: an operator
    /// says so who has seen that the database is whole.
    pub remove_unknown: bool,
    /// Whether more than the most changes are made in parts: for a fleet that somebody has accepted, what
    /// is to be done came by itself.
    pub in_parts: bool,
    /// The time.
    pub now: Timestamp,
}

/// What is known of a provider.
pub struct Providing<'a> {
    /// What may be done there.
    pub policy: &'a ProviderPolicy,
    /// What it lists as the network's, or why that cannot be read.
    pub inventory: Result<&'a Inventory, &'a str>,
    /// What it offers, or why that cannot be read.
    pub offers: Result<&'a Offers, &'a str>,
}

/// The steps from what is there to what is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// [`Plan::SCHEMA`].
    pub schema: String,
    /// Whose it is.
    pub network: NetworkId,
    /// The version of the fleet that it leads to.
    pub fleet_version: u64,
    /// When it was made; no part of its hash.
    pub made_at: Timestamp,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What stands in the way, and what to do.
    pub blocked: Vec<Blocked>,
    /// The currency of all costs.
    pub currency: Currency,
    /// What is there and intended costs now.
    pub before: Price,
    /// What it costs when all is done.
    pub after: Price,
    /// The most that it costs on the way: what the spend cap is held against.
    pub most: Price,
    /// What is there and has no price, because its provider does not offer its like any more.
    pub unpriced: Vec<String>,
    /// SHA-256 of all of it but `made_at`, lowercase hexadecimal.
    pub hash: String,
}

/// A step of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// What is done.
    #[serde(flatten)]
    pub change: Change,
    /// Where.
    pub provider: ProviderName,
    /// Why.
    pub why: String,
    /// What it costs from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adds: Option<Price>,
    /// What it saves when it is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saves: Option<Price>,
    /// What keeps it from being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Gate>,
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Change {
    /// Rents a node.
    Create {
        /// The gateway that it is for.
        gateway: GatewayId,
        /// The pool that it joins.
        pool: PoolName,
        /// Where, how large, from what.
        place: Place,
    },
    /// Takes no more devices, then removes the node.
    Drain {
        /// Its gateway.
        gateway: GatewayId,
    },
    /// Removes a node that serves nobody.
    Remove {
        /// Its gateway.
        gateway: GatewayId,
        /// Whether it never came into service, which counts against its pool.
        failed: bool,
    },
    /// Takes what a lost answer made into the record.
    Adopt {
        /// The gateway that it is for.
        gateway: GatewayId,
        /// What it is.
        kind: ResourceKind,
        /// Its name.
        name: String,
    },
    /// Removes the server and the address of a gateway that has no record, or whose record says that
    /// they are gone.
    RemoveUnknown {
        /// The gateway that they are for.
        gateway: GatewayId,
        /// Its pool.
        pool: PoolName,
        /// Its role.
        role: Role,
        /// What they were made for.
        mode: Mode,
        /// What there is.
        resources: Vec<(ResourceKind, String)>,
    },
    /// Deletes a firewall that guards nothing.
    DeleteFirewall {
        /// Its name.
        name: String,
    },
    /// Writes a resource's labels anew.
    Relabel {
        /// What it is.
        kind: ResourceKind,
        /// Its name.
        name: String,
        /// All labels that it has then.
        labels: Labels,
    },
    /// Lists a gateway for other cohorts.
    Cohorts {
        /// The gateway.
        gateway: GatewayId,
        /// Whose catalogs may list it then.
        cohorts: Vec<CohortName>,
    },
}

impl Change {
    /// Whether it counts against the most changes of a plan: it begins or ends a rent, or moves
    /// devices.
    pub fn counts(&self) -> bool {
        !matches!(
            self,
            Self::Adopt { .. } | Self::Relabel { .. } | Self::DeleteFirewall { .. }
        )
    }
}

/// Something that stands in the way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Blocked {
    /// What it is in the way of, as `pool ingress` or `provider hetzner`.
    pub what: String,
    /// What kind of thing it is.
    pub gate: Gate,
    /// What is wrong, and what to do.
    pub why: String,
}

/// The kinds of things that stand in a plan's way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The provider's mode does not allow it.
    Mode,
    /// It would cost more than the fleet or the pool may.
    SpendCap,
    /// It is more than one plan may change.
    MostChanges,
    /// It is more than one plan may change, and the next ones go on.
    Later,
    /// The provider has no such region.
    UnknownRegion,
    /// The provider has no such size.
    UnknownSize,
    /// Nothing of what the pool would take can be had.
    SoldOut,
    /// The provider has no such image.
    Image,
    /// The size, the image and the agent are of different architectures.
    Architecture,
    /// The provider bills in another currency.
    Currency,
    /// The provider is not set up, or its answers cannot be had.
    Provider,
    /// The pool's last nodes never came into service.
    Failures,
    /// The control plane suspects itself.
    MassSilence,
    /// Something has the name of ours and is not ours.
    NotOurs,
    /// Something carries our labels and no record knows it.
    Unknown,
}

impl Gate {
    /// Whether an operator who applies the plan is refused: somebody must decide first. The others
    /// only wait.
    pub fn refuses(self) -> bool {
        !matches!(
            self,
            Self::Later
                | Self::Provider
                | Self::Failures
                | Self::MassSilence
                | Self::NotOurs
                | Self::Unknown
        )
    }
}

impl Plan {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-plan/1";

    /// The steps that nothing holds.
    pub fn free(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.held.is_none())
    }

    /// What an operator who applies it is refused for.
    pub fn refusals(&self) -> impl Iterator<Item = &Blocked> {
        self.blocked.iter().filter(|blocked| blocked.gate.refuses())
    }
}

/// Makes the plan. Linear in what it is given, but for sorting.
pub fn plan(input: &Input<'_>) -> Plan {
    let seen = seen::Seen::of(input);
    let mut draft = Draft::default();
    pools::plan(input, &seen, &mut draft);
    unknown::plan(input, &seen, &mut draft);
    hold_by_provider(input, &mut draft);
    hold_by_mode(input, &mut draft);
    let costs = spending::count(input, &seen, &mut draft);
    hold_by_count(input, &mut draft);
    draft.blocked.sort_unstable();
    draft.blocked.dedup();
    let mut plan = Plan {
        schema: Plan::SCHEMA.to_owned(),
        network: input.network.clone(),
        fleet_version: input.fleet_version,
        made_at: input.now,
        steps: draft.steps,
        blocked: draft.blocked,
        currency: input.fleet.currency,
        before: costs.before,
        after: costs.after,
        most: costs.most,
        unpriced: costs.unpriced,
        hash: String::new(),
    };
    plan.hash = hash(&plan);
    plan
}

/// What a plan is put together from.
#[derive(Default)]
struct Draft {
    steps: Vec<Step>,
    blocked: Vec<Blocked>,
}

impl Draft {
    fn step(&mut self, provider: &ProviderName, change: Change, why: String) -> &mut Step {
        self.steps.push(Step {
            change,
            provider: provider.clone(),
            why,
            adds: None,
            saves: None,
            held: None,
        });
        self.steps.last_mut().expect("it was just pushed")
    }

    fn block(&mut self, what: String, gate: Gate, why: String) {
        self.blocked.push(Blocked { what, gate, why });
    }

    /// Holds all steps that `which` picks and nothing holds yet; whether there were any.
    fn hold(&mut self, gate: Gate, which: impl Fn(&Step) -> bool) -> bool {
        let mut held = false;
        for step in &mut self.steps {
            if step.held.is_none() && which(step) {
                step.held = Some(gate);
                held = true;
            }
        }
        held
    }
}

/// Holds what is to be done where nobody can look.
fn hold_by_provider(input: &Input<'_>, draft: &mut Draft) {
    let is_open = |step: &Step| {
        let providing = input.providers.get(&step.provider);
        providing.is_some_and(|providing| providing.inventory.is_ok())
    };
    let closed: BTreeSet<ProviderName> = draft
        .steps
        .iter()
        .filter(|step| !is_open(step))
        .map(|step| step.provider.clone())
        .collect();
    draft.hold(Gate::Provider, |step| closed.contains(&step.provider));
    for name in closed
        .iter()
        .filter(|name| !input.providers.contains_key(*name))
    {
        let why = "it is not set up here, and nodes are rented there: give this program its \
                   credential"
            .to_owned();
        draft.block(format!("provider {name}"), Gate::Provider, why);
    }
}

/// Holds what the providers' modes do not allow: everything but the removal of trials needs `live`.
fn hold_by_mode(input: &Input<'_>, draft: &mut Draft) {
    let trials: BTreeSet<&GatewayId> = input
        .nodes
        .iter()
        .filter(|node| node.mode == Mode::Smoke)
        .map(|node| &node.gateway)
        .collect();
    let is_trial = |step: &Step, mode: Mode| match &step.change {
        Change::RemoveUnknown { mode, .. } => *mode == Mode::Smoke,
        Change::Remove { gateway, .. } => trials.contains(gateway),
        // It costs nothing and guards nothing: what a trial leaves behind.
        Change::DeleteFirewall { .. } => mode == Mode::Smoke,
        _ => false,
    };
    for (name, providing) in input.providers {
        let mode = providing.policy.mode_at(input.now);
        if mode == Mode::Live {
            continue;
        }
        if draft.hold(Gate::Mode, |step| {
            step.provider == *name && !is_trial(step, mode)
        }) {
            let why = match providing.policy.mode {
                Mode::Live => {
                    "the approval of mode 'live' has ended: an owner must approve again".to_owned()
                }
                mode => format!(
                    "it is in mode '{mode}', which changes nothing of the fleet: an owner must \
                     approve of mode 'live', with a reason"
                ),
            };
            draft.block(format!("provider {name}"), Gate::Mode, why);
        }
    }
}

/// Holds everything if it is more than one plan may change; in parts, what is beyond that. What ends
/// comes first then: it makes room under the caps, and serves nobody or should not.
fn hold_by_count(input: &Input<'_>, draft: &mut Draft) {
    let is_free = |step: &Step| step.held.is_none() && step.change.counts();
    let most = usize::try_from(input.fleet.most_changes).unwrap_or(usize::MAX);
    let free = draft.steps.iter().filter(|step| is_free(step));
    let (begins, ends): (Vec<_>, Vec<_>) =
        free.partition(|step| matches!(step.change, Change::Create { .. }));
    let changes = begins.len() + ends.len();
    if changes <= most {
        return;
    }
    if input.in_parts {
        let first = ends.into_iter().chain(begins).take(most);
        let first: Vec<Change> = first.map(|step| step.change.clone()).collect();
        draft.hold(Gate::Later, |step| {
            step.change.counts() && !first.contains(&step.change)
        });
        let why = format!("it makes {changes} changes, {most} at once: the next ones follow");
        draft.block("plan".to_owned(), Gate::Later, why);
        return;
    }
    draft.hold(Gate::MostChanges, |step| step.change.counts());
    let why = format!(
        "it makes {changes} changes, and the fleet allows {most} at once: go there in smaller steps, or \
         raise 'most_changes' (at most {})",
        model::fleet::MOST_CHANGES
    );
    draft.block("plan".to_owned(), Gate::MostChanges, why);
}

/// SHA-256 of the plan as compact JSON in the order of its fields, without its time. Every map in it
/// is ordered by its keys, so that there is one such text for a plan.
fn hash(plan: &Plan) -> String {
    #[derive(Serialize)]
    struct Hashed<'a> {
        schema: &'a str,
        network: &'a NetworkId,
        fleet_version: u64,
        steps: &'a [Step],
        blocked: &'a [Blocked],
        currency: Currency,
        before: Price,
        after: Price,
        most: Price,
        unpriced: &'a [String],
    }
    let hashed = Hashed {
        schema: &plan.schema,
        network: &plan.network,
        fleet_version: plan.fleet_version,
        steps: &plan.steps,
        blocked: &plan.blocked,
        currency: plan.currency,
        before: plan.before,
        after: plan.after,
        most: plan.most,
        unpriced: &plan.unpriced,
    };
    let bytes = serde_json::to_vec(&hashed).expect("a plan is plain data with string keys");
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
