//! Enrollments and heartbeats over HTTP, on SQLite with durable commits.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::admin::NewInvite;
use api::enroll::{ENROLL, EnrollRequest, InviteSecret};
use api::register::{HeartbeatRequest, heartbeat};
use api::sealed::ControlSecrets;
use api::{IdentitySecret, WireGuardSecret, signed};
use control::items;
use http::{Method, Uri};
use model::{Actor, GatewayId, InviteId};
use store::{Expect, Write};

use super::world::{World, moment};
use super::{rate, row, start};

/// Requests of each kind.
const COUNT: usize = 4000;
/// Callers at once.
const CALLERS: usize = 32;

pub async fn run() {
    let world = World::new();
    let url = serve(&world).await;
    let floor = format!(
        "{} bare HTTP answers; {} single fsyncs of 4 KiB",
        rate(COUNT, call(unknown_routes(&url)).await),
        fsyncs(&world),
    );

    let requests = enrollments(&world, &url).await;
    let took = call(requests).await;
    row(
        "enrollments over HTTP, 32 callers",
        &rate(COUNT, took),
        &floor,
    );
    let requests = heartbeats(&world, &url).await;
    let took = call(requests).await;
    row(
        "heartbeats over HTTP, 32 callers",
        &rate(COUNT, took),
        &floor,
    );
}

/// The functions `enroll` and `register` on a port of loopback.
async fn serve(world: &World) -> String {
    let edge = world.edge();
    let key = Arc::new(tuf::key::SigningKey::ed25519_from_seed([9; 32]));
    let control_keys = ControlSecrets::default();
    let routes = enroll::routes(edge.clone(), control_keys.clone());
    let routes = routes.merge(register::routes(edge.clone(), key, control_keys));
    let app = edge::finish(routes, edge);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    url
}

/// One request, signed before the clock starts.
struct Call {
    method: Method,
    url: String,
    headers: http::HeaderMap,
    body: Vec<u8>,
    /// The status that it must be answered with.
    status: u16,
}

fn signed_call(world: &World, url: String, secret: &IdentitySecret, body: Vec<u8>) -> Call {
    let uri: Uri = url.parse().expect("a URL");
    let headers = signed::sign(
        secret,
        &world.network.id,
        &Method::POST,
        &uri,
        &body,
        moment().now,
    );
    Call {
        method: Method::POST,
        url,
        headers,
        body,
        status: 200,
    }
}

fn unknown_routes(url: &str) -> Vec<Call> {
    let call = || Call {
        method: Method::GET,
        url: format!("{url}/nothing"),
        headers: http::HeaderMap::new(),
        body: Vec::new(),
        status: 404,
    };
    (0..COUNT).map(|_| call()).collect()
}

async fn enrollments(world: &World, url: &str) -> Vec<Call> {
    let secret = [1; 16];
    let new = NewInvite {
        id: InviteId::of(&secret),
        cohort: "default".parse().expect("a cohort"),
        tags: std::collections::BTreeSet::new(),
        uses: 10_000,
        expires_at: jiff::Timestamp::constant(4_000_000_000, 0),
        note: String::new(),
    };
    let actor = Actor::Schedule("bench".to_owned());
    control::invites::create(&world.context(), world.limits(), &actor, new)
        .await
        .expect("an invite");
    let one = |number: usize| {
        let seed = |kind: u8| {
            let mut bytes = [kind; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            bytes
        };
        let request = EnrollRequest {
            invite: InviteSecret::new(&secret),
            tunnel_key: WireGuardSecret::from_random(seed(1)).tunnel_key(),
            exit_key: WireGuardSecret::from_random(seed(2)).exit_key(),
        };
        let body = serde_json::to_vec(&request).expect("plain data");
        signed_call(
            world,
            format!("{url}{ENROLL}"),
            &IdentitySecret::from_seed(seed(3)),
            body,
        )
    };
    (0..COUNT).map(one).collect()
}

async fn heartbeats(world: &World, url: &str) -> Vec<Call> {
    let mut calls = Vec::with_capacity(COUNT);
    for number in 0..COUNT {
        let id: GatewayId = format!("g-{number:08}").parse().expect("an id");
        let mut seed = [4; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let secret = IdentitySecret::from_seed(seed);
        let quiet = items::Heartbeat {
            gateway: id.clone(),
            seen_at: None,
            load: 0,
        };
        let write = Write::put(
            items::heartbeat(&id, &secret.public()),
            Expect::Absent,
            &quiet,
        );
        world
            .store
            .commit(moment().now, vec![write])
            .await
            .expect("it is written");
        let body = serde_json::to_vec(&HeartbeatRequest {
            version: 1,
            load: 10,
        })
        .expect("plain data");
        calls.push(signed_call(
            world,
            format!("{url}{}", heartbeat(&id)),
            &secret,
            body,
        ));
    }
    calls
}

/// Sends all calls, so many at once, and gives the time for all.
async fn call(calls: Vec<Call>) -> Duration {
    let http = api::http_client::http_client("bench", Duration::from_mins(1)).expect("a client");
    let (calls, next) = (Arc::new(calls), Arc::new(AtomicUsize::new(0)));
    let began = start();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (http, calls, next) = (http.clone(), calls.clone(), next.clone());
            tokio::spawn(async move {
                while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let request = http.request(call.method.clone(), &call.url);
                    let request = request
                        .headers(call.headers.clone())
                        .body(call.body.clone());
                    let answer = request.send().await.expect("an answer");
                    assert_eq!(answer.status().as_u16(), call.status, "{}", call.url);
                    answer.bytes().await.expect("a body");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no caller fails");
    }
    began.elapsed()
}

/// How many times a second the disk takes 4 KiB for good.
fn fsyncs(world: &World) -> String {
    let mut file = std::fs::File::create(world.folder.path().join("floor")).expect("a file");
    let began = start();
    for _ in 0..200 {
        file.write_all(&[7; 4096]).expect("it is written");
        file.sync_data().expect("it is synced");
    }
    rate(200, began.elapsed())
}
