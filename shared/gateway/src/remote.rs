//! Signed requests to the control plane, and bundles from front doors.
//!
//! Requests are sealed where a control key is known (`api::sealed`), and nothing that comes back unsealed
//! makes the agent ask in the plain.

use std::sync::Arc;
use std::time::Duration;

use api::contact::is_private;
use api::{IdentitySecret, Kind, NoClient, Problem, sealed, signed};
use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode, Uri};
use jiff::Timestamp;
use model::{ControlKey, FirstContact, NetworkId};
use reqwest::{Client, Response};
use tuf::bundle::MOST_BUNDLE_BYTES;

use crate::Trouble;

/// The longest that one request may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of an answer of the control plane: the config of an ingress with 40,000 egress
/// gateways.
const MOST_ANSWER: usize = 4 * 1024 * 1024;

/// What carries a request: HTTP, or a test's stand-in.
#[async_trait]
pub(crate) trait Transport: Send + Sync {
    /// The status and the body, of at most `most` bytes; or in words why there is no whole answer.
    async fn send(
        &self,
        request: Request<Vec<u8>>,
        most: u64,
    ) -> Result<(StatusCode, Vec<u8>), String>;
}

/// HTTP.
pub(crate) struct Http(Client);

impl Http {
    pub(crate) fn new() -> Result<Self, NoClient> {
        let client = api::http_client("postern-gateway", TIMEOUT)?;
        Ok(Self(client))
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(
        &self,
        request: Request<Vec<u8>>,
        most: u64,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let request = request.try_into().map_err(|error| reason(&error))?;
        let response = self.0.execute(request).await;
        let response = response.map_err(|error| reason(&error))?;
        Ok((response.status(), read(response, most).await?))
    }
}

/// One request to the control plane.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

impl Ask {
    /// The request as it is sent to `url`, or why there is none.
    fn signed(
        &self,
        network: &NetworkId,
        secret: &IdentitySecret,
        url: &str,
        now: Timestamp,
    ) -> Result<Request<Vec<u8>>, String> {
        let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
        let mut request = Request::new(self.body.clone());
        *request.headers_mut() = signed::sign(secret, network, &self.method, &uri, &self.body, now);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        Ok(request)
    }
}

/// The way to the network.
#[derive(Clone)]
pub(crate) struct Remote {
    transport: Arc<dyn Transport>,
}

/// What one control endpoint said.
enum Reply {
    Done(Vec<u8>),
    Problem(Problem),
    Silent(String),
}

impl Remote {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// Asks the control endpoints in turn until one does it. A problem is not signed, and sealed only
    /// where a control key is known: one endpoint's
    /// word does not keep the others from being asked, and only if all that answer refuse for good
    /// is it [`Trouble::Refused`].
    pub(crate) async fn control(
        &self,
        contact: &FirstContact,
        secret: &IdentitySecret,
        ask: &Ask,
        now: Timestamp,
    ) -> Result<Vec<u8>, Trouble> {
        let mut refused = None;
        let mut undecided = false;
        let mut said = Vec::new();
        for base in &contact.control {
            if !is_private(base) {
                said.push(format!("{base}: not https, not asked"));
                continue;
            }
            match self.one(base, contact, secret, ask, now).await {
                Reply::Done(bytes) => return Ok(bytes),
                Reply::Problem(problem) => {
                    if let (true, Some(version)) =
                        (problem.is(Kind::HeartbeatOutOfStep), problem.version)
                    {
                        return Err(Trouble::OutOfStep(version));
                    }
                    said.push(format!("{base}: {problem}"));
                    if is_final(&problem) {
                        refused = Some(problem);
                    } else {
                        undecided = true;
                    }
                }
                Reply::Silent(why) => said.push(format!("{base}: {why}")),
            }
        }
        match refused {
            Some(problem) if !undecided => Err(Trouble::Refused(problem)),
            _ if said.is_empty() => Err(Trouble::Later("no control endpoint is known".to_owned())),
            _ => Err(Trouble::Later(said.join("; "))),
        }
    }

    async fn one(
        &self,
        base: &str,
        contact: &FirstContact,
        secret: &IdentitySecret,
        ask: &Ask,
        now: Timestamp,
    ) -> Reply {
        let base = base.trim_end_matches('/');
        let network = &contact.network;
        let came = match &contact.control_key {
            // Signed as the control plane opens it: whatever stands before the path is of the way.
            Some(key) => match ask.signed(network, secret, &ask.path, now) {
                Ok(request) => self.sealed(base, key, &request).await,
                Err(why) => Err(why),
            },
            None => match ask.signed(network, secret, &format!("{base}{}", ask.path), now) {
                Ok(request) => self.transport.send(request, MOST_ANSWER as u64).await,
                Err(why) => Err(why),
            },
        };
        match came {
            Err(why) => Reply::Silent(why),
            Ok((status, bytes)) if status.is_success() => Reply::Done(bytes),
            Ok((status, bytes)) => match serde_json::from_slice(&bytes) {
                Ok(problem) => Reply::Problem(problem),
                // A page of whatever stands between: not the control plane's word.
                Err(_) => Reply::Silent(format!("status {status}")),
            },
        }
    }

    /// Sends a request under seal. Whatever comes back that was not sealed to it is no answer.
    async fn sealed(
        &self,
        base: &str,
        key: &ControlKey,
        request: &Request<Vec<u8>>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let sealed = sealed::seal(key, request, crate::agent::random());
        let sealed = sealed.map_err(|error| error.to_string())?;
        let capsule = Request::post(format!("{base}{}", sealed::GATEWAYS))
            .header(CONTENT_TYPE, sealed::REQUEST)
            .body(sealed.capsule);
        let capsule = capsule.map_err(|error| format!("no URL: {error}"))?;
        let most = sealed::most(MOST_ANSWER) as u64;
        let (status, body) = self.transport.send(capsule, most).await?;
        let answer = sealed.opener.believe(status, &body);
        let answer = answer.map_err(|error| error.to_string())?;
        Ok((answer.status(), answer.into_body()))
    }

    /// The bytes at `path` behind a front door, or in words why there are none.
    pub(crate) async fn door(&self, base: &str, path: &str) -> Result<Vec<u8>, String> {
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        let request = Request::get(url).body(Vec::new());
        let request = request.map_err(|error| format!("no URL: {error}"))?;
        let (status, bytes) = self.transport.send(request, MOST_BUNDLE_BYTES).await?;
        if status != StatusCode::OK {
            return Err(format!("status {status}"));
        }
        Ok(bytes)
    }
}

/// Whether asking the same again cannot help, if the control plane meant it.
fn is_final(problem: &Problem) -> bool {
    [Kind::BootstrapRefused, Kind::GatewayUnknown, Kind::KeyInUse]
        .into_iter()
        .any(|kind| problem.is(kind))
}

async fn read(mut response: Response, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
        if (bytes.len() + chunk.len()) as u64 > most {
            return Err(format!("the answer has more than {most} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// An error with its causes.
fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
