//! What the API answers.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{ACCOUNT, Account, Deployment, HELD, TOKEN, Version, Worker, ZONE, ZONE_ID};

pub async fn api(
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
    let changes = method != Method::GET;
    if changes {
        account.changes.push(line.clone());
    }
    let is_meant =
        |refuse: &String| line.contains(refuse) && (changes || refuse.starts_with("GET"));
    if account.refuse.as_ref().is_some_and(is_meant) {
        account.refuse = None;
        return refused(StatusCode::FORBIDDEN, 10023, "refused by the test");
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
    let pages = json!({"page": 1, "per_page": 100, "total_pages": 1, "count": 1, "total_count": 1});
    let mut body = json!({"success": true, "errors": [], "messages": [], "result_info": pages});
    body["result"] = result;
    axum::Json(body).into_response()
}

fn refused(status: StatusCode, code: u32, message: &str) -> Response {
    let errors = json!([{"code": code, "message": message}]);
    let body = json!({"success": false, "errors": errors, "messages": [], "result": null});
    (status, axum::Json(body)).into_response()
}
