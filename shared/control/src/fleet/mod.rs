//! The fleet: from what is wanted to nodes that serve, and back to nothing on the bill.
//!
//! The worst that can happen here is a server or an address that nobody knows and everybody pays. So:
//!
//! - What is wanted ([`desired`]) and what may be spent and done ([`modes`]) are items of their own.
//! - [`plan`] shows the steps ([`rules::planning`]); [`reconcile`] carries out exactly a plan that was
//!   shown, or heals. All intents of a plan are one commit, made before the first call to a provider.
//! - After that a node's record says what is about to be done, its name and labels find what was
//!   done, and each run goes on from there. A run can end after any call, by a crash or by its budget.
//! - One run at a time: it holds a lease that ends by itself. Nothing is waited for inside a run.
//! - [`smoke`] makes one node, proves it and removes it. [`cleanup`] removes what a provider lists and
//!   nobody needs, even with an empty database. [`evidence`] says what a run did, and holds no secret.
//!
//! A run that finds nothing to do makes 7 calls to the store, two more for each thousand nodes and
//! gateways, and what the providers' lists and offers take; `docs/fleet.md` counts the rest.

mod advance;
mod apply;
mod boot;
pub mod cleanup;
pub mod cloud_init;
pub mod desired;
pub mod evidence;
mod faults;
mod lease;
pub mod modes;
mod needs;
mod note;
mod observe;
mod reconcile;
pub mod smoke;
mod worker;

use std::sync::Arc;

use jiff::Timestamp;
use model::provider::{ResourceId, ResourceKind};
use model::{Amount, FirstContact, GatewayId, Limits, Node, ProviderName, Stage};
use providers::Provider;
use rules::planning::{Change, Plan};
use serde::{Deserialize, Serialize};
use store::Store;

pub use boot::BootstrapKey;
pub use reconcile::reconcile;

use crate::calls::{Counted, Meter};
use crate::items::Read as _;
use crate::{Context, Error};
use observe::State;

/// For how many days the record of a node that is gone is kept: what its provider lists under its
/// name after that is somebody's to look at.
const KEPT_DAYS: i64 = 30;

/// Calls that are kept back from providers: what came of the last one, its rest, the lease.
const KEPT_CALLS: usize = 3;

/// One run's means. Each call of a use case takes a run of its own: a moment's ids are used once.
pub struct Run<'a> {
    /// State, settings and moment.
    pub context: Context<'a>,
    /// The providers that this program has credentials for. Their requests are counted if they go
    /// through [`crate::calls::CountedHttp`].
    pub providers: &'a [Arc<dyn Provider>],
    /// What nodes are given to boot with.
    pub boot: &'a Boot,
    /// What the run may spend, and has spent.
    pub meter: &'a Meter,
    /// How long a run lasts at most, in seconds: the lease outlives it.
    pub seconds: u32,
    /// Whether that time is over. Where the clock stands between calls, the meter ends the run.
    pub is_late: &'a (dyn Fn() -> bool + Send + Sync),
}

impl<'a> Run<'a> {
    /// The same run over another store.
    fn over<'b>(&'b self, store: &'b dyn Store) -> Run<'b>
    where
        'a: 'b,
    {
        let context = Context {
            store,
            ..self.context
        };
        Run { context, ..*self }
    }
}

/// The run's store, counted.
fn counted<'a>(run: &Run<'a>) -> Counted<'a> {
    Counted {
        store: run.context.store,
        meter: run.meter,
    }
}

/// What nodes are given to boot with.
pub struct Boot {
    /// What their bootstrap secrets are derived from.
    pub key: BootstrapKey,
    /// How they reach and trust the network.
    pub contact: FirstContact,
    /// Where the signed limits allow gateways to be.
    pub limits: Limits,
}

/// What a run of [`reconcile`] is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Carry out the plan with this hash, which somebody was shown.
    Apply {
        /// [`Plan::hash`].
        hash: String,
        /// Who asked; for the audit.
        by: model::Actor,
        /// As the plan was made with.
        remove_unknown: bool,
    },
    /// Go on with what is under way, and do what nothing holds of the plan as it is now: what the
    /// schedule does.
    Heal,
    /// Go on with what is under way, and begin nothing.
    Finish,
}

impl Order {
    /// Who answers for what a run begins: who asked for the plan, or the schedule.
    pub fn actor(&self) -> model::Actor {
        match self {
            Self::Apply { by, .. } => by.clone(),
            Self::Heal | Self::Finish => model::Actor::Schedule("reconcile".to_owned()),
        }
    }
}

/// What is rented, in money of the fleet's currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spend {
    /// What it costs a month.
    pub month: Amount,
    /// The most that the fleet may.
    pub most_per_month: Amount,
}

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The hash of the plan that was carried out, if there was one.
    pub plan: Option<String>,
    /// The steps of it that this run began.
    pub begun: Vec<Change>,
    /// How far nodes got: each time a record changed.
    pub noted: Vec<(GatewayId, Stage)>,
    /// What was rented.
    pub created: Vec<Resource>,
    /// What was asked to be deleted.
    pub deleted: Vec<Resource>,
    /// Nodes whose absence the provider's list has shown.
    pub gone: Vec<GatewayId>,
    /// What went wrong or stands in the way, in words.
    pub troubles: Vec<String>,
    /// Nodes that are neither in service nor gone: later runs go on with them.
    pub under_way: usize,
    /// What is rented costs a month, beside its cap; None where no fleet is wanted, or no plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend: Option<Spend>,
    /// Whether the run's budget ended before what could be done now.
    pub unfinished: bool,
    /// Whether another run holds the lease: nothing was done.
    pub busy: bool,
    /// How many calls the run made.
    pub calls: u32,
}

/// Something at a provider.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// Who rents it out.
    pub provider: ProviderName,
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: ResourceId,
}

/// How long a provider wants to be left alone: an item, so that the next run knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rest {
    /// Until when nothing is asked of it.
    pub not_before: Timestamp,
    /// What it said.
    pub why: String,
}

/// The plan from what is there to the fleet in force. Reads the store and the providers' lists, and
/// changes nothing. With `remove_unknown`, resources that carry live labels and that no record
/// knows are steps, too.
///
/// Refused where no fleet was applied yet.
pub async fn plan(
    context: &Context<'_>,
    providers: &[Arc<dyn Provider>],
    remove_unknown: bool,
) -> Result<Plan, Error> {
    let state = State::read(context, providers).await?;
    state.plan(context, remove_unknown)
}

/// All records of nodes, those that are gone and still kept included, ordered by gateway.
pub async fn nodes(context: &Context<'_>) -> Result<Vec<Node>, Error> {
    let range = store::Range::all(crate::items::NODES);
    let items = store::query_all(context.store, context.moment.now, &range).await?;
    let nodes: Result<Vec<Node>, _> = items.iter().map(store::Item::read).collect();
    Ok(nodes?)
}
