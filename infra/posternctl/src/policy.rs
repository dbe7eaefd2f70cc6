//! `posternctl policy`: which devices may use which gateways, and where they may go from there.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use api::admin::{GATEWAYS, GatewayView};
use api::policy::{
    ApplyPolicy, Asker, BEGIN_EPOCH, BeginEpoch, EPOCHS, EXPLANATION, EpochsView, ExplainPolicy,
    Explanation, POLICY, PolicyView, Ruling, Through,
};
use clap::{Args, Subcommand};
use model::policy::Transport;
use model::{CohortName, DeviceId, Disclosure, GatewayId, Policy, PoolName, Tag};

use crate::profile::Place;
use crate::remote::Remote;
use crate::show::table;

/// What to do with the policy.
#[derive(Subcommand, Clone)]
pub enum Action {
    /// Put the policy of a JSON file in force.
    Apply(ApplyOptions),
    /// Print the policy in force as JSON: a file to change and apply.
    Show,
    /// What the policy decides about a device, and by which rule.
    Explain(ExplainOptions),
    /// What devices of spies learn: how many of the gateways, by the policy's disclosure.
    Disclosure(DisclosureOptions),
    /// The epochs of the keys that open sealed catalogs.
    Epoch(EpochOptions),
}

/// What to compute.
#[derive(Args, Clone)]
pub struct DisclosureOptions {
    /// How many of the enrolled devices are spies', as 1,10,100.
    #[arg(long, value_delimiter = ',', default_value = "1,2,5,10,20,50,100")]
    spies: Vec<u32>,
    /// As if catalogs had so many slices.
    #[arg(long, requires = "held")]
    slices: Option<u16>,
    /// As if each device held so many of them.
    #[arg(long, requires = "slices")]
    held: Option<u16>,
}

/// What to do with epochs.
#[derive(Args, Clone)]
pub struct EpochOptions {
    /// Let the next epoch begin now: when its grace is over, devices that were revoked before can read
    /// no catalog any more.
    #[arg(long)]
    begin: bool,
}

/// The policy to apply.
#[derive(Args, Clone)]
pub struct ApplyOptions {
    /// The file; its form is in docs/policy.md.
    file: PathBuf,
    /// Only over this version, as 'show' says it; the one in force if it is not given.
    #[arg(long)]
    over: Option<u64>,
}

/// What to explain.
#[derive(Args, Clone)]
pub struct ExplainOptions {
    /// The device's id.
    #[arg(long, required_unless_present = "cohort", conflicts_with_all = ["cohort", "tags"])]
    device: Option<DeviceId>,
    /// Any device of this cohort, instead of a certain one.
    #[arg(long)]
    cohort: Option<CohortName>,
    /// The tags of any such device, as press,staff.
    #[arg(long, value_delimiter = ',', requires = "cohort")]
    tags: Vec<Tag>,
    /// Only this gateway.
    #[arg(long, conflicts_with = "pool")]
    gateway: Option<GatewayId>,
    /// Only the gateways of this pool.
    #[arg(long)]
    pool: Option<PoolName>,
    /// Where its packets go: an address and a port, as 192.0.2.1:443.
    #[arg(long, value_parser = parse_destination)]
    to: Option<SocketAddr>,
    /// The packets' transport: tcp or udp.
    #[arg(long, default_value = "tcp", value_parser = parse_transport)]
    protocol: Transport,
}

fn parse_destination(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "it must be an address and a port, as 192.0.2.1:443 or [2001:db8::1]:443; rules match \
         addresses and resolve no names: look the name up first, as the device would"
            .to_owned()
    })
}

fn parse_transport(text: &str) -> Result<Transport, String> {
    match text {
        "tcp" => Ok(Transport::Tcp),
        "udp" => Ok(Transport::Udp),
        _ => Err("it must be 'tcp' or 'udp'".to_owned()),
    }
}

/// `posternctl policy`.
pub async fn run(place: &Place, action: Action, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Apply(options) => apply(place, &options, json).await,
        Action::Show => show(place, json).await,
        Action::Explain(options) => explain(place, options, json).await,
        Action::Disclosure(options) => disclosure(place, &options, json).await,
        Action::Epoch(options) => epoch(place, &options, json).await,
    }
}

async fn apply(place: &Place, options: &ApplyOptions, json: bool) -> anyhow::Result<()> {
    let path = options.file.display();
    let bytes = std::fs::read(&options.file).with_context(|| format!("{path} cannot be read"))?;
    let policy: Policy =
        serde_json::from_slice(&bytes).with_context(|| format!("{path} is not a policy"))?;
    // The control plane checks it, too: here, so that a mistake is found without one.
    policy.check()?;
    let remote = Remote::open(place)?;
    let expected_version = match options.over {
        Some(version) => version,
        None => remote.get::<PolicyView>(POLICY).await?.version,
    };
    let request = ApplyPolicy {
        expected_version,
        policy,
    };
    let view: PolicyView = remote.put(POLICY, &request).await?;
    if json {
        say!("{}", serde_json::to_string(&view)?);
        return Ok(());
    }
    say!(
        "Version {} is in force. Gateways follow with their next heartbeat, catalogs when they \
         are published next.",
        view.version
    );
    Ok(())
}

async fn show(place: &Place, json: bool) -> anyhow::Result<()> {
    let view: PolicyView = Remote::open(place)?.get(POLICY).await?;
    if json {
        say!("{}", serde_json::to_string(&view)?);
        return Ok(());
    }
    match view.applied_at {
        Some(at) => eprintln!("Version {}, applied at {at:.0}:", view.version),
        None => eprintln!("The default policy; none was applied yet:"),
    }
    say!("{}", serde_json::to_string_pretty(&view.policy)?);
    Ok(())
}

async fn explain(place: &Place, options: ExplainOptions, json: bool) -> anyhow::Result<()> {
    let who = match (options.device, options.cohort) {
        (Some(device), _) => Asker::Device(device),
        (None, Some(cohort)) => Asker::Kind {
            cohort,
            tags: options.tags.into_iter().collect(),
        },
        (None, None) => bail!("name a device (--device) or a cohort (--cohort)"),
    };
    let gateway = options.gateway.map(Through::Gateway);
    let request = ExplainPolicy {
        who,
        through: gateway.or(options.pool.map(Through::Pool)),
        to: options.to,
        protocol: options.protocol,
    };
    let remote = Remote::open(place)?;
    let explanation: Explanation = remote.post(EXPLANATION, &request).await?;
    if json {
        say!("{}", serde_json::to_string(&explanation)?);
        return Ok(());
    }
    print(&explanation);
    Ok(())
}

async fn disclosure(place: &Place, options: &DisclosureOptions, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let mut policy = remote.get::<PolicyView>(POLICY).await?.policy;
    if let (Some(slices), Some(held)) = (options.slices, options.held) {
        policy.disclosure = Disclosure::Sealed { slices, held };
        policy.disclosure.check()?;
    }
    let gateways: Vec<GatewayView> = remote.list(GATEWAYS).await?;
    let gateways: Vec<_> = gateways.into_iter().map(|view| view.gateway).collect();
    let rows = rules::disclosure::report(&policy, &gateways, &options.spies);
    if json {
        let report = serde_json::json!({"disclosure": policy.disclosure, "rows": rows});
        say!("{report}");
        return Ok(());
    }
    match policy.disclosure {
        Disclosure::Open {} => {
            say!("Catalogs are open: whoever reads a front door learns every gateway.\n");
        }
        Disclosure::Sealed { slices, held } => {
            say!(
                "Slices of each sealed catalog: {slices}; a device holds {held}. Who is not enrolled \
                 learns nothing.\n"
            );
        }
    }
    let mut table = table(&[
        "CATALOG", "ROLE", "GATEWAYS", "SPIES", "EXPECTED", "AT MOST",
    ]);
    for row in &rows {
        for learned in &row.learned {
            table.add_row([
                row.catalog.to_string(),
                row.role.to_string(),
                row.gateways.to_string(),
                learned.spies.to_string(),
                format!("{:.1}", learned.expected),
                learned.most.to_string(),
            ]);
        }
    }
    say!("{table}");
    for row in &rows {
        if let Some(half) = row.half.filter(|half| *half > 0) {
            say!(
                "\nSpies that know half of the {} {} gateways of '{}', in expectation: {half}.",
                row.gateways,
                row.role,
                row.catalog
            );
        }
    }
    say!(
        "\nA spy is a device: each costs one use of an invite, and is in the audit as device.enrolled."
    );
    Ok(())
}

async fn epoch(place: &Place, options: &EpochOptions, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let mut view: EpochsView = remote.get(EPOCHS).await?;
    if options.begin {
        let Some(present) = view.present else {
            bail!("there is no epoch yet: the first begins when a sealed catalog is published");
        };
        let over = present.number;
        view = remote.post(BEGIN_EPOCH, &BeginEpoch { over }).await?;
    }
    if json {
        say!("{}", serde_json::to_string(&view)?);
        return Ok(());
    }
    for past in &view.past {
        say!(
            "epoch {}  is over; its keys open new catalogs until {:.0}",
            past.number,
            past.at
        );
    }
    match (&view.present, &view.next) {
        (Some(present), Some(next)) => {
            say!("epoch {}  began at {:.0}", present.number, present.at);
            say!("epoch {}  shall begin at {:.0}", next.number, next.at);
        }
        _ => say!("There is no epoch yet: the first begins when a sealed catalog is published."),
    }
    if options.begin {
        say!(
            "It begins when catalogs are published next. Devices get its keys at their next contact."
        );
    }
    Ok(())
}

fn print(explanation: &Explanation) {
    let tags: Vec<_> = explanation.tags.iter().map(Tag::as_str).collect();
    say!(
        "Policy version {}; cohort {}; tags {}; catalog {}.",
        explanation.policy_version,
        explanation.cohort,
        if tags.is_empty() {
            "none".to_owned()
        } else {
            tags.join(", ")
        },
        explanation.catalog
    );
    if explanation.revoked {
        say!("The device was revoked: no gateway lets it in, whatever the policy says.");
    }
    if explanation.decisions.is_empty() {
        say!("There is no such gateway.");
    }
    for decision in &explanation.decisions {
        let count = decision.gateways.len();
        let plural = if count == 1 { "" } else { "s" };
        say!(
            "{} pool '{}' ({count} gateway{plural}): {}",
            decision.role,
            decision.pool,
            line(&decision.usable)
        );
        if let Some(reaches) = &decision.reaches {
            say!("  destination: {}", line(reaches));
        }
    }
}

fn line(ruling: &Ruling) -> String {
    let answer = if ruling.allowed { "yes" } else { "no" };
    format!("{answer}, {}", ruling.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_refused_with_what_to_do() {
        let refusal = parse_destination("example.com:443").unwrap_err();
        assert!(refusal.contains("resolve no names: look the name up first"));
        assert!(parse_destination("[2001:db8::1]:443").is_ok());
    }
}
