//! A function on Cloudflare Workers.
//!
//! A Worker has no start at which it could refuse: what it is told comes with each event. So the
//! settings are read at the first event of an isolate and kept; where they are wrong, every event
//! says so in the log and is answered by a problem that tells strangers nothing.
//!
//! A Worker's request may use no connection, timer or body of another one (Workers, "I/O on behalf
//! of a different request"): what is kept between events, the router and its database client,
//! therefore holds none, and draws all of them anew through [`platform::Platform`].

mod fetch;
mod log;
mod platform;

use std::sync::{Arc, OnceLock};

pub use fetch::{Fetch, fetch};

use api::{Kind, Problem};
use axum::Router;
use axum::body::Body;
use control::measures::Measured;
use http::Response;
use serde::Serialize;
use store::{DynamoDbStore, Retries};
use tower::ServiceExt;
use worker::{Env, HttpRequest};

use crate::deployed::{self, FromSettings, OpenStore};
use crate::finish::write;
use crate::settings::{self, Reader, TABLE, Table};
use crate::{Edge, measures};

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
            return not_set_up();
        };
        let answered = router.clone().oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }

    fn router(&self, env: &Env) -> Option<&Router> {
        if self.router.get().is_none() {
            match deployed::function(&source(env), self.from_settings, find_store) {
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

/// A function that a schedule wakes. Keep it in a `static`, as a [`Function`].
pub struct Scheduled<T> {
    from_settings: fn(&mut Reader<'_>) -> Option<T>,
    kept: OnceLock<(Edge, T)>,
}

impl<T: Sync> Scheduled<T> {
    /// The function that works with what `from_settings` makes.
    pub const fn new(from_settings: fn(&mut Reader<'_>) -> Option<T>) -> Self {
        Self {
            from_settings,
            kept: OnceLock::new(),
        }
    }

    /// Does `run` once. A schedule has nobody to answer: what came of it goes to the log.
    pub async fn wake<R: Serialize + Measured>(
        &self,
        env: &Env,
        run: impl AsyncFn(&Edge, &T) -> Result<R, control::Error>,
    ) {
        log::start();
        let Some((edge, own)) = self.kept(env) else {
            return;
        };
        match run(edge, own).await {
            Ok(report) => {
                let now = edge.clock.moment().now;
                let measured = report.measures(now);
                let report = serde_json::to_string(&report).unwrap_or_default();
                tracing::info!(report, "done");
                for line in measures::lines(&edge.network.id, None, now, &measured) {
                    worker::console_log!("{line}");
                }
            }
            Err(error) => tracing::error!(%error, "the run failed; the next one tries again"),
        }
    }

    fn kept(&self, env: &Env) -> Option<&(Edge, T)> {
        if self.kept.get().is_none() {
            match deployed::edge(&source(env), self.from_settings, find_store) {
                Ok(made) => self.kept.get_or_init(|| made),
                Err(error) => {
                    tracing::error!("{error}");
                    return None;
                }
            };
        }
        self.kept.get()
    }
}

/// A function that answers requests and that a schedule wakes. Keep it in a `static`, as a [`Function`].
pub struct Answering<T> {
    scheduled: Scheduled<T>,
    routes: fn(Edge, &T) -> Router,
    router: OnceLock<Router>,
}

impl<T: Sync> Answering<T> {
    /// The function that works with what `from_settings` makes, and whose routes `routes` makes of it.
    pub const fn new(
        from_settings: fn(&mut Reader<'_>) -> Option<T>,
        routes: fn(Edge, &T) -> Router,
    ) -> Self {
        Self {
            scheduled: Scheduled::new(from_settings),
            routes,
            router: OnceLock::new(),
        }
    }

    /// The answer to a request.
    pub async fn answer(&self, request: HttpRequest, env: &Env) -> Response<Body> {
        log::start();
        let Some((edge, own)) = self.scheduled.kept(env) else {
            return not_set_up();
        };
        let make = || crate::finish((self.routes)(edge.clone(), own), edge.clone());
        let router = self.router.get_or_init(make);
        let answered = router.clone().oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }

    /// Does `run` once, as [`Scheduled::wake`].
    pub async fn wake<R: Serialize + Measured>(
        &self,
        env: &Env,
        run: impl AsyncFn(&Edge, &T) -> Result<R, control::Error>,
    ) {
        self.scheduled.wake(env, run).await;
    }
}

fn not_set_up() -> Response<Body> {
    let detail = "the function is not set up: its log says what is missing";
    write(&Problem::new(Kind::Internal, detail))
}

/// The settings of a Worker: its variables and secrets.
fn source(env: &Env) -> impl Fn(&str) -> Result<Option<String>, String> {
    let binding = |name: &str| env.var(name).ok().map(|text| text.to_string());
    move |name| Ok(settings::joined(name, binding))
}

fn find_store(reader: &mut Reader<'_>) -> Option<OpenStore> {
    let table = Table::read(reader, TABLE)?;
    Some(Box::new(move || {
        let client = platform::client(table.access);
        let randomness = deployed::randomness();
        let store = DynamoDbStore::new(&client, table.name, Retries::default(), randomness)?;
        Ok(Arc::new(store))
    }))
}
