//! A way to the stand-in for AWS that keeps who called what, and refuses an action when it is told to.
//!
//! A call is named as a right to it is (`s3:PutObject`): a transaction of `DynamoDB` by the rights of its parts.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::serve::serve;

/// A port of loopback that leads to the stand-in.
pub struct Watch {
    url: String,
    state: Arc<State>,
    server: JoinHandle<()>,
}

/// Who called what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// The id of the access key.
    pub key: String,
    /// The right that it needs, as `dynamodb:PutItem`.
    pub action: String,
    /// On what: a table, a bucket with the object, a secret; empty where it was not looked for.
    pub resource: String,
}

struct State {
    client: Client<HttpConnector, Full<Bytes>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    upstream: Option<String>,
    /// Whose distribution all is asked of, in the place of the name that the caller has.
    follows: Option<Arc<State>>,
    is_down: bool,
    calls: Vec<Call>,
    refusal: Option<Refusal>,
    front_door: Option<String>,
}

/// What is refused once.
struct Refusal {
    action: String,
    /// How many of them pass before.
    passing: usize,
}

impl Watch {
    /// A port that leads nowhere yet.
    pub async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            client: Client::builder(TokioExecutor::new()).build_http(),
            inner: Mutex::default(),
        });
        Self {
            url: format!("http://{address}"),
            state: Arc::clone(&state),
            server: tokio::spawn(serve(listener, move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.handle(request).await) }
            })),
        }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on it leads to `upstream`.
    pub fn lead_to(&self, upstream: &str) {
        self.state.inner().upstream = Some(upstream.to_owned());
    }

    /// From now on it leads to the distribution that answers through `other` told of last, as over TLS.
    pub fn follow(&self, other: &Self) {
        self.state.inner().follows = Some(Arc::clone(&other.state));
    }

    /// Whether it answers 503 to everything.
    pub fn set_down(&self, is_down: bool) {
        self.state.inner().is_down = is_down;
    }

    /// What was called since this was asked last.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.inner().calls)
    }

    /// The next call of this action is refused, once so many have passed, as who has no right to it.
    pub fn refuse(&self, action: &str, passing: usize) {
        self.state.inner().refusal = Some(Refusal {
            action: action.to_owned(),
            passing,
        });
    }

    /// Whether what was to be refused was not called yet. Nothing is refused from now on.
    pub fn relent(&self) -> bool {
        self.state.inner().refusal.take().is_some()
    }

    /// The name of the distribution that an answer told of last.
    pub fn front_door(&self) -> Option<String> {
        self.state.inner().front_door.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds it")
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        // A caller that has given up.
        let Ok(body) = body.collect().await else {
            return said(StatusCode::BAD_REQUEST, "the request broke off");
        };
        let body = body.to_bytes();
        if self.inner().is_down {
            return said(StatusCode::SERVICE_UNAVAILABLE, "down");
        }
        let calls = calls(&parts, &body);
        if self.inner().is_refused(&calls) {
            let text = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>the test refuses it</Message>\
                        </Error></ErrorResponse>";
            return said(StatusCode::FORBIDDEN, text);
        }
        self.inner().calls.extend(calls);
        match self.pass_on(parts, body).await {
            Ok(answer) => answer,
            Err(why) => said(StatusCode::BAD_GATEWAY, &why),
        }
    }

    async fn pass_on(
        &self,
        mut parts: Parts,
        body: Bytes,
    ) -> Result<Response<Full<Bytes>>, String> {
        let (upstream, follows) = {
            let inner = self.inner();
            (inner.upstream.clone(), inner.follows.clone())
        };
        let host = follows.and_then(|other| other.inner().front_door.clone());
        let upstream = upstream.ok_or("it leads nowhere yet")?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("{upstream}{path}").parse().map_err(in_words)?;
        if let Some(host) = host {
            let host = host.parse().map_err(in_words)?;
            parts.headers.insert(HOST, host);
            let https = hyper::header::HeaderValue::from_static("https");
            parts.headers.insert("x-forwarded-proto", https);
        }
        parts.headers.remove(TRANSFER_ENCODING);
        let request = Request::from_parts(parts, Full::new(body));
        let response = self.client.request(request).await.map_err(in_words)?;
        let (mut parts, body) = response.into_parts();
        let body = body.collect().await.map_err(in_words)?.to_bytes();
        if let Some(door) = distribution(&String::from_utf8_lossy(&body)) {
            self.inner().front_door = Some(door);
        }
        parts.headers.remove(TRANSFER_ENCODING);
        parts.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(parts, Full::new(body)))
    }
}

impl Inner {
    fn is_refused(&mut self, calls: &[Call]) -> bool {
        let Some(refusal) = &mut self.refusal else {
            return false;
        };
        if !calls.iter().any(|call| call.action == refusal.action) {
            return false;
        }
        if refusal.passing > 0 {
            refusal.passing -= 1;
            return false;
        }
        self.refusal = None;
        true
    }
}

fn in_words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn said(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}

/// The name in the first URL of a distribution.
fn distribution(text: &str) -> Option<String> {
    let (before, _) = text.split_once(".cloudfront.net")?;
    let (_, name) = before.rsplit_once("https://")?;
    Some(format!("{name}.cloudfront.net"))
}

/// The rights that a request needs, a call each; none of what is not signed.
fn calls(parts: &Parts, body: &Bytes) -> Vec<Call> {
    let authorization = parts.headers.get(AUTHORIZATION);
    let authorization = authorization.and_then(|text| text.to_str().ok());
    // As in `Credential=<key>/20261125/<region>/dynamodb/aws4_request` (Signature Version 4).
    let scope = authorization.and_then(|text| text.split_once("Credential="));
    let Some((_, scope)) = scope else {
        return Vec::new();
    };
    let mut scope = scope.split('/');
    let (key, service) = (scope.next(), scope.nth(2));
    let (key, service) = (key.unwrap_or_default(), service.unwrap_or_default());
    let needed = match service {
        "s3" => vec![of_s3(parts)],
        "dynamodb" => of_dynamodb(&operation(parts), body),
        "lambda" if parts.uri.path().ends_with("/invocations") => {
            vec![("InvokeFunction".to_owned(), parts.uri.path().to_owned())]
        }
        "lambda" => vec![("GetAccountSettings".to_owned(), String::new())],
        _ => vec![of_others(parts, body)],
    };
    let needed = needed.into_iter().map(|(action, resource)| Call {
        key: key.to_owned(),
        action: format!("{service}:{action}"),
        resource,
    });
    needed.collect()
}

/// The operation that a request of a JSON protocol names.
fn operation(parts: &Parts) -> String {
    let target = parts.headers.get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.rsplit('.').next());
    operation.unwrap_or_default().to_owned()
}

fn of_s3(parts: &Parts) -> (String, String) {
    let query = parts.uri.query().unwrap_or_default();
    let action = match parts.method {
        Method::GET if query.contains("list-type") => "ListBucket",
        Method::PUT => "PutObject",
        Method::DELETE | Method::POST => "DeleteObject",
        _ => "GetObject",
    };
    let resource = parts.uri.path().trim_start_matches('/');
    (action.to_owned(), resource.to_owned())
}

fn of_dynamodb(operation: &str, body: &Bytes) -> Vec<(String, String)> {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match operation {
        "TransactWriteItems" => {
            let items = asked["TransactItems"].as_array().into_iter().flatten();
            let parts = items.filter_map(Value::as_object).flatten();
            let needed = parts.map(|(kind, item)| {
                let right = match kind.as_str() {
                    "ConditionCheck" => "ConditionCheckItem".to_owned(),
                    kind => format!("{kind}Item"),
                };
                (right, text(&item["TableName"]))
            });
            needed.collect()
        }
        "BatchGetItem" => {
            let tables = asked["RequestItems"].as_object().into_iter().flatten();
            tables
                .map(|(table, _)| (operation.to_owned(), table.clone()))
                .collect()
        }
        _ => vec![(operation.to_owned(), text(&asked["TableName"]))],
    }
}

fn of_others(parts: &Parts, body: &Bytes) -> (String, String) {
    let operation = operation(parts);
    if operation.is_empty() {
        let form = String::from_utf8_lossy(body);
        let action = form
            .split('&')
            .find_map(|pair| pair.strip_prefix("Action="));
        return (action.unwrap_or_default().to_owned(), String::new());
    }
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let secret = asked["SecretId"].as_str().unwrap_or_default();
    (operation, secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(service: &str, target: &str, uri: &str, method: &str) -> Parts {
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=AKIA1/20261125/eu-central-1/{service}/aws4_request"
        );
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(AUTHORIZATION, scope)
            .header("x-amz-target", target);
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_transaction_needs_the_rights_of_its_parts() {
        let body = r#"{"TransactItems": [{"Put": {"TableName": "t"}}, {"ConditionCheck": {"TableName": "t"}}]}"#;
        let parts = request(
            "dynamodb",
            "DynamoDB_20120810.TransactWriteItems",
            "/",
            "POST",
        );

        let calls = calls(&parts, &Bytes::from(body));

        let actions: Vec<_> = calls.iter().map(|call| call.action.as_str()).collect();
        assert_eq!(actions, ["dynamodb:PutItem", "dynamodb:ConditionCheckItem"]);
        assert!(
            calls
                .iter()
                .all(|call| call.resource == "t" && call.key == "AKIA1")
        );
    }

    #[test]
    fn calls_of_other_services_are_named_as_rights_are() {
        let named = |service, target, uri, method, body: &'static str| {
            let calls = calls(&request(service, target, uri, method), &Bytes::from(body));
            format!("{} {}", calls[0].action, calls[0].resource)
        };

        assert_eq!(
            named("s3", "", "/b/k/x.json", "PUT", ""),
            "s3:PutObject b/k/x.json"
        );
        assert_eq!(
            named("s3", "", "/b?list-type=2", "GET", ""),
            "s3:ListBucket b"
        );
        let secret = named(
            "secretsmanager",
            "secretsmanager.GetSecretValue",
            "/",
            "POST",
            r#"{"SecretId": "s"}"#,
        );
        assert_eq!(secret, "secretsmanager:GetSecretValue s");
        let query = named(
            "cloudformation",
            "",
            "/",
            "POST",
            "Action=DescribeStacks&Version=1",
        );
        assert_eq!(query, "cloudformation:DescribeStacks ");
        assert_eq!(
            distribution("<v>https://d1.cloudfront.net</v>"),
            Some("d1.cloudfront.net".to_owned())
        );
    }
}
