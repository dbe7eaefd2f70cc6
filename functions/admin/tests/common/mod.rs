//! What the tests of this function share: a finished router, its clock, and who asks.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use api::admins::{
    ADMINS, CHALLENGES, ChallengeAnswer, NewAdmin, SESSIONS, SETUP, SessionAnswer, SessionRequest,
    SetupRequest,
};
use api::enroll::InviteSecret;
use api::{IdentitySecret, Problem, signed};
use axum::Router;
use axum::body::Body;
use control::Moment;
use edge::{Clock, Edge};
use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use jiff::Timestamp;
use model::{
    AddressPools, Admin, AdminId, AdminRole, Limits, Network, NetworkId, SetupCode, Timing, id,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use store::MemoryStore;
use tower::ServiceExt;

/// When every test begins.
pub const START: i64 = 1_800_000_000;
/// The setup code's secret.
pub const CODE: [u8; 16] = [5; 16];

/// A finished router with a clock that the test sets.
pub struct Stage {
    router: Router,
    clock: Arc<TestClock>,
    network: NetworkId,
}

struct TestClock {
    second: AtomicI64,
    drawn: AtomicU64,
}

impl TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second.load(Ordering::Relaxed)).unwrap()
    }
}

impl Clock for TestClock {
    fn moment(&self) -> Moment {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Moment::new(self.now(), seed)
    }
}

impl Stage {
    pub fn new() -> Self {
        let clock = Arc::new(TestClock {
            second: AtomicI64::new(START),
            drawn: AtomicU64::new(0),
        });
        let network = Network {
            id: NetworkId::from_random([7; 5]),
            pools: AddressPools::default_with([7; 5]),
            timing: Timing::default(),
        };
        let edge = Edge {
            store: Arc::new(MemoryStore::new()),
            network: Arc::new(network.clone()),
            clock: clock.clone(),
        };
        let code = SetupCode {
            hash: id::setup_hash(&CODE),
            expires_at: Timestamp::from_second(START + 24 * 3600).unwrap(),
        };
        let limits = Limits {
            schema: Limits::SCHEMA.to_owned(),
            network: network.id.clone(),
            front_door_hosts: Vec::new(),
            gateway_networks: vec!["127.0.0.0/8".parse().unwrap()],
            cohorts: vec!["default".parse().unwrap()],
        };
        let routes = admin::routes(edge.clone(), Some(code), Arc::new(limits));
        Self {
            router: edge::finish(routes, edge),
            clock,
            network: network.id,
        }
    }

    pub fn wait(&self, seconds: i64) {
        self.clock.second.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Makes the key 1 the first owner, and logs in.
    pub async fn set_up(&self) -> SessionAnswer {
        let request = SetupRequest {
            code: InviteSecret::new(&CODE),
            name: "ada".to_owned(),
        };
        self.signed::<Admin>(1, SETUP, &request).await.unwrap();
        self.log_in(1).await
    }

    /// Makes the key `number` an admin, and logs in.
    pub async fn add(&self, by: &SessionAnswer, number: u8, role: AdminRole) -> SessionAnswer {
        let new = NewAdmin {
            key: key(number).public(),
            name: format!("admin {number}"),
            role,
        };
        self.post_as(by, ADMINS, &new).await;
        self.log_in(number).await
    }

    pub async fn log_in(&self, number: u8) -> SessionAnswer {
        let ChallengeAnswer { challenge, .. } =
            self.signed(number, CHALLENGES, &json!({})).await.unwrap();
        let request = SessionRequest { challenge };
        self.signed(number, SESSIONS, &request).await.unwrap()
    }

    /// What an owner sees that a change would change.
    pub async fn snapshot(&self, owner: &SessionAnswer) -> Vec<String> {
        let mut seen = Vec::new();
        for (method, path, _) in roles() {
            if method == Method::GET {
                let answer = self.ask(owner, &method, path.to_owned()).await;
                let bytes = answer.into_body().collect().await.unwrap().to_bytes();
                // A problem's request id is never the same twice.
                let text = String::from_utf8_lossy(&bytes);
                seen.push(text.split("request_id").next().unwrap().to_owned());
            }
        }
        seen
    }

    pub fn sign(&self, number: u8, path: &str, body: &impl Serialize) -> Request<Body> {
        let body = serde_json::to_vec(body).unwrap();
        let uri: Uri = path.parse().unwrap();
        let now = self.clock.now();
        let headers = signed::sign(&key(number), &self.network, &Method::POST, &uri, &body, now);
        let mut request = Request::post(uri).body(Body::from(body)).unwrap();
        *request.headers_mut() = headers;
        request
    }

    pub async fn signed<T: DeserializeOwned>(
        &self,
        number: u8,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        let answer = self.send(self.sign(number, path, body)).await;
        if answer.status().is_success() {
            return Ok(read(answer).await);
        }
        Err(read(answer).await)
    }

    /// Sends an empty object with the session's token.
    pub async fn ask(&self, by: &SessionAnswer, method: &Method, uri: String) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(AUTHORIZATION, format!("Bearer {}", by.token));
        self.send(request.body(Body::from("{}")).unwrap()).await
    }

    /// Sends `body` with the session's token: it must be taken.
    pub async fn post_as(&self, by: &SessionAnswer, path: &str, body: &impl Serialize) {
        let request = Request::post(path)
            .header(AUTHORIZATION, format!("bearer {}", by.token))
            .body(Body::from(serde_json::to_vec(body).unwrap()));
        let answer = self.send(request.unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }
}

/// Method, path and least role of every route that asks for a session.
pub fn roles() -> Vec<(Method, &'static str, AdminRole)> {
    let listed = admin::listed().into_iter();
    listed
        .filter_map(|route| Some((route.method, route.path, route.role?)))
        .collect()
}

pub fn key(number: u8) -> IdentitySecret {
    IdentitySecret::from_seed([number; 32])
}

/// A route's path with an id that fits it.
pub fn uri(path: &str, query: &str) -> String {
    let nobody = AdminId::of(&key(200).public());
    format!("{}{query}", path.replace("{id}", nobody.as_str()))
}

pub async fn problem_of(answer: Response<Body>) -> Option<Problem> {
    if answer.status().is_success() {
        return None;
    }
    Some(read(answer).await)
}

pub async fn read<T: DeserializeOwned>(answer: Response<Body>) -> T {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}
