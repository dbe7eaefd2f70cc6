//! Who gets through to which route: over the finished router, without a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use api::admin::INVITES;
use api::admins::{
    self, ADMINS, CHALLENGES, ChallengeAnswer, NewAdmin, RoleRequest, SESSION, SESSION_END,
    SESSIONS, SETUP, SessionAnswer, SessionRequest, SessionView, SetupRequest,
};
use api::enroll::InviteSecret;
use api::{IdentitySecret, Kind, Problem, signed};
use axum::Router;
use axum::body::Body;
use control::Moment;
use edge::{Clock, Edge};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use jiff::Timestamp;
use model::{Admin, AdminId, AdminRole, Network, NetworkId, SetupCode, Timing, id};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use store::MemoryStore;
use tower::ServiceExt;

const START: i64 = 1_800_000_000;
const CODE: [u8; 16] = [5; 16];

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

    for (method, path, _) in admin::roles() {
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
        for (method, path, needed) in admin::roles() {
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
    let changes = admin::roles().into_iter();
    let changes = changes.filter(|(method, _, _)| *method != Method::GET);
    let open: Vec<_> = changes
        .filter(|(_, _, role)| *role == AdminRole::Auditor)
        .map(|(_, path, _)| path)
        .collect();
    assert_eq!(open, [SESSION_END]);
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

/// A finished router with a clock that the test sets.
struct Stage {
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
    fn new() -> Self {
        let clock = Arc::new(TestClock {
            second: AtomicI64::new(START),
            drawn: AtomicU64::new(0),
        });
        let network = Network {
            id: NetworkId::from_random([7; 5]),
            pools: model::AddressPools::default_with([7; 5]),
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
        Self {
            router: edge::finish(admin::routes(edge.clone(), Some(code)), edge),
            clock,
            network: network.id,
        }
    }

    fn wait(&self, seconds: i64) {
        self.clock.second.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Makes the key 1 the first owner, and logs in.
    async fn set_up(&self) -> SessionAnswer {
        let request = SetupRequest {
            code: InviteSecret::new(&CODE),
            name: "ada".to_owned(),
        };
        self.signed::<Admin>(1, SETUP, &request).await.unwrap();
        self.log_in(1).await
    }

    /// Makes the key `number` an admin, and logs in.
    async fn add(&self, by: &SessionAnswer, number: u8, role: AdminRole) -> SessionAnswer {
        let new = NewAdmin {
            key: key(number).public(),
            name: format!("admin {number}"),
            role,
        };
        self.post_as(by, ADMINS, &new).await;
        self.log_in(number).await
    }

    async fn log_in(&self, number: u8) -> SessionAnswer {
        let ChallengeAnswer { challenge, .. } =
            self.signed(number, CHALLENGES, &json!({})).await.unwrap();
        let request = SessionRequest { challenge };
        self.signed(number, SESSIONS, &request).await.unwrap()
    }

    /// What an owner sees that a change would change.
    async fn snapshot(&self, owner: &SessionAnswer) -> Vec<String> {
        let mut seen = Vec::new();
        for (method, path, _) in admin::roles() {
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

    fn sign(&self, number: u8, path: &str, body: &impl Serialize) -> Request<Body> {
        let body = serde_json::to_vec(body).unwrap();
        let uri: Uri = path.parse().unwrap();
        let now = self.clock.now();
        let headers = signed::sign(&key(number), &self.network, &Method::POST, &uri, &body, now);
        let mut request = Request::post(uri).body(Body::from(body)).unwrap();
        *request.headers_mut() = headers;
        request
    }

    async fn signed<T: DeserializeOwned>(
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
    async fn ask(&self, by: &SessionAnswer, method: &Method, uri: String) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(AUTHORIZATION, format!("Bearer {}", by.token));
        self.send(request.body(Body::from("{}")).unwrap()).await
    }

    /// Sends `body` with the session's token: it must be taken.
    async fn post_as(&self, by: &SessionAnswer, path: &str, body: &impl Serialize) {
        let request = Request::post(path)
            .header(AUTHORIZATION, format!("bearer {}", by.token))
            .body(Body::from(serde_json::to_vec(body).unwrap()));
        let answer = self.send(request.unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }
}

fn key(number: u8) -> IdentitySecret {
    IdentitySecret::from_seed([number; 32])
}

/// A route's path with an id that fits it.
fn uri(path: &str, query: &str) -> String {
    let nobody = AdminId::of(&key(200).public());
    format!("{}{query}", path.replace("{id}", nobody.as_str()))
}

async fn problem_of(answer: Response<Body>) -> Option<Problem> {
    if answer.status().is_success() {
        return None;
    }
    Some(read(answer).await)
}

async fn read<T: DeserializeOwned>(answer: Response<Body>) -> T {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}
