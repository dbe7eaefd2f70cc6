//! Nothing is left: Workers, buckets and what they hold.

use anyhow::{Context, bail};

use super::Run;
use super::bucket::Contents;
use crate::deploy::steps::{Done, Steps};

impl Run<'_> {
    /// Removes the Workers `ours` and the buckets, and looks whether anything is left.
    pub async fn destroy(&self, steps: &mut Steps, ours: &[String]) -> anyhow::Result<()> {
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
}
