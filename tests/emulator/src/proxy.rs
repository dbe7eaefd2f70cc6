//! The proxy: it counts what comes, does to it what it is told, and passes on the rest.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::faults::{Busy, Faults, Lost, Touched, error, halved, throttled};
use crate::serve::serve;

/// Sets the seed of every proxy that is not given one: to see again what a test has seen.
const SEED: &str = "POSTERN_FAULT_SEED";

/// A proxy on a free port of loopback, until it is dropped.
pub struct Proxy {
    url: String,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    faults: Faults,
    inner: Mutex<Inner>,
}

struct Inner {
    random: fastrand::Rng,
    requests: BTreeMap<String, usize>,
    spent: Duration,
    busy: Busy,
    refusal: Option<Refusal>,
}

/// What is refused, and how.
struct Refusal {
    what: Refused,
    answer: (StatusCode, Bytes),
}

/// What a refusal is for.
enum Refused {
    All,
    Writes,
    OtherRegions(&'static str),
}

impl Refused {
    /// Whether it is for the request of `operation` with this `authorization`.
    fn is_for(&self, operation: &str, authorization: &str) -> bool {
        match self {
            Self::All => true,
            Self::Writes => !matches!(operation, "BatchGetItem" | "GetItem" | "Query"),
            // As in `Credential=<key>/20261125/<region>/dynamodb/aws4_request` (Signature Version 4).
            Self::OtherRegions(region) => !authorization.contains(&format!("/{region}/dynamodb/")),
        }
    }
}

/// What a request is answered with; `None` where its connection is cut.
type Answer = Option<(StatusCode, Bytes)>;

impl Proxy {
    /// A proxy before the emulator at `upstream`. The faults that it draws follow from a seed that is
    /// printed; which request meets which also depends on who comes first.
    pub async fn start(upstream: &str, faults: Faults) -> Self {
        let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("faults: {SEED}={seed}");

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            faults,
            inner: Mutex::new(Inner {
                random: fastrand::Rng::with_seed(seed),
                requests: BTreeMap::new(),
                spent: Duration::ZERO,
                busy: Busy::default(),
                refusal: None,
            }),
        });
        Self {
            url: format!("http://{address}"),
            state: Arc::clone(&state),
            server: tokio::spawn(serve(listener, move |request| {
                Arc::clone(&state).handle(request)
            })),
        }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many requests of each operation came since this was asked last, whatever became of them.
    pub fn take_requests(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut self.state.inner().requests)
    }

    /// How long requests took since this was asked last, from their arrival here to their answer.
    pub fn take_spent(&self) -> Duration {
        std::mem::take(&mut self.state.inner().spent)
    }

    /// From now on everything is refused with this error of DynamoDB's.
    pub fn refuse(&self, name: &str, message: &str) {
        self.refuse_what(Refused::All, error(name, message));
    }

    /// From now on every write is refused with this error of DynamoDB's.
    pub fn refuse_writes(&self, name: &str, message: &str) {
        self.refuse_what(Refused::Writes, error(name, message));
    }

    /// From now on this is `region`'s DynamoDB: what is signed for another one is refused.
    pub fn be_in(&self, region: &'static str) {
        let why = format!("Credential should be scoped to a valid region, not '{region}'.");
        let answer = error("InvalidSignatureException", &why);
        self.refuse_what(Refused::OtherRegions(region), answer);
    }

    /// From now on nothing is refused.
    pub fn relent(&self) {
        self.state.inner().refusal = None;
    }

    fn refuse_what(&self, what: Refused, answer: (StatusCode, Bytes)) {
        self.state.inner().refusal = Some(Refusal { what, answer });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The connection is cut without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics while it holds it")
    }

    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Cut> {
        #[allow(
            clippy::disallowed_methods,
            reason = "it measures how long a request takes"
        )]
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        // A caller that has given up.
        let Ok(body) = body.collect().await else {
            return Err(Cut);
        };
        let answer = Arc::clone(&self).answer(parts, body.to_bytes()).await;
        self.inner().spent += began.elapsed();
        let Some((status, body)) = answer else {
            return Err(Cut);
        };
        let response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "application/x-amz-json-1.0")
            .body(Full::new(body));
        Ok(response.expect("status and header are valid"))
    }

    async fn answer(self: Arc<Self>, parts: Parts, body: Bytes) -> Answer {
        let target = parts.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok()).unwrap_or("");
        let operation = target.rsplit('.').next().unwrap_or("").to_owned();
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let touched = Touched::of(&operation, &json);
        let authorization = parts.headers.get(AUTHORIZATION);
        let authorization = authorization.and_then(|text| text.to_str().ok());
        let authorization = authorization.unwrap_or_default();
        let drawn = match self.inner().draw(self.faults, &operation, authorization) {
            Ok(drawn) => drawn,
            Err(refusal) => return Some(refusal),
        };

        if drawn.is_throttled {
            if operation == "BatchGetItem"
                && let Some((asked, left)) = halved(&json)
            {
                return self.in_part(parts, &asked, left).await;
            }
            return Some(throttled(touched.as_ref(), drawn.way));
        }
        if drawn.lost == Some(Lost::Request) {
            return None;
        }
        let touched = touched.filter(|_| self.faults.conflicts);
        if let Some(touched) = &touched
            && let Err(refusal) = self.inner().busy.take(touched)
        {
            return Some(refusal);
        }
        // It goes on when its caller is gone, as it would in DynamoDB.
        let state = Arc::clone(&self);
        let done = tokio::spawn(async move {
            let answer = state.pass_on(parts, body).await;
            if let Some(touched) = &touched {
                state.inner().busy.give(touched);
            }
            answer
        });
        if drawn.lost == Some(Lost::Meanwhile) {
            return None;
        }
        // It fails where the test has ended and its runtime with it.
        let answer = done.await.ok()?;
        match drawn.lost {
            None => answer,
            Some(Lost::Behind500) => {
                let (_, body) = error("InternalServerError", "Internal server error");
                Some((StatusCode::INTERNAL_SERVER_ERROR, body))
            }
            Some(_) => None,
        }
    }

    /// Passes on a batch of which only `asked` is read, and says that the rest is left.
    async fn in_part(&self, mut parts: Parts, asked: &Value, left: Value) -> Answer {
        parts.headers.remove(CONTENT_LENGTH);
        let (status, answer) = self.pass_on(parts, Bytes::from(asked.to_string())).await?;
        let mut answer: Value = serde_json::from_slice(&answer).expect("the emulator gives JSON");
        answer["UnprocessedKeys"] = left;
        Some((status, Bytes::from(answer.to_string())))
    }

    async fn pass_on(&self, mut parts: Parts, body: Bytes) -> Answer {
        parts.uri = self.upstream.parse().expect("a URL");
        parts.headers.remove(HOST);
        let request = Request::from_parts(parts, Full::new(body));
        let response = self.client.request(request).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?;
        Some((status, body.to_bytes()))
    }
}

/// What was drawn for a request.
struct Drawn {
    is_throttled: bool,
    lost: Option<Lost>,
    way: usize,
}

impl Inner {
    /// Counts a request and draws its faults, or gives what everything is refused with.
    fn draw(
        &mut self,
        faults: Faults,
        operation: &str,
        authorization: &str,
    ) -> Result<Drawn, (StatusCode, Bytes)> {
        *self.requests.entry(operation.to_owned()).or_default() += 1;
        if let Some(refusal) = &self.refusal
            && refusal.what.is_for(operation, authorization)
        {
            return Err(refusal.answer.clone());
        }
        let lost = Lost::ALL[self.random.usize(..Lost::ALL.len())];
        Ok(Drawn {
            is_throttled: self.random.f64() < faults.throttled,
            lost: Some(lost).filter(|_| self.random.f64() < faults.lost),
            way: self.random.usize(..),
        })
    }
}
