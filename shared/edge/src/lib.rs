//! What every function shares at the HTTP edge: who is asking, what the time is, and how an error
//! becomes an answer.
//!
//! A function is an [`axum::Router`] over an [`Edge`], made of a table of [`Route`]s by [`router`] and
//! finished by [`finish`]. The same router runs in one process, on Lambda and on Workers.

#[cfg(feature = "accounts")]
pub mod accounts;
#[cfg(feature = "aws")]
pub mod aws;
mod clock;
mod deployed;
mod failure;
mod finish;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod measures;
#[cfg(feature = "mirrors")]
pub mod mirrors;
mod parts;
mod route;
mod sealed;
mod session;
pub mod settings;
mod signed;
#[cfg(feature = "workers")]
pub mod workers;

use std::sync::Arc;

use control::{Context, Moment};
use model::Network;
use store::Store;

pub use clock::{Clock, RUN_SECONDS, SystemClock, is_late};
pub use deployed::{FromSettings, MakeRoutes};
pub use failure::Failure;
pub use finish::finish;
pub use route::{Listed, Route, listed, router};
pub use sealed::sealed;
pub use session::BySession;
pub use signed::Signed;

/// The most bytes of a request's body. The largest is a policy, which has some 40,000 with 200 rules;
/// without those, one has some 600, and a gateway's list of shards 3,000 for each cohort.
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

/// A part of a path as the type `T`, or the problem that says what it should be.
pub fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| {
        api::Problem::new(api::Kind::MalformedRequest, error.to_string()).into()
    })
}
