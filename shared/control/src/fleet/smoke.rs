//! A trial: one node of a role, which is made, proved and removed, and expires by itself.
//!
//! It goes through the same record and the same stages as any node, and is in no catalog: it has no
//! cohort. What it proves is that the provider's credentials, prices, images, firewall and address do
//! what a live run would need, and that a node which boots from its user data registers and beats.
//!
//! [`begin`] writes the intent, [`step`] goes on with it, a run at a time, until its outcome is final.
//! Who is killed in between begins again and goes on with the same node.

use std::collections::BTreeMap;

use api::Kind;
use jiff::SignedDuration;
use model::fleet::SMOKE_POOL;
use model::node::PoolState;
use model::{
    Actor, Fleet, GatewayId, ImageName, Mode, Node, Place, Pool, PoolName, ProviderName,
    RegionName, Role, SizeName, Stage,
};
use rules::planning::{self, Change};
use serde::{Deserialize, Serialize};
use store::{Change as Done, Write};

use super::apply::event;
use super::observe::State;
use super::worker::{Staged, Worker};
use super::{KEPT_CALLS, Report, Run, counted, lease};
use crate::{Error, items};

/// How long a trial may last before anybody may remove it, in seconds, where nothing is said.
pub const EXPIRES_SECONDS: u32 = 3600;

/// What is tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SmokeOrder {
    /// Where.
    pub provider: ProviderName,
    /// As what.
    pub role: Role,
    /// In which region: the first choice, and what to take if it cannot be had, in order.
    pub regions: Vec<RegionName>,
    /// How large, likewise.
    pub sizes: Vec<SizeName>,
    /// From what.
    pub image: ImageName,
    /// The UDP port of its tunnels.
    pub port: u16,
    /// From how many seconds on anybody may remove it.
    pub expires_seconds: u32,
}

/// How far a trial is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Smoke {
    /// Its node's record.
    pub node: Node,
    /// What came of it so far.
    pub outcome: Outcome,
    /// What this run did.
    pub report: Report,
}

/// What came of a trial.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes on: ask again in some seconds.
    Running,
    /// Its gateway registered and was heard, and nothing of it is left.
    Proved,
    /// Its gateway did not come into service; nothing of it is left. Why.
    Failed(String),
}

impl SmokeOrder {
    /// The trial of what the fleet's first pool of this role has at this provider.
    pub fn of_fleet(fleet: &Fleet, provider: &ProviderName, role: Role) -> Option<Self> {
        let mut pools = fleet.pools.values();
        let pool = pools.find(|pool| pool.provider == *provider && pool.role == role)?;
        Some(Self {
            provider: provider.clone(),
            role,
            regions: pool.regions.clone(),
            sizes: pool.sizes.clone(),
            image: pool.image.clone(),
            port: pool.port,
            expires_seconds: EXPIRES_SECONDS,
        })
    }

    /// Whether a trial in this place is what is asked for.
    fn allows(&self, place: &Place) -> bool {
        self.regions.contains(&place.region)
            && self.sizes.contains(&place.size)
            && self.image == place.image
    }

    fn pool(&self) -> Pool {
        Pool {
            role: self.role,
            provider: self.provider.clone(),
            regions: self.regions.clone(),
            sizes: self.sizes.clone(),
            image: self.image.clone(),
            count: 1,
            cohorts: Vec::new(),
            port: self.port,
            most_per_month: None,
        }
    }
}

/// Writes the intent of a trial, or finds the one of this provider and role that is not over yet.
///
/// Refused, before anything is done, in mode `plan`, above what a smoke run or the fleet may cost, and
/// where no choice can be had. Needs a fleet, which names the agent.
pub async fn begin(run: &Run<'_>, by: &Actor, order: &SmokeOrder) -> Result<GatewayId, Error> {
    run.meter.keep(KEPT_CALLS);
    let store = counted(run);
    let run = &run.over(&store);
    if !lease::take(run).await? {
        return Err(Error::Contended);
    }
    let begun = begin_alone(run, by, order).await;
    lease::give_back(run).await;
    begun
}

async fn begin_alone(run: &Run<'_>, by: &Actor, order: &SmokeOrder) -> Result<GatewayId, Error> {
    let state = State::read(&run.context, run.providers).await?;
    let mut nodes = state.nodes.values().map(|(node, _)| node);
    let is_same = |node: &&Node| {
        node.mode == Mode::Smoke
            && !node.stage.is_over()
            && node.provider == order.provider
            && node.role == order.role
    };
    if let Some(node) = nodes.find(is_same) {
        if order.allows(&node.place) {
            return Ok(node.gateway.clone());
        }
        let detail = format!(
            "another trial of this role, {}, is under way ({} in {}, {}): let it end, or clean up",
            node.gateway, node.place.size, node.place.region, node.place.image
        );
        return Err(Error::refused(Kind::PlanRefused, detail));
    }
    let node = intend(run, &state, order)?;
    let id = node.gateway.clone();
    let name = node.pool.clone();
    let check = |key, expect| Write {
        key,
        expect,
        change: Done::Check,
    };
    let mut staged = Staged::default();
    staged
        .others
        .push(check(state.fleet_at.0.clone(), state.fleet_at.1));
    if let Some((_, expect)) = state.policies.get(&order.provider) {
        let key = items::provider(&order.provider);
        staged.others.push(check(key, *expect));
    }
    let there = state.pools.get(&name);
    let pool = there.map(|(pool, _)| pool.clone()).unwrap_or_default();
    let pool = PoolState {
        intended: pool.intended + 1,
        ..pool
    };
    staged.pools = BTreeMap::from([(name, pool)]);
    event(&mut staged, "node.intent", &node, "a smoke run".to_owned());
    staged.nodes.push(node);
    let mut worker = Worker::new(run, run.context, state, by.clone());
    if worker.commit(staged).await? {
        return Ok(id);
    }
    Err(Error::Contended)
}

/// The record of a trial's node, if all gates are open.
fn intend(run: &Run<'_>, state: &State, order: &SmokeOrder) -> Result<Node, Error> {
    let now = run.context.moment.now;
    let name: PoolName = SMOKE_POOL.parse().expect("a constant, valid name");
    let provider = &order.provider;
    let refuse = |detail: String| Err(Error::refused(Kind::PlanRefused, detail));
    let Some((policy, _)) = state.policies.get(provider) else {
        return refuse(format!(
            "provider '{provider}' is not set up here: give this program its credential"
        ));
    };
    let mode = policy.mode_at(now);
    if mode < Mode::Smoke {
        let detail = format!(
            "{provider} is in mode '{mode}', which changes nothing: set it to 'smoke' first \
             ('providers policy')"
        );
        return Err(Error::refused(Kind::ProviderMode, detail));
    }
    let fleet = state.fleet()?;
    let pool = order.pool();
    let Some(lists) = state.lists.get(provider) else {
        return refuse(format!("{provider} cannot be read"));
    };
    let offers = match (&lists.inventory, &lists.offers) {
        (Ok(_), Ok(offers)) => offers,
        (Err(why), _) | (_, Err(why)) => return refuse(why.clone()),
    };
    let memory = state.pools.get(&name).map(|(pool, _)| pool);
    let (place, price) = match planning::choose(fleet, &pool, offers, memory, None, now) {
        Ok(chosen) => chosen,
        Err((_, why)) => return refuse(why),
    };
    let most = policy.smoke_most_per_hour;
    if price.hour > most {
        return refuse(format!(
            "{} would cost {} {} an hour with its address, and a smoke run may cost {most}: take a \
             smaller size, or have an owner raise it",
            place.size, price.hour, fleet.currency
        ));
    }
    let sum = state.plan(&run.context, false)?.before.plus(price).month;
    if sum > fleet.most_per_month {
        return refuse(format!(
            "with it everything would cost {sum} {} a month, and the fleet allows {}",
            fleet.currency, fleet.most_per_month
        ));
    }
    let number = memory.map_or(0, |pool| pool.intended);
    let expires = SignedDuration::from_secs(i64::from(order.expires_seconds));
    let id = planning::labels::node_id(&run.context.network.id, &name, number);
    Ok(Node {
        mode: Mode::Smoke,
        expires_at: Some(now + expires),
        price: Some(price),
        ..Node::intended(&name, &pool, place, id, now)
    })
}

/// Goes on with a trial, as far as it gets.
pub async fn step(run: &Run<'_>, gateway: &GatewayId) -> Result<Smoke, Error> {
    run.meter.keep(KEPT_CALLS);
    let store = counted(run);
    let run = &run.over(&store);
    if !lease::take(run).await? {
        return Err(Error::Contended);
    }
    let stepped = step_alone(run, gateway).await;
    lease::give_back(run).await;
    let mut smoke = stepped?;
    smoke.report.calls = run.meter.spent();
    Ok(smoke)
}

async fn step_alone(run: &Run<'_>, gateway: &GatewayId) -> Result<Smoke, Error> {
    let state = State::read(&run.context, run.providers).await?;
    let actor = Actor::Schedule("smoke".to_owned());
    let mut worker = Worker::new(run, run.context, state, actor);
    worker.settle_waits().await?;
    let node = worker.node(gateway).filter(|node| node.mode == Mode::Smoke);
    let Some(before) = node.cloned() else {
        let detail = format!("there is no smoke run {gateway}: begin one");
        return Err(Error::refused(Kind::GatewayUnknown, detail));
    };
    let mut is_left = false;
    if before.stage.is_over() {
        is_left = worker.remove_firewall(&before).await?;
    } else {
        worker.advance(gateway).await?;
    }
    let node = worker
        .node(gateway)
        .cloned()
        .unwrap_or_else(|| before.clone());
    let is_over = before.stage == Stage::Absent && !is_left;
    let outcome = match (is_over, node.proved_at) {
        (false, _) => Outcome::Running,
        (true, Some(_)) => Outcome::Proved,
        (true, None) => {
            let why = node.leaving.clone().unwrap_or_default();
            Outcome::Failed(
                node.last_error
                    .clone()
                    .map_or(why.clone(), |error| format!("{why}: {error}")),
            )
        }
    };
    worker.report.under_way = usize::from(outcome == Outcome::Running);
    Ok(Smoke {
        node,
        outcome,
        report: worker.report,
    })
}

impl Worker<'_> {
    /// Deletes the firewalls of the node's provider that guard nothing and that nobody needs. Whether
    /// there were any, or nobody can tell.
    async fn remove_firewall(&mut self, node: &Node) -> Result<bool, Error> {
        let lists = self.state.lists.get(&node.provider);
        if lists.is_none_or(|lists| lists.inventory.is_err()) {
            return Ok(true);
        }
        let mut plan = self.state.plan(&self.context, false)?;
        plan.steps.retain(|step| {
            step.provider == node.provider && matches!(step.change, Change::DeleteFirewall { .. })
        });
        self.tidy(&plan).await?;
        Ok(plan.free().next().is_some())
    }
}
