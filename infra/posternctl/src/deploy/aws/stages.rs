//! The stages of a deployment, from the ground to the smoke test.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::archives::{self, Archive};
use super::client::Client;
use super::function::{self, ALL, List, NO_VERSION, NONE};
use super::secret_texts::{self, SecretText};
use super::stack::{Plan, Stack, State, TEMPLATE, Template, Texts};
use super::{Options, health, shelf, tell};
use crate::data::Folder;
use crate::deploy::secrets::Secrets;
use crate::deploy::steps::{Done, Steps};
use crate::settings::Function;
use crate::{init, root};

/// The least that a network with one gateway and one device needs: each function once, and publishing.
const LEAST_CONCURRENCY: u64 = 10;
/// Seconds from one heartbeat to the next in a network that is made here: each is a request that is paid for.
const HEARTBEAT: u32 = 30;

/// One run that deploys.
pub struct Deployment<'a> {
    pub aws: &'a Client,
    pub stack: &'a Stack<'a>,
    pub data: &'a Folder,
    pub options: &'a Options,
    pub secrets: &'a Secrets,
    pub rents: bool,
    pub json: bool,
}

impl Deployment<'_> {
    /// All stages.
    pub async fn run(&self, before: Option<State>, steps: &mut Steps) -> anyhow::Result<()> {
        let functions = functions(self.rents);
        steps
            .take("limits", "Looking at the account's limits", self.limits())
            .await?;
        let archives = steps
            .take("archives", "Reading the release", async {
                self.archives(&functions)
            })
            .await?;
        if self.options.common.dry_run {
            return self.show(before.as_ref(), &archives, steps).await;
        }
        let is_new = before.is_none();
        let state = match before {
            Some(state) => state,
            None => match self.ground(&archives, steps).await? {
                Some(state) => state,
                None => return Ok(()),
            },
        };
        steps
            .take("network", "Looking at the network", async {
                self.network(&state)
            })
            .await?;
        let texts = secret_texts::of(self.data, self.secrets, &functions)?;
        let asked = self.asked(&state, &archives, &texts);
        let plan = steps
            .take("plan", "Asking AWS what would change", async {
                let plan = self
                    .stack
                    .plan(Some(&state), Template::Ours, &asked)
                    .await?;
                let said = plan.as_ref().map_or(0, |plan| plan.changes.len());
                Ok(Done::as_it_was(plan, format!("{said} changes")))
            })
            .await?;
        match &plan {
            Some(plan) if !is_new && !self.is_wanted(plan, steps)? => {
                return self.stack.drop_plan(plan).await;
            }
            // After a rollback, or a run that stopped: what was made then would answer.
            None if waiting(&state).is_some() && !self.is_switch_wanted(&state, steps)? => {
                return Ok(());
            }
            _ => {}
        }
        let state = self
            .functions(state, plan, &archives, &texts, steps)
            .await?;
        let state = self.switch(state, &functions, steps).await?;
        smoke(self.data, &state, self.rents, steps).await?;
        tell(&state, self.json)
    }

    async fn limits(&self) -> anyhow::Result<Done> {
        let most = health::concurrency(self.aws).await?;
        if most < LEAST_CONCURRENCY {
            bail!(
                "only {most} functions may run at once in this account: ask AWS for more (Service Quotas, \
                 Lambda, 'Concurrent executions')"
            );
        }
        Ok(Done::as_it_was(
            (),
            format!("{most} functions may run at once"),
        ))
    }

    fn archives(&self, functions: &[Function]) -> anyhow::Result<Done<Vec<Archive>>> {
        let archives = archives::read(&self.options.common.archives, functions)?;
        let bytes: usize = archives.iter().map(|archive| archive.bytes.len()).sum();
        let kind = archives
            .first()
            .map_or(NONE, |archive| archive.architecture);
        let said = format!("{} archives for {kind}, {bytes} bytes", archives.len());
        Ok(Done::as_it_was(archives, said))
    }

    /// What would change, and nothing else. Before there is a network, its secrets are not known: their
    /// versions are not in what is shown.
    async fn show(
        &self,
        before: Option<&State>,
        archives: &[Archive],
        steps: &mut Steps,
    ) -> anyhow::Result<()> {
        let mut texts = Vec::new();
        if self.data.is_made() {
            texts = secret_texts::of(self.data, self.secrets, &functions(self.rents))?;
        }
        let none = State {
            status: String::new(),
            parameters: Texts::new(),
            outputs: Texts::new(),
        };
        let asked = self.asked(before.unwrap_or(&none), archives, &texts);
        let plan = self.stack.plan(before, Template::Ours, &asked).await?;
        let Some(plan) = plan else {
            let again: Vec<String> = before.and_then(waiting).into_iter().collect();
            steps.list("changes", &again);
            return Ok(());
        };
        steps.list("changes", &plan.changes);
        self.stack.drop_plan(&plan).await
    }

    /// Makes the stack without functions; nothing where that is not wanted.
    async fn ground(
        &self,
        archives: &[Archive],
        steps: &mut Steps,
    ) -> anyhow::Result<Option<State>> {
        let mut asked = self.options.parameters();
        asked.extend(self.kind(archives));
        let plan = self.stack.plan(None, Template::Ours, &asked).await?;
        let plan = plan.context("CloudFormation sees nothing to make")?;
        if !self.is_wanted(&plan, steps)? {
            self.stack.drop_plan(&plan).await?;
            return Ok(None);
        }
        let what = "Making table, buckets, secrets and front door (some minutes)";
        let made = steps.take("ground", what, async {
            let state = self.stack.execute(&plan).await?;
            let said = format!("{} parts", plan.changes.len());
            Ok(Done::changed(state, said))
        });
        Ok(Some(made.await?))
    }

    fn is_wanted(&self, plan: &Plan, steps: &mut Steps) -> anyhow::Result<bool> {
        steps.list("changes", &plan.changes);
        let question =
            "Make these changes, and let the new functions answer once they are healthy?";
        self.options.common.is_wanted(question, self.json)
    }

    fn is_switch_wanted(&self, state: &State, steps: &mut Steps) -> anyhow::Result<bool> {
        let again: Vec<String> = waiting(state).into_iter().collect();
        steps.list("changes", &again);
        let question = "Let these versions answer once they are healthy?";
        self.options.common.is_wanted(question, self.json)
    }

    /// The network in the data folder, which is made if none is there.
    fn network(&self, state: &State) -> anyhow::Result<Done> {
        if self.data.is_made() {
            let id = self.data.settings()?.network.id;
            return Ok(Done::as_it_was((), format!("{id}")));
        }
        if state.release().is_some() {
            bail!(
                "{} holds no network, and one is deployed: name its data folder with --data",
                self.data.root().display()
            );
        }
        let _lock = self.data.lock()?;
        let passphrase = root::passphrase::new(&self.options.passphrase)?;
        let door = state.output("FrontDoor")?;
        let networks = self.options.gateway_networks.clone();
        let options = init::Options::deployed(door, HEARTBEAT, networks);
        let ports = init::bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)?.ports()?;
        let (settings, code) = init::make(self.data, &options, ports, passphrase.as_deref())?;
        let said = format!(
            "made {} in {}. Within 24 hours, where the first owner is: posternctl setup '{code}' --name NAME",
            settings.network.id,
            self.data.root().display()
        );
        Ok(Done::changed((), said))
    }

    /// The parameters that say what kind of functions these are.
    fn kind(&self, archives: &[Archive]) -> Texts {
        let rents = if self.rents { "yes" } else { "no" };
        let mut kind = Texts::from([("Renting".to_owned(), rents.to_owned())]);
        if let Some(archive) = archives.first() {
            kind.insert("Architecture".to_owned(), archive.architecture.to_owned());
        }
        kind
    }

    /// The parameters of a stack with these functions, whose present versions go on answering.
    fn asked(&self, before: &State, archives: &[Archive], texts: &[SecretText]) -> Texts {
        let mut asked = self.kind(archives);
        let of = |function| archives.iter().find(|archive| archive.function == function);
        let hash = |function| {
            of(function)
                .map_or(NONE, |archive| &archive.sha256)
                .to_owned()
        };
        let hashes = List(ALL.map(hash));
        let of = |function| texts.iter().find(|text| text.function == function);
        let version = |function| of(function).map_or(NONE, |text| &text.version).to_owned();
        let versions = List(ALL.map(version));
        asked.extend([
            ("Archives".to_owned(), hashes.parameter()),
            ("SecretVersions".to_owned(), versions.parameter()),
        ]);
        let release = release(&asked);
        let live = match before.parameters.get("Live") {
            // The same release: what it was told stays, too, and so nothing changes.
            Some(told) if before.release() == Some(&release) => told.clone(),
            _ => before.live().parameter(),
        };
        asked.extend(self.options.parameters());
        asked.extend([
            ("Release".to_owned(), release),
            ("Live".to_owned(), live),
            ("Running".to_owned(), "yes".to_owned()),
        ]);
        asked
    }

    /// Uploads, puts the secrets, and makes the change.
    async fn functions(
        &self,
        state: State,
        plan: Option<Plan>,
        archives: &[Archive],
        texts: &[SecretText],
        steps: &mut Steps,
    ) -> anyhow::Result<State> {
        let upload = async {
            let new = shelf::upload(self.aws, state.output("Shelf")?, archives).await?;
            Ok(match new {
                0 => Done::as_it_was((), "all are there"),
                new => Done::changed((), format!("{new} new archives")),
            })
        };
        steps.take("upload", "Uploading archives", upload).await?;
        let secrets = async {
            let mut new = 0;
            for text in texts {
                let name = format!("{}Secret", function::part(text.function));
                new += u32::from(secret_texts::put(self.aws, state.output(&name)?, text).await?);
            }
            Ok(match new {
                0 => Done::as_it_was((), "all are there"),
                new => Done::changed((), format!("{new} new texts")),
            })
        };
        steps.take("secrets", "Putting secrets", secrets).await?;
        let change = async {
            let Some(plan) = plan else {
                return Ok(Done::as_it_was(state.clone(), "all are as they should be"));
            };
            let state = self.stack.execute(&plan).await?;
            let said = format!("{} changes made", plan.changes.len());
            Ok(Done::changed(state, said))
        };
        steps
            .take("functions", "Making new versions of the functions", change)
            .await
    }

    /// Lets the newest versions answer, if they are healthy.
    async fn switch(
        &self,
        state: State,
        functions: &[Function],
        steps: &mut Steps,
    ) -> anyhow::Result<State> {
        let (newest, live) = (state.newest(), state.live());
        let network = self.data.settings()?.network.id;
        let check = async {
            let there = newest
                .each()
                .filter(|(function, _)| functions.contains(function));
            for (function, version) in there {
                health::version(self.aws, &self.options.stack, &network, function, version)
                    .await
                    .context("the versions that answered before go on answering")?;
            }
            let said = format!("versions {} work", newest.parameter());
            Ok(Done::as_it_was((), said))
        };
        steps
            .take("health", "Asking the new versions", check)
            .await?;
        let switch = async {
            if newest == live {
                return Ok(Done::as_it_was(state.clone(), "they answer already"));
            }
            let mut asked = Texts::from([("Live".to_owned(), newest.parameter())]);
            if live != List::of(NO_VERSION) {
                asked.insert("Previous".to_owned(), live.parameter());
            }
            let plan = self
                .stack
                .plan(Some(&state), Template::AsItIs, &asked)
                .await?;
            let plan = plan.context("CloudFormation sees nothing to switch")?;
            let state = self.stack.execute(&plan).await?;
            let said = format!("{}, after {}", newest.parameter(), live.parameter());
            Ok(Done::changed(state, said))
        };
        steps
            .take("switch", "Letting the new versions answer", switch)
            .await
    }
}

/// What a run does with versions that were made before and do not answer, in words: after a rollback, or a run that
/// stopped; none where they answer.
fn waiting(state: &State) -> Option<String> {
    let (newest, live) = (state.newest(), state.live());
    (newest != live).then(|| {
        format!(
            "Let the versions {} answer, in the place of {}",
            newest.parameter(),
            live.parameter()
        )
    })
}

/// Asks the network where its users do.
pub async fn smoke(
    data: &Folder,
    state: &State,
    rents: bool,
    steps: &mut Steps,
) -> anyhow::Result<()> {
    let settings = data.settings()?;
    let door = state.output("FrontDoor")?;
    let domains = state.parameters.get("Domains").map(String::as_str);
    let domains = domains.unwrap_or_default().split(',');
    let mut own: Vec<String> = domains.map(|name| format!("https://{name}")).collect();
    own.push(door.to_owned());
    own.extend(settings.control.iter().cloned());
    let ask = async {
        let said = health::smoke(&settings, &own, &functions(rents), door).await?;
        Ok(Done::as_it_was((), said))
    };
    steps
        .take("smoke", "Asking the network where its users do", ask)
        .await
}

/// Those that are there.
fn functions(rents: bool) -> Vec<Function> {
    let all = ALL.into_iter();
    all.filter(|function| rents || !function.rents()).collect()
}

/// The release's name: a hash over all that makes a version what it is. A function publishes no version that
/// is as its last one, and so each must differ in it.
fn release(asked: &Texts) -> String {
    let mut hash = Sha256::new();
    hash.update(TEMPLATE);
    for (name, text) in asked {
        hash.update(name);
        hash.update([0]);
        hash.update(text);
        hash.update([0]);
    }
    HEXLOWER.encode(&hash.finalize()[..8])
}
