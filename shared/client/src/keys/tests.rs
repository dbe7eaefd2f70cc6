use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::StatusCode;
use jiff::SignedDuration;

use crate::doors::Options;
use crate::fixture::{self, Hand, NOW, Repository, held, later, random, serve};
use crate::refresh::{Asking, Contacted, Refreshed, refresh};
use crate::select::{self, select};
use crate::standing::{self, Standing};
use crate::{Context, Device, Error, Locked, Web, file};

/// A device with one front door and one control endpoint, and what they say now.
struct Place {
    folder: tempfile::TempDir,
    web: Web,
    hand: Hand,
    bundle: Arc<Mutex<Vec<u8>>>,
    /// The keys that are given and when the next epoch begins; nothing while the control plane is away.
    told: Arc<Mutex<Option<Told>>>,
    asked: Arc<Mutex<u32>>,
}

type Told = (Vec<model::HeldKey>, Option<jiff::Timestamp>);

/// The keys of slice 0 of one in these epochs.
fn keys_of(epochs: &[u64]) -> Vec<model::HeldKey> {
    epochs.iter().map(|epoch| held(*epoch, (0, 1))).collect()
}

/// A catalog that the keys of these epochs open.
fn sealed(version: u64, epochs: &'static [u64]) -> Repository {
    Repository {
        version,
        sealed: (1, epochs),
        ..Repository::default()
    }
}

impl Place {
    async fn new() -> Self {
        let bundle = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::new(Mutex::new(None::<Told>));
        let asked = Arc::new(Mutex::new(0));
        let path = tuf::repository::bundle_path(Some(&"default".parse().unwrap()));
        let served = bundle.clone();
        let door = Router::new().route(
            &format!("/{path}"),
            get(move || async move { served.lock().unwrap().clone() }),
        );
        let door = serve(door).await;
        let (says, counted) = (told.clone(), asked.clone());
        let answer = fixture::answer(&Repository::default().device(&[]));
        let control = Router::new().fallback(move || async move {
            *counted.lock().unwrap() += 1;
            let Some((keys, next_epoch_at)) = says.lock().unwrap().clone() else {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            };
            let answer = api::enroll::DeviceAnswer {
                keys,
                next_epoch_at,
                ..answer
            };
            axum::Json(answer).into_response()
        });
        let mut device = Repository::default().device(&[door]);
        device.contact.control = vec![serve(control).await];
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            web: Web::new().unwrap(),
            hand: Hand::at(NOW),
            bundle,
            told,
            asked,
        };
        place.file().await.save(&device).unwrap();
        place
    }

    async fn file(&self) -> Locked {
        let path = self.folder.path().join("device.json");
        Locked::open(&path, crate::fixture::PATIENCE).await.unwrap()
    }

    fn serves(&self, repository: &Repository) {
        *self.bundle.lock().unwrap() = repository.bundle();
    }

    fn gives(&self, keys: Option<Vec<model::HeldKey>>) {
        *self.told.lock().unwrap() = keys.map(|keys| (keys, None));
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    async fn refresh(&self) -> Refreshed {
        let file = self.file().await;
        let mut device = file.read().unwrap();
        let context = Context {
            web: &self.web,
            clock: &self.hand,
            options: Options::default(),
        };
        refresh(&file, &mut device, Asking::WhenDue, &random(), &context)
            .await
            .unwrap()
    }

    fn saved(&self) -> Device {
        file::read(&self.folder.path().join("device.json")).unwrap()
    }

    fn selects(&self) -> Result<select::Report, Error> {
        let now = crate::Clock::now(&self.hand);
        select(&mut self.saved(), &select::Request::default(), now)
    }
}

#[tokio::test]
async fn a_first_sync_gets_the_keys_beside_the_catalog_and_opens_it_in_one_go() {
    let place = Place::new().await;
    place.serves(&sealed(3, &[1]));
    place.gives(Some(keys_of(&[2, 1])));

    let report = place.refresh().await.sync.unwrap();

    assert_eq!((report.gateways, report.sealed.opened), (4, 1));
    assert!(place.selects().is_ok());
    assert_eq!(place.asked(), 1);
}

#[tokio::test]
async fn a_device_holds_its_slices_and_reads_no_other() {
    let place = Place::new().await;
    let mut gateways = Vec::new();
    for number in 1..=20u8 {
        let role = if number % 2 == 0 {
            model::Role::Ingress
        } else {
            model::Role::Egress
        };
        let id = format!("g-aa{number:02}");
        gateways.push(fixture::gateway(&id, role, &format!("192.0.2.{number}")));
    }
    let ids = gateways.iter().map(|gateway| (&gateway.id, gateway.role));
    let placed = rules::slices::place(ids, 4);
    let mine: Vec<_> = placed[2]
        .iter()
        .map(|at| gateways[*at].id.clone())
        .collect();
    place.serves(&Repository {
        gateways: gateways.clone(),
        sealed: (4, &[1]),
        ..Repository::default()
    });
    place.gives(Some(vec![held(1, (2, 4))]));

    let report = place.refresh().await.sync.unwrap();

    assert_eq!((report.sealed.slices, report.sealed.opened), (4, 1));
    let known = standing::known(&place.saved(), NOW).unwrap().unwrap();
    let read: Vec<_> = known
        .catalog
        .gateways()
        .map(|gateway| gateway.id.clone())
        .collect();
    assert_eq!(read, mine);
    assert!(read.len() < gateways.len());
}

#[tokio::test]
async fn away_for_the_whole_grace_it_keeps_what_it_had_and_gets_its_keys_at_the_next_contact() {
    let place = Place::new().await;
    place.serves(&sealed(3, &[1]));
    place.gives(Some(keys_of(&[2, 1])));
    place.refresh().await;

    // Two epochs later, and the control plane does not answer: it is asked, and said.
    place.hand.set(later(20));
    place.serves(&sealed(4, &[3]));
    place.gives(None);
    let refreshed = place.refresh().await;
    assert!(matches!(refreshed.contact, Some(Contacted::Failed(_))));
    let report = refreshed.sync.unwrap();
    assert!(report.sealed.is_shut() && report.changed);
    assert_eq!(
        (report.version, report.gateways, report.catalog_version),
        (4, 4, Some(3))
    );
    assert!(
        place.selects().is_ok(),
        "by the last catalog that it opened"
    );

    // Another version that it cannot open takes nothing from it, until its grace is over.
    place.serves(&Repository {
        expires: later(24 * 40),
        ..sealed(5, &[3])
    });
    place.hand.set(later(24 * 10));
    let report = place.refresh().await.sync.unwrap();
    assert!(
        matches!(report.standing, Standing::Stale { .. }),
        "{:?}",
        report.standing
    );
    assert!(place.selects().is_ok());
    place.hand.set(later(24 * 16));
    assert!(matches!(place.selects(), Err(Error::Lapsed { .. })));

    // The control plane is back: asked again though contact failed just now, and opened at once.
    place.hand.set(later(24 * 10 + 1));
    place.gives(Some(keys_of(&[4, 3])));
    let asked = place.asked();
    let report = place.refresh().await.sync.unwrap();
    assert_eq!(
        (
            report.sealed.opened,
            report.gateways,
            report.catalog_version
        ),
        (1, 4, Some(5))
    );
    assert_eq!(place.asked(), asked + 1);
    assert_eq!(place.saved().opened, None);
    assert!(!report.stale);
}

#[tokio::test]
async fn without_any_key_it_says_so_and_goes_on_asking() {
    let place = Place::new().await;
    place.serves(&sealed(3, &[1]));
    place.gives(Some(Vec::new()));

    let report = place.refresh().await.sync.unwrap();

    assert_eq!((report.gateways, report.sealed.is_shut()), (0, true));
    assert!(matches!(place.selects(), Err(Error::Shut)));
    place.hand.set(later(1));
    place.refresh().await;
    assert_eq!(place.asked(), 2, "long before the next contact is due");
}

#[tokio::test]
async fn keys_that_open_what_is_kept_stay_though_they_are_given_no_more() {
    let place = Place::new().await;
    place.serves(&sealed(3, &[1]));
    place.gives(Some(keys_of(&[2, 1])));
    place.refresh().await;

    // The doors lag behind the control plane, which has forgotten epoch 1.
    place.hand.set(later(7));
    place.gives(Some(keys_of(&[3, 2])));
    let report = place.refresh().await.sync.unwrap();
    assert_eq!((report.gateways, report.sealed.opened), (4, 1));
    assert_eq!(place.saved().old_keys, keys_of(&[1]));

    // Once they have caught up, nothing needs the old key.
    place.serves(&sealed(4, &[2]));
    place.refresh().await;
    place.hand.set(later(14));
    let report = place.refresh().await.sync.unwrap();
    assert_eq!(report.sealed.opened, 1);
    assert!(place.saved().old_keys.is_empty());
}

#[tokio::test]
async fn when_an_epoch_has_begun_since_the_last_contact_the_next_keys_are_asked_for() {
    let place = Place::new().await;
    place.serves(&sealed(3, &[1]));
    *place.told.lock().unwrap() = Some((keys_of(&[2, 1]), Some(later(2))));
    place.refresh().await;
    place.hand.set(later(1));
    place.refresh().await;
    assert_eq!(place.asked(), 1);

    place.hand.set(later(2));
    *place.told.lock().unwrap() = Some((keys_of(&[3, 2]), Some(later(300))));
    place.refresh().await;
    place.hand.set(later(3));
    place.refresh().await;

    assert_eq!(place.asked(), 2, "once");
}

#[tokio::test]
async fn a_device_file_shows_its_keys_to_no_debugger_and_keeps_them() {
    let place = Place::new().await;
    place.serves(&sealed(3, &[1]));
    place.gives(Some(keys_of(&[1])));
    place.refresh().await;
    let device = place.saved();
    let key = String::from(device.answer.as_ref().unwrap().keys[0].key.clone());

    assert!(!format!("{device:?}").contains(&key));
    assert!(
        std::fs::read_to_string(place.folder.path().join("device.json"))
            .unwrap()
            .contains(&key)
    );
    let soon = NOW + SignedDuration::from_mins(1);
    assert_eq!(
        standing::usable(&device, soon)
            .unwrap()
            .catalog
            .gateways()
            .count(),
        4
    );
}
