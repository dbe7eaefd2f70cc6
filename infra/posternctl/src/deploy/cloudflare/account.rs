//! An account at Cloudflare, as far as a deployment looks at it. What changes anything is wrangler's work.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use api::http_client::http_client;
use http::StatusCode;
use serde_json::Value;

/// Cloudflare's API, unless the variable that wrangler reads, too, names another.
const API: &str = "https://api.cloudflare.com/client/v4";
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An account, and the right to it.
pub struct Account {
    http: reqwest::Client,
    base: String,
    /// Its id.
    pub id: String,
    token: String,
}

/// Which versions of a Worker answer, from a moment on.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Deployment {
    /// Since when, as Cloudflare writes it; later ones sort behind.
    pub since: String,
    /// What whoever deployed it wrote.
    pub message: String,
    /// The versions, and their shares of the requests.
    pub shares: Vec<Share>,
}

impl Deployment {
    /// The one version that answers everybody, if it is one.
    pub fn whole(&self) -> Option<&str> {
        match &self.shares[..] {
            [share] => Some(&share.version),
            _ => None,
        }
    }
}

/// A version of a Worker, and its share of the requests in percent.
#[derive(Clone, PartialEq, Debug)]
pub struct Share {
    /// The version's id.
    pub version: String,
    /// Its share.
    pub percent: f64,
}

impl Account {
    /// The account `id`, with the token that the environment holds.
    pub fn from_environment(id: &str) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let token = variable("CLOUDFLARE_API_TOKEN").context(
            "there is no CLOUDFLARE_API_TOKEN in the environment: make a token from the template 'Edit \
             Cloudflare Workers', for this account and the zone of the control plane alone",
        )?;
        let base = variable("CLOUDFLARE_API_BASE_URL").unwrap_or_else(|| API.to_owned());
        if !api::contact::is_private(&base) {
            bail!("CLOUDFLARE_API_BASE_URL is not https, and secrets would be read on the way");
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric();
        if id.is_empty() || !id.chars().all(is_plain) {
            bail!("'{id}' is no account's id: the dashboard shows it, 32 hexadecimal digits");
        }
        Ok(Self {
            http: http_client("posternctl", TIMEOUT)?,
            base: base.trim_end_matches('/').to_owned(),
            id: id.to_owned(),
            token,
        })
    }

    /// The names of all Workers: whoever may not see them may not deploy either.
    pub async fn workers(&self) -> anyhow::Result<BTreeSet<String>> {
        let path = format!("/accounts/{}/workers/scripts", self.id);
        let all = self.get(&path).await?;
        let all = all.with_context(|| format!("there is no account {}", self.id))?;
        let names = all.as_array().into_iter().flatten();
        let names = names.filter_map(|worker| Some(worker["id"].as_str()?.to_owned()));
        Ok(names.collect())
    }

    /// The deployments of a Worker, the present one first; none if there is no such Worker.
    pub async fn deployments(&self, worker: &str) -> anyhow::Result<Vec<Deployment>> {
        let path = format!("/accounts/{}/workers/scripts/{worker}/deployments", self.id);
        let all = self.get(&path).await?.unwrap_or_default();
        let share = |version: &Value| {
            Some(Share {
                version: version["version_id"].as_str()?.to_owned(),
                percent: version["percentage"].as_f64()?,
            })
        };
        let read = |deployment: &Value| {
            let shares = deployment["versions"].as_array()?.iter().map(share);
            let message = deployment["annotations"]["workers/message"].as_str();
            Some(Deployment {
                since: deployment["created_on"].as_str()?.to_owned(),
                message: message.unwrap_or_default().to_owned(),
                shares: shares.collect::<Option<_>>()?,
            })
        };
        let all = all["deployments"].as_array().into_iter().flatten();
        let all: Option<_> = all.map(read).collect();
        all.with_context(|| format!("Cloudflare's answer on {worker} cannot be read"))
    }

    /// The versions of a Worker that answer requests now; none if there is no such Worker.
    pub async fn deployed(&self, worker: &str) -> anyhow::Result<Vec<Share>> {
        let all = self.deployments(worker).await?.into_iter();
        Ok(all.map(|newest| newest.shares).next().unwrap_or_default())
    }

    /// The tag of a version; empty if it has none.
    pub async fn tag(&self, worker: &str, version: &str) -> anyhow::Result<String> {
        let path = format!(
            "/accounts/{}/workers/scripts/{worker}/versions/{version}",
            self.id
        );
        let version = self.get(&path).await?.unwrap_or_default();
        let tag = version["annotations"]["workers/tag"].as_str();
        Ok(tag.unwrap_or_default().to_owned())
    }

    /// The id of a zone of the account, if the token may see it.
    pub async fn zone(&self, name: &str) -> anyhow::Result<Option<String>> {
        let path = format!("/zones?name={name}&account.id={}", self.id);
        let zones = self.get(&path).await?.unwrap_or_default();
        Ok(zones[0]["id"].as_str().map(str::to_owned))
    }

    /// What leads to a Worker in a zone, by the zone's id; sorted.
    pub async fn routes(&self, worker: &str, zone: &str) -> anyhow::Result<Vec<String>> {
        let all = self.get(&format!("/zones/{zone}/workers/routes")).await?;
        let all = all.unwrap_or_default();
        let all = all.as_array().into_iter().flatten();
        let ours = all.filter(|route| route["script"] == worker);
        let patterns = ours.filter_map(|route| Some(route["pattern"].as_str()?.to_owned()));
        Ok(sorted(patterns))
    }

    /// When a Worker is woken; sorted.
    pub async fn crons(&self, worker: &str) -> anyhow::Result<Vec<String>> {
        let path = format!("/accounts/{}/workers/scripts/{worker}/schedules", self.id);
        let all = self.get(&path).await?.unwrap_or_default();
        let all = all["schedules"].as_array().into_iter().flatten();
        Ok(sorted(all.filter_map(|cron| {
            Some(cron["cron"].as_str()?.to_owned())
        })))
    }

    /// Whether there is a bucket of this name.
    pub async fn has_bucket(&self, name: &str) -> anyhow::Result<bool> {
        let path = format!("/accounts/{}/r2/buckets/{name}", self.id);
        Ok(self.get(&path).await?.is_some())
    }

    /// The domains at which a bucket is served.
    pub async fn domains(&self, bucket: &str) -> anyhow::Result<Vec<String>> {
        let path = format!("/accounts/{}/r2/buckets/{bucket}/domains/custom", self.id);
        let all = self.get(&path).await?.unwrap_or_default();
        let all = all["domains"].as_array().into_iter().flatten();
        let names = all.filter_map(|domain| Some(domain["domain"].as_str()?.to_owned()));
        Ok(names.collect())
    }

    /// What Cloudflare has at `path`; `None` where it has nothing.
    async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let request = self.http.get(format!("{}{path}", self.base));
        let answer = request.bearer_auth(&self.token).send().await;
        let answer = answer.context("Cloudflare does not answer")?;
        let status = answer.status();
        let bytes = answer
            .bytes()
            .await
            .context("Cloudflare's answer broke off")?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("Cloudflare answers {status} without a reason"))?;
        if status.is_success() && body["success"] == true {
            return Ok(Some(body["result"].clone()));
        }
        let error = &body["errors"][0];
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ". Check CLOUDFLARE_API_TOKEN and the account's id: the token needs the rights that \
                 docs/deploy/cloudflare.md lists"
            }
            StatusCode::TOO_MANY_REQUESTS => {
                ". Cloudflare takes 1,200 requests in five minutes: wait"
            }
            _ => "",
        };
        bail!(
            "Cloudflare refuses to show {path} ({status}, {}): {}{advice}",
            error["code"],
            error["message"].as_str().unwrap_or_default()
        )
    }
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = texts.collect();
    all.sort();
    all
}
