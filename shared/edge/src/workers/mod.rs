//! A function on Cloudflare Workers.
//!
//! A Worker has no start at which it could refuse: what it is told comes with each event. So the
//! settings are read at the first event of an isolate and kept; where they are wrong, every event
//! says so in the log and is answered by a problem that tells strangers nothing.
//!
//! A Worker's request may use no connection, timer or body of another one (Workers, "I/O on behalf
//! of a different request"): what is kept between events, the router and its database client,
//! therefore holds none, and draws all of them anew through [`platform::Platform`].

mod log;
mod platform;

use std::sync::OnceLock;

use api::{Kind, Problem};
use axum::Router;
use axum::body::Body;
use http::Response;
use store::dynamodb::Retries;
use store::{DynamoDbStore, StoreError};
use tower::ServiceExt;
use worker::{Env, HttpRequest};

use crate::deployed::{self, FromSettings};
use crate::finish::write;
use crate::settings::Database;

/// A function that answers requests. Keep it in a `static`: an isolate makes its router once.
pub struct Function {
    from_settings: FromSettings,
    router: OnceLock<Router>,
}

impl Function {
    /// The function whose routes `from_settings` makes.
    pub const fn new(from_settings: FromSettings) -> Self {
        Self {
            from_settings,
            router: OnceLock::new(),
        }
    }

    /// The answer to a request.
    pub async fn answer(&self, request: HttpRequest, env: &Env) -> Response<Body> {
        log::start();
        let Some(router) = self.router(env) else {
            let detail = "the function is not set up: its log says what is missing";
            return write(&Problem::new(Kind::Internal, detail));
        };
        let answered = router.clone().oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }

    fn router(&self, env: &Env) -> Option<&Router> {
        if self.router.get().is_none() {
            let source = |name: &str| Ok(env.var(name).ok().map(|text| text.to_string()));
            match deployed::function(&source, self.from_settings, open) {
                Ok(router) => self.router.get_or_init(|| router),
                Err(error) => {
                    tracing::error!("{error}");
                    return None;
                }
            };
        }
        self.router.get()
    }
}

fn open(database: Database) -> Result<DynamoDbStore, StoreError> {
    let table = database.table.clone();
    let client = platform::client(database);
    DynamoDbStore::new(&client, table, Retries::default(), deployed::randomness())
}
