//! Calls to the control plane, signed with the operator's key of the data folder.

use std::time::Duration;

use anyhow::{Context, bail};
use api::admin::List;
use api::http_client::http_client;
use api::{IdentitySecret, Problem, signed};
use http::{Method, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::{Folder, Settings};
use crate::now;

/// The longest that one request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The control plane, as the operator reaches it.
pub struct Remote {
    http: reqwest::Client,
    settings: Settings,
    operator: IdentitySecret,
}

impl Remote {
    /// The control plane of the network in `data`.
    pub fn open(data: &Folder) -> anyhow::Result<Self> {
        let http = http_client("posternctl", TIMEOUT)?;
        Ok(Self {
            http,
            settings: data.settings()?,
            operator: data.operator()?,
        })
    }

    /// The network's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads `path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, Vec::new()).await
    }

    /// Sends `body` to `path`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(Method::POST, path, serde_json::to_vec(body)?)
            .await
    }

    /// Puts `body` in the place of what is at `path`.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(Method::PUT, path, serde_json::to_vec(body)?)
            .await
    }

    /// Reads a whole list, part by part.
    pub async fn list<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let list: List<T> = self.get(&format!("{path}{after}")).await?;
            items.extend(list.items);
            let Some(next) = list.next else {
                return Ok(items);
            };
            let mark = if path.contains('?') { '&' } else { '?' };
            after = format!("{mark}after={next}");
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<T> {
        let base = self
            .settings
            .control
            .first()
            .context("network.json names no control plane")?;
        let url = format!("{base}{path}");
        let uri: Uri = url.parse()?;
        let headers = signed::sign(
            &self.operator,
            &self.settings.network.id,
            &method,
            &uri,
            &body,
            now(),
        );
        let request = self.http.request(method, &url).headers(headers).body(body);
        let response = request.send().await.map_err(|error| {
            let why = if error.is_connect() {
                "the control plane does not answer: is 'posternctl up' running?"
            } else {
                "the control plane did not answer"
            };
            anyhow::Error::new(error).context(why)
        })?;
        let status = response.status();
        let bytes = response.bytes().await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).context("the answer cannot be read");
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => bail!(problem),
            Err(_) => bail!("the control plane answered {status} without saying why"),
        }
    }
}
