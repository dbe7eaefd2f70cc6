//! `posternctl plan`, and how a plan is shown.

use api::fleet::{PLAN, PlanRequest};
use clap::Args;
use model::ProviderName;
use model::provider::Price;
use rules::planning::{Change, Plan, Step};

use crate::profile::Place;
use crate::remote::Remote;
use crate::show;

/// What to plan.
#[derive(Args, Clone)]
pub struct PlanOptions {
    /// Show only the steps at this provider, as hetzner. The hash is of the whole plan.
    #[arg(long)]
    provider: Option<ProviderName>,
    /// Also remove what carries live labels and has no record: only where the database is known to be
    /// whole.
    #[arg(long)]
    remove_unknown: bool,
}

/// `posternctl plan`.
pub async fn run(place: &Place, options: &PlanOptions, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let mut plan = ask(&remote, options.remove_unknown).await?;
    let all = plan.steps.len();
    if let Some(provider) = &options.provider {
        plan.steps.retain(|step| step.provider == *provider);
    }
    if json {
        say!("{}", serde_json::to_string(&plan)?);
        return Ok(());
    }
    let elsewhere = all - plan.steps.len();
    if let (true, Some(provider)) = (elsewhere > 0, &options.provider) {
        say!("Steps of the plan that are not at '{provider}' and not shown: {elsewhere}.");
    }
    if !plan.steps.is_empty() || elsewhere == 0 {
        print(&plan);
    }
    if plan.free().next().is_some() {
        say!(
            "\nCarry it out with: posternctl reconcile --plan {}",
            plan.hash
        );
    }
    Ok(())
}

/// The plan as it is now.
pub async fn ask(remote: &Remote, remove_unknown: bool) -> anyhow::Result<Plan> {
    remote.post(PLAN, &PlanRequest { remove_unknown }).await
}

/// Prints a plan for people.
pub fn print(plan: &Plan) {
    if plan.steps.is_empty() && !plan.blocked.is_empty() {
        say!("Nothing can be done now:");
    } else if plan.steps.is_empty() {
        say!(
            "Nothing is to be done: all is as version {} of the fleet wants.",
            plan.fleet_version
        );
    } else {
        let month = format!("{} a month", plan.currency);
        let mut table = show::table(&["do", "what", "where", &month, "why", "held by"]);
        for step in &plan.steps {
            table.add_row(row(step));
        }
        say!("{table}");
    }
    for blocked in &plan.blocked {
        say!("HELD {}: {}", blocked.what, blocked.why);
    }
    for name in &plan.unpriced {
        say!("NOTE nobody offers the like of {name} any more: it is not in the costs");
    }
    say!(
        "\nCosts in {}: now {}, afterwards {}, on the way at most {}.",
        plan.currency,
        price(plan.before),
        price(plan.after),
        price(plan.most)
    );
}

fn price(price: Price) -> String {
    format!("{} a month ({} an hour)", price.month, price.hour)
}

fn row(step: &Step) -> Vec<String> {
    let (what, place) = subject(&step.change);
    let costs = match (step.adds, step.saves) {
        (Some(adds), _) => format!("+{}", adds.month),
        (None, Some(saves)) => format!("-{}", saves.month),
        (None, None) => String::new(),
    };
    let held = step.held.map(|gate| kebab(&gate)).unwrap_or_default();
    vec![
        verb(&step.change).to_owned(),
        what,
        place.unwrap_or_else(|| step.provider.to_string()),
        costs,
        step.why.clone(),
        held,
    ]
}

fn verb(change: &Change) -> &'static str {
    match change {
        Change::Create { .. } => "create",
        Change::Drain { .. } => "drain",
        Change::Remove { .. } | Change::RemoveUnknown { .. } => "remove",
        Change::Adopt { .. } => "adopt",
        Change::DeleteFirewall { .. } => "delete",
        Change::Relabel { .. } => "relabel",
        Change::Cohorts { .. } => "list for others",
    }
}

/// What a step is about, and where it will be.
fn subject(change: &Change) -> (String, Option<String>) {
    match change {
        Change::Create {
            gateway,
            pool,
            place,
        } => (
            format!("{gateway} of {pool}"),
            Some(format!("{}, {}, {}", place.region, place.size, place.image)),
        ),
        Change::Drain { gateway } | Change::Remove { gateway, .. } => (gateway.to_string(), None),
        Change::RemoveUnknown { gateway, pool, .. } => (format!("{gateway} of {pool}"), None),
        Change::Adopt { kind, name, .. } | Change::Relabel { kind, name, .. } => {
            (format!("{kind} {name}"), None)
        }
        Change::DeleteFirewall { name } => (format!("firewall {name}"), None),
        Change::Cohorts { gateway, cohorts } => {
            let cohorts: Vec<_> = cohorts.iter().map(ToString::to_string).collect();
            (format!("{gateway} for {}", cohorts.join(", ")), None)
        }
    }
}

/// How a value is written in JSON, where it is a plain word.
pub fn kebab(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
