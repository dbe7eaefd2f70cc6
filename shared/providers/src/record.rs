//! What a run asked a provider for: a record for its evidence, and the word for what was not sent.
//!
//! It stands between an adapter and the [`Http`] that carries its requests, so no call passes
//! unseen. A record holds nothing secret: no header but the request's id, and no body, since a
//! body may hold user data or a password.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use api::http::Http;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a call was not sent: its run's budget was used up. Adapters make [`Fault::Spent`](crate::Fault)
/// of it.
pub const SPENT: &str = "the calls of this run are used up: it was not sent";

/// The headers in which providers name a request, in small letters.
const REQUEST_IDS: [&str; 2] = ["x-correlation-id", "x-request-id"];

/// A call, as evidence keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// When it was sent.
    pub at: Timestamp,
    /// The method.
    pub method: String,
    /// The path with its query: names and labels, no secret.
    pub path: String,
    /// The answer's status; none where there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<str>>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// A clock that a program passes in.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Records the calls that pass it.
pub struct Recorder {
    http: Arc<dyn Http>,
    clock: Clock,
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    /// One before `http`.
    pub fn new(http: Arc<dyn Http>, clock: Clock) -> Self {
        Self {
            http,
            clock,
            calls: Mutex::default(),
        }
    }

    /// The calls until now, in the order in which they were answered.
    pub fn calls(&self) -> Vec<Call> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.clone()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorder({:?})", self.http)
    }
}

#[async_trait]
impl Http for Recorder {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let at = (self.clock)();
        let method = request.method().to_string();
        let path = request.uri().path_and_query();
        let path = path.map_or_else(String::new, ToString::to_string);
        let answer = self.http.send(request).await;
        if answer.as_ref().is_err_and(|why| why == SPENT) {
            return answer;
        }
        let took = (self.clock)().duration_since(at).as_millis();
        let call = Call {
            at,
            method,
            path,
            status: answer.as_ref().ok().map(|answer| answer.status().as_u16()),
            request: answer
                .as_ref()
                .ok()
                .and_then(|answer| request_id(answer.headers())),
            millis: u64::try_from(took).unwrap_or(0),
        };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call);
        answer
    }
}

/// The provider's id of a request.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<Box<str>> {
    let mut ids = REQUEST_IDS.iter().filter_map(|name| headers.get(*name));
    ids.find_map(|id| id.to_str().ok()).map(Box::from)
}
