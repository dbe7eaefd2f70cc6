use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::enroll::DeviceAnswer;
use api::sealed::{self, ControlSecrets, DEVICES};
use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use http::StatusCode;
use model::ControlKey;

use super::*;
use crate::doors::Options;
use crate::fixture::{self, Hand, NOW, Repository, later, random, refused, serve};
use crate::{Web, file};

/// A device file, with a front door that serves it a repository.
struct Place {
    folder: tempfile::TempDir,
    web: Web,
    hand: Hand,
}

impl Place {
    /// A device that knows these control endpoints and has never synced.
    async fn with(control: &[String]) -> Self {
        Self::of(&Repository::default(), None, control).await
    }

    /// A device of this repository that knows this control key.
    async fn of(repository: &Repository, key: Option<ControlKey>, control: &[String]) -> Self {
        let bundle = repository.bundle();
        let path = format!(
            "/{}",
            tuf::repository::bundle_path(Some(&"default".parse().unwrap()))
        );
        let door = serve(Router::new().route(&path, get(async || bundle))).await;
        let mut device = repository.device(&[door]);
        device.contact.control = control.to_vec();
        device.contact.control_key = key;
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            web: Web::new().unwrap(),
            hand: Hand::at(NOW),
        };
        place.file().await.save(&device).unwrap();
        place
    }

    async fn file(&self) -> Locked {
        let path = self.folder.path().join("device.json");
        Locked::open(&path, crate::fixture::PATIENCE).await.unwrap()
    }

    async fn refresh(&self, asking: Asking) -> Refreshed {
        let file = self.file().await;
        let mut device = file.read().unwrap();
        let context = Context {
            web: &self.web,
            clock: &self.hand,
            options: Options::default(),
        };
        refresh(&file, &mut device, asking, &random(), &context)
            .await
            .unwrap()
    }

    fn saved(&self) -> Device {
        file::read(&self.folder.path().join("device.json")).unwrap()
    }
}

/// A control plane that says the same to everybody and counts.
async fn control(answer: DeviceAnswer) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let router = Router::new().fallback(move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        axum::Json(answer)
    });
    (serve(router).await, asked)
}

fn own_answer() -> DeviceAnswer {
    fixture::answer(&Repository::default().device(&[]))
}

#[tokio::test]
async fn a_control_plane_that_is_away_keeps_no_catalog_back() {
    let place = Place::with(&[refused().await]).await;

    let refreshed = place.refresh(Asking::WhenDue).await;

    assert_eq!(refreshed.sync.unwrap().gateways, 4);
    assert!(matches!(refreshed.contact, Some(Contacted::Failed(_))));
    let contacts = place.saved().contacts;
    assert_eq!((contacts.failures, contacts.answered_at), (1, None));
}

#[tokio::test]
async fn a_silent_control_plane_is_waited_for_five_seconds() {
    let silent = Router::new().fallback(std::future::pending::<()>);
    let place = Place::with(&[serve(silent).await]).await;
    let begun = tokio::time::Instant::now();

    let refreshed = place.refresh(Asking::WhenDue).await;

    assert!(begun.elapsed() < PATIENCE * 2);
    assert!(refreshed.sync.is_ok());
    assert!(matches!(refreshed.contact, Some(Contacted::Failed(_))));
}

#[tokio::test]
async fn contact_is_made_every_six_hours_or_when_it_is_asked_for() {
    let (endpoint, asked) = control(own_answer()).await;
    let place = Place::with(&[endpoint]).await;
    let mut counts = Vec::new();
    for (hours, asking) in [
        (0, Asking::WhenDue),
        (1, Asking::WhenDue),
        (1, Asking::Now),
        (6, Asking::WhenDue),
        (7, Asking::WhenDue),
    ] {
        place.hand.set(later(hours));
        place.refresh(asking).await;
        counts.push(asked.load(Ordering::SeqCst));
    }
    assert_eq!(counts, [1, 1, 2, 2, 3]);
}

#[tokio::test]
async fn another_copy_s_rotation_is_noticed() {
    let until = Some(later(40));
    let (endpoint, _) = control(DeviceAnswer {
        identity_key: api::IdentitySecret::from_seed([9; 32]).public(),
        previous_until: until,
        // Of no use to a copy whose keys are the old ones.
        rotation_wanted_at: Some(NOW),
        ..own_answer()
    })
    .await;
    let place = Place::with(&[endpoint]).await;

    let refreshed = place.refresh(Asking::WhenDue).await;

    let Some(Contacted::OtherKeys { until: told }) = refreshed.contact else {
        panic!("{:?}", refreshed.contact)
    };
    assert_eq!(told, until);
    assert!(refreshed.rotation.is_none());
    assert!(refreshed.sync.is_ok());
}

#[tokio::test]
async fn contact_that_failed_is_made_again_under_the_control_key_that_the_sync_brought() {
    let secrets = |byte| ControlSecrets::default().with_new([byte; 32]).unwrap();
    let (before, now) = (secrets(7).public()[0], secrets(8));
    let opens = now.clone();
    let answer = move |capsule: Bytes| async move {
        let (sealer, _) = sealed::open(&opens, &capsule).map_err(|_| StatusCode::UNAUTHORIZED)?;
        let answer = http::Response::new(serde_json::to_vec(&own_answer()).unwrap());
        Ok::<_, StatusCode>(sealer.seal(&answer, [3; 32]))
    };
    let control = serve(Router::new().route(DEVICES, post(answer))).await;
    let repository = Repository {
        control_key: Some(now.public()[0]),
        ..Repository::default()
    };
    let place = Place::of(&repository, Some(before), &[control]).await;

    let refreshed = place.refresh(Asking::WhenDue).await;

    assert!(
        matches!(refreshed.contact, Some(Contacted::Answered { .. })),
        "{:?}",
        refreshed.contact
    );
    assert_eq!(place.saved().contact.control_key, Some(now.public()[0]));
}
