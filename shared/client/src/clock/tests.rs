//! A wrong clock is said and not obeyed ([`rules::clock`] decides).

use axum::Router;
use axum::routing::get;
use http::header;
use model::FrontDoor;
use rules::clock::Verdict;

use crate::doors::Options;
use crate::fixture::{Hand, NOW, Repository, later, serve};
use crate::standing::{self, GRACE, Standing};
use crate::sync::{Report, sync};
use crate::{Context, Device, Error, Web, decisions, status};

const HOURS: i64 = 3_600;
const GRACE_HOURS: i64 = GRACE.as_hours();

/// A door whose own clock says `now`.
async fn door(repository: &Repository, now: jiff::Timestamp) -> FrontDoor {
    let bytes = repository.bundle();
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let answer = move || async move { ([(header::DATE, date)], bytes) };
    let url = serve(Router::new().route("/bundles/cohort/default", get(answer))).await;
    FrontDoor {
        url,
        fallback: Vec::new(),
    }
}

/// A device that has verified `known`, and doors that serve `served` at `now`, by their clocks.
async fn device(known: &Repository, served: &Repository, doors: &[jiff::Timestamp]) -> Device {
    let mut device = known.synced_device();
    for now in doors {
        device.contact.front_doors.push(door(served, *now).await);
    }
    device
}

async fn run(device: &mut Device, hand: &Hand) -> Result<Report, Error> {
    let web = Web::new().unwrap();
    let context = Context {
        web: &web,
        clock: hand,
        options: Options::default(),
    };
    sync(device, &context).await
}

fn renewed(hours: i64) -> Repository {
    Repository {
        version: 4,
        expires: later(hours),
        ..Repository::default()
    }
}

#[tokio::test]
async fn a_clock_behind_a_signed_moment_is_told_and_the_catalog_is_kept() {
    // The catalog says that it changed at NOW.
    let mut device = device(&Repository::default(), &renewed(24), &[NOW]).await;
    let hand = Hand::at(later(-48));

    let report = run(&mut device, &hand).await.unwrap();

    let seconds = 48 * HOURS;
    assert_eq!(report.clock, Verdict::Behind { seconds });
    assert_eq!(report.version, 4);
    assert!(standing::usable(&device, later(-48)).is_ok());
    let status = status::status(&device, later(-48)).unwrap();
    assert_eq!(status.clock, Verdict::Behind { seconds });
    let text = decisions::explain(&device.decisions).last().unwrap().text();
    assert!(text.contains("behind by at least 2 days"), "{text}");
    assert!(
        text.contains("the same inputs give the same order"),
        "{text}"
    );
    // A clock that was set right is not doubted any more, without a sync.
    let mut right = device.clone();
    right.clock = None;
    let status = status::status(&right, later(1)).unwrap();
    assert!(status.clock.is_plausible());
}

#[tokio::test]
async fn a_clock_behind_brings_back_no_older_catalog() {
    // What the device knows is newer than what the doors keep serving; by its clock both are valid.
    let mut device = device(&renewed(24), &Repository::default(), &[NOW, NOW]).await;

    let error = run(&mut device, &Hand::at(later(-48))).await.unwrap_err();

    let kinds: Vec<_> = error.outcomes().iter().map(|it| it.kind.clone()).collect();
    assert_eq!(kinds, [Some("older".to_owned()), Some("older".to_owned())]);
    assert_eq!(device.trusted.unwrap().timestamp_version(), 4);
}

#[tokio::test]
async fn a_clock_ahead_of_several_doors_is_told_and_the_last_catalog_is_not_given_up() {
    // Published just now; by this clock it is a year old, and the grace of what is known is over.
    let mut device = device(&Repository::default(), &renewed(24), &[NOW, NOW]).await;
    let year = 365 * 24;
    let hand = Hand::at(later(year));
    assert!(standing::usable(&device, later(year)).is_err());

    let error = run(&mut device, &hand).await.unwrap_err();

    let said = error.to_string();
    assert!(
        said.contains("your clock seems ahead by 365 days"),
        "{said}"
    );
    assert!(said.contains("or all doors are stale"), "{said}");
    assert!(said.contains("stays usable"), "{said}");
    assert_eq!(error.kind(), "no-door");
    let usable = standing::usable(&device, later(year)).unwrap();
    assert!(matches!(usable.standing, Standing::Stale { .. }));
    let status = status::status(&device, later(year)).unwrap();
    assert!(status.clock.may_be_ahead());
    // Set right, it takes what the doors serve.
    hand.set(later(1));
    let report = run(&mut device, &hand).await.unwrap();
    assert_eq!((report.version, report.clock), (4, Verdict::Plausible));
}

#[tokio::test]
async fn a_doubt_lengthens_the_grace_of_a_version_once() {
    let mut device = device(&Repository::default(), &renewed(24), &[NOW, NOW]).await;
    let lapsed = 24 + GRACE_HOURS;
    let hand = Hand::at(later(lapsed));
    run(&mut device, &hand).await.unwrap_err();
    assert!(standing::usable(&device, later(lapsed)).is_ok());

    // It is renewed by no later sync, whatever doors say between.
    hand.set(later(lapsed + GRACE_HOURS - 1));
    run(&mut device, &hand).await.unwrap_err();
    assert!(standing::usable(&device, later(lapsed + GRACE_HOURS - 1)).is_ok());
    let end = later(lapsed + GRACE_HOURS);
    hand.set(end);
    run(&mut device, &hand).await.unwrap_err();

    assert_eq!(standing::usable(&device, end).unwrap_err().kind(), "lapsed");
}

#[tokio::test]
async fn a_clock_that_was_far_ahead_lends_no_time_once_it_is_right() {
    let mut device = device(&Repository::default(), &Repository::default(), &[NOW, NOW]).await;
    run(&mut device, &Hand::at(later(5 * 365 * 24)))
        .await
        .unwrap_err();
    assert!(device.clock.as_ref().unwrap().verdict.may_be_ahead());
    let lapsed = later(24 + GRACE_HOURS);

    assert_eq!(
        standing::usable(&device, lapsed).unwrap_err().kind(),
        "lapsed"
    );
    // Whoever holds the doors can begin the one grace more, and not again.
    run(&mut device, &Hand::at(lapsed)).await.unwrap_err();
    let end = later(24 + 2 * GRACE_HOURS);
    assert_eq!(standing::usable(&device, end).unwrap_err().kind(), "lapsed");
}

#[tokio::test]
async fn doors_that_are_old_by_their_own_clocks_lengthen_nothing() {
    let late = later(24 + GRACE_HOURS);
    let mut device = device(&Repository::default(), &renewed(24), &[late, late]).await;

    let error = run(&mut device, &Hand::at(late)).await.unwrap_err();

    assert!(error.to_string().contains("their clocks agree"), "{error}");
    assert_eq!(
        standing::usable(&device, late).unwrap_err().kind(),
        "lapsed"
    );
}

#[tokio::test]
async fn one_door_alone_casts_no_doubt_on_a_clock() {
    let late = later(24 + GRACE_HOURS);
    let mut device = device(&Repository::default(), &renewed(24), &[NOW]).await;

    let error = run(&mut device, &Hand::at(late)).await.unwrap_err();

    assert!(!error.to_string().contains("About the time"), "{error}");
    assert_eq!(
        standing::usable(&device, late).unwrap_err().kind(),
        "lapsed"
    );
}

#[test]
fn a_clock_that_was_set_back_is_told() {
    let device = Repository {
        expires: later(24 * 30),
        ..Repository::default()
    }
    .synced_device();
    let mut trusted = serde_json::to_value(device.trusted.as_ref().unwrap()).unwrap();
    trusted["verified_at"] = serde_json::json!(later(96));
    let mut device = device;
    device.trusted = Some(serde_json::from_value(trusted).unwrap());

    let status = status::status(&device, later(24)).unwrap();

    let seconds = 72 * HOURS;
    assert_eq!(status.clock, Verdict::WentBack { seconds });
}
