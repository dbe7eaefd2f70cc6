//! What a run did, for whoever asks later: a record that names every call, everything that was rented
//! and removed, and what the provider's list showed in the end.
//!
//! It holds nothing secret: calls have a method, a path and an id, never a header or a body; errors are
//! the providers' words, which adapters keep clear of credentials. Whether it was against a simulator
//! or for real money is the caller's word, and stands in it in plain letters.

use async_trait::async_trait;
use jiff::Timestamp;
use model::provider::Price;
use model::{Actor, Currency, GatewayId, NetworkId, ProviderName};
use providers::record::Call;
use providers::{Provider, ProviderError};
use serde::{Deserialize, Serialize};

use super::cleanup::Cleaned;
use super::smoke::{Outcome, Smoke};
use super::{Report, Resource};

/// The record of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// [`Evidence::SCHEMA`].
    pub schema: String,
    /// What kind of run it was.
    pub what: What,
    /// Whose network.
    pub network: NetworkId,
    /// Who asked for it, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// Against what.
    pub against: Against,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What came of it, in a word or two.
    pub outcome: String,
    /// The hash of the plan that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What everything costs afterwards, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// What was rented.
    pub created: Vec<Resource>,
    /// What was asked to be deleted.
    pub deleted: Vec<Resource>,
    /// Nodes whose absence the provider's list has shown.
    pub gone: Vec<GatewayId>,
    /// What the providers' lists showed in the end.
    pub lists: Vec<Listing>,
    /// What went wrong, in words.
    pub troubles: Vec<String>,
    /// Every call to a provider.
    pub calls: Vec<Call>,
}

/// The kinds of runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// [`super::reconcile`].
    Reconcile,
    /// [`super::smoke`], from its beginning to its outcome.
    Smoke,
    /// [`super::cleanup`].
    Cleanup,
}

/// What a run was against.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Against {
    /// The providers.
    pub providers: Vec<ProviderName>,
    /// Whether it was for real money. False for a simulator.
    pub live: bool,
    /// Where the provider's API was asked for.
    pub base_url: String,
}

/// What everything costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// In which currency.
    pub currency: Currency,
    /// How much.
    #[serde(flatten)]
    pub price: Price,
}

/// What a provider's list shows of a network: the proof that something is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listing {
    /// Whose list.
    pub provider: ProviderName,
    /// When it was read.
    pub at: Timestamp,
    /// What carries the network's label, as `server postern-n-g`; nothing is nothing left.
    pub resources: Vec<String>,
}

impl Listing {
    /// Reads a provider's list now.
    pub async fn read(
        provider: &dyn Provider,
        network: &NetworkId,
        now: Timestamp,
    ) -> Result<Self, ProviderError> {
        let inventory = provider.inventory(network).await?;
        let servers = inventory.servers.iter().map(|one| ("server", &one.name));
        let addresses = inventory.addresses.iter().map(|one| ("address", &one.name));
        let firewalls = inventory
            .firewalls
            .iter()
            .map(|one| ("firewall", &one.name));
        let all = servers.chain(addresses).chain(firewalls);
        Ok(Self {
            provider: provider.name(),
            at: now,
            resources: all.map(|(kind, name)| format!("{kind} {name}")).collect(),
        })
    }
}

impl Evidence {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-evidence/1";

    /// The record of a run of nothing yet, from `started_at` to `ended_at`. The methods below add what
    /// it did; `lists`, `cost` and `calls` are the caller's to set.
    pub fn new(
        what: What,
        network: NetworkId,
        against: Against,
        started_at: Timestamp,
        ended_at: Timestamp,
    ) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            what,
            network,
            by: None,
            against,
            started_at,
            ended_at,
            outcome: String::new(),
            plan: None,
            cost: None,
            created: Vec::new(),
            deleted: Vec::new(),
            gone: Vec::new(),
            lists: Vec::new(),
            troubles: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// Adds what a run of [`super::reconcile`] did.
    pub fn add(&mut self, report: &Report) {
        self.plan = self.plan.take().or_else(|| report.plan.clone());
        self.created.extend(report.created.iter().cloned());
        self.deleted.extend(report.deleted.iter().cloned());
        self.gone.extend(report.gone.iter().cloned());
        self.troubles.extend(report.troubles.iter().cloned());
        self.outcome = match (report.busy, report.under_way) {
            (true, _) => "another run was under way".to_owned(),
            (_, 0) if report.troubles.is_empty() => "converged".to_owned(),
            (_, 0) => "nothing under way, and not all is well".to_owned(),
            (_, nodes) => format!("{nodes} nodes under way"),
        };
    }

    /// Adds a step of a smoke run.
    pub fn add_smoke(&mut self, smoke: &Smoke) {
        self.add(&smoke.report);
        self.outcome = match &smoke.outcome {
            Outcome::Running => "running".to_owned(),
            Outcome::Proved => "proved".to_owned(),
            Outcome::Failed(why) => format!("failed: {why}"),
        };
    }

    /// Adds a run of [`super::cleanup`].
    pub fn add_cleanup(&mut self, cleaned: &Cleaned) {
        self.deleted.extend(cleaned.deleted.iter().cloned());
        self.troubles.extend(cleaned.troubles.iter().cloned());
        self.outcome = match (cleaned.done, cleaned.removals.len()) {
            (true, _) => "nothing left to remove".to_owned(),
            (false, count) => format!("{count} still to remove"),
        };
    }

    /// Its name among others: `<time>-<what>-<providers>.json`.
    pub fn name(&self) -> String {
        let at = format!("{:.0}", self.started_at).replace(['-', ':'], "");
        let what = match self.what {
            What::Reconcile => "reconcile",
            What::Smoke => "smoke",
            What::Cleanup => "cleanup",
        };
        let providers = self.against.providers.iter();
        let providers: Vec<&str> = providers.map(ProviderName::as_str).collect();
        format!("{at}-{what}-{}.json", providers.join("-"))
    }

    /// Keeps it.
    pub async fn keep(&self, archive: &dyn Archive) -> Result<(), String> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        bytes.push(b'\n');
        archive.keep(&self.name(), &bytes).await
    }
}

/// Where evidence is kept: a folder, or a bucket.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Keeps a file under a name. An error is in words for the operator.
    async fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), String>;
}
