//! Whether functions work: a version before it answers anybody, and the network as its users reach it.
//!
//! The questions change nothing that any run would not. Strangers ask about a device, a gateway and a challenge
//! that are not there, which the function must look up to say so; `publish` does one of its runs, as any other
//! version could. An answer that is no failure of the server's shows that the function started, could read its
//! secret and its table, and knows the network.

use std::time::Duration;

use anyhow::{Context, bail};
use api::admins::CHALLENGES;
use api::http_client::http_client;
use api::{IdentitySecret, Problem, signed};
use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderName, Method, Uri};
use model::{DeviceId, GatewayId, NetworkId};
use serde_json::{Value, json};

use super::client::{Client, Service};
use crate::data::Settings;
use crate::settings::Function;
use crate::{now, random};

const LAMBDA: Service = Service("lambda");
/// What a smoke test waits for one answer: a cold start and a slow line.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a new front door may take until its name is known everywhere.
const PATIENCE: Duration = Duration::from_mins(2);
/// From one try to the next.
const LOOK: Duration = Duration::from_secs(2);

/// A harmless request.
struct Question {
    method: Method,
    path: String,
    body: &'static str,
}

/// What is asked of `function`; nothing of one that answers no requests.
fn question(function: Function, key: &IdentitySecret) -> anyhow::Result<Option<Question>> {
    let get = |path: String| Question {
        method: Method::GET,
        path,
        body: "",
    };
    Ok(Some(match function {
        Function::Enroll => get(format!("/v1/devices/{}", DeviceId::of(&key.public()))),
        Function::Register => {
            let gateway = GatewayId::from_random(random()?);
            get(format!("/v1/gateways/{gateway}/config"))
        }
        Function::Admin => Question {
            method: Method::POST,
            path: CHALLENGES.to_owned(),
            body: "{}",
        },
        // It asks for a session before anything else; the other one has no such path, and says so.
        Function::Reconcile => get(api::fleet::PLAN.to_owned()),
        Function::Cleanup => get("/v1/cleanup/providers".to_owned()),
        Function::Publish => return Ok(None),
    }))
}

/// Asks the version of the function, and gives how it answered.
pub async fn version(
    aws: &Client,
    stack: &str,
    network: &NetworkId,
    function: Function,
    version: &str,
) -> anyhow::Result<()> {
    let name = format!("{stack}-{}", function.name());
    let key = IdentitySecret::from_seed(random()?);
    let asked = question(function, &key)?;
    let event = match &asked {
        Some(question) => event(question, network, &key)?,
        None => json!({"source": "posternctl", "detail-type": "Scheduled Event"}),
    };
    let path = format!("/2015-03-31/functions/{name}/invocations?Qualifier={version}");
    let log = (HeaderName::from_static("x-amz-log-type"), "Tail");
    let what = "lambda:InvokeFunction";
    let body = Bytes::from(event.to_string());
    let answer = aws
        .send(LAMBDA, what, Method::POST, &path, &[log], body)
        .await?;
    let said = || {
        let tail = answer.headers.get("x-amz-log-result");
        let tail = tail.and_then(|tail| BASE64.decode(tail.as_bytes()).ok());
        String::from_utf8_lossy(&tail.unwrap_or_default()).into_owned()
    };
    let text = String::from_utf8_lossy(&answer.body);
    if answer.headers.contains_key("x-amz-function-error") {
        bail!("version {version} of {name} fails: {text}\n{}", said());
    }
    if asked.is_some() {
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let status = document["statusCode"].as_u64();
        if status.is_none_or(|status| status >= 500) {
            bail!("version {version} of {name} fails: {text}\n{}", said());
        }
    }
    Ok(())
}

/// A question as a function URL passes it on (payload format 2.0).
fn event(question: &Question, network: &NetworkId, key: &IdentitySecret) -> anyhow::Result<Value> {
    let uri: Uri = question.path.parse()?;
    let body = question.body.as_bytes();
    let signed = signed::sign(key, network, &question.method, &uri, body, now());
    let mut headers = serde_json::Map::new();
    for (name, value) in &signed {
        headers.insert(name.to_string(), value.to_str()?.into());
    }
    headers.insert("content-type".to_owned(), "application/json".into());
    headers.insert("host".to_owned(), "posternctl".into());
    Ok(json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": question.path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous", "apiId": "posternctl", "domainName": "posternctl",
            "domainPrefix": "posternctl", "requestId": "posternctl", "routeKey": "$default",
            "stage": "$default", "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_i64,
            "http": {
                "method": question.method.as_str(), "path": question.path, "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": "posternctl",
            },
        },
        "body": BASE64.encode(body),
        "isBase64Encoded": true,
    }))
}

/// Asks the network where its users do: every control plane that its settings name, and of its front doors those
/// that are this deployment's `own`. `door` is where it answers, for who has to lead a name there.
pub async fn smoke(
    settings: &Settings,
    own: &[String],
    functions: &[Function],
    door: &str,
) -> anyhow::Result<String> {
    let http = http_client("posternctl", TIMEOUT)?;
    let began = tokio::time::Instant::now();
    let network = &settings.network.id;
    let mut asked = 0;
    for base in &settings.control {
        for function in functions {
            let key = IdentitySecret::from_seed(random()?);
            let Some(question) = question(*function, &key)? else {
                continue;
            };
            let url = format!("{base}{}", question.path);
            let uri: Uri = url.parse()?;
            let body = question.body;
            let headers = signed::sign(
                &key,
                network,
                &question.method,
                &uri,
                body.as_bytes(),
                now(),
            );
            let request = || {
                http.request(question.method.clone(), &url)
                    .headers(headers.clone())
            };
            let answer = patiently(began, || request().body(body).send()).await;
            let answer = answer.with_context(|| leads_nowhere(base, door))?;
            let status = answer.status();
            let text = answer.bytes().await?;
            let is_ours = status.is_success() || serde_json::from_slice::<Problem>(&text).is_ok();
            if status.is_server_error() || !is_ours {
                let text = String::from_utf8_lossy(&text);
                bail!(
                    "{url} answers {status}: {text}. {}",
                    leads_nowhere(base, door)
                );
            }
            asked += 1;
        }
    }
    let (fronts, others): (Vec<_>, Vec<_>) = settings
        .front_doors
        .iter()
        .partition(|front| own.contains(&front.url));
    for front in fronts {
        let url = format!("{}/{}", front.url, tuf::repository::TIMESTAMP_PATH);
        let answer = patiently(began, || http.get(&url).send()).await;
        let answer = answer.with_context(|| leads_nowhere(&front.url, door))?;
        let status = answer.status();
        if !status.is_success() {
            bail!(
                "{url} answers {status}. {}",
                leads_nowhere(&front.url, door)
            );
        }
        let bytes = answer.bytes().await?;
        let document: Value =
            serde_json::from_slice(&bytes).context("a timestamp that is no JSON")?;
        if document["signed"]["_type"] != "timestamp" {
            bail!(
                "{url} serves something else. {}",
                leads_nowhere(&front.url, door)
            );
        }
        asked += 1;
    }
    let others = others.iter().map(|other| {
        let url = &other.url;
        format!("; {url} is not asked ('posternctl deploy doors --url' does)")
    });
    let others: String = others.collect();
    Ok(format!("{asked} answers, all as they should be{others}"))
}

/// Asks until there is a connection, as long as patience lasts.
async fn patiently<F>(
    began: tokio::time::Instant,
    ask: impl Fn() -> F,
) -> Result<reqwest::Response, reqwest::Error>
where
    F: Future<Output = Result<reqwest::Response, reqwest::Error>>,
{
    loop {
        match ask().await {
            Err(error) if error.is_connect() && began.elapsed() < PATIENCE => {
                tokio::time::sleep(LOOK).await;
            }
            answered => return answered,
        }
    }
}

fn leads_nowhere(base: &str, door: &str) -> String {
    format!(
        "Does {base} lead to {door}? Set its name there (a CNAME or ALIAS record), or wait until it is known"
    )
}

/// How many functions may run at once in the account.
pub async fn concurrency(aws: &Client) -> anyhow::Result<u64> {
    let path = "/2016-08-19/account-settings/";
    let what = "lambda:GetAccountSettings";
    let answer = aws
        .send(LAMBDA, what, Method::GET, path, &[], Bytes::new())
        .await?;
    let settings: Value = serde_json::from_slice(&answer.body)?;
    let limit = &settings["AccountLimit"]["ConcurrentExecutions"];
    limit
        .as_u64()
        .context("AWS does not say how many functions may run at once")
}
