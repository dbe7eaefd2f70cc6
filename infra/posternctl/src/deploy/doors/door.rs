//! A front door, as who deploys asks it: with its headers, and nothing believed.

use std::time::Duration;

use anyhow::{Context, bail};
use api::http_client::http_client;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use reqwest::Client;
use tokio::runtime::Handle;
use tuf::VerifyError;

use super::template::Base;

/// The most bytes of a timestamp, as python-tuf takes them.
pub const MOST_TIMESTAMP: u64 = 16_384;
/// How long one file may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A front door, or what one stands before.
pub struct Door {
    http: Client,
    url: String,
}

/// What a door answered.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// A header's text; empty if it is not there.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Its entity tag, if it has one.
    pub fn etag(&self) -> Option<&str> {
        Some(self.header(ETAG)).filter(|tag| !tag.is_empty())
    }
}

impl Door {
    /// The door at the base URL `url`.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let _plain: Base = url.parse()?;
        Ok(Self {
            http: http_client("posternctl", TIMEOUT)?,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Its base URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for `path`, if it is not what `known` stands for; at most `most` bytes are taken.
    pub async fn get(&self, path: &str, known: Option<&str>, most: u64) -> anyhow::Result<Answer> {
        let shown = || format!("{}/{path}", self.url);
        let mut request = self.http.get(shown());
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        let mut answer = request.send().await.with_context(shown)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.with_context(shown)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                bail!("{} has more than {most} bytes", shown());
            }
        }
        Ok(Answer {
            status,
            headers,
            bytes,
        })
    }

    /// The file at `path`; `None` if there is none, which buckets that cannot be listed call 403.
    pub async fn file(&self, path: &str, most: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let answer = self.get(path, None, most).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.bytes)),
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Ok(None),
            status => bail!("{}/{path} is answered {status}", self.url),
        }
    }

    /// The same, as who verifies a repository asks, on a thread that may block.
    pub fn source(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, VerifyError> {
        let file = self.file(path, most);
        let file = tokio::task::block_in_place(|| Handle::current().block_on(file));
        // Verifying knows no other word for a file that cannot be had.
        file.map_err(|error| VerifyError::Missing(format!("{error:#}")))
    }
}
