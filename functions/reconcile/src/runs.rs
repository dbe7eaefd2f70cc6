//! One bounded run, and the record of it.

use control::fleet::evidence::{Cost, Evidence, What};
use control::fleet::smoke::{self, Smoke};
use control::fleet::{Order, Report, Run, desired};
use control::measures::{Measure, Measured};
use control::{Context, Error, Moment};
use edge::accounts::Opened;
use edge::{Edge, RUN_SECONDS, is_late};
use jiff::Timestamp;
use model::GatewayId;
use model::provider::Price;
use providers::record::Call;
use serde::{Deserialize, Serialize};

use crate::Reconcile;

/// What a run of the fleet did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunAnswer {
    /// What it did.
    pub report: Report,
    /// Its record, if it did something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

impl Measured for RunAnswer {
    fn measures(&self, now: Timestamp) -> Vec<Measure> {
        self.report.measures(now)
    }
}

/// What a run of a trial did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SmokeAnswer {
    /// How far it is.
    pub smoke: Smoke,
    /// The run's record, if it did something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// Whether a call may have changed something.
fn changes(call: &Call) -> bool {
    call.method != "GET"
}

fn did_something(report: &Report, opened: &Opened) -> bool {
    !report.begun.is_empty() || !report.noted.is_empty() || opened.calls().iter().any(changes)
}

impl Reconcile {
    /// One run of the schedule.
    pub async fn heal(&self, edge: &Edge) -> Result<RunAnswer, Error> {
        self.reconcile(edge, edge.clock.moment(), Order::Heal).await
    }

    /// One run.
    pub(crate) async fn reconcile(
        &self,
        edge: &Edge,
        moment: Moment,
        order: Order,
    ) -> Result<RunAnswer, Error> {
        let opened = self.accounts.open(&edge.clock);
        let is_late = is_late(&edge.clock, moment.now);
        let run = self.means(edge.context(moment), &opened, &is_late);
        let by = order.actor();
        let is_asked_for = matches!(order, Order::Apply { .. });
        let done = control::fleet::reconcile(&run, order).await;
        let evidence = match &done {
            Ok(report) if is_asked_for && !report.busy || did_something(report, &opened) => {
                let mut evidence = self.evidence(edge, &moment, What::Reconcile).await;
                evidence.by = Some(by);
                evidence.add(report);
                Some(evidence)
            }
            Ok(_) => None,
            Err(error) => {
                self.broken(edge, &moment, &opened, What::Reconcile, error)
                    .await
            }
        };
        let evidence = self.keep(edge, &moment, &opened, evidence).await;
        Ok(RunAnswer {
            report: done?,
            evidence,
        })
    }

    /// One run of a trial.
    pub(crate) async fn smoke(
        &self,
        edge: &Edge,
        moment: Moment,
        gateway: &GatewayId,
    ) -> Result<SmokeAnswer, Error> {
        let opened = self.accounts.open(&edge.clock);
        let is_late = is_late(&edge.clock, moment.now);
        let run = self.means(edge.context(moment), &opened, &is_late);
        let done = smoke::step(&run, gateway).await;
        let evidence = match &done {
            Ok(smoke) if did_something(&smoke.report, &opened) || smoke.report.under_way == 0 => {
                let mut evidence = self.evidence(edge, &moment, What::Smoke).await;
                evidence.add_smoke(smoke);
                Some(evidence)
            }
            Ok(_) => None,
            Err(error) => {
                self.broken(edge, &moment, &opened, What::Smoke, error)
                    .await
            }
        };
        let evidence = self.keep(edge, &moment, &opened, evidence).await;
        Ok(SmokeAnswer {
            smoke: done?,
            evidence,
        })
    }

    /// A run's means.
    pub(crate) fn means<'a>(
        &'a self,
        context: Context<'a>,
        opened: &'a Opened,
        is_late: &'a (dyn Fn() -> bool + Send + Sync),
    ) -> Run<'a> {
        Run {
            context,
            providers: &opened.providers,
            boot: &self.boot,
            meter: &opened.meter,
            seconds: RUN_SECONDS,
            is_late,
        }
    }

    /// The record of a run that ended with an error after it had changed something.
    async fn broken(
        &self,
        edge: &Edge,
        moment: &Moment,
        opened: &Opened,
        what: What,
        error: &Error,
    ) -> Option<Evidence> {
        if !opened.calls().iter().any(changes) {
            return None;
        }
        let mut evidence = self.evidence(edge, moment, what).await;
        "broken off".clone_into(&mut evidence.outcome);
        evidence.troubles.push(error.to_string());
        Some(evidence)
    }

    /// A record of nothing yet, with what everything costs now.
    async fn evidence(&self, edge: &Edge, moment: &Moment, what: What) -> Evidence {
        let (network, now) = (edge.network.id.clone(), moment.now);
        let mut evidence = Evidence::new(what, network, self.accounts.against(), now, now);
        match cost(&edge.context(*moment)).await {
            Ok(cost) => evidence.cost = cost,
            Err(error) => {
                let trouble = format!("what all costs cannot be said: {error}");
                evidence.troubles.push(trouble);
            }
        }
        evidence
    }

    async fn keep(
        &self,
        edge: &Edge,
        moment: &Moment,
        opened: &Opened,
        evidence: Option<Evidence>,
    ) -> Option<Evidence> {
        let evidence = evidence?;
        let kept = self.shelf.record(edge, moment, opened, evidence).await;
        Some(kept)
    }
}

/// What the records' nodes cost, as they were offered; none before there is a fleet.
async fn cost(context: &Context<'_>) -> Result<Option<Cost>, Error> {
    let Some(fleet) = desired::show(context).await?.fleet else {
        return Ok(None);
    };
    let nodes = control::fleet::nodes(context).await?;
    let there = nodes.iter().filter(|node| !node.stage.is_over());
    let prices = there.filter_map(|node| node.price);
    Ok(Some(Cost {
        currency: fleet.currency,
        price: prices.fold(Price::default(), Price::plus),
    }))
}
