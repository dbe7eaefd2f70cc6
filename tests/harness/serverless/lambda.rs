//! Lambda's side of a function: its Runtime API, and what stands before it.
//!
//! The function asks for its next event and posts what came of it ("Using the Lambda runtime API for
//! custom runtimes"); events of requests and their answers have the form of function URLs, which is
//! that of HTTP APIs (payload format 2.0). One program does one event at a time, as on Lambda, and
//! there is one program of a function.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::process::Process;
use super::wrangler::ROUTES;
use super::{Environment, Runtime, built};

/// Why a lock is never poisoned.
const HELD: &str = "nobody panics while holding it";
/// The largest body of an event or an answer ("Lambda quotas").
const MOST_BODY: usize = 6 * 1024 * 1024;

/// A function's program, and its Runtime API.
pub struct Function {
    events: mpsc::UnboundedSender<Event>,
    process: Process,
    api: JoinHandle<()>,
}

struct Event {
    payload: Value,
    done: oneshot::Sender<Result<Value, Value>>,
}

/// What the Runtime API knows.
struct Api {
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    pending: Mutex<BTreeMap<String, oneshot::Sender<Result<Value, Value>>>>,
    count: AtomicU64,
}

impl Function {
    /// Starts the function `name`, built first, with the variables that Lambda sets besides.
    pub async fn start(name: &'static str, told: &Environment) -> Self {
        let program = built(Runtime::Lambda).join(format!("{name}-lambda"));
        let (events, queue) = mpsc::unbounded_channel();
        let api = Arc::new(Api {
            events: tokio::sync::Mutex::new(queue),
            pending: Mutex::default(),
            count: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(api);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let api = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });

        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(told)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        Self {
            events,
            process: Process::start(command),
            api,
        }
    }

    /// What came of the event, or the error that the function posted.
    pub async fn invoke(&self, payload: Value) -> Result<Value, Value> {
        let (done, answer) = oneshot::channel();
        let event = Event { payload, done };
        self.events
            .send(event)
            .map_err(|_| json!("nobody asks for events"))?;
        tokio::select! {
            answer = answer => answer.map_err(|_| json!("the event was dropped"))?,
            () = self.process.ended() => Err(json!("the function's program ended")),
        }
    }

    /// The answer to a request, as a function URL passes it on and back.
    pub async fn answer(&self, request: Request) -> Result<Response, Value> {
        let event = event(request).await;
        self.invoke(event).await.map(|answer| answered(&answer))
    }

    /// What it wrote to its log.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Waits until it ends by itself, which must be with a failure, and gives its log.
    pub async fn ended(mut self) -> String {
        let status = self.process.status().await;
        let said = self.said();
        assert!(!status.success(), "it ended with {status}:\n{said}");
        said
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.api.abort();
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    let Some(Event { payload, done }) = api.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let id = api.count.fetch_add(1, Ordering::Relaxed).to_string();
    api.pending.lock().expect(HELD).insert(id.clone(), done);
    let headers = [
        ("lambda-runtime-aws-request-id", id.as_str()),
        // Far away: tests have timeouts of their own.
        ("lambda-runtime-deadline-ms", "4102444800000"),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-central-1:000000000000:function:test",
        ),
    ];
    (headers, axum::Json(payload)).into_response()
}

async fn response(state: State<Arc<Api>>, id: Path<String>, body: Bytes) -> StatusCode {
    done(&state, &id, Ok(document(&body)))
}

async fn error(state: State<Arc<Api>>, id: Path<String>, body: Bytes) -> StatusCode {
    done(&state, &id, Err(document(&body)))
}

fn document(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("functions post JSON")
}

fn done(api: &Api, id: &str, outcome: Result<Value, Value>) -> StatusCode {
    let Some(done) = api.pending.lock().expect(HELD).remove(id) else {
        return StatusCode::NOT_FOUND;
    };
    // Whoever asked may have gone away.
    let _ = done.send(outcome);
    StatusCode::ACCEPTED
}

/// What stands before the functions: requests come in as a function URL's do.
pub struct Front {
    functions: Arc<BTreeMap<&'static str, Function>>,
    server: JoinHandle<()>,
}

impl Front {
    /// Starts the functions and serves them behind `listener`.
    pub async fn start(told: BTreeMap<&'static str, Environment>, listener: TcpListener) -> Self {
        let mut functions = BTreeMap::new();
        for (name, told) in told {
            functions.insert(name, Function::start(name, &told).await);
        }
        let functions = Arc::new(functions);
        let router = Router::new()
            .fallback(front)
            .with_state(Arc::clone(&functions));
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is a socket");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { functions, server }
    }

    /// What came of an event that is no request.
    pub async fn invoke(&self, function: &str, event: Value) -> Result<Value, Value> {
        self.functions[function].invoke(event).await
    }

    /// What the functions wrote to their logs.
    pub fn said(&self) -> String {
        let said = self.functions.iter();
        let said = said.map(|(name, function)| format!("{name}:\n{}", function.said()));
        said.collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn front(
    State(functions): State<Arc<BTreeMap<&'static str, Function>>>,
    request: Request,
) -> Response {
    let path = request.uri().path();
    let route = ROUTES.iter().find(|(prefix, _)| path.starts_with(prefix));
    let Some(function) = route.and_then(|(_, function)| functions.get(function)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match function.answer(request).await {
        Ok(answer) => answer,
        // As a function URL says it of an error or a program that ended.
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// A request as a function URL passes it on: header names in lower case, the values of one name
/// joined by commas, a body that may be no text in base64.
async fn event(request: Request) -> Value {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MOST_BODY).await;
    let body = body.expect("tests send small bodies");
    let mut headers = BTreeMap::<&str, String>::new();
    for (name, value) in &parts.headers {
        let value = value.to_str().expect("tests send plain headers");
        let all = headers.entry(name.as_str()).or_default();
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(value);
    }
    let query = parts.uri.query().unwrap_or_default();
    let host = "localhost";
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": parts.uri.path(),
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "test",
            "domainName": host,
            "domainPrefix": "test",
            "http": {
                "method": parts.method.as_str(),
                "path": parts.uri.path(),
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "test",
            },
            "requestId": "test",
            "routeKey": "$default",
            "stage": "$default",
            "time": "25/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_795_608_000_000_i64,
        },
        "body": BASE64.encode(&body),
        "isBase64Encoded": true,
    })
}

/// The answer that a function's document describes.
fn answered(answer: &Value) -> Response {
    let status = answer["statusCode"].as_u64().expect("a status");
    let status = u16::try_from(status).expect("an HTTP status");
    let body = answer["body"].as_str().unwrap_or_default();
    let body = if answer["isBase64Encoded"] == true {
        BASE64.decode(body.as_bytes()).expect("base64")
    } else {
        body.as_bytes().to_vec()
    };
    let mut response = body.into_response();
    *response.status_mut() = StatusCode::from_u16(status).expect("an HTTP status");
    let headers = response.headers_mut();
    headers.clear();
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::try_from(name).expect("a header's name");
        let value = value.as_str().expect("a text");
        headers.insert(
            name,
            HeaderValue::try_from(value).expect("a header's value"),
        );
    }
    response
}
