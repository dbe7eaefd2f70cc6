//! Requests over HTTP: whoever may not use a route learns nothing of it, what cannot be read is a
//! problem, and what could never work is refused.

mod common;

use api::admins::{CHALLENGES, SESSIONS, SETUP, SessionAnswer};
use axum::body::Body;
use common::{Stage, read};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response};
use model::{AdminRole, InviteId};
use serde_json::{Value, json};

const INVITES: &str = "/v1/admin/invites";
const GATEWAYS: &str = "/v1/admin/gateways";
const ADMINS: &str = "/v1/admin/admins";

/// Requests of which something cannot be read.
const MALFORMED: [(Method, &str, &str); 19] = [
    (Method::GET, "/v1/admin/invites?other=1", ""),
    (Method::GET, "/v1/admin/devices?after=1&after=2", ""),
    (Method::GET, "/v1/admin/audit?day=yesterday", ""),
    (Method::POST, "/v1/admin/devices/%ff/revocation", ""),
    (Method::POST, "/v1/admin/devices/d-x/revocation", ""),
    (Method::POST, "/v1/admin/invites/%ff/withdrawal", ""),
    (Method::POST, "/v1/admin/invites/x/withdrawal", ""),
    (Method::POST, "/v1/admin/admins/%ff/role", "{}"),
    (Method::POST, "/v1/admin/admins/a-x/role", "{}"),
    (Method::POST, "/v1/admin/admins/%ff/removal", ""),
    (Method::POST, "/v1/admin/admins/a-x/removal", ""),
    (Method::POST, INVITES, "{"),
    (Method::POST, INVITES, r#"{"id":"x","other":1}"#),
    (Method::POST, GATEWAYS, "[]"),
    (Method::POST, "/v1/admin/gateways/%ff/state", "{}"),
    (
        Method::POST,
        "/v1/admin/gateways/g-0001/state",
        r#"{"state":"failed"}"#,
    ),
    (Method::POST, ADMINS, "{"),
    (Method::PUT, "/v1/admin/policy", "{"),
    (Method::POST, "/v1/admin/policy/explanation", "[]"),
];

#[tokio::test]
async fn whoever_is_no_admin_is_refused_before_anything_is_read() {
    let stage = Stage::new();
    stage.set_up().await;
    for (method, path, body) in MALFORMED {
        let (status, _) = ask(&stage, None, method, path, body).await;
        assert_eq!(status, 401, "{path}");
    }
    for path in [SETUP, CHALLENGES, SESSIONS] {
        let (status, _) = ask(&stage, None, Method::POST, path, "{").await;
        assert_eq!(status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_role_that_does_not_suffice_is_refused_before_anything_is_read() {
    let stage = Stage::new();
    let owner = stage.set_up().await;
    let auditor = stage.add(&owner, 2, AdminRole::Auditor).await;
    for (method, path, body) in MALFORMED {
        // An explanation is a question, too long for a query.
        let asks = method == Method::GET || path.ends_with("/explanation");
        let expected = if asks { 400 } else { 403 };
        let (status, _) = ask(&stage, Some(&auditor), method, path, body).await;
        assert_eq!(status, expected, "{path}");
    }
}

#[tokio::test]
async fn what_an_admin_sends_that_cannot_be_read_is_a_problem() {
    let stage = Stage::new();
    let owner = stage.set_up().await;
    for (method, path, body) in MALFORMED {
        let (status, problem) = ask(&stage, Some(&owner), method, path, body).await;
        assert_eq!(status, 400, "{path}");
        assert_eq!(problem["type"], "urn:postern:problem:malformed-request");
        assert!(problem["request_id"].is_string());
    }
}

#[tokio::test]
async fn an_invite_is_made_and_withdrawn() {
    let stage = Stage::new();
    let owner = stage.set_up().await;
    let operator = stage.add(&owner, 2, AdminRole::Operator).await;
    let id = InviteId::of(&[1; 16]);
    let invite = json!({
        "id": id, "cohort": "default", "uses": 1, "expires_at": "2027-12-01T00:00:00Z",
    });
    let post = async |path: &str, body: &str| {
        let answer = ask(&stage, Some(&operator), Method::POST, path, body);
        answer.await
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
    let stage = Stage::new();
    let owner = stage.set_up().await;
    let invite = json!({
        "id": InviteId::of(&[1; 16]), "cohort": "canary", "uses": 1,
        "expires_at": "2027-12-01T00:00:00Z",
    });
    let gateway = json!({
        "id": "g-0001", "role": "ingress", "region": "test", "endpoint": "192.0.2.1:51820",
        "pool": "ingress", "cohorts": ["default"], "bootstrap_hash": "x",
        "bootstrap_expires_at": "2027-12-01T00:00:00Z",
    });
    for (path, body, named) in [
        (INVITES, invite, "canary"),
        (GATEWAYS, gateway, "192.0.2.1"),
    ] {
        let body = body.to_string();
        let (status, problem) = ask(&stage, Some(&owner), Method::POST, path, &body).await;
        assert_eq!(status, 400);
        assert!(
            problem["detail"].as_str().unwrap().contains(named),
            "{problem}"
        );
    }
}

/// Sends a request, with the session's token if it is given: the status and the body, which must
/// be a problem unless the status tells of success.
async fn ask(
    stage: &Stage,
    session: Option<&SessionAnswer>,
    method: Method,
    path: &str,
    body: &str,
) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(session) = session {
        request = request.header(AUTHORIZATION, format!("Bearer {}", session.token));
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let answer: Response<Body> = stage.send(request).await;
    let status = answer.status();
    if !status.is_success() {
        let media = &answer.headers()[CONTENT_TYPE];
        assert_eq!(media, api::problem::MEDIA_TYPE, "{path}");
    }
    (status.as_u16(), read(answer).await)
}
