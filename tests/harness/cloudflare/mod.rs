//! An imitation of Cloudflare's API, as far as wrangler and `posternctl deploy cloudflare` ask it, and of what
//! the platform does with requests to the control plane's host.
//!
//! It is what wrangler was seen to ask and what Cloudflare documents as the answers; it shows that the
//! programs fit together, and nothing of what Cloudflare would say. It runs no Worker: a version answers as a
//! function refuses a stranger, unless it was made while versions were to be broken.

mod api;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Why a lock is never poisoned.
const HELD: &str = "nobody panics while holding it";
/// The account's id.
pub const ACCOUNT: &str = "0123456789abcdef0123456789abcdef";
/// The token that may do everything.
pub const TOKEN: &str = "a-token-of-the-tests";
/// The one zone, and its id.
pub const ZONE: &str = "example.org";
const ZONE_ID: &str = "fedcba9876543210fedcba9876543210";
/// The header that asks for a version.
const OVERRIDE: &str = "cloudflare-workers-version-overrides";

/// The account and what is in it.
#[derive(Default)]
pub struct Account {
    /// The Workers, by name.
    pub workers: BTreeMap<String, Worker>,
    /// The buckets, by name, and the domains that each is served at.
    pub buckets: BTreeMap<String, Vec<String>>,
    /// All that was asked to be changed, as "POST /path".
    pub changes: Vec<String>,
    /// The next change whose line contains this is refused, once; a look, too, where it begins with `GET`.
    pub refuse: Option<String>,
    /// Versions that are made from now on answer nobody as they should.
    pub breaks: bool,
    /// What the API does not know, which must be nothing.
    pub unknown: Vec<String>,
    count: u64,
}

/// A Worker.
#[derive(Default)]
pub struct Worker {
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
    /// What was deployed, oldest first.
    pub deployments: Vec<Deployment>,
    /// What its routes match.
    pub routes: Vec<String>,
    /// When it is woken.
    pub crons: Vec<String>,
}

/// What answers from a moment on.
#[derive(Clone, Default)]
pub struct Deployment {
    /// The versions and their shares in percent.
    pub shares: Vec<(String, f64)>,
    message: String,
    number: u64,
}

/// A version of a Worker.
pub struct Version {
    /// Its id.
    pub id: String,
    /// What wrangler said of it.
    pub metadata: Value,
    /// The names of the modules that came with it.
    pub modules: Vec<String>,
    /// When it was asked for by name, or answered.
    pub answered: u32,
    broken: bool,
}

impl Version {
    /// The text of a binding; `None` if there is none of this name and type.
    pub fn binding(&self, kind: &str, name: &str) -> Option<&str> {
        let mut bindings = self.metadata["bindings"].as_array()?.iter();
        let found = bindings.find(|binding| binding["type"] == kind && binding["name"] == name)?;
        found["text"].as_str()
    }

    /// Its tag.
    pub fn tag(&self) -> &Value {
        &self.metadata["annotations"]["workers/tag"]
    }
}

/// The API and the control plane's host, served.
pub struct Cloudflare {
    account: Arc<Mutex<Account>>,
    api: String,
    control: String,
    servers: [JoinHandle<()>; 2],
}

impl Cloudflare {
    /// An account with nothing in it.
    pub async fn start() -> Self {
        let account = Arc::<Mutex<Account>>::default();
        let (api, first) =
            serve(Router::new().fallback(api::api).with_state(account.clone())).await;
        let (control, second) =
            serve(Router::new().fallback(control).with_state(account.clone())).await;
        Self {
            account,
            api: format!("{api}/client/v4"),
            control,
            servers: [first, second],
        }
    }

    /// The API's base URL.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The base URL of the control plane that the Workers are.
    pub fn control(&self) -> &str {
        &self.control
    }

    /// Looks at the account, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Account) -> T) -> T {
        look(&mut self.account.lock().expect(HELD))
    }
}

impl Drop for Cloudflare {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

async fn serve(router: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let server = tokio::spawn(async move {
        axum::serve(listener, router).await.expect("it serves");
    });
    (format!("http://{address}"), server)
}

/// A request to the control plane: to the Worker whose route matches, to the version that is asked for or
/// that most are answered by.
async fn control(
    State(account): State<Arc<Mutex<Account>>>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let mut account = account.lock().expect(HELD);
    let path = uri.path();
    let matches = |route: &String| {
        let begin = route
            .find('/')
            .map_or("", |at| &route[at..])
            .trim_end_matches('*');
        path.starts_with(begin)
    };
    let mut workers = account.workers.iter_mut();
    let Some((name, worker)) = workers.find(|(_, worker)| worker.routes.iter().any(matches)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let shares = worker
        .deployments
        .last()
        .cloned()
        .unwrap_or_default()
        .shares;
    let wanted = headers
        .get(OVERRIDE)
        .and_then(|wanted| wanted.to_str().ok());
    let wanted = wanted.and_then(|wanted| {
        let id = wanted
            .strip_prefix(&format!("{name}=\""))?
            .strip_suffix('"')?;
        // Only what is deployed can be asked for.
        shares
            .iter()
            .any(|(version, _)| version == id)
            .then_some(id)
    });
    let most = shares.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let Some(id) = wanted.or(most.map(|(id, _)| id.as_str())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let version = worker.versions.iter_mut().find(|version| version.id == id);
    let version = version.expect("what is deployed is there");
    version.answered += 1;
    if version.broken {
        return (StatusCode::INTERNAL_SERVER_ERROR, "error code: 1101").into_response();
    }
    let about = [
        ("content-type", "application/problem+json"),
        ("cache-control", "no-store"),
    ];
    let problem = json!({"type": "urn:postern:problem:unauthenticated", "status": 401});
    (StatusCode::UNAUTHORIZED, about, problem.to_string()).into_response()
}
