//! Removing what a provider bills for and nobody needs, from its own list.
//!
//! It needs no database: with an empty one, or none, it removes what carries the network's label and was
//! made for trials, and on demand all of it. It keeps nothing between runs, and begins each with the
//! list: killed anywhere, the next run goes on, and when the list shows nothing more to remove it is
//! done. [`rules::planning::cleaning`] decides.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use model::provider::{Inventory, ResourceKind};
use model::{Actor, GatewayId, Mode, NetworkId, Node};
use providers::{Fault, Provider, ProviderError, ServerStatus};
use rules::planning::cleaning::{self, Removal, Wanted};
use serde::{Deserialize, Serialize};

use super::Resource;
use crate::{Context, Error, audit};

/// How many resources an audit event names at most: it is one item.
const MOST_NAMED: usize = 500;

/// One run's means.
pub struct Cleanup<'a> {
    /// Whose resources.
    pub network: &'a NetworkId,
    /// Where.
    pub provider: &'a dyn Provider,
    /// The records and the provider's mode, if there is a database to ask. Without one nothing holds
    /// back what was made for the fleet: whoever asks has decided that.
    pub records: Option<Context<'a>>,
    /// Who asked, for the audit.
    pub actor: Actor,
    /// What may go.
    pub wanted: Wanted,
    /// Whether it is only shown.
    pub dry_run: bool,
    /// The time.
    pub now: Timestamp,
    /// Whether the run's time is over.
    pub is_late: &'a (dyn Fn() -> bool + Send + Sync),
}

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cleaned {
    /// What the list shows and is to go: with `dry_run`, all that would be done.
    pub removals: Vec<Removal>,
    /// What carries the network's label and stays, with the reason: its kind, its name, why.
    pub stays: Vec<(ResourceKind, String, String)>,
    /// What this run asked to be deleted.
    pub deleted: Vec<Resource>,
    /// What went wrong, in words.
    pub troubles: Vec<String>,
    /// Until when the provider wants to be left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Whether the provider's list shows nothing that is to go.
    pub done: bool,
    /// Whether the run's budget ended before what could be done now.
    pub unfinished: bool,
}

/// Removes what the provider's list shows and is to go, as far as that gets in one run: an address goes
/// after its server, a firewall after what it guards. Call it again until it is `done`.
pub async fn cleanup(run: &Cleanup<'_>) -> Result<Cleaned, Error> {
    // The records first: what is made after they were read is young on the list.
    let nodes = match &run.records {
        Some(context) => super::nodes(context).await?,
        None => Vec::new(),
    };
    let nodes: BTreeMap<GatewayId, Node> = nodes
        .into_iter()
        .map(|node| (node.gateway.clone(), node))
        .collect();
    let mut cleaned = Cleaned::default();
    let inventory = match run.provider.inventory(run.network).await {
        Ok(inventory) => inventory,
        Err(error) => {
            cleaned.hear(run, &error);
            return Ok(cleaned);
        }
    };
    let mode = match &run.records {
        Some(context) => {
            let view = super::modes::show(context, &run.provider.name()).await?;
            view.policy.mode_at(run.now)
        }
        None => Mode::Live,
    };
    let decided = cleaning::decide(run.network, &inventory, &nodes, run.wanted, mode, run.now);
    cleaned.done = decided.removals.is_empty();
    cleaned.stays = decided.stays;
    cleaned.removals = decided.removals;
    if !run.dry_run {
        write_down(run, &inventory, &cleaned).await?;
        remove(run, &inventory, &mut cleaned).await;
    }
    Ok(cleaned)
}

/// Writes into the audit who is about to remove what, before it is removed.
async fn write_down(
    run: &Cleanup<'_>,
    inventory: &Inventory,
    cleaned: &Cleaned,
) -> Result<(), Error> {
    let due = cleaned.removals.iter();
    let due = due.filter(|removal| !removal.waits && !is_going(inventory, removal));
    let mut due: Vec<String> = due
        .map(|one| format!("{} {} ({})", one.kind, one.name, one.why))
        .collect();
    if let Some(more) = due.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        due.truncate(MOST_NAMED);
        due.push(format!("and {more} more"));
    }
    let (Some(context), false) = (&run.records, due.is_empty()) else {
        return Ok(());
    };
    let provider = run.provider.name();
    // A sweep cleans several providers at one moment: each has an event of its own.
    let number = rules::hash64(&[b"cleanup", provider.as_str().as_bytes()]) % u64::from(u32::MAX);
    let number = u32::try_from(number).expect("it is below the largest");
    let detail = due.join(", ");
    let event = audit::write(
        context,
        number,
        &run.actor,
        "provider.cleanup",
        &provider,
        detail,
    );
    context.store.commit(run.now, vec![event]).await?;
    Ok(())
}

async fn remove(run: &Cleanup<'_>, inventory: &Inventory, cleaned: &mut Cleaned) {
    for removal in cleaned.removals.clone() {
        if removal.waits || is_going(inventory, &removal) {
            continue;
        }
        if (run.is_late)() {
            cleaned.unfinished = true;
            return;
        }
        match run.provider.delete(removal.kind, &removal.id).await {
            Ok(_) => cleaned.deleted.push(Resource {
                provider: run.provider.name(),
                kind: removal.kind,
                name: removal.name,
                id: removal.id,
            }),
            Err(error) => {
                if !cleaned.hear(run, &error) {
                    return;
                }
            }
        }
    }
}

fn is_going(inventory: &Inventory, removal: &Removal) -> bool {
    let mut servers = inventory.servers.iter();
    removal.kind == ResourceKind::Server
        && servers.any(|server| server.id == removal.id && server.status == ServerStatus::Deleting)
}

impl Cleaned {
    /// Takes an error down; whether it is worth while to go on with the next thing.
    fn hear(&mut self, run: &Cleanup<'_>, error: &ProviderError) -> bool {
        match error.fault {
            Fault::Gone => return true,
            Fault::Spent => {
                self.unfinished = true;
                return false;
            }
            Fault::Wait { seconds } => {
                let wait = SignedDuration::from_secs(i64::from(seconds));
                self.not_before = Some(run.now + wait);
            }
            _ => {}
        }
        self.troubles.push(error.to_string());
        !matches!(error.fault, Fault::Wait { .. } | Fault::Credential)
    }
}
