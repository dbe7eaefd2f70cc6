use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};

use super::*;
use crate::fixture::{Hand, NOW, Repository, later, refused, serve};
use crate::sync::{Report, sync};
use crate::{Context, Device, Error};

const PATH: &str = "/bundles/cohort/default";

/// A door that serves a bundle under an entity tag, and counts.
#[derive(Clone)]
struct Healthy {
    bytes: Vec<u8>,
    etag: String,
    full: Arc<AtomicUsize>,
    unchanged: Arc<AtomicUsize>,
}

impl Healthy {
    fn of(repository: &Repository) -> Self {
        Self {
            bytes: repository.bundle(),
            etag: format!("\"v{}\"", repository.version),
            full: Arc::default(),
            unchanged: Arc::default(),
        }
    }

    async fn serve(&self) -> String {
        let router = Router::new().route(PATH, get(Self::answer));
        serve(router.with_state(self.clone())).await
    }

    #[expect(clippy::unused_async, reason = "a handler is async")]
    async fn answer(State(door): State<Self>, headers: HeaderMap) -> impl IntoResponse {
        let known = headers.get(header::IF_NONE_MATCH);
        if known.is_some_and(|known| known.as_bytes() == door.etag.as_bytes()) {
            door.unchanged.fetch_add(1, Ordering::Relaxed);
            return (StatusCode::NOT_MODIFIED, HeaderMap::new(), Body::empty());
        }
        door.full.fetch_add(1, Ordering::Relaxed);
        let etag = HeaderMap::from_iter([(header::ETAG, door.etag.parse().unwrap())]);
        (StatusCode::OK, etag, Body::from(door.bytes))
    }
}

async fn serving(bytes: Vec<u8>) -> String {
    serve(Router::new().route(PATH, get(move || async move { bytes }))).await
}

/// The bundle with its versions raised by somebody who has no key. A byte altered anywhere would
/// not do: parts that the device holds already are not read from a door.
fn newer_by_hand(repository: &Repository) -> Vec<u8> {
    let old = format!("\"version\":{}", repository.version);
    let new = format!("\"version\":{}", repository.version + 1);
    let text = String::from_utf8(repository.bundle()).unwrap();
    text.replace(&old, &new).into_bytes()
}

async fn status(status: StatusCode) -> String {
    serve(Router::new().route(PATH, get(move || async move { status }))).await
}

async fn silent() -> String {
    let never = || async { std::future::pending::<()>().await };
    serve(Router::new().route(PATH, get(never))).await
}

async fn run(device: &mut Device, hand: &Hand, options: Options) -> Result<Report, Error> {
    let web = Web::new().unwrap();
    let context = Context {
        web: &web,
        clock: hand,
        options,
    };
    sync(device, &context).await
}

/// What came of the only door.
async fn only(repository: &Repository, door: String) -> DoorOutcome {
    let mut device = repository.device(&[door]);
    let options = Options {
        door_timeout: Duration::from_millis(300),
        most_bytes: 100_000,
    };
    let error = run(&mut device, &Hand::at(NOW), options).await.unwrap_err();
    assert!(device.trusted.is_none(), "its bytes went somewhere");
    error.outcomes()[0].clone()
}

#[tokio::test]
async fn a_healthy_door_gives_the_catalog_and_then_one_304() {
    let repository = Repository::default();
    let door = Healthy::of(&repository);
    let mut device = repository.device(&[door.serve().await]);
    let hand = Hand::at(NOW);

    let first = run(&mut device, &hand, Options::default()).await.unwrap();
    let second = run(&mut device, &hand, Options::default()).await.unwrap();

    assert_eq!((first.version, first.changed, first.gateways), (3, true, 4));
    assert_eq!((second.version, second.changed), (3, false));
    assert_eq!(second.outcomes[0].outcome, Came::Unchanged);
    assert_eq!(door.full.load(Ordering::Relaxed), 1);
    assert_eq!(door.unchanged.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_tag_of_another_version_is_not_sent() {
    let repository = Repository::default();
    let door = Healthy::of(&repository);
    let mut device = repository.device(&[door.serve().await]);
    let hand = Hand::at(NOW);
    run(&mut device, &hand, Options::default()).await.unwrap();
    for memory in device.doors.values_mut() {
        memory.etag.as_mut().unwrap().version = 2;
    }

    let report = run(&mut device, &hand, Options::default()).await.unwrap();

    assert!(!report.changed);
    assert_eq!(door.full.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn every_way_to_fail_is_named_and_changes_nothing() {
    let repository = Repository::default();
    let mut altered = repository.bundle();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let elsewhere = Repository {
        network: "n-bbbbbbbb",
        ..Repository::default()
    };
    let expired = Repository {
        expires: later(-1),
        ..Repository::default()
    };
    let cases = [
        (refused().await, "refused"),
        (status(StatusCode::SERVICE_UNAVAILABLE).await, "http"),
        (status(StatusCode::FOUND).await, "http"),
        (status(StatusCode::NOT_MODIFIED).await, "http"),
        (serving(altered).await, "altered"),
        (serving(b"<html>".to_vec()).await, "malformed"),
        (serving(expired.bundle()).await, "expired"),
        (serving(elsewhere.bundle()).await, "wrong-network"),
        (serving(vec![b'x'; 100_001]).await, "too-large"),
        (silent().await, "timeout"),
    ];
    for (door, kind) in cases {
        let outcome = only(&repository, door).await;
        assert_eq!(outcome.outcome, Came::Failed);
        assert_eq!(outcome.kind.as_deref(), Some(kind), "{outcome:?}");
        assert!(outcome.reason.is_some());
    }
}

#[tokio::test]
async fn the_only_truthful_door_of_five_wins_and_the_log_says_why_the_others_did_not() {
    let (old, new) = (
        Repository::default(),
        Repository {
            version: 4,
            ..Repository::default()
        },
    );
    let older = Repository {
        version: 2,
        ..Repository::default()
    };
    let healthy = Healthy::of(&new).serve().await;
    let mut device = old.synced_device();
    let urls = [
        refused().await,
        status(StatusCode::BAD_GATEWAY).await,
        serving(newer_by_hand(&new)).await,
        serving(older.bundle()).await,
    ];
    let door = |url: &String| FrontDoor {
        url: url.clone(),
        fallback: Vec::new(),
    };
    device.contact.front_doors = urls.iter().map(door).collect();
    device.contact.front_doors.push(door(&healthy));
    // The truthful one is asked last.
    let slow = &mut device.doors.entry(healthy.clone()).or_default().history;
    slow.rtt_ms = Some(390);

    let report = run(&mut device, &Hand::at(NOW), Options::default())
        .await
        .unwrap();

    assert_eq!((report.version, report.changed), (4, true));
    assert_eq!(report.door, healthy);
    let mut kinds: Vec<_> = report
        .outcomes
        .iter()
        .filter_map(|outcome| outcome.kind.as_deref())
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["altered", "http", "older", "refused"]);
    let log = crate::decisions::explain(&device.decisions);
    assert!(log[0].identical);
    assert!(log[0].text().contains("connection refused"));
    let failed = |url: &String| device.doors[url].history.failures;
    assert_eq!(urls.iter().map(failed).collect::<Vec<_>>(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_door_that_never_answers_costs_its_stagger_and_is_named() {
    let repository = Repository::default();
    let (dead, healthy) = (silent().await, Healthy::of(&repository).serve().await);
    let mut device = repository.device(&[dead.clone(), healthy.clone()]);
    let slow = &mut device.doors.entry(healthy.clone()).or_default().history;
    slow.rtt_ms = Some(390);

    let report = run(&mut device, &Hand::at(NOW), Options::default())
        .await
        .unwrap();

    assert_eq!(report.door, healthy);
    let outcome = &report.outcomes[0];
    assert_eq!((&outcome.door, outcome.outcome), (&dead, Came::Failed));
    assert_eq!(outcome.kind.as_deref(), Some("silent"));
    assert!(
        outcome
            .reason
            .as_ref()
            .unwrap()
            .starts_with("no answer in ")
    );
    assert!(report.outcomes[1].started_ms >= 250);
    // It is not asked first again.
    assert!(device.doors[&dead].history.rtt_ms >= Some(250));
}

#[test]
fn a_door_silent_for_its_stagger_has_failed_and_one_that_still_had_time_has_not() {
    let lane = |url: &str| Lane {
        door: FrontDoor {
            url: url.to_owned(),
            fallback: Vec::new(),
        },
        smoothed_ms: None,
        etag: None,
    };
    let lanes = [lane("silent"), lane("slower"), lane("fast")];
    let mut race = Race::new(vec![race::LEAST_STAGGER; 3]);
    let mut log = RaceLog::new(&lanes);
    for (door, ms) in [(0, 0), (1, 250), (2, 1000)] {
        let at = Duration::from_millis(ms);
        assert_eq!(race.step(at), Step::Start(door));
        log.started(door, at);
    }
    let outcomes = log.close(&race, Duration::from_millis(1100));
    let came: Vec<_> = outcomes.iter().map(|o| (o.outcome, o.ms)).collect();
    assert_eq!(
        came,
        [
            (Came::Failed, 1100),
            (Came::Failed, 850),
            (Came::Cancelled, 100)
        ]
    );
    assert_eq!(outcomes[0].kind.as_deref(), Some("silent"));
    assert_eq!(
        outcomes[0].reason.as_deref(),
        Some("no answer in 1100 ms, and another was faster")
    );
}

#[tokio::test]
async fn nothing_new_is_a_last_resort_when_news_is_due() {
    let repository = Repository::default();
    let renewed = Repository {
        version: 4,
        expires: later(40),
        ..Repository::default()
    };
    let frozen = Healthy::of(&repository).serve().await;
    let honest = Healthy::of(&renewed).serve().await;
    let mut device = repository.device(std::slice::from_ref(&frozen));
    let hand = Hand::at(NOW);
    run(&mut device, &hand, Options::default()).await.unwrap();
    hand.set(later(13));

    // Alone, the frozen door still counts.
    let alone = run(&mut device, &hand, Options::default()).await.unwrap();
    assert_eq!((alone.changed, alone.door), (false, frozen.clone()));

    // Beside one that has news, it does not.
    device.contact.front_doors.push(FrontDoor {
        url: honest.clone(),
        fallback: Vec::new(),
    });
    let slow = &mut device.doors.entry(honest.clone()).or_default().history;
    slow.rtt_ms = Some(390);
    let report = run(&mut device, &hand, Options::default()).await.unwrap();
    assert_eq!((report.version, report.door), (4, honest));
    assert_eq!(report.outcomes[0].outcome, Came::Unchanged);
}

#[tokio::test]
async fn when_all_doors_fail_the_last_catalog_stays_usable_and_it_is_said() {
    let repository = Repository::default();
    let mut device = repository.synced_device();
    device.contact.front_doors.push(FrontDoor {
        url: refused().await,
        fallback: Vec::new(),
    });
    let hand = Hand::at(later(30));

    let error = run(&mut device, &hand, Options::default())
        .await
        .unwrap_err();

    let message = error.to_string();
    assert!(message.contains("connection refused"), "{message}");
    assert!(message.contains("stays usable until"), "{message}");
    assert!(crate::standing::usable(&device, hand.now()).is_ok());
    let lapsed = crate::standing::usable(&device, later(24 + 14 * 24));
    assert_eq!(lapsed.unwrap_err().kind(), "lapsed");
}

/// The device with one character of the text of `part` in its state changed.
fn damaged(device: &Device, find: &str, put: &str) -> Device {
    let mut device = device.clone();
    let text = serde_json::to_string(device.trusted.as_ref().unwrap()).unwrap();
    let other = text.replacen(find, put, 1);
    assert_ne!(other, text, "{find}");
    device.trusted = Some(serde_json::from_str(&other).unwrap());
    device
}

#[tokio::test]
async fn a_damaged_catalog_is_named_and_healed_by_the_next_sync() {
    let repository = Repository::default();
    let door = Healthy::of(&repository);
    let mut sound = repository.device(&[door.serve().await]);
    let hand = Hand::at(NOW);
    run(&mut sound, &hand, Options::default()).await.unwrap();
    let snapshot = |key: &str, put: &str| (format!("\\\"{key}"), format!("\\\"{put}"));
    let cases = [
        ("192.0.2.1:51820".to_owned(), "192.0.2.9:51820".to_owned()),
        ("recovery-kit/1".to_owned(), "recovery-kit/2".to_owned()),
        snapshot("catalogs.json", "catalogs.jsom"),
        // Its root: trust starts from the pin again.
        snapshot("consistent_snapshot", "consistent_snapshou"),
    ];
    for (find, put) in cases {
        let mut device = damaged(&sound, &find, &put);
        let status = crate::status::status(&device, NOW).unwrap();
        assert!(status.damaged.is_some(), "{find}: {:?}", status.catalog);
        assert!(status.catalog.is_none());
        let selected = crate::standing::usable(&device, NOW);
        assert_eq!(selected.unwrap_err().kind(), "trusted-state", "{find}");

        let report = run(&mut device, &hand, Options::default()).await.unwrap();

        assert_eq!((report.gateways, report.changed), (4, true), "{find}");
        assert_eq!(device.trusted, sound.trusted, "{find}");
        let status = crate::status::status(&device, NOW).unwrap();
        assert!(status.damaged.is_none() && status.catalog.is_some());
    }
    assert_eq!(door.unchanged.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_damaged_catalog_is_no_way_back_to_an_older_one() {
    let old = Repository {
        version: 2,
        ..Repository::default()
    };
    let mut device = damaged(
        &Repository::default().synced_device(),
        "192.0.2.1:51820",
        "192.0.2.9:51820",
    );
    device.contact.front_doors.push(FrontDoor {
        url: serving(old.bundle()).await,
        fallback: Vec::new(),
    });
    let result = run(&mut device, &Hand::at(NOW), Options::default()).await;
    let error = result.unwrap_err();
    assert_eq!(error.outcomes()[0].kind.as_deref(), Some("older"));
}

#[tokio::test]
async fn a_fallback_address_reaches_a_door_whose_name_is_not_found() {
    let repository = Repository::default();
    let url = Healthy::of(&repository).serve().await;
    let url = url.replace("127.0.0.1", "door.invalid");
    let mut device = repository.device(&[]);
    device.contact.front_doors.push(FrontDoor {
        url,
        fallback: vec!["127.0.0.1".parse().unwrap()],
    });

    let report = run(&mut device, &Hand::at(NOW), Options::default())
        .await
        .unwrap();

    let reason = report.outcomes[0].reason.as_deref();
    assert_eq!(reason, Some("over a fallback address"));
}

#[tokio::test]
async fn no_tag_is_sent_once_the_timestamp_has_expired() {
    let repository = Repository::default();
    let door = Healthy::of(&repository);
    let mut device = repository.device(&[door.serve().await]);
    let hand = Hand::at(NOW);
    run(&mut device, &hand, Options::default()).await.unwrap();
    hand.set(later(25));

    let error = run(&mut device, &hand, Options::default())
        .await
        .unwrap_err();

    assert_eq!(error.outcomes()[0].kind.as_deref(), Some("expired"));
    assert_eq!(door.unchanged.load(Ordering::Relaxed), 0);
}

#[test]
fn a_door_that_several_name_is_one_door_with_all_its_addresses() {
    let repository = Repository::default();
    let mut contact = repository.invite(&[], &[]).contact;
    let door = |url: &str, fallback: &str| FrontDoor {
        url: url.to_owned(),
        fallback: vec![fallback.parse().unwrap()],
    };
    contact.front_doors = vec![door("https://a.example/", "192.0.2.1")];
    let kit = RecoveryKit {
        schema: RecoveryKit::SCHEMA.to_owned(),
        network: contact.network.clone(),
        front_doors: vec![door("https://a.example", "192.0.2.2")],
        control: Vec::new(),
        control_key: None,
    };
    let doors = known(&contact, Some(&kit), &[]);
    assert_eq!(doors.len(), 1);
    assert_eq!(doors[0].fallback.len(), 2);
}

#[tokio::test]
async fn a_compressed_bomb_is_not_unpacked() {
    let repository = Repository::default();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    // A hundred times what the caller takes, in a hundredth of it.
    std::io::copy(
        &mut std::io::Read::take(std::io::repeat(b' '), 10_000_000),
        &mut packer,
    )
    .unwrap();
    let bomb = packer.finish().unwrap();
    assert!(bomb.len() < 50_000);
    let serving = move || async move { ([(header::CONTENT_ENCODING, "gzip")], bomb) };
    let door = serve(Router::new().route(PATH, get(serving))).await;

    let outcome = only(&repository, door).await;

    assert_eq!(outcome.kind.as_deref(), Some("malformed"), "{outcome:?}");
}

#[tokio::test]
async fn a_door_that_sends_a_byte_now_and_then_is_cut_off_in_time() {
    let repository = Repository::default();
    let trickle = || async {
        let bytes = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, std::io::Error>("p"), ()))
        });
        Body::from_stream(bytes)
    };
    let door = serve(Router::new().route(PATH, get(trickle))).await;

    let outcome = only(&repository, door).await;

    assert_eq!(outcome.kind.as_deref(), Some("timeout"), "{outcome:?}");
    assert!(outcome.ms < 5_000, "{outcome:?}");
}

/// A door as the layout has it: the bundle, and every file at its own path.
async fn whole(repository: &Repository) -> (String, Arc<AtomicUsize>) {
    let files = repository.files();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let file = move |axum::extract::Path(path): axum::extract::Path<String>| {
        count.fetch_add(1, Ordering::Relaxed);
        let file = files.get(&path).cloned();
        async move { file.ok_or(StatusCode::NOT_FOUND) }
    };
    let bundle = repository.bundle();
    let router = Router::new()
        .route(PATH, get(move || async move { bundle }))
        .route("/{*path}", get(file));
    (serve(router).await, asked)
}

#[tokio::test]
async fn a_door_that_always_has_news_by_stolen_keys_is_given_up_when_an_honest_one_had_its_turn() {
    let stolen = |version| Repository {
        version,
        ..Repository::default()
    };
    let honest = Repository {
        version: 5,
        rotated: true,
        ..Repository::default()
    };
    let mut device = stolen(3).synced_device();
    let (honest, _) = whole(&honest).await;
    let hand = Hand::at(NOW);
    let mut roots = Vec::new();
    // The thief's door is fast and at hand, the honest one is only ever a witness.
    for round in 0..3 {
        let (thief, _) = whole(&stolen(1_000 + round)).await;
        device.contact.front_doors = doors_of(&[thief.clone(), honest.clone()]);
        let memory = device.doors.entry(honest.clone()).or_default();
        memory.history.rtt_ms = Some(390);
        memory.witness_at = memory.witness_at.or(Some(NOW));
        hand.set(later(3 * i64::try_from(round).unwrap()));

        run(&mut device, &hand, Options::default()).await.unwrap();

        roots.push(device.trusted.as_ref().unwrap().root_version());
    }

    assert_eq!(
        roots,
        [1, 1, 2],
        "the honest door's turn is after six hours"
    );
    let version = device.trusted.as_ref().unwrap().timestamp_version();
    assert_eq!(version, 5, "the thief's versions are no floor any more");
}

#[tokio::test]
async fn a_witness_is_one_small_request_of_one_other_door_in_six_hours() {
    let repository = Repository::default();
    let mut served = Vec::new();
    for _ in 0..3 {
        served.push(whole(&repository).await);
    }
    let urls: Vec<_> = served.iter().map(|(url, _)| url.clone()).collect();
    let mut device = repository.device(&urls);
    let hand = Hand::at(NOW);
    let asked = || {
        served
            .iter()
            .map(|(_, asked)| asked.load(Ordering::Relaxed))
            .sum::<usize>()
    };

    let mut counts = Vec::new();
    for hours in [0, 1, 5, 7] {
        hand.set(later(hours));
        let report = run(&mut device, &hand, Options::default()).await.unwrap();
        assert_eq!(report.outcomes.len(), 1, "no bundle is asked of a witness");
        counts.push(asked());
    }

    assert_eq!(counts, [1, 1, 1, 2]);
    let turns = device
        .doors
        .values()
        .filter(|door| door.witness_at.is_some());
    assert_eq!(turns.count(), 2, "they take turns");
}

fn doors_of(urls: &[String]) -> Vec<FrontDoor> {
    let door = |url: &String| FrontDoor {
        url: url.clone(),
        fallback: Vec::new(),
    };
    urls.iter().map(door).collect()
}
