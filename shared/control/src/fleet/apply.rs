//! Beginning a plan: all its intents in one commit, made only if nothing that they stand on changed.
//!
//! The first plan of a fleet that somebody carries out makes that fleet the accepted one, in the same
//! commit: the schedule keeps to what somebody has seen the steps and the costs of.

use std::collections::BTreeSet;

use model::node::PoolState;
use model::{GatewayId, GatewayState, Mode, Node, Place, PoolName, ProviderName, Role, Stage};
use rules::planning::{Change, Gate, Plan, Step, labels, waiting};
use store::Write;

use super::worker::{Staged, Worker};
use crate::{Error, items};

/// How many ids in use a plan passes over at most: more than any fleet has nodes.
const MOST_PASSED: u64 = 1_000_000;

/// Commits the intents of all steps that nothing holds.
pub(super) async fn begin(worker: &mut Worker<'_>, plan: &Plan) -> Result<(), Error> {
    let steps: Vec<&Step> = plan.free().filter(|step| step.change.counts()).collect();
    worker.report.plan = Some(plan.hash.clone());
    // What waits for a provider will have other steps, which nobody has seen.
    let mut blocked = plan.blocked.iter();
    let shows_all = !steps.is_empty() || blocked.all(|one| one.gate == Gate::Unknown);
    let accepts = shows_all && worker.state.fleet != worker.state.accepted.0;
    if steps.is_empty() && !accepts {
        return Ok(());
    }
    let mut staged = Staged::default();
    if accepts {
        let expect = worker.state.accepted.1;
        let accept = items::put(items::fleet_accepted(), expect, &worker.state.fleet);
        staged.others.push(accept);
    }
    for step in &steps {
        stage(worker, step, &mut staged)?;
    }
    guard(worker, &steps, &mut staged);
    if !worker.commit(staged).await? {
        return Err(Error::Contended);
    }
    worker.report.begun = steps.iter().map(|step| step.change.clone()).collect();
    Ok(())
}

/// The fleet and the modes that the plan was made under must still be in force.
fn guard(worker: &Worker<'_>, steps: &[&Step], staged: &mut Staged) {
    let check = |key, expect| Write {
        key,
        expect,
        change: store::Change::Check,
    };
    let (key, expect) = &worker.state.fleet_at;
    staged.others.push(check(key.clone(), *expect));
    let providers: BTreeSet<&ProviderName> = steps.iter().map(|step| &step.provider).collect();
    for name in providers {
        if let Some((_, expect)) = worker.state.policies.get(name) {
            staged.others.push(check(items::provider(name), *expect));
        }
    }
}

fn stage(worker: &Worker<'_>, step: &Step, staged: &mut Staged) -> Result<(), Error> {
    match &step.change {
        Change::Create {
            gateway,
            pool,
            place,
        } => create(worker, step, gateway, pool, place, staged),
        Change::Drain { gateway } => {
            let node = leaving(worker, gateway, Stage::Draining, &step.why)?;
            close_gateway(worker, gateway, GatewayState::Draining, staged);
            event(staged, "node.draining", &node, step.why.clone());
            staged.nodes.push(node);
            Ok(())
        }
        Change::Remove { gateway, failed } => {
            let node = leaving(worker, gateway, Stage::Drained, &step.why)?;
            end_gateway(worker, gateway, staged);
            if *failed && node.mode == Mode::Live {
                let before = staged_pool(worker, staged, &node.pool);
                let after = waiting::failed(&before, worker.context.moment.now);
                staged.pools.insert(node.pool.clone(), after);
            }
            event(staged, "node.drained", &node, step.why.clone());
            staged.nodes.push(node);
            Ok(())
        }
        Change::RemoveUnknown {
            gateway,
            pool,
            role,
            mode,
            ..
        } => {
            let node = stranger(worker, step, gateway, (pool, *role, *mode));
            event(staged, "node.drained", &node, step.why.clone());
            staged.nodes.push(node);
            Ok(())
        }
        Change::Cohorts { gateway, cohorts } => {
            let mut node = known(worker, gateway)?.clone();
            node.cohorts.clone_from(cohorts);
            if let Some((observed, _)) = worker.state.gateways.get(gateway) {
                let mut gateway = observed.gateway.clone();
                gateway.cohorts.clone_from(cohorts);
                staged.gateways.push(gateway);
            }
            event(staged, "node.cohorts", &node, step.why.clone());
            staged.nodes.push(node);
            Ok(())
        }
        Change::Adopt { .. } | Change::DeleteFirewall { .. } | Change::Relabel { .. } => Ok(()),
    }
}

fn create(
    worker: &Worker<'_>,
    step: &Step,
    gateway: &GatewayId,
    name: &PoolName,
    place: &Place,
    staged: &mut Staged,
) -> Result<(), Error> {
    let fleet = worker.state.fleet()?;
    let pool = fleet.pools.get(name).ok_or_else(|| defect(name))?;
    let now = worker.context.moment.now;
    let node = Node {
        price: step.adds,
        ..Node::intended(name, pool, place.clone(), gateway.clone(), now)
    };
    let mut state = staged_pool(worker, staged, name);
    // Ids that are in use are passed over: the next plan begins after this one.
    let network = &worker.context.network.id;
    let mut numbers = state.intended..state.intended.saturating_add(MOST_PASSED);
    let number = numbers.find(|number| labels::node_id(network, name, *number) == *gateway);
    state.intended = number.ok_or_else(|| defect(gateway))? + 1;
    staged.pools.insert(name.clone(), state);
    event(staged, "node.intent", &node, step.why.clone());
    staged.nodes.push(node);
    Ok(())
}

/// A record for what has none, at the stage from which everything is removed.
fn stranger(
    worker: &Worker<'_>,
    step: &Step,
    gateway: &GatewayId,
    (pool, role, mode): (&PoolName, Role, Mode),
) -> Node {
    let now = worker.context.moment.now;
    if let Some(there) = worker.node(gateway) {
        return Node {
            stage: Stage::Drained,
            changed_at: now,
            leaving: Some(step.why.clone()),
            ..there.clone()
        };
    }
    Node {
        gateway: gateway.clone(),
        pool: pool.clone(),
        role,
        provider: step.provider.clone(),
        // Nobody knows what it was; nothing is rented there again.
        place: Place {
            region: "unknown".parse().expect("a constant, valid name"),
            size: "unknown".parse().expect("a constant, valid name"),
            image: "unknown".parse().expect("a constant, valid name"),
        },
        port: 0,
        cohorts: Vec::new(),
        mode,
        expires_at: None,
        stage: Stage::Drained,
        changed_at: now,
        created_at: now,
        hints: model::node::Hints::default(),
        price: step.saves,
        server_at: None,
        proved_at: None,
        leaving: Some(step.why.clone()),
        tries: 0,
        not_before: None,
        last_error: None,
    }
}

fn known<'a>(worker: &'a Worker<'_>, gateway: &GatewayId) -> Result<&'a Node, Error> {
    worker.node(gateway).ok_or_else(|| defect(gateway))
}

fn leaving(
    worker: &Worker<'_>,
    gateway: &GatewayId,
    stage: Stage,
    why: &str,
) -> Result<Node, Error> {
    Ok(Node {
        stage,
        changed_at: worker.context.moment.now,
        leaving: Some(why.to_owned()),
        tries: 0,
        not_before: None,
        ..known(worker, gateway)?.clone()
    })
}

/// Brings a gateway's record to `next` if it is not there or further.
fn close_gateway(
    worker: &Worker<'_>,
    gateway: &GatewayId,
    next: GatewayState,
    staged: &mut Staged,
) {
    let Some((observed, _)) = worker.state.gateways.get(gateway) else {
        return;
    };
    if observed.gateway.state.can_become(next) {
        let mut gateway = observed.gateway.clone();
        gateway.state = next;
        gateway.changed_at = worker.context.moment.now;
        staged.gateways.push(gateway);
    }
}

/// Brings a gateway's record to where it serves nobody: `drained` if it ever did, else `failed`.
pub(super) fn end_gateway(worker: &Worker<'_>, gateway: &GatewayId, staged: &mut Staged) {
    use GatewayState::{Active, Drained, Draining, Failed, Provisioning, Registered, Unhealthy};
    let Some((observed, _)) = worker.state.gateways.get(gateway) else {
        return;
    };
    let next = match observed.gateway.state {
        Provisioning | Registered => Failed,
        // It passes through `draining`, which nobody needs to see.
        Active | Unhealthy | Draining => Drained,
        _ => return,
    };
    let mut gateway = observed.gateway.clone();
    gateway.state = next;
    gateway.changed_at = worker.context.moment.now;
    staged.gateways.push(gateway);
}

/// A pool's state as this commit leaves it so far.
pub(super) fn staged_pool(worker: &Worker<'_>, staged: &Staged, name: &PoolName) -> PoolState {
    let there = || worker.state.pools.get(name).map(|(state, _)| state.clone());
    staged
        .pools
        .get(name)
        .cloned()
        .or_else(there)
        .unwrap_or_default()
}

pub(super) fn event(staged: &mut Staged, action: &str, node: &Node, detail: String) {
    staged
        .events
        .push((action.to_owned(), node.gateway.clone(), detail));
}

fn defect(what: &impl std::fmt::Display) -> Error {
    Error::Defect(format!("the plan names {what}, which it was not made of"))
}
