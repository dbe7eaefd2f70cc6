//! wrangler, Cloudflare's own program: everything that changes something goes through it.
//!
//! It reads its token from the environment, a Worker's secrets from its standard input, and its
//! configuration from a folder that is gone afterwards.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::config::Worker;

/// The oldest that has all the options that are used, as it was tested with.
const OLDEST: (u32, u32) = (4, 164);
/// How much of what it says on a failure is repeated, from the end.
const MOST_SAID: usize = 2000;

/// The program, for an account.
pub struct Wrangler {
    program: PathBuf,
    account: String,
}

impl Wrangler {
    /// The program, which must be new enough; its version.
    pub async fn find(program: PathBuf, account: &str) -> anyhow::Result<(Self, String)> {
        let wrangler = Self {
            program,
            account: account.to_owned(),
        };
        let folder = tempfile::tempdir()?;
        let said = wrangler
            .run(&folder, &["--version".to_owned()], None)
            .await?;
        let version = said
            .split_whitespace()
            .last()
            .unwrap_or_default()
            .to_owned();
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found < OLDEST {
            bail!(
                "wrangler is {version}, and at least {}.{} is needed: 'npm install wrangler' with Node 22, and \
                 name it with --wrangler",
                OLDEST.0,
                OLDEST.1
            );
        }
        Ok((wrangler, version))
    }

    /// Makes what would go up of a Worker and sends nothing.
    pub async fn dry_run(&self, worker: &Worker) -> anyhow::Result<()> {
        self.with_config(worker, &["deploy", "--dry-run"], true)
            .await?;
        Ok(())
    }

    /// Makes a new Worker, with its routes and triggers.
    pub async fn deploy(&self, worker: &Worker) -> anyhow::Result<()> {
        self.with_config(worker, &["deploy", "--tag", &worker.tag], true)
            .await?;
        Ok(())
    }

    /// Makes a version of a Worker that nobody is answered by yet, and gives its id.
    pub async fn upload(&self, worker: &Worker) -> anyhow::Result<String> {
        let arguments = ["versions", "upload", "--tag", &worker.tag];
        let wrote = self.with_config(worker, &arguments, true).await?;
        let lines = wrote
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut uploads = lines.filter(|line: &Value| line["type"] == "version-upload");
        let upload = uploads.next().unwrap_or_default();
        let id = upload["version_id"].as_str().map(str::to_owned);
        id.with_context(|| {
            format!(
                "wrangler does not say which version of {} it made",
                worker.name
            )
        })
    }

    /// Has requests to a Worker answered by these versions, each by its share in percent.
    pub async fn share(
        &self,
        worker: &str,
        shares: &[(&str, u32)],
        message: &str,
    ) -> anyhow::Result<()> {
        let mut arguments = vec!["versions".to_owned(), "deploy".to_owned()];
        let shares = shares.iter();
        arguments.extend(shares.map(|(version, percent)| format!("{version}@{percent}%")));
        arguments.extend(["--name", worker, "--message", message, "--yes"].map(str::to_owned));
        self.alone(&arguments).await
    }

    /// Sets a Worker's routes and cron triggers as its configuration says.
    pub async fn triggers(&self, worker: &Worker) -> anyhow::Result<()> {
        self.with_config(worker, &["triggers", "deploy"], false)
            .await?;
        Ok(())
    }

    /// Has a Worker answered by a version of before.
    pub async fn rollback(&self, worker: &str, version: &str, message: &str) -> anyhow::Result<()> {
        let arguments = [
            "rollback",
            version,
            "--name",
            worker,
            "--message",
            message,
            "--yes",
        ];
        self.alone(&arguments.map(str::to_owned)).await
    }

    /// Removes a Worker with its routes, triggers and secrets.
    pub async fn delete(&self, worker: &str) -> anyhow::Result<()> {
        self.alone(&["delete", "--name", worker, "--force"].map(str::to_owned))
            .await
    }

    /// Makes a bucket.
    pub async fn make_bucket(&self, name: &str) -> anyhow::Result<()> {
        self.alone(&["r2", "bucket", "create", name].map(str::to_owned))
            .await
    }

    /// Removes a bucket, which must be empty.
    pub async fn delete_bucket(&self, name: &str) -> anyhow::Result<()> {
        self.alone(&["r2", "bucket", "delete", name].map(str::to_owned))
            .await
    }

    /// Serves a bucket at a domain of the zone.
    pub async fn serve_bucket(&self, name: &str, domain: &str, zone: &str) -> anyhow::Result<()> {
        let arguments = [
            "r2",
            "bucket",
            "domain",
            "add",
            name,
            "--domain",
            domain,
            "--zone-id",
            zone,
            "--min-tls",
            "1.2",
            "--force",
        ];
        self.alone(&arguments.map(str::to_owned)).await
    }

    async fn alone(&self, arguments: &[String]) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        self.run(&folder, arguments, None).await?;
        Ok(())
    }

    /// Runs it with a Worker's configuration, and gives what it wrote of what it did.
    async fn with_config(
        &self,
        worker: &Worker,
        arguments: &[&str],
        with_secrets: bool,
    ) -> anyhow::Result<String> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("wrangler.json");
        std::fs::write(&config, worker.config.to_string())?;
        let mut all: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        all.extend(["--config".to_owned(), config.display().to_string()]);
        let mut secrets = None;
        if with_secrets {
            all.extend(["--secrets-file", "/dev/stdin"].map(str::to_owned));
            secrets = Some(serde_json::to_vec(&worker.secrets)?);
        }
        self.run(&folder, &all, secrets).await?;
        // It writes none where it did nothing that can be told.
        Ok(std::fs::read_to_string(folder.path().join("did")).unwrap_or_default())
    }

    /// Runs it, and gives what it said.
    async fn run(
        &self,
        folder: &tempfile::TempDir,
        arguments: &[String],
        input: Option<Vec<u8>>,
    ) -> anyhow::Result<String> {
        let shown = self.program.display();
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(folder.path())
            // Nobody is asked anything, nothing is kept, nobody else is told.
            .env("CI", "1")
            .env("CLOUDFLARE_ACCOUNT_ID", &self.account)
            .env("NO_COLOR", "1")
            .env("WRANGLER_LOG_PATH", folder.path().join("log"))
            .env("WRANGLER_OUTPUT_FILE_PATH", folder.path().join("did"))
            .env("WRANGLER_SEND_ERROR_REPORTS", "false")
            .env("WRANGLER_SEND_METRICS", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("{shown} does not start: 'npm install wrangler' with Node 22, and name it with --wrangler")
            })?;
        let mut stdin = child.stdin.take().context("it is piped")?;
        let tell = async move {
            if let Some(input) = input {
                // Whether it has read them shows in what it does.
                let _closed = stdin.write_all(&input).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), tell);
        let output = output?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let all = plain(&format!("{}\n{}", said.trim(), errors.trim()));
            let begin = all.len().saturating_sub(MOST_SAID);
            let begin = (begin..all.len()).find(|at| all.is_char_boundary(*at));
            bail!(
                "'wrangler {}' failed ({}): {}",
                arguments.first().map_or("", String::as_str),
                output.status,
                all[begin.unwrap_or(0)..].trim()
            );
        }
        Ok(said.into_owned())
    }
}

/// Without what colours a terminal, which wrangler writes whatever it is told.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let rest = part.split_once(|end: char| end.is_ascii_alphabetic());
        plain.push_str(rest.map_or(part, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn colours_are_left_out() {
        let text = "\u{1b}[31m\u{2718} \u{1b}[41;97mERROR\u{1b}[0m no [right]";

        assert_eq!(plain(text), "\u{2718} ERROR no [right]");
        assert_eq!(plain("nothing to do"), "nothing to do");
    }
}
