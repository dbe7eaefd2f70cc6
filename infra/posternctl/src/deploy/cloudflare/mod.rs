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
mod smoke;
mod wrangler;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};
use url::Url;

use self::account::{Account, Deployment, Share};
use self::bucket::Contents;
use self::config::{Place, Worker, name_of};
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
/// What the message of a deployment begins with. A hash of all Workers as they were to be follows, so that a
/// run that was resumed is the same.
const MARK: &str = "postern ";
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
    let names = ALL.map(|function| format!("{}-{}", options.prefix, name_of(function)));
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
        let renting =
            |function: &Function| matches!(function, Function::Reconcile | Function::Cleanup);
        let functions = ALL
            .into_iter()
            .filter(|function| rents || !renting(function));
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

    async fn deploy(
        &self,
        steps: &mut Steps,
        workers: &[Worker],
        smoke: &Smoke,
        there: &[String],
    ) -> anyhow::Result<()> {
        let zone = steps
            .take("zone", "Looks for the zone", self.zone())
            .await?;
        self.show(workers, there);
        if self.options.common.dry_run {
            for worker in workers {
                let work = async {
                    self.wrangler.dry_run(worker).await?;
                    Ok(Done::as_it_was(
                        (),
                        format!("{} can be uploaded", worker.name),
                    ))
                };
                steps
                    .take(
                        "dry-run",
                        &format!("Makes {} and keeps it", worker.name),
                        work,
                    )
                    .await?;
            }
            return Ok(());
        }
        if !self.options.common.is_wanted("Deploy this?", self.json)? {
            return Ok(());
        }
        let mut buckets = vec![self.bucket()];
        if workers
            .iter()
            .any(|worker| matches!(worker.function, Function::Reconcile))
        {
            buckets.push(self.evidence());
        }
        for bucket in &buckets {
            let what = format!("The bucket {bucket}");
            steps
                .take("bucket", &what, self.make_bucket(bucket))
                .await?;
        }
        if let Some(door) = &self.options.door {
            let what = format!("The front door {door}");
            steps.take("door", &what, self.serve(door, &zone)).await?;
        }
        let mark = mark(workers);
        for worker in workers {
            let is_new = !there.contains(&worker.name);
            let what = format!("The Worker {}", worker.name);
            let mark = &mark;
            let work = async {
                if is_new {
                    self.wrangler.deploy(worker).await?;
                    return Ok(Done::changed(
                        (),
                        "made, with its routes, triggers and secrets",
                    ));
                }
                self.update(worker, smoke, &zone, mark).await
            };
            steps.take("worker", &what, work).await?;
        }
        let work = async {
            for worker in workers {
                smoke.try_worker(worker, None).await?;
            }
            Ok(Done::as_it_was(
                (),
                "every route is answered by its function",
            ))
        };
        steps
            .take("smoke", "Asks the deployed network", work)
            .await?;
        self.state(steps, workers.iter().map(|worker| worker.name.as_str()))
            .await
    }

    /// Shows what there is to do.
    fn show(&self, workers: &[Worker], there: &[String]) {
        if self.json {
            return;
        }
        say!(
            "Account {}, zone {}:",
            self.account.id,
            self.options.zone.as_deref().unwrap_or("")
        );
        for worker in workers {
            let does = if there.contains(&worker.name) {
                "update"
            } else {
                "make"
            };
            let mut by = worker.routes();
            by.extend(worker.crons().iter().map(|cron| format!("each '{cron}'")));
            say!("  {does} {:<20} {}", worker.name, by.join(", "));
            let secrets: Vec<_> = worker.secrets.keys().map(String::as_str).collect();
            say!("       secrets: {}", secrets.join(", "));
        }
        say!(
            "  bucket {}{}",
            self.bucket(),
            match &self.options.door {
                Some(door) => format!(", served at {door}"),
                None => String::new(),
            }
        );
    }

    async fn make_bucket(&self, bucket: &str) -> anyhow::Result<Done> {
        if self.account.has_bucket(bucket).await? {
            return Ok(Done::as_it_was((), "is there"));
        }
        self.wrangler.make_bucket(bucket).await?;
        Ok(Done::changed((), "made"))
    }

    /// The id of the zone.
    async fn zone(&self) -> anyhow::Result<Done<String>> {
        let name = self.options.zone.as_deref().unwrap_or_default();
        let zone = self.account.zone(name).await?;
        let zone = zone.with_context(|| {
            format!("the account has no zone {name} that the token may see: add it, or name another with --zone")
        })?;
        Ok(Done::as_it_was(zone, format!("{name} is in the account")))
    }

    async fn serve(&self, door: &str, zone: &str) -> anyhow::Result<Done> {
        let bucket = self.bucket();
        if self
            .account
            .domains(&bucket)
            .await?
            .iter()
            .any(|domain| domain == door)
        {
            return Ok(Done::as_it_was((), "is served"));
        }
        self.wrangler.serve_bucket(&bucket, door, zone).await?;
        Ok(Done::changed((), "is served from now on"))
    }

    /// Brings a Worker that is there to the wanted version, in stages.
    async fn update(
        &self,
        worker: &Worker,
        smoke: &Smoke,
        zone: &str,
        mark: &str,
    ) -> anyhow::Result<Done> {
        let name = &worker.name;
        let shares = self.account.deployed(name).await?;
        let mut new = None;
        for share in &shares {
            if self.account.tag(name, &share.version).await? == worker.tag {
                new = Some(share.clone());
            }
        }
        let is_whole = |share: &Share| share.percent >= 100.0;
        if new.as_ref().is_some_and(is_whole) {
            let said = "is as it should be";
            return Ok(if self.set_triggers(worker, zone).await? {
                Done::changed((), "its routes and triggers were set anew")
            } else {
                Done::as_it_was((), said)
            });
        }
        let before = shares.iter().filter(|share| Some(*share) != new.as_ref());
        let before = before.max_by(|a, b| a.percent.total_cmp(&b.percent));
        let version = match &new {
            Some(new) => new.version.clone(),
            None => self.wrangler.upload(worker).await?,
        };
        // What has no route cannot be asked: its next run shows what it does.
        if let Some(before) = before
            && !worker.routes().is_empty()
        {
            let share = self.options.share;
            let both = [
                (version.as_str(), share),
                (before.version.as_str(), 100 - share),
            ];
            self.wrangler.share(name, &both, mark).await?;
            if let Err(error) = smoke.try_worker(worker, Some(&version)).await {
                self.wrangler
                    .share(
                        name,
                        &[(&before.version, 100)],
                        "the new version does not do",
                    )
                    .await?;
                return Err(error).context(format!(
                    "the new version of {name} does not do, and the one before answers again. Look at its log \
                     ('wrangler tail {name}')"
                ));
            }
        }
        self.wrangler.share(name, &[(&version, 100)], mark).await?;
        self.set_triggers(worker, zone).await?;
        Ok(Done::changed((), format!("version {version} answers")))
    }

    /// Sets routes and cron triggers where they are not as they should be, and says whether it had to.
    async fn set_triggers(&self, worker: &Worker, zone: &str) -> anyhow::Result<bool> {
        let routes = self.account.routes(&worker.name, zone).await?;
        let crons = self.account.crons(&worker.name).await?;
        let differ = routes != worker.routes() || crons != worker.crons();
        if differ {
            self.wrangler.triggers(worker).await?;
        }
        Ok(differ)
    }

    /// Brings back what was there before the last run that changed anything.
    async fn rollback(
        &self,
        steps: &mut Steps,
        ours: &[String],
        data: &Folder,
    ) -> anyhow::Result<()> {
        let mut all = Vec::new();
        for name in ours {
            all.push((name, self.account.deployments(name).await?));
        }
        let back = before_the_last(&all)?;
        if !self.json {
            let names: Vec<_> = back.iter().map(|(name, _)| *name).collect();
            say!(
                "Brings back the version before the last run of: {}",
                names.join(", ")
            );
        }
        if self.options.common.dry_run || !self.options.common.is_wanted("Do it?", self.json)? {
            return Ok(());
        }
        for (name, version) in back {
            let work = async {
                self.wrangler.rollback(name, version, "rolled back").await?;
                Ok(Done::changed(
                    (),
                    format!("version {version} answers again"),
                ))
            };
            let what = format!("The Worker {name}");
            steps.take("rollback", &what, work).await?;
        }
        let settings = data.settings()?;
        if let Some(control) = settings.control.first() {
            let smoke = Smoke::of(control)?;
            let work = async {
                smoke.try_control().await?;
                Ok(Done::as_it_was((), "the control plane answers"))
            };
            steps
                .take("smoke", "Asks the deployed network", work)
                .await?;
        }
        self.state(steps, ours.iter().map(String::as_str)).await
    }

    async fn destroy(&self, steps: &mut Steps, ours: &[String]) -> anyhow::Result<()> {
        if !self.json {
            say!(
                "Removes {}",
                if ours.is_empty() {
                    "nothing: no Worker is there".to_owned()
                } else {
                    ours.join(", ")
                }
            );
        }
        if self.options.common.dry_run || !self.options.common.is_wanted("Remove it?", self.json)? {
            return Ok(());
        }
        for name in ours {
            let work = async {
                self.wrangler.delete(name).await?;
                Ok(Done::changed(
                    (),
                    "removed, with its routes, triggers and secrets",
                ))
            };
            let what = format!("The Worker {name}");
            steps.take("remove", &what, work).await?;
        }
        let secrets = self.secrets()?;
        let keys = secrets.get("POSTERN_MIRROR_KEYS").unwrap_or("{}");
        let contents = Contents::by_keys(keys, &self.account.id)?;
        for bucket in [self.bucket(), self.evidence()] {
            let what = format!("The bucket {bucket}");
            let work = self.remove_bucket(&bucket, contents.as_ref());
            steps.take("bucket", &what, work).await?;
        }
        let work = async {
            let there = self.account.workers().await?;
            let left: Vec<_> = ours.iter().filter(|name| there.contains(*name)).collect();
            if !left.is_empty() {
                bail!("Cloudflare still lists {left:?}");
            }
            for bucket in [self.bucket(), self.evidence()] {
                if self.account.has_bucket(&bucket).await? {
                    bail!("Cloudflare still lists the bucket {bucket}");
                }
            }
            Ok(Done::as_it_was((), "nothing is left"))
        };
        steps
            .take("left", "Looks whether anything is left", work)
            .await
    }

    async fn remove_bucket(
        &self,
        bucket: &str,
        contents: Option<&Contents>,
    ) -> anyhow::Result<Done> {
        if !self.account.has_bucket(bucket).await? {
            return Ok(Done::as_it_was((), "is not there"));
        }
        let contents = contents.with_context(|| {
            format!(
                "{bucket} is not removed while it holds anything: name R2's key in POSTERN_MIRROR_KEYS, or empty it \
                 in the dashboard"
            )
        })?;
        let count = contents.empty(bucket).await?;
        self.wrangler.delete_bucket(bucket).await?;
        Ok(Done::changed((), format!("removed, with {count} objects")))
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

/// What the deployments of a run are marked with: the same however often it is begun.
fn mark(workers: &[Worker]) -> String {
    let mut hash = Sha256::new();
    for worker in workers {
        hash.update(format!("{} {}\n", worker.name, worker.tag));
    }
    format!(
        "{MARK}{}",
        data_encoding::HEXLOWER.encode(&hash.finalize()[..8])
    )
}

/// The Workers that the last run changed, each with the version that answered everybody before.
fn before_the_last<'a>(
    all: &'a [(&'a String, Vec<Deployment>)],
) -> anyhow::Result<Vec<(&'a str, &'a str)>> {
    let present = all
        .iter()
        .filter_map(|(_, deployments)| deployments.first());
    let last = present.max_by(|a, b| a.since.cmp(&b.since));
    let last = last.context("nothing is deployed")?;
    if !last.message.starts_with(MARK) {
        bail!(
            "what was deployed last is no new version of this command's (its message is '{}'): 'wrangler rollback \
             VERSION --name WORKER' goes further back",
            last.message
        );
    }
    let back = |(name, deployments): &'a (&'a String, Vec<Deployment>)| {
        let (newest, before) = deployments.split_first()?;
        let mut before = before.iter().filter_map(Deployment::whole);
        let version = before.find(|version| newest.whole() != Some(version))?;
        (newest.message == last.message).then_some((name.as_str(), version))
    };
    Ok(all.iter().filter_map(back).collect())
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
    use super::*;

    fn deployment(since: &str, message: &str, versions: &[&str]) -> Deployment {
        let shares = versions.iter().map(|version| Share {
            version: (*version).to_owned(),
            percent: 100.0,
        });
        Deployment {
            since: since.to_owned(),
            message: message.to_owned(),
            shares: shares.collect(),
        }
    }

    #[test]
    fn a_rollback_takes_back_what_the_last_run_changed_and_nothing_else() {
        let [enroll, admin, publish] = ["enroll", "admin", "publish"].map(str::to_owned);
        let all = [
            (
                &enroll,
                vec![
                    deployment("2", "postern a", &["e2"]),
                    deployment("1", "", &["e1"]),
                ],
            ),
            (
                &admin,
                vec![
                    deployment("4", "postern b", &["a2"]),
                    deployment("3", "postern b", &["a1", "a2"]),
                    deployment("1", "postern a", &["a1"]),
                ],
            ),
            (&publish, vec![deployment("3", "postern b", &["p1"])]),
        ];

        assert_eq!(before_the_last(&all).unwrap(), [("admin", "a1")]);

        let after = [(&admin, vec![deployment("5", "rolled back", &["a1"])])];
        let refused = before_the_last(&after).unwrap_err().to_string();
        assert!(refused.contains("goes further back"), "{refused}");
        assert!(before_the_last(&[]).is_err());
    }

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
