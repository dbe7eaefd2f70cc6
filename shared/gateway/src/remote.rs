//! Signed requests to the control plane, and bundles from front doors.

use std::time::Duration;

use api::{IdentitySecret, Problem, signed};
use http::{Method, Uri};
use jiff::Timestamp;
use model::{FirstContact, NetworkId};
use reqwest::{Client, Response};
use tuf::bundle::MOST_BUNDLE_BYTES;

use crate::Error;

/// The longest that one request may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of an answer of the control plane.
const MOST_ANSWER: u64 = 4 * 1024 * 1024;

/// The way to the network.
pub(crate) struct Remote {
    http: Client,
}

impl Remote {
    pub(crate) fn new() -> Result<Self, Error> {
        // Somebody else in this process may have installed one; it serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("postern-gateway")
            .build()
            .map_err(|error| Error::Later(reason(&error)))?;
        Ok(Self { http })
    }

    /// Asks the first control endpoint that answers. A problem is an answer, unless it says that
    /// this one endpoint is in trouble.
    pub(crate) async fn control(
        &self,
        contact: &FirstContact,
        secret: &IdentitySecret,
        method: Method,
        path: &str,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        let mut last = "no control endpoint is known".to_owned();
        for base in &contact.control {
            match self
                .one(base, &contact.network, secret, &method, path, &body, now)
                .await
            {
                Err(Error::Later(why)) => last = format!("{base}: {why}"),
                done => return done,
            }
        }
        Err(Error::Later(last))
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one signed request")]
    async fn one(
        &self,
        base: &str,
        network: &NetworkId,
        secret: &IdentitySecret,
        method: &Method,
        path: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        let url = format!("{base}{path}");
        let uri: Uri = url
            .parse()
            .map_err(|error| Error::Later(format!("{url}: {error}")))?;
        let headers = signed::sign(secret, network, method, &uri, body, now);
        let request = self
            .http
            .request(method.clone(), &url)
            .headers(headers)
            .body(body.to_vec());
        let response = request
            .send()
            .await
            .map_err(|error| Error::Later(reason(&error)))?;
        let status = response.status();
        let bytes = read(response, MOST_ANSWER).await?;
        if status.is_success() {
            return Ok(bytes);
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) if status.is_client_error() => Err(Error::Refused(problem)),
            Ok(problem) => Err(Error::Later(problem.to_string())),
            Err(_) => Err(Error::Later(format!("status {status}"))),
        }
    }

    /// The bytes at `path` behind a front door.
    pub(crate) async fn door(&self, base: &str, path: &str) -> Result<Vec<u8>, Error> {
        let url = format!("{base}/{path}");
        let response = self
            .http
            .get(url)
            .send()
            .await
            .map_err(|error| Error::Later(reason(&error)))?;
        if !response.status().is_success() {
            return Err(Error::Later(format!("status {}", response.status())));
        }
        read(response, MOST_BUNDLE_BYTES).await
    }
}

async fn read(mut response: Response, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Error::Later(reason(&error)))?
    {
        if (bytes.len() + chunk.len()) as u64 > most {
            return Err(Error::Later(format!(
                "the answer has more than {most} bytes"
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// An error with its causes, without the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
