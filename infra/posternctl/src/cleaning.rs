//! `posternctl cleanup`: asks the function `cleanup`, again and again, until the provider's list shows
//! nothing more that is to go; or, where the control plane is lost, does it from here.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use api::fleet::CleanRequest;
use clap::Args;
use cleanup::{CleanAnswer, CleanUp};
use control::fleet::evidence::Evidence;
use edge::accounts::Shelf;
use edge::mirrors::Folder as Shelves;
use edge::{Edge, SystemClock};
use model::{AddressPools, Network, NetworkId, ProviderName, Timing};
use rules::planning::cleaning::Wanted;
use store::MemoryStore;

use crate::data::Folder;
use crate::profile::Place;
use crate::remote::Remote;
use crate::{accounts, now, random, rounds};

/// How long a server takes to go, or so, before what hung on it can.
const PAUSE: Duration = Duration::from_secs(2);
/// After so many runs in a row that could do nothing but complain, somebody must look.
const MOST_TROUBLES: usize = 5;

/// What to remove.
#[derive(Args, Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct CleanupOptions {
    /// The provider, as hetzner.
    provider: ProviderName,
    /// Only show what would be removed, and what stays and why.
    #[arg(long)]
    dry_run: bool,
    /// Also trials that have not expired yet.
    #[arg(long)]
    trials: bool,
    /// Also what carries the network's labels and has no record, serving nodes among them: only where the
    /// database is known to be whole, or the network is given up.
    #[arg(long)]
    unknown: bool,
    /// Without a control plane and its database: with the provider's token of this machine's environment
    /// (`POSTERN_HETZNER_TOKEN`). No record protects anything then: trials go, and with --unknown all.
    #[arg(long)]
    alone: bool,
    /// Without asking, with --alone and --unknown: for scripts.
    #[arg(long)]
    yes: bool,
    /// Whose resources, with --alone; the profile's or the data folder's network if it is not given.
    #[arg(long, requires = "alone", value_name = "ID")]
    network: Option<NetworkId>,
}

/// `posternctl cleanup`.
pub async fn run(
    data: &Folder,
    place: impl Fn() -> anyhow::Result<Place>,
    options: &CleanupOptions,
    json: bool,
) -> anyhow::Result<()> {
    if options.alone {
        let network = match &options.network {
            Some(network) => network.clone(),
            None => network(data, &place)?,
        };
        if !options.dry_run && !options.yes {
            confirm(&network, options, json)?;
        }
        let alone = Alone::new(data, network)?;
        return until_done(options, json, async || alone.run(options).await).await;
    }
    if options.unknown && !options.dry_run && !options.yes {
        confirm(&network(data, &place)?, options, json)?;
    }
    let remote = Remote::open(&place()?)?;
    let path = api::fleet::cleanup(&options.provider);
    let request = CleanRequest {
        dry_run: options.dry_run,
        all_trials: options.trials,
        unknown_live: options.unknown,
    };
    until_done(options, json, async || remote.post(&path, &request).await).await
}

/// Lets the operator type the network's id: no record holds back what goes here.
fn confirm(network: &NetworkId, options: &CleanupOptions, json: bool) -> anyhow::Result<()> {
    if json || !std::io::stdin().is_terminal() {
        bail!("nobody can be asked here: look with --dry-run, then say --yes");
    }
    let what = match (options.unknown, options.alone) {
        (true, true) => "ALL that carries the label of this network, serving nodes among it",
        (true, false) => {
            "ALL that carries the label of this network and has no record, serving nodes among it if \
             the database was lost"
        }
        (false, _) => "all trials of this network",
    };
    let provider = &options.provider;
    say!("This removes {what} at {provider}. Type the network's id ({network}) to go on:");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() != network.as_str() {
        bail!("that is not {network}: nothing was removed");
    }
    Ok(())
}

/// The network that this machine knows.
fn network(data: &Folder, place: &impl Fn() -> anyhow::Result<Place>) -> anyhow::Result<NetworkId> {
    if data.is_made() {
        return Ok(data.settings()?.network.id);
    }
    let profile = place()?
        .read()
        .context("name the network with --network ID")?;
    Ok(profile.contact.network)
}

/// Asks for one run after the other.
async fn until_done(
    options: &CleanupOptions,
    json: bool,
    ask: impl AsyncFn() -> anyhow::Result<CleanAnswer>,
) -> anyhow::Result<()> {
    let mut whole: Option<Evidence> = None;
    let mut troubled = 0;
    loop {
        let answer = ask().await?;
        let cleaned = &answer.cleaned;
        if options.dry_run {
            return show(&answer, json);
        }
        if !json {
            for gone in &cleaned.deleted {
                say!("  deleted {} {} ({})", gone.kind, gone.name, gone.id.0);
            }
            for trouble in &cleaned.troubles {
                say!("  NOTE {trouble}");
            }
        }
        if let Some(evidence) = answer.evidence.clone() {
            whole = Some(rounds::joined(whole, evidence));
        }
        if cleaned.done {
            return tell(&answer, whole.as_ref(), json);
        }
        let complains = !cleaned.troubles.is_empty() || cleaned.unfinished;
        let is_idle = cleaned.deleted.is_empty() && complains;
        troubled = if is_idle { troubled + 1 } else { 0 };
        if troubled == MOST_TROUBLES {
            let spent = "the run's budget of calls is too small for the list: raise POSTERN_CALLS";
            let spent = cleaned.unfinished.then(|| spent.to_owned());
            let why: Vec<_> = cleaned.troubles.iter().cloned().chain(spent).collect();
            bail!("it gets no further: {}", why.join("; "));
        }
        let rest = cleaned.not_before.map(|at| at.duration_since(now()));
        let rest = rest.and_then(|rest| Duration::try_from(rest).ok());
        tokio::time::sleep(rest.unwrap_or_default().max(PAUSE)).await;
    }
}

/// What would be done.
fn show(answer: &CleanAnswer, json: bool) -> anyhow::Result<()> {
    let cleaned = &answer.cleaned;
    if !cleaned.troubles.is_empty() {
        bail!("{}", cleaned.troubles.join("; "));
    }
    if cleaned.unfinished {
        bail!("the run's budget of calls ended before the list did: raise POSTERN_CALLS");
    }
    if json {
        say!("{}", serde_json::to_string(answer)?);
        return Ok(());
    }
    let mut table = crate::show::table(&["what", "name", "", "why"]);
    for removal in &cleaned.removals {
        table.add_row(vec![
            removal.kind.to_string(),
            removal.name.clone(),
            "would be removed".to_owned(),
            removal.why.clone(),
        ]);
    }
    for (kind, name, why) in &cleaned.stays {
        table.add_row(vec![
            kind.to_string(),
            name.clone(),
            "stays".to_owned(),
            why.clone(),
        ]);
    }
    say!("{table}");
    say!(
        "{} would be removed, {} would stay.",
        cleaned.removals.len(),
        cleaned.stays.len()
    );
    Ok(())
}

/// That all is gone that was to go.
fn tell(answer: &CleanAnswer, whole: Option<&Evidence>, json: bool) -> anyhow::Result<()> {
    if json {
        let evidence = whole.context("a run that was asked for has a record")?;
        say!("{}", serde_json::to_string(evidence)?);
        return Ok(());
    }
    for (kind, name, why) in &answer.cleaned.stays {
        say!("  {kind} {name} stays: {why}");
    }
    say!("{} lists nothing more that is to go.", answer.provider);
    Ok(())
}

/// The function's own code, over no records.
struct Alone {
    edge: Edge,
    cleanup: CleanUp,
}

impl Alone {
    fn new(data: &Folder, network: NetworkId) -> anyhow::Result<Self> {
        let shelf = Shelves::new("evidence", data.path("evidence"))?;
        let accounts = accounts::of_environment()?;
        Ok(Self {
            edge: Edge {
                store: Arc::new(MemoryStore::default()),
                network: Arc::new(Network {
                    id: network,
                    pools: AddressPools::default_with(random()?),
                    timing: Timing::default(),
                    sealed_only: false,
                }),
                clock: Arc::new(SystemClock),
            },
            cleanup: CleanUp::new(accounts, Shelf::new(Arc::new(shelf))),
        })
    }

    async fn run(&self, options: &CleanupOptions) -> anyhow::Result<CleanAnswer> {
        let wanted = Wanted {
            all_trials: true,
            unknown_live: options.unknown,
            grace_seconds: 0,
        };
        let provider = &options.provider;
        let done = self
            .cleanup
            .alone(&self.edge, provider, wanted, options.dry_run);
        done.await?.with_context(|| {
            format!(
                "there is no credential of '{provider}' in this machine's environment: set \
                 POSTERN_HETZNER_TOKEN"
            )
        })
    }
}
