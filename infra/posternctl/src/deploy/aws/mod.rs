//! `posternctl deploy aws`: one `CloudFormation` stack, `infra/aws/postern.yaml`, and what is put into it.
//!
//! | step | looks at | does |
//! |---|---|---|
//! | `credentials` | whose they are | |
//! | `stack` | how it is | waits for what is under way, removes one that never came to be |
//! | `limits` | how many functions may run at once | |
//! | `archives` | the release: one program a function, all for one processor | |
//! | `ground` | whether there is a stack | makes it without functions: table, buckets, secrets, front door |
//! | `network` | the data folder | makes the network, with the front door's name, if none is there |
//! | `plan` | what would change | |
//! | `upload` | which archives are there, by their hash | uploads the others |
//! | `secrets` | which texts are there, by their hash | puts the others |
//! | `functions` | | makes the change; versions that answer go on answering |
//! | `health` | asks each new version | |
//! | `switch` | which versions answer | lets the new ones answer, and remembers the old ones |
//! | `smoke` | asks the network where its users do | |
//!
//! `--rollback` lets the versions of before answer again, with the secrets that they had: it is one change of
//! the aliases. `--destroy` removes all ([`destroy`]).

mod archives;
mod client;
mod destroy;
mod function;
mod health;
mod secret_texts;
mod shelf;
mod stack;
mod stages;

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use clap::Args;
use ipnet::IpNet;
use model::Limits;
use roxmltree::Document;
use serde_json::json;

use self::client::{Client, STS, element};
use self::function::{List, NO_VERSION};
use self::secret_texts::{GIVEN, TOKEN};
use self::stack::{Stack, State, Template, Texts};
use self::stages::Deployment;
use super::Common;
use super::secrets::Secrets;
use super::steps::{Done, Steps};
use crate::data::Folder;
use crate::root::passphrase;

/// What is deployed, and how.
#[derive(Args)]
#[group(skip)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// The region; without it, the one that `AWS_REGION` names.
    #[arg(long)]
    region: Option<String>,
    /// The stack's name, with which the names of the functions begin.
    #[arg(long, value_name = "NAME", default_value = "postern")]
    stack: String,
    /// Let the versions of before answer again.
    #[arg(long, conflicts_with = "destroy")]
    rollback: bool,
    /// Remove the two functions that rent nodes. What is rented stays.
    #[arg(long)]
    without_renting: bool,
    /// Who is written to at an alarm.
    #[arg(long, value_name = "ADDRESS")]
    alarms: Option<String>,
    /// US dollars a month of the whole account, of which --alarms hears.
    #[arg(long, value_name = "DOLLARS")]
    budget: Option<u32>,
    /// How many days logs are kept, of those that AWS has: 1, 3, 5, 7, 14, 30, 60, 90 and so on.
    #[arg(long, value_name = "DAYS")]
    log_days: Option<u32>,
    /// A name of one's own for the front door (repeatable).
    #[arg(long = "domain", value_name = "NAME", requires = "certificate")]
    domains: Vec<String>,
    /// The ARN of their certificate, in us-east-1.
    #[arg(long, value_name = "ARN", requires = "domains")]
    certificate: Option<String>,
    /// Of a network that is made here: a network that gateways may stand in, as 203.0.113.0/24 (repeatable).
    #[arg(long = "gateway-network", value_name = "CIDR")]
    gateway_networks: Vec<IpNet>,
    #[command(flatten)]
    passphrase: passphrase::Source,
}

impl Options {
    /// The parameters of the template that were asked for; others stay as they are.
    fn parameters(&self) -> Texts {
        let mut asked = BTreeMap::new();
        let mut set = |name: &str, text: String| asked.insert(name.to_owned(), text);
        if let Some(address) = &self.alarms {
            set("AlarmAddress", address.clone());
        }
        if let Some(budget) = self.budget {
            set("MonthlyBudget", budget.to_string());
        }
        if let Some(days) = self.log_days {
            set("LogDays", days.to_string());
        }
        if let Some(certificate) = &self.certificate {
            set("Certificate", certificate.clone());
            set("Domains", self.domains.join(","));
        }
        asked
    }
}

/// Deploys the network in `data`, or what is asked for instead.
pub async fn run(data: &Folder, options: &Options, json: bool) -> anyhow::Result<()> {
    let environment = |name: &str| std::env::var(name).ok();
    let secrets = Secrets::read(options.common.secrets.as_deref(), &GIVEN, environment)?;
    let aws = Client::from_environment(options.region.as_deref())?;
    let stack = Stack::new(&aws, &options.stack);
    let mut steps = Steps::new(json);
    steps
        .take("credentials", "Asking AWS who deploys", credentials(&aws))
        .await?;
    if options.common.destroy {
        return destroy::run(&aws, &stack, &options.common, &mut steps, json).await;
    }
    let state = steps
        .take("stack", "Looking at the stack", settled(&stack))
        .await?;
    if options.rollback {
        return rollback(&aws, data, options, &stack, state, &mut steps, json).await;
    }
    let is_deployed = state
        .as_ref()
        .is_some_and(|state| state.release().is_some());
    check_networks(data, options, is_deployed)?;
    let rents = rents(options, &secrets, state.as_ref())?;
    let told = state
        .as_ref()
        .and_then(|state| state.parameters.get("AlarmAddress"));
    if options.budget.is_some() && options.alarms.is_none() && told.is_none_or(String::is_empty) {
        bail!("nobody would hear of the budget: say who with --alarms ADDRESS");
    }
    let deployment = Deployment {
        aws: &aws,
        stack: &stack,
        data,
        options,
        secrets: &secrets,
        rents,
        json,
    };
    deployment.run(state, &mut steps).await
}

/// Fails where a network is made whose gateways could stand nowhere, and where they shall stand elsewhere than
/// the offline keys of one that is there have signed.
fn check_networks(data: &Folder, options: &Options, is_deployed: bool) -> anyhow::Result<()> {
    let asked = &options.gateway_networks;
    if !data.is_made() {
        if asked.is_empty() && !is_deployed && !options.common.dry_run {
            bail!(
                "a network is made, and its offline keys sign where its gateways may stand: say \
                 --gateway-network 203.0.113.0/24 for each range of yours, or 0.0.0.0/0 and ::/0 for anywhere"
            );
        }
        return Ok(());
    }
    if asked.is_empty() {
        return Ok(());
    }
    let offline = data.offline()?;
    let limits = offline.files.get(Limits::PATH).context(Limits::PATH)?;
    let signed = serde_json::from_slice::<Limits>(limits)?.gateway_networks;
    let is_signed = |network: &IpNet| signed.iter().any(|signed| signed.contains(network));
    if let Some(new) = asked.iter().find(|network| !is_signed(network)) {
        bail!(
            "the offline keys of this network have not signed that gateways may stand in {new}: 'posternctl root \
             begin --limits' changes it (docs/runbooks/key-ceremony.md)"
        );
    }
    Ok(())
}

/// Whether the functions that rent are deployed, too.
fn rents(options: &Options, secrets: &Secrets, state: Option<&State>) -> anyhow::Result<bool> {
    if options.without_renting {
        return Ok(false);
    }
    let did = state.and_then(|state| state.parameters.get("Renting"));
    if secrets.get(TOKEN).is_none() && did.is_some_and(|did| did == "yes") {
        bail!(
            "{TOKEN} is not given, and the functions that rent nodes are deployed: give it again (--secrets, or \
             the environment), or say --without-renting"
        );
    }
    Ok(secrets.get(TOKEN).is_some())
}

/// Asks AWS whose the credentials are.
async fn credentials(aws: &Client) -> anyhow::Result<Done> {
    let answer = aws
        .query(STS, "2011-06-15", "GetCallerIdentity", &[])
        .await?;
    let document = Document::parse(&answer)?;
    let found = element(&document, "Account").zip(element(&document, "Arn"));
    let (account, who) = found.context("AWS does not say whose the credentials are")?;
    let said = format!("{who} in account {account}, region {}", aws.region());
    Ok(Done::as_it_was((), said))
}

/// The stack as it can be changed. One that never came to be is removed: it holds nothing.
async fn settled(stack: &Stack<'_>) -> anyhow::Result<Done<Option<State>>> {
    let Some(state) = stack.settled().await? else {
        return Ok(Done::as_it_was(None, "there is none"));
    };
    match state.status.as_str() {
        "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "CREATE_FAILED" => {
            stack.delete().await?;
            Ok(Done::changed(None, "one that never came to be is removed"))
        }
        "DELETE_FAILED" => bail!("it was not removed completely: go on with --destroy"),
        "UPDATE_ROLLBACK_FAILED" => bail!(
            "a change was neither made nor taken back: see its events in AWS's console, put right what they \
             say, and run 'aws cloudformation continue-update-rollback'"
        ),
        status => {
            let said = match state.release() {
                None => format!("{status}, without functions"),
                Some(release) if state.newest() != state.live() => {
                    format!("{status}, release {release}, of which not all versions answer")
                }
                Some(release) => format!("{status}, release {release}"),
            };
            Ok(Done::as_it_was(Some(state), said))
        }
    }
}

/// Lets the versions of before answer.
async fn rollback(
    aws: &Client,
    data: &Folder,
    options: &Options,
    stack: &Stack<'_>,
    state: Option<State>,
    steps: &mut Steps,
    json: bool,
) -> anyhow::Result<()> {
    let state = state.context("there is no stack to roll back")?;
    let previous = List::read(state.parameters.get("Previous"), NO_VERSION);
    if previous == List::of(NO_VERSION) {
        bail!("no version answered before: there is nothing to go back to");
    }
    let (mut to, live) = (previous, state.live());
    // A function that was not there before has nothing to go back to.
    for (to, live) in to.0.iter_mut().zip(&live.0) {
        if to == NO_VERSION {
            to.clone_from(live);
        }
    }
    let asked = Texts::from([
        ("Live".to_owned(), to.parameter()),
        ("Previous".to_owned(), live.parameter()),
    ]);
    let plan = stack.plan(Some(&state), Template::AsItIs, &asked).await?;
    let plan = plan.context("the versions of before answer already")?;
    steps.list("changes", &plan.changes);
    let question = "Let the versions of before answer?";
    if options.common.dry_run || !options.common.is_wanted(question, json)? {
        return stack.drop_plan(&plan).await;
    }
    let network = data.settings()?.network.id;
    let check = async {
        for (function, version) in to.each().filter(|(_, version)| *version != NO_VERSION) {
            health::version(aws, &options.stack, &network, function, version)
                .await
                .context(
                    "it does not come back, and those that answer go on answering. What a ceremony has put in \
                     force since then only the new ones know: deploy the release of before anew",
                )?;
        }
        let said = format!("versions {} work", to.parameter());
        Ok(Done::as_it_was((), said))
    };
    steps
        .take("health", "Asking the versions of before", check)
        .await?;
    let what = "Letting the versions of before answer";
    let state = steps
        .take("switch", what, async {
            let state = stack.execute(&plan).await?;
            let said = format!("versions {}", to.parameter());
            Ok(Done::changed(state, said))
        })
        .await?;
    let rents = state
        .parameters
        .get("Renting")
        .is_some_and(|rents| rents == "yes");
    stages::smoke(data, &state, rents, steps).await?;
    tell(&state, json)
}

/// The state, at the end of a run.
fn tell(state: &State, json: bool) -> anyhow::Result<()> {
    let door = state.output("FrontDoor")?;
    let release = state.release().unwrap_or_default();
    let is_taken_back = state.newest() != state.live();
    if json {
        let line = json!({
            "deployed": true, "front_door": door, "release": release, "taken_back": is_taken_back,
            "live": state.live().0, "previous": state.parameters.get("Previous"),
            "table": state.output("Table")?, "site": state.output("Site")?, "shelf": state.output("Shelf")?,
        });
        say!("{line}");
        return Ok(());
    }
    if is_taken_back {
        say!("\nThe versions from before release {release} answer at {door}");
        say!("The next deployment of that release lets it answer again: deploy another one.");
    } else {
        say!("\nRelease {release} answers at {door}");
    }
    for (function, version) in state
        .live()
        .each()
        .filter(|(_, version)| *version != NO_VERSION)
    {
        say!("   {:<10} version {version}", function.name());
    }
    say!("Its state: dynamodb:{}", state.output("Table")?);
    Ok(())
}
