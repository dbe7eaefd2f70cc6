//! Back to what was there before the last run that changed anything.

use anyhow::{Context, bail};

use super::Run;
use super::account::Deployment;
use super::make::MARK;
use super::smoke::Smoke;
use crate::data::Folder;
use crate::deploy::steps::{Done, Steps};

impl Run<'_> {
    /// Brings back what was there before the last run that changed anything.
    pub async fn rollback(
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

#[cfg(test)]
mod tests {
    use super::super::account::Share;
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
}
