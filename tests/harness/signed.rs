//! Signed requests of somebody with new keys, ready to be sent more than once.

use std::time::Duration;

use api::enroll::{ENROLL, EnrollRequest, InviteSecret};
use api::{IdentitySecret, InviteText, WireGuardSecret, signed};
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Uri};
use model::NetworkId;
use serde_json::Value;

/// How long an answer may take: as long as a function's database is tried.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request that a new identity key has signed.
pub struct Signed {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    /// The document.
    pub body: Value,
}

impl Signed {
    /// The enrollment of a new device by `invite`, at the control plane with this base URL.
    pub fn enrollment(invite: &str, control: &str) -> Self {
        let invite = InviteText::parse(invite).expect("an invite");
        let request = EnrollRequest {
            invite: InviteSecret::new(&invite.secret),
            tunnel_key: WireGuardSecret::from_random(random()).tunnel_key(),
            exit_key: WireGuardSecret::from_random(random()).exit_key(),
        };
        let body = serde_json::to_vec(&request).expect("plain data");
        let url = format!("{control}{ENROLL}");
        Self::new(&invite.contact.network, Method::POST, url, body)
    }

    /// Any request to the control plane of `network`.
    pub fn new(network: &NetworkId, method: Method, url: String, body: Vec<u8>) -> Self {
        let uri: Uri = url.parse().expect("a URL");
        let key = IdentitySecret::from_seed(random());
        let headers = signed::sign(&key, network, &method, &uri, &body, now());
        let http = api::http_client("tests", PATIENCE).expect("this machine has HTTP");
        Self {
            method,
            url,
            headers,
            body,
            http,
        }
    }

    /// It, for whoever takes requests without a socket.
    pub fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.parse().expect("a URL");
        request.headers_mut().clone_from(&self.headers);
        request
    }

    /// Sends it, the same each time.
    pub async fn send(&self) -> Answer {
        let request = self.http.request(self.method.clone(), &self.url);
        let request = request.headers(self.headers.clone());
        let answer = request.body(self.body.clone()).send().await;
        let answer = answer.expect("somebody answers");
        let retry_after = answer.headers().get("retry-after");
        let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("a whole answer");
        let body = serde_json::from_slice(&body);
        Answer {
            status,
            retry_after,
            body: body.expect("answers are JSON"),
        }
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system's random source works");
    bytes
}

#[allow(
    clippy::disallowed_methods,
    reason = "the functions check signatures by the real clock"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
