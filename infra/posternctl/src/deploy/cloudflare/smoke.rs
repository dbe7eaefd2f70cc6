//! Whether deployed functions answer: each is asked something that it refuses, in its own words.
//!
//! A version that nobody is answered by yet is asked for by name, in the header that Cloudflare has for it
//! ("Version overrides").

use std::time::Duration;

use anyhow::{Context, bail};
use api::http_client::http_client;
use http::header::CONTENT_TYPE;

use super::config::Worker;

/// What asks for a version, as `<Worker>="<version>"`.
const OVERRIDE: &str = "Cloudflare-Workers-Version-Overrides";
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A route or a version takes some seconds until all of Cloudflare knows it.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_secs(1);
/// What `admin` answers to whoever shows no session.
const ADMIN: &str = "/v1/admin/invites";

/// Asks a control plane.
pub struct Smoke {
    http: reqwest::Client,
    base: String,
}

impl Smoke {
    /// Asks the control plane at the base URL `control`.
    pub fn of(control: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: http_client("posternctl", TIMEOUT)?,
            base: control.trim_end_matches('/').to_owned(),
        })
    }

    /// Asks a Worker at each of its routes, a version of it if one is named.
    pub async fn try_worker(&self, worker: &Worker, version: Option<&str>) -> anyhow::Result<()> {
        let wanted = version.map(|version| format!("{}=\"{version}\"", worker.name));
        for route in worker.routes() {
            let path = route.find('/').map_or("", |at| &route[at..]);
            // Something below it that is nobody's: it is refused whatever it means.
            let path = path.replace('*', if path.ends_with("/*") { "nobody" } else { "" });
            self.ask(&path, wanted.as_deref()).await?;
        }
        Ok(())
    }

    /// Asks the control plane, whatever answers there.
    pub async fn try_control(&self) -> anyhow::Result<()> {
        self.ask(ADMIN, None).await
    }

    async fn ask(&self, path: &str, wanted: Option<&str>) -> anyhow::Result<()> {
        for _ in 1..TRIES {
            if self.once(path, wanted).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(WAIT).await;
        }
        self.once(path, wanted).await
    }

    async fn once(&self, path: &str, wanted: Option<&str>) -> anyhow::Result<()> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.get(&url);
        if let Some(wanted) = wanted {
            request = request.header(OVERRIDE, wanted);
        }
        let answer = request.send().await.with_context(|| {
            format!("{url} is not answered: the host needs a proxied DNS record in its zone")
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.text().await.unwrap_or_default();
        let kind = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], |kind| kind.as_bytes());
        if kind.starts_with(b"application/problem+json") && status.is_client_error() {
            return Ok(());
        }
        let told = body.chars().take(300).collect::<String>();
        bail!("{url} is answered {status}, and not as the function would ({told})")
    }
}
