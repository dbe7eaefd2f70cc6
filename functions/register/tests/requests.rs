//! Requests over HTTP: whoever is not known learns nothing, and what cannot be read is a problem.

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
use model::{AddressPools, Network, NetworkId, Timing};
use serde_json::Value;
use store::MemoryStore;
use tower::ServiceExt;
use tuf::key::SigningKey;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

const ROUTES: [(Method, &str); 4] = [
    (Method::POST, "registration"),
    (Method::POST, "heartbeat"),
    (Method::GET, "config"),
    (Method::POST, "roster"),
];

#[tokio::test]
async fn who_signs_nothing_is_refused_before_the_path_is_read() {
    let function = function();
    for (method, route) in ROUTES {
        let path = format!("/v1/gateways/%ff/{route}");
        let (status, problem) = function.ask(None, method, &path, "{").await;
        assert_eq!(status, 401, "{path}");
        assert_eq!(problem["type"], "urn:postern:problem:signature-missing");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_read_is_a_problem() {
    let function = function();
    let secret = IdentitySecret::from_seed([1; 32]);
    for (method, route) in ROUTES {
        for id in ["%ff", "x"] {
            let path = format!("/v1/gateways/{id}/{route}");
            let (status, problem) = function.ask(Some(&secret), method.clone(), &path, "").await;
            assert_eq!(status, 400, "{path}");
            assert_eq!(problem["type"], "urn:postern:problem:malformed-request");
        }
    }
}

#[tokio::test]
async fn the_config_of_a_gateway_that_is_not_there_is_unknown() {
    let secret = IdentitySecret::from_seed([1; 32]);
    let path = "/v1/gateways/g-0001/config";

    let (status, problem) = function().ask(Some(&secret), Method::GET, path, "").await;

    assert_eq!(status, 404);
    assert_eq!(problem["type"], "urn:postern:problem:gateway-unknown");
}

fn function() -> Function {
    let edge = edge();
    let key = Arc::new(SigningKey::ed25519_from_seed([9; 32]));
    Function {
        network: edge.network.id.clone(),
        router: edge::finish(register::routes(edge.clone(), key), edge),
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
