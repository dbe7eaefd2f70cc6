//! `posternctl fleet` and `posternctl providers`: what is wanted, and what may be done where.

use std::path::PathBuf;

use anyhow::{Context, bail};
use api::fleet::{ApplyFleet, FLEET, FleetView, PROVIDERS, ProviderView, SetMode};
use clap::{Args, Subcommand};
use jiff::SignedDuration;
use model::{Amount, Fleet, Mode, ProviderName, ProviderPolicy};
use reconcile::{CheckAnswer, InventoryAnswer};

use crate::profile::Place;
use crate::remote::Remote;
use crate::{now, show};

/// What to do with the fleet.
#[derive(Subcommand, Clone)]
pub enum FleetAction {
    /// Put the fleet of a JSON file in force. 'plan' then shows what that would rent.
    Apply(ApplyOptions),
    /// Print the fleet in force as JSON: a file to change and apply.
    Show,
}

/// The fleet to apply.
#[derive(Args, Clone)]
pub struct ApplyOptions {
    /// The file; its form is in docs/fleet.md.
    file: PathBuf,
    /// Only over this version, as 'show' says it; the one in force if it is not given.
    #[arg(long)]
    over: Option<u64>,
}

/// What to do with providers.
#[derive(Subcommand, Clone)]
pub enum ProviderAction {
    /// List what may be done at the providers, or say it of one.
    Policy(PolicyOptions),
    /// Ask a provider what it rents: shows that its credential is good.
    Check {
        /// The provider, as hetzner.
        provider: ProviderName,
    },
    /// What a provider lists as the network's.
    Inventory {
        /// The provider, as hetzner.
        provider: ProviderName,
    },
}

/// What may be done.
#[derive(Args, Clone)]
pub struct PolicyOptions {
    /// The provider, as hetzner; all of which something was said are listed if it is not given.
    provider: Option<ProviderName>,
    /// 'plan' changes nothing, 'smoke' allows trials, 'live' the fleet; 'live' takes an owner. What is in
    /// force is shown if it is not given.
    mode: Option<Mode>,
    /// Why; needed for 'live', and kept.
    #[arg(long, default_value = "")]
    reason: String,
    /// After how many days 'live' ends by itself.
    #[arg(long)]
    days: Option<u32>,
    /// The most that a trial's node may cost an hour, as 0.05; raising it takes an owner.
    #[arg(long, value_name = "AMOUNT")]
    smoke_most: Option<Amount>,
}

/// `posternctl fleet`.
pub async fn run(place: &Place, action: FleetAction, json: bool) -> anyhow::Result<()> {
    match action {
        FleetAction::Apply(options) => apply(place, &options, json).await,
        FleetAction::Show => show(place, json).await,
    }
}

async fn apply(place: &Place, options: &ApplyOptions, json: bool) -> anyhow::Result<()> {
    let path = options.file.display();
    let bytes = std::fs::read(&options.file).with_context(|| format!("{path} cannot be read"))?;
    let fleet: Fleet =
        serde_json::from_slice(&bytes).with_context(|| format!("{path} is not a fleet"))?;
    // The control plane checks it, too: here, so that a mistake is found without one.
    fleet.check()?;
    let remote = Remote::open(place)?;
    let expected_version = match options.over {
        Some(version) => version,
        None => remote.get::<FleetView>(FLEET).await?.version,
    };
    let request = ApplyFleet {
        expected_version,
        fleet,
    };
    let view: FleetView = remote.put(FLEET, &request).await?;
    if json {
        say!("{}", serde_json::to_string(&view)?);
        return Ok(());
    }
    say!(
        "Version {} is in force, and nothing is rented yet. 'posternctl plan' shows what it takes.",
        view.version
    );
    Ok(())
}

async fn show(place: &Place, json: bool) -> anyhow::Result<()> {
    let view: FleetView = Remote::open(place)?.get(FLEET).await?;
    if json {
        say!("{}", serde_json::to_string(&view)?);
        return Ok(());
    }
    let Some(fleet) = &view.fleet else {
        bail!("there is no fleet yet: write one (docs/fleet.md) and apply it ('fleet apply FILE')");
    };
    if let Some(at) = view.applied_at {
        eprintln!("Version {}, applied at {at:.0}:", view.version);
    }
    say!("{}", serde_json::to_string_pretty(fleet)?);
    Ok(())
}

/// `posternctl providers`.
pub async fn providers(
    place: &Place,
    action: Option<ProviderAction>,
    json: bool,
) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    match action {
        None => list(&remote, json).await,
        Some(ProviderAction::Policy(options)) => policy(&remote, options, json).await,
        Some(ProviderAction::Check { provider }) => check(&remote, &provider, json).await,
        Some(ProviderAction::Inventory { provider }) => inventory(&remote, &provider, json).await,
    }
}

async fn list(remote: &Remote, json: bool) -> anyhow::Result<()> {
    let all: Vec<ProviderView> = remote.list(PROVIDERS).await?;
    if all.is_empty() && !json {
        say!(
            "Nothing was said of any provider yet: each is in mode 'plan', which changes nothing."
        );
        return Ok(());
    }
    print(json, &all)
}

async fn policy(remote: &Remote, options: PolicyOptions, json: bool) -> anyhow::Result<()> {
    let Some(provider) = options.provider else {
        return list(remote, json).await;
    };
    let Some(mode) = options.mode else {
        let all: Vec<ProviderView> = remote.list(PROVIDERS).await?;
        let said = all.into_iter().find(|view| view.provider == provider);
        let view = said.unwrap_or_else(|| ProviderView {
            provider,
            policy: ProviderPolicy::default(),
        });
        return print(json, &[view]);
    };
    if mode != Mode::Live && options.days.is_some() {
        bail!("only 'live' ends by itself: leave --days out");
    }
    if mode == Mode::Live && options.reason.trim().is_empty() {
        bail!("'live' spends money month after month: say why with --reason");
    }
    let life = options
        .days
        .map(|days| SignedDuration::from_hours(24 * i64::from(days)));
    let request = SetMode {
        mode,
        reason: options.reason,
        expires_at: life.map(|life| now().checked_add(life)).transpose()?,
        smoke_most_per_hour: options.smoke_most,
    };
    let view: ProviderView = remote.put(&api::fleet::mode(&provider), &request).await?;
    if json {
        say!("{}", serde_json::to_string(&view)?);
        return Ok(());
    }
    print(false, &[view])
}

fn print(json: bool, all: &[ProviderView]) -> anyhow::Result<()> {
    let header = [
        "provider",
        "mode",
        "a trial's hour",
        "approved by",
        "until",
        "why",
    ];
    show::print(json, all, &header, |view| {
        let approval = view.policy.approval.as_ref();
        let until = approval.map(|approval| match approval.expires_at {
            Some(at) => format!("{at:.0}"),
            None => "it is taken back".to_owned(),
        });
        vec![
            view.provider.to_string(),
            mode(view),
            view.policy.smoke_most_per_hour.to_string(),
            approval
                .map(|approval| approval.by.to_string())
                .unwrap_or_default(),
            until.unwrap_or_default(),
            approval
                .map(|approval| approval.reason.clone())
                .unwrap_or_default(),
        ]
    })
}

/// The mode as it is now: an approval may have ended.
fn mode(view: &ProviderView) -> String {
    let now = view.policy.mode_at(now());
    if now == view.policy.mode {
        return now.to_string();
    }
    format!("{now} ('{}' has ended)", view.policy.mode)
}

async fn check(remote: &Remote, provider: &ProviderName, json: bool) -> anyhow::Result<()> {
    let path = api::fleet::check(provider);
    let answer: CheckAnswer = remote.post(&path, &serde_json::json!({})).await?;
    if json {
        say!("{}", serde_json::to_string(&answer)?);
        return Ok(());
    }
    say!(
        "{provider} answers, and its credential may read: whether it may write, a trial shows ('smoke'). \
         Its mode is '{}'.",
        answer.mode
    );
    if let Some(rate) = answer.rate {
        say!(
            "It answers {} more requests of {}.",
            rate.remaining,
            rate.limit
        );
    }
    let offers = &answer.offers;
    let rows: Vec<_> = offers
        .sizes
        .iter()
        .flat_map(|(size, offer)| offer.regions.iter().map(move |of| (size, offer, of)))
        .collect();
    let month = format!("{} a month", offers.currency);
    let header = ["size", "for", "region", &month, "to be had"];
    let mut table = show::table(&header);
    for (size, offer, (region, of)) in rows {
        table.add_row(vec![
            size.to_string(),
            offer.architecture.clone(),
            region.to_string(),
            of.price.month.to_string(),
            if of.available { "yes" } else { "sold out" }.to_owned(),
        ]);
    }
    say!("{table}");
    Ok(())
}

async fn inventory(remote: &Remote, provider: &ProviderName, json: bool) -> anyhow::Result<()> {
    let answer: InventoryAnswer = remote.get(&api::fleet::inventory(provider)).await?;
    if json {
        say!("{}", serde_json::to_string(&answer)?);
        return Ok(());
    }
    let inventory = &answer.inventory;
    if inventory.is_empty() {
        say!(
            "At {:.0} {provider} lists nothing of this network.",
            answer.at
        );
        return Ok(());
    }
    let mut table = show::table(&["what", "name", "id", "where", "how"]);
    let region = |region: &Option<model::RegionName>| {
        region.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    for server in &inventory.servers {
        let status = format!("{:?}", server.status).to_lowercase();
        table.add_row(vec![
            "server".to_owned(),
            server.name.clone(),
            server.id.0.clone(),
            region(&server.region),
            status,
        ]);
    }
    for address in &inventory.addresses {
        let held = match &address.server {
            Some(server) => format!("{} of server {}", address.ip, server.0),
            None => format!("{} of no server", address.ip),
        };
        table.add_row(vec![
            "address".to_owned(),
            address.name.clone(),
            address.id.0.clone(),
            region(&address.region),
            held,
        ]);
    }
    for firewall in &inventory.firewalls {
        table.add_row(vec![
            "firewall".to_owned(),
            firewall.name.clone(),
            firewall.id.0.clone(),
            String::new(),
            format!("guards {}", firewall.servers.len()),
        ]);
    }
    say!("{table}");
    Ok(())
}
