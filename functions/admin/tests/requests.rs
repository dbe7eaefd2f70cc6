//! Requests over HTTP: whoever is no operator learns nothing, what cannot be read is a problem, and
//! what could never work is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use api::{IdentitySecret, signed};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use control::Moment;
use edge::{Clock, Edge};
use http::{Method, Uri};
use jiff::Timestamp;
use model::{AddressPools, InviteId, Limits, Network, NetworkId, Timing};
use serde_json::{Value, json};
use store::MemoryStore;
use tower::ServiceExt;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

const INVITES: &str = "/v1/admin/invites";
const GATEWAYS: &str = "/v1/admin/gateways";

/// Requests of which something cannot be read.
const MALFORMED: [(Method, &str, &str); 10] = [
    (Method::GET, "/v1/admin/invites?other=1", ""),
    (Method::GET, "/v1/admin/devices?after=1&after=2", ""),
    (Method::GET, "/v1/admin/audit?day=yesterday", ""),
    (Method::POST, "/v1/admin/devices/%ff/revocation", ""),
    (Method::POST, "/v1/admin/devices/d-x/revocation", ""),
    (Method::POST, "/v1/admin/invites/%ff/withdrawal", ""),
    (Method::POST, INVITES, "{"),
    (Method::POST, GATEWAYS, "[]"),
    (Method::PUT, "/v1/admin/policy", "{"),
    (Method::POST, "/v1/admin/policy/explanation", "[]"),
];

#[tokio::test]
async fn whoever_is_no_operator_is_refused_before_anything_is_read() {
    let function = function();
    let stranger = IdentitySecret::from_seed([2; 32]);
    for (method, path, body) in MALFORMED {
        let (unsigned, _) = function.ask(None, method.clone(), path, body).await;
        let (strange, _) = function.ask(Some(&stranger), method, path, body).await;
        assert_eq!((unsigned, strange), (401, 403), "{path}");
    }
}

#[tokio::test]
async fn what_an_operator_sends_that_cannot_be_read_is_a_problem() {
    let function = function();
    for (method, path, body) in MALFORMED {
        let (status, problem) = function.ask(Some(&operator()), method, path, body).await;
        assert_eq!(status, 400, "{path}");
        assert_eq!(problem["type"], "urn:postern:problem:malformed-request");
        assert!(problem["request_id"].is_string());
    }
}

#[tokio::test]
async fn an_invite_is_made_and_withdrawn() {
    let function = function();
    let id = InviteId::of(&[1; 16]);
    let invite = json!({
        "id": id, "cohort": "default", "uses": 1, "expires_at": "2027-12-01T00:00:00Z",
    });
    let post = async |path: &str, body: &str| {
        function
            .ask(Some(&operator()), Method::POST, path, body)
            .await
    };

    let (made, _) = post(INVITES, &invite.to_string()).await;
    let (withdrawn, answer) = post(&api::admin::withdrawal(&id), "{}").await;
    let (again, same) = post(&api::admin::withdrawal(&id), "{}").await;

    assert_eq!((made, withdrawn, again), (200, 200, 200));
    assert!(answer["withdrawn_at"].is_string());
    assert_eq!(answer, same);
}

#[tokio::test]
async fn what_is_outside_the_signed_limits_is_refused() {
    let function = function();
    let invite = json!({
        "id": InviteId::of(&[1; 16]), "cohort": "canary", "uses": 1,
        "expires_at": "2027-12-01T00:00:00Z",
    });
    let gateway = json!({
        "id": "g-0001", "role": "ingress", "pool": "ingress", "region": "test", "endpoint": "192.0.2.1:51820",
        "cohorts": ["default"], "bootstrap_hash": "x",
        "bootstrap_expires_at": "2027-12-01T00:00:00Z",
    });
    for (path, body, named) in [
        (INVITES, invite, "canary"),
        (GATEWAYS, gateway, "192.0.2.1"),
    ] {
        let body = body.to_string();
        let answer = function
            .ask(Some(&operator()), Method::POST, path, &body)
            .await;
        let (status, problem) = answer;
        assert_eq!(status, 400);
        assert!(
            problem["detail"].as_str().unwrap().contains(named),
            "{problem}"
        );
    }
}

fn operator() -> IdentitySecret {
    IdentitySecret::from_seed([1; 32])
}

fn function() -> Function {
    let edge = edge();
    let limits = Limits {
        schema: Limits::SCHEMA.to_owned(),
        network: edge.network.id.clone(),
        front_door_hosts: Vec::new(),
        gateway_networks: vec!["127.0.0.0/8".parse().unwrap()],
        cohorts: vec!["default".parse().unwrap()],
    };
    let operators = [operator().public()].into();
    let routes = admin::routes(edge.clone(), operators, Arc::new(limits));
    Function {
        network: edge.network.id.clone(),
        router: edge::finish(routes, edge),
    }
}

/// A function on an empty store at a fixed time.
struct Function {
    router: Router,
    network: NetworkId,
}

struct FixedClock;

impl Clock for FixedClock {
    fn moment(&self) -> Moment {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        Moment::new(NOW, [NEXT.fetch_add(1, Ordering::Relaxed); 32])
    }
}

fn edge() -> Edge {
    let network = Network {
        id: NetworkId::from_random([7; 5]),
        pools: AddressPools::new(
            "10.0.0.0/24".parse().unwrap(),
            "10.0.1.0/24".parse().unwrap(),
            "fd00:1:2::/48".parse().unwrap(),
        )
        .unwrap(),
        timing: Timing::default(),
    };
    Edge {
        store: Arc::new(MemoryStore::new()),
        network: Arc::new(network),
        clock: Arc::new(FixedClock),
    }
}

impl Function {
    /// Sends a request, signed by `secret` if it is given: the status and the body, which must be
    /// a problem unless the status tells of success.
    async fn ask(
        &self,
        secret: Option<&IdentitySecret>,
        method: Method,
        path: &str,
        body: &str,
    ) -> (u16, Value) {
        let uri: Uri = path.parse().unwrap();
        let mut request = Request::new(Body::from(body.to_owned()));
        if let Some(secret) = secret {
            let headers = signed::sign(secret, &self.network, &method, &uri, body.as_bytes(), NOW);
            request.headers_mut().extend(headers);
        }
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let response = self.router.clone().oneshot(request).await.unwrap();

        let (status, media) = (
            response.status(),
            response.headers()["content-type"].clone(),
        );
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        if !status.is_success() {
            assert_eq!(media, api::problem::MEDIA_TYPE, "{path}: {bytes:?}");
        }
        (status.as_u16(), serde_json::from_slice(&bytes).unwrap())
    }
}
