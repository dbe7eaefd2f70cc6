//! What every function shares at the HTTP edge: who is asking, what the time is, and how an error
//! becomes an answer.
//!
//! A function is an [`axum::Router`] over an [`Edge`], finished by [`finish`]. The same router runs
//! in one process, on Lambda and on Workers.

mod clock;
mod failure;
mod finish;
mod session;
mod signed;

use std::sync::Arc;

use api::{Kind, Problem};
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use control::{Context, Moment};
use http::StatusCode;
use model::Network;
use serde::de::DeserializeOwned;
use store::Store;

pub use clock::{Clock, SystemClock};
pub use failure::Failure;
pub use finish::finish;
pub use session::{BySession, guarded};
pub use signed::Signed;

/// The most bytes of a request's body. The largest real one has some 600.
pub const MOST_BODY: usize = 64 * 1024;

/// What a function's routes stand on.
#[derive(Clone)]
pub struct Edge {
    /// The state.
    pub store: Arc<dyn Store>,
    /// The network's settings.
    pub network: Arc<Network>,
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
}

impl Edge {
    /// The context of a request at `moment`.
    pub fn context(&self, moment: Moment) -> Context<'_> {
        Context {
            store: self.store.as_ref(),
            network: &self.network,
            moment,
        }
    }
}

/// The whole body of a request, if it is not too large.
async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state)
        .await
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail = format!("at most {MOST_BODY} bytes are taken");
                Problem::new(Kind::TooLarge, detail)
            } else {
                Problem::new(Kind::MalformedRequest, rejection.body_text())
            }
        })
}

/// A body as JSON of the type `T`.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body cannot be read: {error}");
        Problem::new(Kind::MalformedRequest, detail).into()
    })
}

/// A part of a path or a query as the type `T`, or the problem that says what it should be.
pub fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|error: T::Err| Problem::new(Kind::MalformedRequest, error.to_string()).into())
}
