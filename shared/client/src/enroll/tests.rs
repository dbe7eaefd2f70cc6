use std::sync::{Arc, Mutex};

use api::enroll::DeviceAnswer;
use api::{Kind, Problem, signed};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{StatusCode, header};
use model::FrontDoor;

use super::*;
use crate::contact::contact;
use crate::doors::Options;
use crate::fixture::{self, Hand, NOW, Repository, random, refused, serve};
use crate::{Web, file};

/// A request, as method, path, body.
type Seen = (String, String, Vec<u8>);

/// A control plane that checks signatures, and answers what it is told to.
#[derive(Clone)]
struct Control {
    seen: Arc<Mutex<Vec<Seen>>>,
    says: Arc<Mutex<Says>>,
}

#[derive(Clone)]
enum Says {
    Yes(Box<DeviceAnswer>),
    No(Problem),
    Nonsense,
}

impl Control {
    fn new(says: Says) -> Self {
        Self {
            seen: Arc::default(),
            says: Arc::new(Mutex::new(says)),
        }
    }

    async fn serve(&self) -> String {
        let router = Router::new().fallback(any(Self::answer));
        serve(router.with_state(self.clone())).await
    }

    async fn answer(State(control): State<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 100_000).await.unwrap();
        let network = "n-abcdefgh".parse().unwrap();
        let headers = &parts.headers;
        signed::verify(&network, &parts.method, &parts.uri, headers, &body, NOW).unwrap();
        let seen = (
            parts.method.to_string(),
            parts.uri.to_string(),
            body.to_vec(),
        );
        control.seen.lock().unwrap().push(seen);
        let json = |status: u16, body: String| {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        };
        let says = control.says.lock().unwrap().clone();
        match says {
            Says::Yes(answer) => json(200, serde_json::to_string(&answer).unwrap()),
            Says::No(problem) => json(problem.status, serde_json::to_string(&problem).unwrap()),
            Says::Nonsense => json(200, "<html>".to_owned()),
        }
    }
}

fn yes() -> Says {
    let repository = Repository::default();
    Says::Yes(Box::new(fixture::answer(&repository.device(&[]))))
}

struct Place {
    folder: tempfile::TempDir,
    web: Web,
    hand: Hand,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            web: Web::new().unwrap(),
            hand: Hand::at(NOW),
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            web: &self.web,
            clock: &self.hand,
            options: Options::default(),
        }
    }

    async fn enroll(&self, invite: &InviteText) -> Result<Enrolled, Error> {
        let path = self.folder.path().join("device.json");
        let file = Locked::open(&path, crate::fixture::PATIENCE).await?;
        enroll(&file, invite, &random(), &self.context()).await
    }

    fn saved(&self) -> Device {
        file::read(&self.folder.path().join("device.json")).unwrap()
    }
}

fn invite(control: &[String]) -> InviteText {
    Repository::default().invite(&[], control)
}

#[tokio::test]
async fn a_device_enrolls_through_the_first_endpoint_that_answers() {
    let place = Place::new();
    let control = Control::new(yes());
    let endpoints = [refused().await, control.serve().await];

    let enrolled = place.enroll(&invite(&endpoints)).await.unwrap();

    assert!(!enrolled.already);
    let saved = place.saved();
    assert_eq!(saved.answer, enrolled.device.answer);
    assert!(saved.invite_secret.is_none(), "the secret has served");
    let seen = control.seen.lock().unwrap();
    let request: EnrollRequest = serde_json::from_slice(&seen[0].2).unwrap();
    assert_eq!(request.tunnel_key, saved.tunnel.tunnel_key());
    assert_eq!((seen[0].0.as_str(), seen[0].1.as_str()), ("POST", ENROLL));
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_keys() {
    let place = Place::new();
    let control = Control::new(Says::Nonsense);
    let invite = invite(&[control.serve().await]);
    let error = place.enroll(&invite).await.err().unwrap();
    assert_eq!(error.kind(), "unreachable");
    let before = place.saved();

    *control.says.lock().unwrap() = yes();
    let enrolled = place.enroll(&invite).await.unwrap();

    assert_eq!(enrolled.device.identity, before.identity);
    assert!(place.enroll(&invite).await.unwrap().already);
    let seen = control.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_refusal_is_shown_as_it_is_and_another_invite_may_follow() {
    let place = Place::new();
    let control = Control::new(Says::No(Problem::new(Kind::InviteExpired, "ask again")));
    let mut invite = invite(&[control.serve().await]);
    let error = place.enroll(&invite).await.err().unwrap();
    assert_eq!(error.kind(), "invite-expired");
    assert_eq!(error.to_string(), "The invite has expired: ask again");

    *control.says.lock().unwrap() = yes();
    invite.secret = [8; 16];
    place.enroll(&invite).await.unwrap();
}

#[tokio::test]
async fn an_enrolled_device_takes_the_doors_of_any_invite_of_its_network_and_nothing_else() {
    let place = Place::new();
    let control = Control::new(yes());
    let endpoints = [control.serve().await];
    place.enroll(&invite(&endpoints)).await.unwrap();
    let before = place.saved();
    let door = "https://door.example".to_owned();
    let mut another = Repository::default().invite(std::slice::from_ref(&door), &endpoints);
    another.secret = [9; 16];
    another.contact.root.sha256 = "0".repeat(64);
    another.contact.control = vec!["https://thief.example".to_owned()];

    let taken = place.enroll(&another).await.unwrap();
    let again = place.enroll(&another).await.unwrap();

    assert_eq!((taken.already, taken.new_doors), (true, 1));
    assert_eq!((again.already, again.new_doors), (true, 0));
    let mut expected = before;
    expected.contact.front_doors.insert(
        0,
        FrontDoor {
            url: door,
            fallback: Vec::new(),
        },
    );
    assert_eq!(place.saved(), expected);
    assert_eq!(control.seen.lock().unwrap().len(), 1);
    another.contact.network = "n-23456723".parse().unwrap();
    let error = place.enroll(&another).await.err().unwrap();
    assert_eq!(error.kind(), "other-invite");
}

#[tokio::test]
async fn contact_tells_a_device_that_it_was_revoked() {
    let place = Place::new();
    let problem = Problem::new(Kind::DeviceRevoked, "ask the operator");
    let control = Control::new(Says::No(problem));
    let mut device = Repository::default().device(&[]);
    device.contact.control = vec![control.serve().await];

    let error = contact(&device, &place.context()).await.unwrap_err();

    assert_eq!(error.kind(), "device-revoked");
    let path = format!("/v1/devices/{}", device.id());
    assert_eq!(control.seen.lock().unwrap()[0].1, path);
}

#[tokio::test]
async fn an_answer_for_another_device_is_not_taken() {
    let place = Place::new();
    let mut other = Repository::default().device(&[]);
    other.identity = api::IdentitySecret::from_seed([9; 32]);
    other.answer = None;
    let liar = Control::new(Says::Yes(Box::new(fixture::answer(&other))));

    let alone = invite(&[liar.serve().await]);
    let error = place.enroll(&alone).await.err().unwrap();
    assert_eq!(error.kind(), "unreachable");
    assert!(error.to_string().contains("it answered for"), "{error}");
    assert!(place.saved().answer.is_none());

    let place = Place::new();
    let endpoints = [liar.serve().await, Control::new(yes()).serve().await];
    let enrolled = place.enroll(&invite(&endpoints)).await.unwrap();
    assert_eq!(enrolled.device.answer, place.saved().answer);
    assert_ne!(enrolled.device.id(), other.id());
}

#[tokio::test]
async fn a_refusal_of_one_endpoint_is_not_the_last_word() {
    let no = |kind| Control::new(Says::No(Problem::new(kind, "no")));
    let place = Place::new();
    let endpoints = [
        no(Kind::InviteUnknown).serve().await,
        Control::new(yes()).serve().await,
    ];
    assert!(place.enroll(&invite(&endpoints)).await.is_ok());

    let place = Place::new();
    let endpoints = [
        no(Kind::InviteUsedUp).serve().await,
        no(Kind::InviteUnknown).serve().await,
        refused().await,
    ];
    let error = place.enroll(&invite(&endpoints)).await.err().unwrap();
    assert_eq!(error.kind(), "invite-used-up");
}

#[tokio::test]
async fn a_secret_is_not_sent_where_others_can_read_it() {
    let place = Place::new();
    for base in [
        "http://control.example",
        "http://192.0.2.1:8080",
        "http://127.0.0.1@control.example",
        "http://localhost.example",
        "ftp://127.0.0.1",
        "control.example",
    ] {
        let error = place.enroll(&invite(&[base.to_owned()])).await.err();
        let error = error.unwrap();
        assert_eq!(error.kind(), "invalid", "{base}");
        assert!(error.to_string().contains(base), "{error}");
        let mut device = Repository::default().device(&[]);
        device.contact.control = vec![base.to_owned()];
        let error = contact(&device, &place.context()).await.unwrap_err();
        assert!(error.to_string().contains("not asked"), "{error}");
    }
    for base in [
        "https://control.example",
        "http://127.8.0.1:80",
        "http://[::1]:8080/",
        "http://LOCALHOST:1",
    ] {
        assert!(is_private(base), "{base}");
    }
}
