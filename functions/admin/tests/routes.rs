//! Who gets through to which route: over the finished router, without a socket.

mod common;

use api::admin::INVITES;
use api::admins::{
    self, CHALLENGES, ChallengeAnswer, RoleRequest, SESSION, SESSION_END, SESSIONS, SETUP,
    SessionAnswer, SessionRequest, SessionView, SetupRequest,
};
use api::enroll::InviteSecret;
use api::policy::EXPLANATION;
use api::{Kind, Problem};
use axum::body::Body;
use common::{CODE, Stage, key, problem_of, read, roles, uri};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use model::{Admin, AdminId, AdminRole};
use serde_json::json;

#[tokio::test]
async fn every_route_asks_for_a_session_and_tells_nothing_without() {
    let stage = Stage::new();
    let owner = stage.set_up().await;
    let token = owner.token.to_string();
    let swapped = format!("{}.{}", AdminId::of(&key(9).public()), &token[29..]);
    let garbage = [
        (None, Kind::SessionMissing),
        (Some(String::new()), Kind::SessionMissing),
        (Some(token.clone()), Kind::SessionMissing),
        (Some(format!("Basic {token}")), Kind::SessionMissing),
        (Some("Bearer nonsense".to_owned()), Kind::SessionMissing),
        (Some(format!("Bearer {token}A")), Kind::SessionMissing),
        (Some(format!("Bearer {swapped}")), Kind::SessionEnded),
    ];

    for (method, path, _) in roles() {
        for (header, expected) in &garbage {
            let mut request = Request::builder().method(&method).uri(uri(path, "?x=y"));
            if let Some(header) = header {
                request = request.header(AUTHORIZATION, header);
            }
            let answer = stage.send(request.body(Body::from("{")).unwrap()).await;

            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            assert!(answer.headers().contains_key(WWW_AUTHENTICATE));
            let problem: Problem = read(answer).await;
            assert!(problem.is(*expected), "{method} {path}: {problem}");
        }
    }
}

#[tokio::test]
async fn a_role_reaches_just_the_routes_that_it_may() {
    use AdminRole::{Auditor, Operator, Owner};
    for role in [Auditor, Operator, Owner] {
        for (method, path, needed) in roles() {
            let stage = Stage::new();
            let owner = stage.set_up().await;
            let session = stage.add(&owner, 2, role).await;
            let before = stage.snapshot(&owner).await;

            let answer = stage.ask(&session, &method, uri(path, "")).await;

            let problem: Option<Problem> = problem_of(answer).await;
            let refused = problem.is_some_and(|problem| problem.is(Kind::NotAllowed));
            assert_eq!(refused, role < needed, "{role}: {method} {path}");
            if refused {
                assert_eq!(stage.snapshot(&owner).await, before, "nothing is written");
            }
        }
    }
}

#[test]
fn an_auditor_may_change_nothing_but_the_end_of_the_own_session() {
    // An explanation is a question, too long for a query.
    let changes = roles().into_iter();
    let changes = changes.filter(|(method, _, _)| *method != Method::GET);
    let open: Vec<_> = changes
        .filter(|(_, _, role)| *role == AdminRole::Auditor)
        .map(|(_, path, _)| path)
        .collect();
    assert_eq!(open, [SESSION_END, EXPLANATION]);
}

#[tokio::test]
async fn a_session_that_expired_or_was_ended_is_refused() {
    let stage = Stage::new();
    let first = stage.set_up().await;
    let second = stage.log_in(1).await;

    stage.post_as(&second, SESSION_END, &json!({})).await;
    let ended = stage.ask(&second, &Method::GET, SESSION.to_owned()).await;
    stage.wait(3599);
    let open = stage.ask(&first, &Method::GET, SESSION.to_owned()).await;
    stage.wait(1);
    let expired = stage.ask(&first, &Method::GET, SESSION.to_owned()).await;

    let view: SessionView = read(open).await;
    assert_eq!(view.admin.role, AdminRole::Owner);
    for refused in [ended, expired] {
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert!(problem_of(refused).await.unwrap().is(Kind::SessionEnded));
    }
}

#[tokio::test]
async fn a_login_that_was_listened_to_is_worth_nothing() {
    let stage = Stage::new();
    stage.set_up().await;
    let challenge: ChallengeAnswer = stage.signed(1, CHALLENGES, &json!({})).await.unwrap();
    let request = SessionRequest {
        challenge: challenge.challenge,
    };
    // Ed25519 is deterministic: signed twice in a second, both are the same bytes.
    let (spoken, copy) = (
        stage.sign(1, SESSIONS, &request),
        stage.sign(1, SESSIONS, &request),
    );
    assert_eq!(spoken.headers(), copy.headers());

    let opened = stage.send(spoken).await;
    let replayed = stage.send(copy).await;
    let signed_anew = stage.signed::<SessionAnswer>(1, SESSIONS, &request).await;

    assert_eq!(opened.status(), StatusCode::OK);
    assert_eq!(replayed.status(), StatusCode::FORBIDDEN);
    let replayed = problem_of(replayed).await.unwrap();
    assert!(replayed.is(Kind::ChallengeRefused));
    assert!(signed_anew.unwrap_err().is(Kind::ChallengeRefused));
}

#[tokio::test]
async fn a_challenge_of_another_an_expired_and_a_malformed_one_are_refused() {
    let stage = Stage::new();
    let owner = stage.set_up().await;
    stage.add(&owner, 2, AdminRole::Owner).await;
    let challenge: ChallengeAnswer = stage.signed(1, CHALLENGES, &json!({})).await.unwrap();
    let request = json!({"challenge": challenge.challenge});

    let anothers = stage.signed::<SessionAnswer>(2, SESSIONS, &request).await;
    stage.wait(60);
    let expired = stage.signed::<SessionAnswer>(1, SESSIONS, &request).await;
    let malformed = json!({"challenge": "?"});
    let malformed = stage.signed::<SessionAnswer>(1, SESSIONS, &malformed).await;
    let unknown_field = json!({"challenge": "", "role": "owner"});
    let unknown_field = stage
        .signed::<SessionAnswer>(1, SESSIONS, &unknown_field)
        .await;
    let stranger = stage
        .signed::<ChallengeAnswer>(9, CHALLENGES, &json!({}))
        .await;

    assert!(anothers.unwrap_err().is(Kind::ChallengeRefused));
    assert!(expired.unwrap_err().is(Kind::ChallengeRefused));
    assert!(malformed.unwrap_err().is(Kind::MalformedRequest));
    assert!(unknown_field.unwrap_err().is(Kind::MalformedRequest));
    assert!(stranger.unwrap_err().is(Kind::NotAllowed));
}

#[tokio::test]
async fn a_setup_code_makes_one_owner_and_refuses_everybody_else() {
    let stage = Stage::new();
    let setup = |name: &str| SetupRequest {
        code: InviteSecret::new(&CODE),
        name: name.to_owned(),
    };

    let unsigned = Request::post(SETUP).body(Body::from("{}")).unwrap();
    let unsigned = problem_of(stage.send(unsigned).await).await.unwrap();
    let nameless = stage.signed::<Admin>(1, SETUP, &setup(" ")).await;
    let first: Admin = stage.signed(1, SETUP, &setup("ada")).await.unwrap();
    let again: Admin = stage.signed(1, SETUP, &setup("ada")).await.unwrap();
    let other = stage.signed::<Admin>(2, SETUP, &setup("eve")).await;

    assert!(unsigned.is(Kind::SignatureMissing));
    assert!(nameless.unwrap_err().is(Kind::MalformedRequest));
    assert_eq!((first.role, &first), (AdminRole::Owner, &again));
    assert!(other.unwrap_err().is(Kind::SetupRefused));
}

#[tokio::test]
async fn owners_add_change_and_remove_admins_and_it_counts_at_once() {
    let stage = Stage::new();
    let owner = stage.set_up().await;
    let second = stage.add(&owner, 2, AdminRole::Operator).await;
    let invites = INVITES.to_owned();

    let role = RoleRequest {
        role: AdminRole::Auditor,
    };
    stage
        .post_as(&owner, &admins::role(&second.admin), &role)
        .await;
    let demoted = stage.ask(&second, &Method::POST, invites.clone()).await;
    let path = admins::removal(&second.admin);
    stage.post_as(&owner, &path, &json!({})).await;
    let removed = stage.ask(&second, &Method::GET, invites).await;
    let path = admins::removal(&owner.admin);
    let last = stage.ask(&owner, &Method::POST, path).await;

    assert!(problem_of(demoted).await.unwrap().is(Kind::NotAllowed));
    assert!(problem_of(removed).await.unwrap().is(Kind::SessionEnded));
    assert!(problem_of(last).await.unwrap().is(Kind::LastOwner));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let stage = Stage::new();
    let owner = stage.set_up().await;
    let request = Request::post(INVITES)
        .header(AUTHORIZATION, format!("Bearer {}", owner.token))
        .body(Body::from(vec![b' '; edge::MOST_BODY + 1]));

    let answer = stage.send(request.unwrap()).await;

    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(problem_of(answer).await.unwrap().is(Kind::TooLarge));
}
