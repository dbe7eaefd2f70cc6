//! `posternctl deploy cloudflare`: the functions as Workers, and a bucket of R2 as mirror and front door.
//!
//! What is there is read from Cloudflare's API, what changes goes through wrangler with the shipped
//! configurations (`infra/cloudflare/`). The database is a table of DynamoDB, as on AWS.
//!
//! A new version of a Worker answers nobody at first but this program, which asks for it by name; then a share
//! of the requests, then all. `--rollback` brings back what was there before. A version is tagged with a hash
//! of all that it is made of, so that a second run leaves alone what is right.

mod account;
mod bucket;
mod config;
mod make;
mod remove;
mod roll_back;
mod smoke;
mod wrangler;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use url::Url;

use self::account::Account;
use self::config::{Place, Worker};
use self::smoke::Smoke;
use self::wrangler::Wrangler;
use super::Common;
use super::secrets::Secrets;
use super::steps::{Done, Steps};
use crate::data::Folder;
use crate::settings::{self, Function};

/// Every function, in the order in which they are deployed: those that answer before those that act.
const ALL: [Function; 6] = [
    Function::Enroll,
    Function::Register,
    Function::Admin,
    Function::Reconcile,
    Function::Cleanup,
    Function::Publish,
];
/// What the data folder does not hold.
const SECRETS: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "POSTERN_MIRROR_KEYS",
    "POSTERN_HETZNER_TOKEN",
];
/// The name of the R2 mirror.
const MIRROR: &str = "r2";

/// What is deployed, and how.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// The account's id, 32 hexadecimal digits.
    #[arg(long, value_name = "ID", env = "CLOUDFLARE_ACCOUNT_ID")]
    account: String,
    /// The zone at Cloudflare that the control plane's host is in, such as example.org.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["destroy", "rollback"])]
    zone: Option<String>,
    /// What the Workers' names and the buckets' begin with.
    #[arg(long, value_name = "TEXT", default_value = "postern")]
    prefix: String,
    /// The DynamoDB table, made by 'posternctl prepare'.
    #[arg(long, value_name = "NAME", default_value = "postern")]
    table: String,
    /// The table's AWS region.
    #[arg(long, required_unless_present_any = ["destroy", "rollback"])]
    region: Option<String>,
    /// The domain of the front door: R2 serves the repository there. None is made without it.
    #[arg(long, value_name = "HOST")]
    door: Option<String>,
    /// How many requests a run of a schedule may make: 50 on the free plan.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    calls: u32,
    /// The share of requests, in percent, that a new version is given before all.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..100))]
    share: u32,
    /// Bring back the versions that were deployed before the last ones.
    #[arg(long, conflicts_with = "destroy")]
    rollback: bool,
    /// wrangler, Cloudflare's own program.
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "POSTERN_WRANGLER",
        default_value = "wrangler"
    )]
    wrangler: PathBuf,
}

/// What a run has at hand.
struct Run<'a> {
    options: &'a Options,
    account: Account,
    wrangler: Wrangler,
    json: bool,
}

/// Deploys the network in `data`, or what is asked for instead.
pub async fn run(data: &Folder, options: &Options, json: bool) -> anyhow::Result<()> {
    let mut steps = Steps::new(json);
    let find = async {
        let (wrangler, version) =
            Wrangler::find(options.wrangler.clone(), &options.account).await?;
        Ok(Done::as_it_was(wrangler, format!("wrangler {version}")))
    };
    let wrangler = steps.take("tools", "Looks for wrangler", find).await?;
    let account = Account::from_environment(&options.account)?;
    let work = async {
        let workers = account.workers().await?;
        let said = format!("account {} has {} Workers", account.id, workers.len());
        Ok(Done::as_it_was(workers, said))
    };
    let there = steps
        .take("credentials", "Looks at the account", work)
        .await?;
    let run = Run {
        options,
        account,
        wrangler,
        json,
    };
    let names = ALL.map(|function| format!("{}-{}", options.prefix, function.name()));
    let ours: Vec<String> = names
        .into_iter()
        .filter(|name| there.contains(name))
        .collect();
    if options.common.destroy {
        return run.destroy(&mut steps, &ours).await;
    }
    if options.rollback {
        return run.rollback(&mut steps, &ours, data).await;
    }
    let (workers, smoke) = run.wanted(data)?;
    let wanted: Vec<_> = workers.iter().map(|worker| &worker.name).collect();
    if let Some(left) = ours.iter().find(|name| !wanted.contains(name)) {
        bail!(
            "{left} is deployed, and would stay of the release before: give POSTERN_HETZNER_TOKEN again (--secrets, or \
             the environment), or remove it with 'wrangler delete --name {left}' after 'posternctl cleanup'"
        );
    }
    run.deploy(
        &mut steps,
        &workers,
        &smoke,
        &there.into_iter().collect::<Vec<_>>(),
    )
    .await
}

impl Run<'_> {
    /// The Workers as they are to be, and how they are tried.
    fn wanted(&self, data: &Folder) -> anyhow::Result<(Vec<Worker>, Smoke)> {
        let options = self.options;
        let network = data.settings()?;
        let control = network
            .control
            .first()
            .context("the network names no control plane")?;
        let zone = options.zone.clone().context("name the zone with --zone")?;
        let place = Place {
            prefix: options.prefix.clone(),
            host: host_in(control, &zone)?,
            zone,
        };
        let secrets = self.secrets()?;
        let rents = secrets.get("POSTERN_HETZNER_TOKEN").is_some();
        let functions = ALL
            .into_iter()
            .filter(|function| rents || !function.rents());
        let worker = |function| {
            let mut told: Vec<(String, String)> = settings::of(data, function)?
                .into_iter()
                .map(|(name, text)| (name.to_owned(), text))
                .collect();
            told.extend(self.told(function, &secrets));
            config::worker(function, &place, told, &options.common.archives)
        };
        let workers = functions.map(worker).collect::<anyhow::Result<_>>()?;
        Ok((workers, Smoke::of(control)?))
    }

    /// The secrets that the data folder does not hold. The right to the table is the Workers' own, and not that of
    /// whoever deploys: what AWS's programs find in the environment is not taken.
    fn secrets(&self) -> anyhow::Result<Secrets> {
        let outside = |name: &str| {
            let name = match name.strip_prefix("AWS_") {
                Some(rest) => format!("POSTERN_AWS_{rest}"),
                None => name.to_owned(),
            };
            std::env::var(name).ok()
        };
        Secrets::read(self.options.common.secrets.as_deref(), &SECRETS, outside)
    }

    /// What does not follow from the network.
    fn told(&self, function: Function, secrets: &Secrets) -> Vec<(String, String)> {
        let options = self.options;
        let mirror = |bucket: String| {
            json!({
                "kind": "s3", "name": MIRROR, "bucket": bucket, "region": "auto",
                "endpoint": format!("https://{}.r2.cloudflarestorage.com", self.account.id),
            })
        };
        let secret = |name: &str| (name.to_owned(), secrets.get(name).unwrap_or("").to_owned());
        let mut told = vec![
            ("POSTERN_TABLE".to_owned(), options.table.clone()),
            (
                "AWS_REGION".to_owned(),
                options.region.clone().unwrap_or_default(),
            ),
            secret("AWS_ACCESS_KEY_ID"),
            secret("AWS_SECRET_ACCESS_KEY"),
        ];
        let mut acts = |name: &str, text: String| told.push((name.to_owned(), text));
        match function {
            Function::Enroll | Function::Register | Function::Admin => return told,
            Function::Publish => acts(
                "POSTERN_MIRRORS",
                json!([mirror(self.bucket())]).to_string(),
            ),
            Function::Reconcile | Function::Cleanup => {
                acts("POSTERN_EVIDENCE", mirror(self.evidence()).to_string());
                told.push(secret("POSTERN_HETZNER_TOKEN"));
            }
        }
        told.push(("POSTERN_CALLS".to_owned(), options.calls.to_string()));
        told.push(secret("POSTERN_MIRROR_KEYS"));
        told
    }

    /// What front doors serve.
    fn bucket(&self) -> String {
        format!("{}-site", self.options.prefix)
    }

    /// Nobody's but the network's: the records of what was rented.
    fn evidence(&self) -> String {
        format!("{}-evidence", self.options.prefix)
    }

    /// Tells what is deployed now.
    async fn state(
        &self,
        steps: &mut Steps,
        names: impl Iterator<Item = &str>,
    ) -> anyhow::Result<()> {
        let work = async {
            let mut said = Vec::new();
            for name in names {
                let shares = self.account.deployed(name).await?;
                let shares = shares
                    .iter()
                    .map(|share| format!("{} {}%", share.version, share.percent));
                said.push(format!("{name}: {}", shares.collect::<Vec<_>>().join(", ")));
            }
            Ok(Done::as_it_was((), said.join("; ")))
        };
        steps.take("state", "What is deployed", work).await
    }
}

/// The host of the control plane, which must be in the zone: else no request comes to Cloudflare.
fn host_in(control: &str, zone: &str) -> anyhow::Result<String> {
    let url: Url = control
        .parse()
        .with_context(|| format!("'{control}' is no URL"))?;
    let host = url.host_str().unwrap_or_default();
    let is_name = url.domain().is_some();
    if is_name && host != zone && !host.ends_with(&format!(".{zone}")) {
        bail!(
            "the network's control plane is {control}, which is not in the zone {zone}: name the zone of {host} \
             with --zone, or make the network with another --control"
        );
    }
    if url.path() != "/" {
        bail!(
            "the network's control plane is {control}, and Workers' routes begin at the host: it may have no path"
        );
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::host_in;

    #[test]
    fn a_control_plane_elsewhere_is_found_before_anything_is_changed() {
        assert_eq!(
            host_in("https://c.example.org", "example.org").unwrap(),
            "c.example.org"
        );
        assert_eq!(
            host_in("https://example.org", "example.org").unwrap(),
            "example.org"
        );
        let other = host_in("https://c.notexample.org", "example.org").unwrap_err();
        assert!(other.to_string().contains("--zone"), "{other}");
        assert!(host_in("https://c.example.org/under", "example.org").is_err());
    }
}
