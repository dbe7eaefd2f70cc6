//! What is made and changed: buckets, the front door, Workers and their versions.

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::Run;
use super::account::Share;
use super::config::Worker;
use super::smoke::Smoke;
use crate::deploy::steps::{Done, Steps};
use crate::settings::Function;

/// What the message of a deployment begins with. A hash of all Workers as they were to be follows, so that a
/// run that was resumed is the same.
pub const MARK: &str = "postern ";

impl Run<'_> {
    /// Makes and changes what there is to do, `there` being the Workers of the account.
    pub async fn deploy(
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
