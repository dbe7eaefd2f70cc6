//! 64 callers at once enroll a crowd on every database, and its database is killed meanwhile: no address
//! is held twice, no device is lost or half there, every change is in the audit once, and whoever asks
//! meanwhile is told to try again.
//!
//! Answers are lost on the way to the control plane, callers hang up, send twice or never ask again.
//! What must hold is [`harness::invariants`]; each run's books are damaged, too, in every way that must
//! be seen.
//!
//! | database | how it is killed |
//! |---|---|
//! | SQLite | `SIGKILL` of the process that holds the file, `posternctl up` |
//! | PostgreSQL | `SIGKILL` of all processes of the server |
//! | DynamoDB | its connections are cut and new ones refused; the emulator goes on with what it has begun |
//!
//! `POSTERN_CROWD=10000` makes it so many devices, `POSTERN_CROWD_SEED=<number>` uses the same keys and
//! inclinations again as a run that failed.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use harness::Tap;
use harness::crowd::databases::{Backend, Mortal};
use harness::crowd::{CLIENTS, Crowd, Manners, Told, crowded, network, serve};
use harness::invariants::{Books, breaches, sabotages_of_enrollment};
use harness::plane::Plane;

/// How many devices want in, if nothing else is asked for.
const DEVICES: u32 = 1000;
/// The share of answers that are lost on the way to their callers.
const LOST: f64 = 0.03;
/// How often a database is killed.
const KILLS: u32 = 5;
/// Half of the kills come right behind an answer, which must have been durable by then, and half so
/// many microseconds later, among commits that are on their way.
const MOMENT: std::ops::Range<u64> = 0..8000;
/// In this many devices' books damage is looked for: each kind needs a copy of them.
const MOST_DAMAGED: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_enrolled_whole_in_memory() {
    at_once(Backend::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_enrolled_whole_on_sqlite() {
    at_once(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_enrolled_whole_on_dynamodb() {
    at_once(Backend::DynamoDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_enrolled_whole_on_postgres() {
    at_once(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crowd_was_answered_survives_kills_of_postgres() {
    amid_kills(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crowd_was_answered_survives_kills_of_sqlite() {
    amid_kills(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crowd_was_answered_survives_cuts_of_dynamodb() {
    amid_kills(Backend::DynamoDb).await;
}

/// Nothing is killed.
async fn at_once(backend: Backend) {
    let (devices, rng) = wanted();
    let Some(database) = backend.start("crowd").await else {
        return;
    };
    let network = network(crowded(devices));
    let url = serve(database.store(), &network).await;
    let way = Tap::losing(LOST, &url);
    let plane = Arc::new(Plane::new(network, way.url()).lossy());
    let crowd = Crowd::new(devices, Manners::BAD, rng.get_seed());
    let invites = crowd.invite(&*database.store(), &plane.network).await;

    let told = crowd.enroll(&plane, invites).await;

    hold(&plane, told, &database.books().await);
    assert_eq!(plane.unavailable(), 0, "nothing was killed");
}

/// The database is killed again and again.
async fn amid_kills(backend: Backend) {
    let (devices, rng) = wanted();
    let Some(mut database) = backend.start_mortal("crowd").await else {
        return;
    };
    let own = database.control_plane();
    let outlives_it = own.is_none();
    let (url, network) = if let Some(own) = own {
        own
    } else {
        let network = network(crowded(devices));
        (serve(database.store(), &network).await, network)
    };
    let way = Tap::losing(LOST, &url);
    let plane = Arc::new(Plane::new(network, way.url()).lossy());
    let crowd = Crowd::new(devices, Manners::BAD, rng.get_seed());
    let invites = crowd.invite(&*database.store(), &plane.network).await;

    let (told, ()) = tokio::join!(
        crowd.enroll(&plane, invites),
        kill(&plane, &mut *database, devices, rng)
    );

    database.rest().await;
    hold(&plane, told, &database.books().await);
    let least = u64::from(KILLS) * u64::try_from(CLIENTS).expect("few") / 2;
    assert!(
        !outlives_it || plane.unavailable() >= least,
        "{} callers were told that the database is unavailable",
        plane.unavailable()
    );
}

/// Kills the database so often, and each time lets all callers ask in vain before it is back.
async fn kill(plane: &Plane, database: &mut dyn Mortal, devices: u32, mut rng: Rng) {
    // All kills meet the crowd, however late they come.
    let most = u64::from(devices / (KILLS + 1));
    for _ in 0..KILLS {
        plane.answered(rng.u64(most / 2..most)).await;
        if rng.bool() {
            tokio::time::sleep(Duration::from_micros(rng.u64(MOMENT))).await;
        }
        database.kill().await;
        plane.fails();
        plane.awaited_by(CLIENTS).await;
        database.restart().await;
        plane.comes_back();
    }
}

/// Checks the invariants, that they see every damage, and that the crowd was one.
fn hold(plane: &Plane, mut told: Told, books: &Books) {
    let answered = told.waits.len();
    let there = told.look_up(books);
    let found = breaches(books, &told.ledger, &plane.network);
    assert!(
        found.is_empty(),
        "{} breaches, first of them:\n{}",
        found.len(),
        found[..found.len().min(20)].join("\n")
    );
    for (name, damage) in sabotages_of_enrollment() {
        if answered > MOST_DAMAGED {
            break;
        }
        let mut damaged = books.clone();
        damage(&mut damaged);
        let found = breaches(&damaged, &told.ledger, &plane.network);
        assert!(!found.is_empty(), "not seen: {name}");
    }

    let unheard = told.ledger.devices.iter().filter(|tale| tale.was_unheard);
    let (unheard, given_up) = (unheard.count(), told.ledger.devices.len() - answered);
    let (_, lost) = plane.counts();
    println!(
        "{answered} devices in {:.1?}, half within {:.1?}, 99 of 100 within {:.1?}; {lost} answers \
         lost, {unheard} devices enrolled by a request whose answer was; {} told to try again; of \
         {given_up} that never asked again {there} are there",
        told.took,
        told.within(0.5),
        told.within(0.99),
        plane.unavailable()
    );
    assert!(unheard > 0, "no answer of an enrollment was lost");
}

/// How many devices want in, and the inclinations of their callers.
fn wanted() -> (u32, Rng) {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        let number = text.parse::<u64>();
        Some(number.unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let devices = number("POSTERN_CROWD").unwrap_or(u64::from(DEVICES));
    let seed = number("POSTERN_CROWD_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("POSTERN_CROWD={devices} POSTERN_CROWD_SEED={seed}");
    let devices = u32::try_from(devices).expect("some thousands");
    (devices, Rng::with_seed(seed))
}
