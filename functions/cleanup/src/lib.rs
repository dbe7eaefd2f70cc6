//! The function `cleanup`: removes what a provider bills for and nobody needs.
//!
//! It starts from the provider's own list ([`control::fleet::cleanup`]), on a schedule and when an operator
//! asks. The schedule removes trials that have expired or whose record says that they are gone; what
//! carries live labels and has no record goes only when somebody asks for just that. A run that removed
//! something, and every one that an operator asked for, writes a record.

#[cfg(not(target_family = "wasm"))]
pub mod native;
mod routes;
#[cfg(feature = "workers")]
mod worker;

use std::sync::Arc;

use control::calls::Counted;
use control::fleet::cleanup::{Cleaned, Cleanup, cleanup};
use control::fleet::evidence::{Evidence, What};
use control::measures::{Measure, Measured};
use control::{Context, Error, Moment};
use edge::accounts::{Accounts, Opened, Shelf};
use edge::mirrors::MakeHttp;
use edge::settings::Reader;
use edge::{Edge, is_late};
use jiff::Timestamp;
use model::{Actor, ProviderName};
use providers::Provider;
use rules::planning::UNKNOWN_SECONDS;
use rules::planning::cleaning::Wanted;
use serde::{Deserialize, Serialize};

pub use routes::{listed, routes};

/// The name under which the schedule stands in the audit.
const ACTOR: &str = "cleanup";

/// What the function stands on besides the state.
pub struct CleanUp {
    accounts: Accounts,
    shelf: Shelf,
}

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CleanAnswer {
    /// Where.
    pub provider: ProviderName,
    /// What it did.
    pub cleaned: Cleaned,
    /// Its record, if it did something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

impl Measured for CleanAnswer {
    fn measures(&self, _: Timestamp) -> Vec<Measure> {
        let at = self.provider.to_string();
        vec![
            // What is billed and nobody needs, as the provider's list shows it.
            Measure::count("LeakedResources", self.cleaned.removals.len()).at(&at),
            Measure::count("StrayResources", self.cleaned.stays.len()).at(&at),
            Measure::count("CleanupTroubles", self.cleaned.troubles.len()).at(&at),
        ]
    }
}

/// What a run of the schedule did, at each provider.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Swept(pub Vec<CleanAnswer>);

impl Measured for Swept {
    fn measures(&self, now: Timestamp) -> Vec<Measure> {
        let leaked = self.0.iter().map(|done| done.cleaned.removals.len());
        let mut measures = self.0.measures(now);
        measures.push(Measure::count("LeakedResources", leaked.sum()));
        measures
    }
}

/// What is removed.
#[derive(Clone)]
struct Order {
    /// Who asked; for the audit and the record.
    by: Actor,
    /// Whether there are no records to ask.
    is_alone: bool,
    wanted: Wanted,
    dry_run: bool,
    /// Whether somebody asked for it: there is a record then, whatever was done.
    is_asked_for: bool,
}

impl CleanUp {
    /// Of these accounts; records go to `shelf`.
    pub fn new(accounts: Accounts, shelf: Shelf) -> Self {
        Self { accounts, shelf }
    }

    /// Reads it from a deployment's settings; `http` reaches providers and buckets.
    pub fn from_settings(reader: &mut Reader<'_>, http: MakeHttp) -> Option<Arc<Self>> {
        let accounts = Accounts::from_settings(reader, http);
        let shelf = Shelf::from_settings(reader, http);
        Some(Arc::new(Self::new(accounts?, shelf?)))
    }

    /// One run of the schedule: at each provider.
    pub async fn sweep(&self, edge: &Edge) -> Result<Swept, Error> {
        let moment = edge.clock.moment();
        let opened = self.accounts.open(&edge.clock);
        let order = Order {
            by: Actor::Schedule(ACTOR.to_owned()),
            is_alone: false,
            wanted: wanted(false, false),
            dry_run: false,
            is_asked_for: false,
        };
        let mut all = Vec::new();
        for provider in &opened.providers {
            let done = self.clean(edge, &moment, &opened, provider.as_ref(), order.clone());
            all.push(done.await?);
        }
        Ok(Swept(all))
    }

    /// One run at this provider without any record: for whoever lost the database. None if the provider is
    /// not set up. What was made a moment ago goes, too.
    pub async fn alone(
        &self,
        edge: &Edge,
        provider: &ProviderName,
        wanted: Wanted,
        dry_run: bool,
    ) -> Result<Option<CleanAnswer>, Error> {
        let moment = edge.clock.moment();
        let opened = self.accounts.open(&edge.clock);
        let Some(provider) = opened.provider(provider) else {
            return Ok(None);
        };
        let order = Order {
            by: Actor::Schedule(format!("{ACTOR} without a control plane")),
            is_alone: true,
            wanted,
            dry_run,
            is_asked_for: true,
        };
        let done = self.clean(edge, &moment, &opened, provider.as_ref(), order);
        Ok(Some(done.await?))
    }

    async fn clean(
        &self,
        edge: &Edge,
        moment: &Moment,
        opened: &Opened,
        provider: &dyn Provider,
        order: Order,
    ) -> Result<CleanAnswer, Error> {
        let store = Counted {
            store: edge.store.as_ref(),
            meter: &opened.meter,
        };
        let records = Context {
            store: &store,
            ..edge.context(*moment)
        };
        let is_late = is_late(&edge.clock, moment.now);
        let run = Cleanup {
            network: &edge.network.id,
            provider,
            records: (!order.is_alone).then_some(records),
            actor: order.by.clone(),
            wanted: order.wanted,
            dry_run: order.dry_run,
            now: moment.now,
            is_late: &is_late,
        };
        let cleaned = cleanup(&run).await?;
        let mut evidence = None;
        if !order.dry_run && (order.is_asked_for || !cleaned.deleted.is_empty()) {
            let (network, now) = (edge.network.id.clone(), moment.now);
            let against = self.accounts.against();
            let mut record = Evidence::new(What::Cleanup, network, against, now, now);
            record.by = Some(order.by);
            record.add_cleanup(&cleaned);
            let record = self.shelf.record(edge, moment, opened, record).await;
            evidence = Some(record);
        }
        Ok(CleanAnswer {
            provider: provider.name(),
            cleaned,
            evidence,
        })
    }
}

/// What may go. What has no record and live labels must be older than any run that may be making it.
fn wanted(all_trials: bool, unknown_live: bool) -> Wanted {
    Wanted {
        all_trials,
        unknown_live,
        grace_seconds: UNKNOWN_SECONDS,
    }
}
