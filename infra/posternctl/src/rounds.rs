//! `posternctl reconcile` and `posternctl smoke`: long work, asked for again and again.
//!
//! The functions keep no connection open and wait for nothing: each request is one bounded run, which says
//! what it did and what is left. So whoever stops this stops nothing that is under way, and starting it
//! again goes on.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use api::Kind;
use api::fleet::{RUNS, RunRequest, SmokeBegun, SmokeRequest};
use clap::Args;
use control::fleet::Report;
use control::fleet::evidence::Evidence;
use control::fleet::smoke::Outcome;
use model::{ImageName, ProviderName, RegionName, Role, SizeName};
use reconcile::{RunAnswer, SmokeAnswer};
use rules::planning::{Blocked, Gate};

use crate::profile::Place;
use crate::remote::{Remote, is};
use crate::{plan, show};

/// How long to wait before the next run where the last one could do nothing: what it waits for, a boot or an
/// action, takes some seconds.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest pause, where there is no news for long. A run reads a provider's lists and offers, some ten
/// requests, and the provider gives back one a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many runs in a row that could do nothing but complain, some five minutes, somebody must look.
const MOST_TROUBLES: u32 = 12;

/// Waits between runs: longer the longer there is no news.
struct Patience {
    pause: Duration,
    troubles: u32,
}

impl Patience {
    fn new() -> Self {
        Self {
            pause: PAUSE,
            troubles: 0,
        }
    }

    /// Waits until the next run may follow the one that told `report`; fails where waiting does not help.
    async fn wait(&mut self, report: &Report) -> anyhow::Result<()> {
        if has_news(report) {
            *self = Self::new();
            if report.unfinished {
                return Ok(());
            }
        } else if !report.troubles.is_empty() {
            self.troubles += 1;
        }
        if self.troubles >= MOST_TROUBLES {
            bail!(
                "nothing goes on, and what is under way stays so: {}. Mend it, then start this again: it \
                 goes on where it was",
                report.troubles.join("; ")
            );
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// How to carry out a plan.
#[derive(Args, Clone)]
pub struct ReconcileOptions {
    /// The hash of the plan that 'plan' showed: this one is carried out, or none.
    #[arg(long, value_name = "HASH")]
    plan: Option<String>,
    /// Carry out every plan without asking, until the fleet is as it is wanted.
    #[arg(long)]
    yes: bool,
    /// The plan was shown with this, too.
    #[arg(long)]
    remove_unknown: bool,
    /// Only begin the plan, and leave what follows to the schedule.
    #[arg(long)]
    once: bool,
}

/// What to try.
#[derive(Args, Clone)]
pub struct SmokeOptions {
    /// The provider, as hetzner.
    provider: ProviderName,
    /// As what: ingress or egress.
    #[arg(value_parser = show::parse_role)]
    role: Role,
    /// In which region, if not as the fleet's first pool of this role.
    #[arg(long)]
    region: Option<RegionName>,
    /// How large, likewise.
    #[arg(long)]
    size: Option<SizeName>,
    /// From which image, likewise.
    #[arg(long)]
    image: Option<ImageName>,
}

/// `posternctl reconcile`.
pub async fn reconcile(
    place: &Place,
    options: &ReconcileOptions,
    json: bool,
) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    if let Some(hash) = &options.plan {
        begin(&remote, options, hash, json).await?;
        return finish(&remote, options, json).await;
    }
    let mut patience = Patience::new();
    loop {
        let plan = plan::ask(&remote, options.remove_unknown).await?;
        if plan.free().next().is_none() {
            let refusals = said(plan.refusals());
            if !refusals.is_empty() {
                bail!("nothing was changed: {refusals}");
            }
            // It changes nothing, and makes the fleet the one that the schedule keeps to.
            match begin(&remote, options, &plan.hash, json).await {
                Err(error) if is(&error, Kind::PlanChanged) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                begun => begun?,
            };
            finish(&remote, options, json).await?;
            match json {
                false => plan::print(&plan),
                true if options.once => say!("{}", serde_json::to_string(&plan)?),
                true => {}
            }
            // What nobody knows is somebody's to look at, and keeps no fleet from being as it is wanted.
            let held = plan.blocked.iter();
            let held = said(held.filter(|blocked| blocked.gate != Gate::Unknown));
            if !held.is_empty() {
                bail!("the fleet is not as it is wanted yet: {held}");
            }
            return Ok(());
        }
        if !json {
            plan::print(&plan);
        }
        if !options.yes && !is_wanted(json)? {
            return Ok(());
        }
        let report = match begin(&remote, options, &plan.hash, json).await {
            // Somebody else was faster, such as the schedule: what is left is shown and asked for anew.
            Err(error) if is(&error, Kind::PlanChanged) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            begun => begun?,
        };
        if options.once {
            return Ok(());
        }
        finish(&remote, options, json).await?;
        // What the provider refuses again and again must not be asked for without end.
        if report.begun.is_empty() && !report.troubles.is_empty() {
            patience.wait(&report).await?;
        }
    }
}

/// What stands in the way, in one line.
fn said<'a>(blocked: impl Iterator<Item = &'a Blocked>) -> String {
    let each = blocked.map(|blocked| format!("{}: {}", blocked.what, blocked.why));
    each.collect::<Vec<_>>().join("; ")
}

/// Whether whoever sits there wants the plan that they have seen.
fn is_wanted(json: bool) -> anyhow::Result<bool> {
    if json || !std::io::stdin().is_terminal() {
        bail!(
            "nobody can be asked here: say --yes, or name the plan that was shown with --plan HASH"
        );
    }
    print!("\nCarry it out? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Begins the plan that was shown.
async fn begin(
    remote: &Remote,
    options: &ReconcileOptions,
    hash: &str,
    json: bool,
) -> anyhow::Result<Report> {
    let request = RunRequest::Apply {
        plan: hash.to_owned(),
        remove_unknown: options.remove_unknown,
    };
    loop {
        let answer: RunAnswer = remote.post(RUNS, &request).await?;
        if !answer.report.busy {
            tell(&answer, json)?;
            return Ok(answer.report);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Goes on until nothing is under way.
async fn finish(remote: &Remote, options: &ReconcileOptions, json: bool) -> anyhow::Result<()> {
    if options.once {
        return Ok(());
    }
    let mut said = Vec::new();
    let mut patience = Patience::new();
    loop {
        let answer: RunAnswer = remote.post(RUNS, &RunRequest::Finish {}).await?;
        let report = &answer.report;
        let is_over = report.under_way == 0 && !report.busy && !report.unfinished;
        if (is_over && json) || has_news(report) || report.troubles != said {
            said.clone_from(&report.troubles);
            tell(&answer, json)?;
        }
        if is_over {
            return Ok(());
        }
        patience.wait(report).await?;
    }
}

fn has_news(report: &Report) -> bool {
    !report.noted.is_empty() || !report.created.is_empty() || !report.deleted.is_empty()
}

/// One run: a document, or some lines.
fn tell(answer: &RunAnswer, json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string(answer)?);
        return Ok(());
    }
    lines(&answer.report);
    match answer.report.under_way {
        0 => say!("Nothing is under way."),
        1 => say!("1 node is under way."),
        count => say!("{count} nodes are under way."),
    }
    Ok(())
}

fn lines(report: &Report) {
    for resource in &report.created {
        say!(
            "  rented {} {} ({})",
            resource.kind,
            resource.name,
            resource.id.0
        );
    }
    for resource in &report.deleted {
        say!(
            "  deleted {} {} ({})",
            resource.kind,
            resource.name,
            resource.id.0
        );
    }
    for (gateway, stage) in &report.noted {
        say!("  {gateway} is at '{stage}'");
    }
    for trouble in &report.troubles {
        say!("  NOTE {trouble}");
    }
}

/// `posternctl smoke`.
pub async fn smoke(place: &Place, options: &SmokeOptions, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let request = SmokeRequest {
        role: options.role,
        region: options.region.clone(),
        size: options.size.clone(),
        image: options.image.clone(),
    };
    let path = api::fleet::smoke(&options.provider);
    let begun: SmokeBegun = again(|| remote.post(&path, &request)).await?;
    if !json {
        say!("The trial {} has begun.", begun.gateway);
    }
    let path = api::fleet::smoke_step(&begun.gateway);
    let nothing = serde_json::json!({});
    let mut whole: Option<Evidence> = None;
    let mut patience = Patience::new();
    loop {
        let answer: SmokeAnswer = again(|| remote.post(&path, &nothing)).await?;
        let report = &answer.smoke.report;
        if !json {
            lines(report);
        }
        if let Some(evidence) = answer.evidence {
            whole = Some(joined(whole, evidence));
        }
        let done = match &answer.smoke.outcome {
            Outcome::Running => {
                patience.wait(report).await?;
                continue;
            }
            Outcome::Failed(why) => {
                if let Some(evidence) = whole.filter(|_| json) {
                    say!("{}", serde_json::to_string(&evidence)?);
                }
                bail!("the trial failed, and nothing of it is left: {why}");
            }
            Outcome::Proved => whole.context("a trial that is over has a record")?,
        };
        if json {
            say!("{}", serde_json::to_string(&done)?);
            return Ok(());
        }
        say!("Proved: it was rented, came into service, and is gone. What the list shows now:");
        for listing in &done.lists {
            let resources = match listing.resources.as_slice() {
                [] => "nothing".to_owned(),
                some => some.join(", "),
            };
            say!("  {} at {:.0}: {resources}", listing.provider, listing.at);
        }
        return Ok(());
    }
}

/// Asks again while another run is under way.
async fn again<T>(ask: impl AsyncFn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    loop {
        match ask().await {
            Err(error) if is(&error, Kind::Contended) => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// The record of several runs as one: the last says how it ended.
pub fn joined(first: Option<Evidence>, next: Evidence) -> Evidence {
    let Some(mut first) = first else {
        return next;
    };
    first.ended_at = next.ended_at;
    first.outcome = next.outcome;
    first.cost = next.cost;
    first.lists = next.lists;
    first.created.extend(next.created);
    first.deleted.extend(next.deleted);
    first.gone.extend(next.gone);
    first.troubles.extend(next.troubles);
    first.calls.extend(next.calls);
    first
}
