//! One run: take the lease, look, begin what is to be begun, and take every node that is under way a
//! little further, what leaves first.

use api::Kind;
use model::GatewayId;
use model::provider::ResourceKind;
use rules::planning::{Change, Plan};

use super::advance::is_at_rest;
use super::apply::begin;
use super::observe::State;
use super::worker::Worker;
use super::{KEPT_CALLS, Order, Report, Resource, Run, Spend, counted, lease};
use crate::Error;

/// Carries out what `order` says, as far as the run's budget goes; the next run goes on.
///
/// A plan that was shown is refused as a whole, before anything is begun, if what would be done now is
/// another, or if somebody must decide something first; the refusal says what.
pub async fn reconcile(run: &Run<'_>, order: Order) -> Result<Report, Error> {
    run.meter.keep(KEPT_CALLS);
    let store = counted(run);
    let run = &run.over(&store);
    if !lease::take(run).await? {
        return Ok(Report {
            busy: true,
            unfinished: true,
            calls: run.meter.spent(),
            ..Report::default()
        });
    }
    let done = work(run, order).await;
    lease::give_back(run).await;
    let mut report = done?;
    report.calls = run.meter.spent();
    Ok(report)
}

async fn work(run: &Run<'_>, order: Order) -> Result<Report, Error> {
    let state = State::read(&run.context, run.providers).await?;
    let mut worker = Worker::new(run, run.context, state, order.actor());
    worker.settle_waits().await?;
    if !matches!(order, Order::Apply { .. }) {
        let waits = worker.state.keep_to_accepted();
        worker
            .report
            .troubles
            .extend(waits.filter(|_| order == Order::Heal));
    }
    let plan = match &order {
        Order::Finish => None,
        Order::Heal if worker.state.fleet.fleet.is_none() => None,
        Order::Heal => Some(worker.state.plan(&run.context, false)?),
        Order::Apply {
            hash,
            remove_unknown,
            ..
        } => Some(checked(
            worker.state.plan(&run.context, *remove_unknown)?,
            hash,
        )?),
    };
    if let Some(plan) = &plan {
        let wanted = worker.state.fleet.fleet.as_ref();
        worker.report.spend = wanted.map(|fleet| Spend {
            month: plan.before.month,
            most_per_month: fleet.most_per_month,
        });
        if order == Order::Heal {
            let stands = plan.blocked.iter();
            let stands = stands.map(|blocked| format!("{}: {}", blocked.what, blocked.why));
            worker.report.troubles.extend(stands);
        }
        begin(&mut worker, plan).await?;
    }
    for id in order_of(&worker) {
        worker.advance(&id).await?;
    }
    if let Some(plan) = &plan {
        worker.tidy(plan).await?;
    }
    let nodes = worker.state.nodes.values();
    worker.report.under_way = nodes.filter(|(node, _)| !is_at_rest(node)).count();
    Ok(worker.report)
}

/// The plan, if it is the one that was shown and nobody must decide anything first.
fn checked(plan: Plan, shown: &str) -> Result<Plan, Error> {
    if plan.hash != shown {
        let detail = "the state changed since it was shown: look at the new plan ('plan')";
        return Err(Error::refused(Kind::PlanChanged, detail));
    }
    let refusals: Vec<String> = plan
        .refusals()
        .map(|blocked| format!("{}: {}", blocked.what, blocked.why))
        .collect();
    if refusals.is_empty() {
        return Ok(plan);
    }
    Err(Error::refused(Kind::PlanRefused, refusals.join("; ")))
}

/// Whose turn it is: what leaves before what comes, so that a provider's last requests go to ending
/// rents; of those the oldest first.
fn order_of(worker: &Worker<'_>) -> Vec<GatewayId> {
    let nodes = worker.state.nodes.values();
    let mut nodes: Vec<_> = nodes
        .map(|(node, _)| node)
        .filter(|node| !is_at_rest(node))
        .collect();
    nodes.sort_by_key(|node| {
        (
            !node.stage.is_leaving(),
            node.created_at,
            node.gateway.clone(),
        )
    });
    nodes.into_iter().map(|node| node.gateway.clone()).collect()
}

impl Worker<'_> {
    /// Writes down which providers said, when their lists were read, that they want to be left alone.
    pub async fn settle_waits(&mut self) -> Result<(), Error> {
        self.report.unfinished |= self.state.spent;
        for (provider, (seconds, why)) in std::mem::take(&mut self.state.waits) {
            self.rest(&provider, seconds, why).await?;
        }
        Ok(())
    }

    /// Carries out the steps that cost nothing and can be made again: labels, firewalls.
    pub async fn tidy(&mut self, plan: &Plan) -> Result<(), Error> {
        for step in plan.free() {
            let (kind, name) = match &step.change {
                Change::Relabel { kind, name, .. } => (*kind, name),
                Change::DeleteFirewall { name } => (ResourceKind::Firewall, name),
                _ => continue,
            };
            if self.closed.contains(&step.provider) {
                continue;
            }
            if self.is_spent() {
                self.report.unfinished = true;
                return Ok(());
            }
            let Some(resource) = self.listed(step, kind, name) else {
                continue;
            };
            let Some(provider) = self.provider(&step.provider) else {
                continue;
            };
            let done = match &step.change {
                Change::Relabel { labels, .. } => provider.label(kind, &resource.id, labels).await,
                _ => provider.delete(kind, &resource.id).await.map(|_| ()),
            };
            match done {
                Ok(()) => {
                    self.report.begun.push(step.change.clone());
                    if kind == ResourceKind::Firewall {
                        self.report.deleted.push(resource);
                    }
                }
                Err(error) => self.untidy(error).await?,
            }
        }
        Ok(())
    }

    async fn untidy(&mut self, error: providers::ProviderError) -> Result<(), Error> {
        match error.fault {
            providers::Fault::Gone => {}
            providers::Fault::Spent => {
                self.report.unfinished = true;
                self.closed.insert(error.provider);
            }
            providers::Fault::Wait { seconds } => {
                let why = error.to_string();
                self.rest(&error.provider, seconds, why).await?;
            }
            providers::Fault::Credential => self.close(&error),
            // The next run's plan has it again.
            _ => self.trouble(&error),
        }
        Ok(())
    }

    fn listed(
        &self,
        step: &rules::planning::Step,
        kind: ResourceKind,
        name: &str,
    ) -> Option<Resource> {
        let lists = self.state.lists.get(&step.provider)?;
        let inventory = lists.inventory.as_ref().ok()?;
        let id = match kind {
            ResourceKind::Server => {
                let mut servers = inventory.servers.iter();
                servers
                    .find(|server| server.name == name)
                    .map(|server| &server.id)
            }
            ResourceKind::Address => {
                let mut addresses = inventory.addresses.iter();
                addresses
                    .find(|address| address.name == name)
                    .map(|address| &address.id)
            }
            ResourceKind::Firewall => {
                let mut firewalls = inventory.firewalls.iter();
                firewalls
                    .find(|firewall| firewall.name == name)
                    .map(|firewall| &firewall.id)
            }
        }?;
        Some(Resource {
            provider: step.provider.clone(),
            kind,
            name: name.to_owned(),
            id: id.clone(),
        })
    }
}
