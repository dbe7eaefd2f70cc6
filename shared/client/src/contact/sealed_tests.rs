//! What a device that knows a control key sends, and what of what comes back it believes.

use std::sync::{Arc, Mutex};

use api::sealed::{ControlSecrets, DEVICES};
use api::{InviteText, Kind, Problem};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use http::StatusCode;

use super::*;
use crate::doors::Options;
use crate::fixture::{self, Hand, NOW, Repository, random, serve};
use crate::{Locked, Web, enroll, file};

/// A control plane, or who stands before it.
#[derive(Clone)]
struct Way {
    says: Arc<Mutex<Says>>,
    /// Capsules, in their order.
    sealed: Arc<Mutex<Vec<Bytes>>>,
    /// Whatever else was asked.
    plain: Arc<Mutex<Vec<String>>>,
    last: Arc<Mutex<Option<Bytes>>>,
}

#[derive(Clone)]
enum Says {
    /// This, under seal.
    Sealed(StatusCode, String),
    /// The sealed answer to the request of before.
    OfBefore,
    /// This, as it is.
    Unsealed(StatusCode, String),
}

fn secrets() -> ControlSecrets {
    ControlSecrets::default().with_new([7; 32]).unwrap()
}

fn yes() -> String {
    let repository = Repository::default();
    serde_json::to_string(&fixture::answer(&repository.device(&[]))).unwrap()
}

fn no() -> String {
    serde_json::to_string(&Problem::new(Kind::InviteUsedUp, "ask for another")).unwrap()
}

impl Way {
    fn new(says: Says) -> Self {
        Self {
            says: Arc::new(Mutex::new(says)),
            sealed: Arc::default(),
            plain: Arc::default(),
            last: Arc::default(),
        }
    }

    async fn serve(&self) -> String {
        let router = Router::new()
            .route(
                DEVICES,
                post(|way: State<Self>, capsule: Bytes| async move { way.answer(&capsule) }),
            )
            .fallback(any(
                |way: State<Self>, uri: Uri| async move { way.note(&uri) },
            ))
            .with_state(self.clone());
        serve(router).await
    }

    fn note(&self, uri: &Uri) -> StatusCode {
        self.plain.lock().unwrap().push(uri.to_string());
        StatusCode::IM_A_TEAPOT
    }

    fn answer(&self, capsule: &Bytes) -> Response {
        self.sealed.lock().unwrap().push(capsule.clone());
        let (sealer, request) = sealed::open(&secrets(), capsule).unwrap();
        let request = request.unwrap();
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let network = "n-abcdefgh".parse().unwrap();
        signed::verify(&network, method, uri, headers, request.body(), NOW).unwrap();
        let says = self.says.lock().unwrap().clone();
        match says {
            Says::Unsealed(status, body) => (status, body).into_response(),
            Says::OfBefore => self.last.lock().unwrap().clone().unwrap().into_response(),
            Says::Sealed(status, body) => {
                let answer = http::Response::builder().status(status);
                let answer = answer.body(body.into_bytes()).unwrap();
                let answer = Bytes::from(sealer.seal(&answer, [3; 32]));
                *self.last.lock().unwrap() = Some(answer.clone());
                answer.into_response()
            }
        }
    }

    fn plain(&self) -> Vec<String> {
        self.plain.lock().unwrap().clone()
    }
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

    async fn enroll(&self, control: &[String]) -> Result<(), Error> {
        let mut invite: InviteText = Repository::default().invite(&[], control);
        invite.contact.control_key = Some(secrets().public()[0]);
        let path = self.folder.path().join("device.json");
        let file = Locked::open(&path, crate::fixture::PATIENCE).await?;
        let enrolled = enroll::enroll(&file, &invite, &random(), &self.context()).await;
        enrolled.map(drop)
    }

    fn saved(&self) -> Device {
        file::read(&self.folder.path().join("device.json")).unwrap()
    }
}

#[tokio::test]
async fn a_device_that_knows_the_control_key_seals_whatever_it_asks() {
    let (place, way) = (Place::new(), Way::new(Says::Sealed(StatusCode::OK, yes())));

    place.enroll(&[way.serve().await]).await.unwrap();
    let answer = contact(&place.saved(), &place.context()).await.unwrap();

    assert_eq!(answer.device, place.saved().id());
    assert_eq!(way.plain(), [""; 0]);
    let capsules = way.sealed.lock().unwrap().clone();
    assert_eq!(capsules.len(), 2);
    assert_eq!(capsules[0].len(), capsules[1].len(), "both of one size");
    assert_ne!(capsules[0][7..39], capsules[1][7..39], "keys of their own");
}

#[tokio::test]
async fn a_sealed_refusal_is_the_control_plane_s_and_an_unsealed_one_nobody_s() {
    let (place, way) = (
        Place::new(),
        Way::new(Says::Sealed(StatusCode::FORBIDDEN, no())),
    );
    let control = [way.serve().await];

    let refused = place.enroll(&control).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::InviteUsedUp.name());

    for (status, body) in [
        (StatusCode::FORBIDDEN, no()),
        (StatusCode::OK, no()),
        (StatusCode::OK, yes()),
        (StatusCode::CREATED, yes()),
        (StatusCode::BAD_GATEWAY, "<html>".to_owned()),
        (StatusCode::NOT_FOUND, String::new()),
    ] {
        *way.says.lock().unwrap() = Says::Unsealed(status, body);
        let error = place.enroll(&control).await.unwrap_err();
        assert_eq!(error.kind(), "unreachable", "{status}: {error}");
    }
    assert_eq!(place.saved().answer, None);
    assert_eq!(way.plain(), [""; 0], "nothing makes it ask in the plain");
}

#[tokio::test]
async fn another_endpoint_answers_where_one_is_stood_before() {
    let forger = Way::new(Says::Unsealed(StatusCode::FORBIDDEN, no()));
    let (place, way) = (Place::new(), Way::new(Says::Sealed(StatusCode::OK, yes())));

    let control = [forger.serve().await, way.serve().await];
    place.enroll(&control).await.unwrap();

    assert!(place.saved().answer.is_some());
    assert_eq!([forger.plain(), way.plain()].concat(), [""; 0]);
}

#[tokio::test]
async fn the_answer_to_another_request_is_refused() {
    let (place, way) = (Place::new(), Way::new(Says::Sealed(StatusCode::OK, yes())));
    place.enroll(&[way.serve().await]).await.unwrap();
    *way.says.lock().unwrap() = Says::OfBefore;

    let error = contact(&place.saved(), &place.context()).await.unwrap_err();

    assert_eq!(error.kind(), "unreachable");
    assert!(error.to_string().contains("cannot be opened"), "{error}");
}
