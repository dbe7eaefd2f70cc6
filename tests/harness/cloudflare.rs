//! An imitation of Cloudflare's API, as far as wrangler and `posternctl deploy cloudflare` ask it, and of what
//! the platform does with requests to the control plane's host.
//!
//! It is what wrangler was seen to ask and what Cloudflare documents as the answers; it shows that the
//! programs fit together, and nothing of what Cloudflare would say. It runs no Worker: a version answers as a
//! function refuses a stranger, unless it was made while versions were to be broken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
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
    /// The next change whose line contains this is refused, once.
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
        let (api, first) = serve(Router::new().fallback(api).with_state(account.clone())).await;
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

async fn api(
    State(account): State<Arc<Mutex<Account>>>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Response {
    let mut account = account.lock().expect(HELD);
    let token = headers
        .get("authorization")
        .map(|token| token.as_bytes().to_vec());
    if token != Some(format!("Bearer {TOKEN}").into_bytes()) {
        return refused(StatusCode::FORBIDDEN, 10000, "Authentication error");
    }
    let path = uri
        .path()
        .strip_prefix("/client/v4")
        .unwrap_or_default()
        .to_owned();
    let line = format!("{method} {path}");
    if method != Method::GET {
        account.changes.push(line.clone());
        if account
            .refuse
            .as_ref()
            .is_some_and(|refuse| line.contains(refuse))
        {
            account.refuse = None;
            return refused(StatusCode::FORBIDDEN, 10023, "refused by the test");
        }
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let document = || serde_json::from_slice::<Value>(&body).unwrap_or_default();
    match (method.as_str(), &parts[..]) {
        ("GET", ["zones"]) => {
            found(json!([{"id": ZONE_ID, "name": ZONE, "account": {"id": ACCOUNT}}]))
        }
        ("GET", ["zones", ZONE_ID, "workers", "routes"]) => found(routes(&account)),
        (_, ["accounts", ACCOUNT, "workers", rest @ ..]) => {
            workers(&mut account, &method, rest, &body)
                .unwrap_or_else(|| unknown(&mut account, line))
        }
        ("GET", ["accounts", ACCOUNT, "storage", "kv", "namespaces"]) => found(json!([])),
        ("GET", ["accounts", ACCOUNT, "r2", "buckets", name]) => match account.buckets.get(*name) {
            Some(_) => found(json!({"name": name})),
            None => refused(
                StatusCode::NOT_FOUND,
                10006,
                "The specified bucket does not exist.",
            ),
        },
        ("POST", ["accounts", ACCOUNT, "r2", "buckets"]) => {
            let name = document()["name"].as_str().unwrap_or_default().to_owned();
            account.buckets.insert(name, Vec::new());
            found(json!({}))
        }
        ("DELETE", ["accounts", ACCOUNT, "r2", "buckets", name]) => {
            account.buckets.remove(*name);
            found(json!({}))
        }
        (
            "GET",
            [
                "accounts",
                ACCOUNT,
                "r2",
                "buckets",
                name,
                "domains",
                "custom",
            ],
        ) => {
            let domains = account.buckets.get(*name).into_iter().flatten();
            let domains = domains.map(|domain| json!({"domain": domain}));
            found(json!({"domains": domains.collect::<Vec<_>>()}))
        }
        (
            "POST",
            [
                "accounts",
                ACCOUNT,
                "r2",
                "buckets",
                name,
                "domains",
                "custom",
            ],
        ) => {
            let domain = document()["domain"].as_str().unwrap_or_default().to_owned();
            account
                .buckets
                .entry((*name).to_owned())
                .or_default()
                .push(domain);
            found(json!({}))
        }
        _ => unknown(&mut account, line),
    }
}

fn unknown(account: &mut Account, line: String) -> Response {
    account.unknown.push(line);
    refused(StatusCode::NOT_FOUND, 7003, "no such route here")
}

/// What is below `/accounts/<id>/workers/`; `None` for what is not known.
fn workers(
    account: &mut Account,
    method: &Method,
    path: &[&str],
    body: &Bytes,
) -> Option<Response> {
    let absent = || {
        refused(
            StatusCode::NOT_FOUND,
            10007,
            "This Worker does not exist on your account.",
        )
    };
    let document = || serde_json::from_slice::<Value>(body).unwrap_or_default();
    let answer = match (method.as_str(), path) {
        // The functions use neither.
        ("GET", ["durable_objects", "namespaces"]) => found(json!([])),
        ("GET", ["scripts"]) => {
            let names = account.workers.keys().map(|name| json!({"id": name}));
            found(names.collect())
        }
        ("GET", ["services", name]) => match account.workers.get(*name) {
            Some(_) => found(service(name)),
            None => refused(
                StatusCode::NOT_FOUND,
                10090,
                "workers.api.error.service_not_found",
            ),
        },
        ("GET" | "PATCH", ["workers", name]) => match account.workers.get(*name) {
            Some(_) => found(json!({
                "id": name, "name": name, "subdomain": {"enabled": false, "previews_enabled": false},
            })),
            None => absent(),
        },
        ("GET", ["scripts", name, "references"]) => match account.workers.get(*name) {
            Some(_) => found(json!({"services": {"incoming": [], "outgoing": []}})),
            None => absent(),
        },
        ("PUT", ["scripts", name]) => {
            let version = version(account, body);
            let (id, number) = (version.id.clone(), account.count);
            let worker = account.workers.entry((*name).to_owned()).or_default();
            worker.versions.push(version);
            worker.deployments.push(Deployment {
                shares: vec![(id.clone(), 100.0)],
                message: String::new(),
                number,
            });
            found(json!({
                "id": name, "etag": id, "pipeline_hash": id, "tag": id, "deployment_id": id,
                "startup_time_ms": 1,
            }))
        }
        ("DELETE", ["scripts" | "services", name]) => match account.workers.remove(*name) {
            Some(_) => found(json!({})),
            None => absent(),
        },
        (_, ["scripts", name, rest @ ..]) => {
            if !account.workers.contains_key(*name) {
                return Some(absent());
            }
            let made =
                (method == Method::POST && rest == ["versions"]).then(|| version(account, body));
            account.count += 1;
            let number = account.count;
            let worker = account.workers.get_mut(*name)?;
            return of_worker(worker, method, rest, made, &document(), number);
        }
        _ => return None,
    };
    Some(answer)
}

/// What is below `/accounts/<id>/workers/scripts/<name>/`.
fn of_worker(
    worker: &mut Worker,
    method: &Method,
    path: &[&str],
    made: Option<Version>,
    document: &Value,
    number: u64,
) -> Option<Response> {
    let texts = |list: &Value, name: &str| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        let texts = list.filter_map(|entry| Some(entry[name].as_str()?.to_owned()));
        texts.collect()
    };
    let answer = match (method.as_str(), path) {
        ("GET", ["deployments"]) => {
            let all = worker.deployments.iter().rev().map(deployment);
            found(json!({"deployments": all.collect::<Vec<_>>()}))
        }
        ("POST", ["deployments"]) => {
            let shares = document["versions"].as_array()?.iter();
            let shares = shares.map(|share| {
                Some((
                    share["version_id"].as_str()?.to_owned(),
                    share["percentage"].as_f64()?,
                ))
            });
            let message = document["annotations"]["workers/message"].as_str();
            worker.deployments.push(Deployment {
                shares: shares.collect::<Option<_>>()?,
                message: message.unwrap_or_default().to_owned(),
                number,
            });
            found(json!({"id": format!("deployment-{number}")}))
        }
        ("POST", ["versions"]) => {
            let made = made?;
            let shown = shown(&made);
            worker.versions.push(made);
            found(shown)
        }
        ("GET", ["versions"]) => {
            let all: Vec<Value> = worker.versions.iter().rev().map(shown).collect();
            found(json!({"items": all}))
        }
        ("GET", ["versions", id]) => {
            let version = worker.versions.iter().find(|version| version.id == *id);
            found(shown(version?))
        }
        ("GET", ["secrets"]) => {
            let bindings = worker.versions.last()?.metadata["bindings"]
                .as_array()?
                .iter();
            let secrets = bindings.filter(|binding| binding["type"] == "secret_text");
            found(
                secrets
                    .map(|secret| json!({"name": secret["name"], "type": "secret_text"}))
                    .collect(),
            )
        }
        ("GET", ["settings" | "script-settings"]) => found(json!({"bindings": []})),
        ("PATCH", ["settings" | "script-settings"]) => found(json!({})),
        ("GET" | "POST", ["subdomain"]) => {
            found(json!({"enabled": false, "previews_enabled": false}))
        }
        ("PUT", ["routes"]) => {
            worker.routes = texts(document, "pattern");
            found(document.clone())
        }
        ("PUT", ["schedules"]) => {
            worker.crons = texts(document, "cron");
            found(json!({"schedules": document}))
        }
        ("GET", ["schedules"]) => {
            let crons = worker.crons.iter().map(|cron| json!({"cron": cron}));
            found(json!({"schedules": crons.collect::<Vec<_>>()}))
        }
        _ => return None,
    };
    Some(answer)
}

fn routes(account: &Account) -> Value {
    let all = account.workers.iter().flat_map(|(name, worker)| {
        let routes = worker.routes.iter();
        routes.map(move |route| json!({"id": route, "pattern": route, "script": name}))
    });
    all.collect()
}

fn service(name: &str) -> Value {
    json!({
        "id": name,
        "default_environment": {
            "environment": "production",
            "script": {"id": name, "tag": name, "tags": [], "last_deployed_from": "wrangler"},
        },
        "environments": [{"environment": "production"}],
    })
}

fn deployment(deployment: &Deployment) -> Value {
    let number = deployment.number;
    let versions = deployment.shares.iter();
    let versions = versions.map(|(id, percent)| json!({"version_id": id, "percentage": percent}));
    json!({
        "id": format!("deployment-{number}"), "source": "wrangler", "strategy": "percentage",
        "author_email": "operator@example.org", "created_on": format!("2026-11-30T03:{:02}:{:02}Z", number / 60, number % 60),
        "annotations": {"workers/triggered_by": "deployment", "workers/message": deployment.message},
        "versions": versions.collect::<Vec<_>>(),
    })
}

fn shown(version: &Version) -> Value {
    json!({
        "id": version.id, "number": 1, "startup_time_ms": 1,
        "metadata": {
            "author_email": "operator@example.org", "source": "wrangler",
            "created_on": "2026-11-30T03:00:00Z", "modified_on": "2026-11-30T03:00:00Z",
            "hasPreview": false,
        },
        "annotations": version.metadata["annotations"],
        "resources": {
            "bindings": [],
            "script": {"etag": version.id, "handlers": ["fetch"], "last_deployed_from": "wrangler"},
            "script_runtime": {"usage_model": "standard"},
        },
    })
}

/// The version that an upload makes: a form with its description and its modules.
fn version(account: &mut Account, body: &Bytes) -> Version {
    account.count += 1;
    let (mut metadata, mut modules) = (Value::Null, Vec::new());
    for part in parts(body) {
        let head = String::from_utf8_lossy(part.0);
        let name = head
            .split("name=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        match name {
            Some("metadata") => metadata = serde_json::from_slice(part.1).unwrap_or_default(),
            Some(name) => modules.push(name.to_owned()),
            None => {}
        }
    }
    Version {
        id: format!("00000000-0000-4000-8000-{:012}", account.count),
        metadata,
        modules,
        answered: 0,
        broken: account.breaks,
    }
}

/// Head and body of each part of a form (RFC 7578).
fn parts(body: &[u8]) -> Vec<(&[u8], &[u8])> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|at| at == what);
    let Some(end) = find(body, b"\r\n") else {
        return Vec::new();
    };
    let boundary = [b"\r\n", &body[..end]].concat();
    let (mut parts, mut rest) = (Vec::new(), &body[end + 2..]);
    while let (Some(head), Some(next)) = (find(rest, b"\r\n\r\n"), find(rest, &boundary)) {
        parts.push((&rest[..head], &rest[(head + 4).min(next)..next]));
        rest = &rest[(next + boundary.len() + 2).min(rest.len())..];
    }
    parts
}

fn found(result: Value) -> Response {
    let info = json!({"page": 1, "per_page": 100, "total_pages": 1, "count": 1, "total_count": 1});
    let body = json!({"success": true, "errors": [], "messages": [], "result": result, "result_info": info});
    axum::Json(body).into_response()
}

fn refused(status: StatusCode, code: u32, message: &str) -> Response {
    let errors = json!([{"code": code, "message": message}]);
    let body = json!({"success": false, "errors": errors, "messages": [], "result": null});
    (status, axum::Json(body)).into_response()
}
