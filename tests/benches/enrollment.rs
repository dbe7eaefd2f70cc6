//! Enrollments a second and how long each takes, on every database: 64 callers at once, 10,000 devices,
//! signed requests over HTTP to the function `enroll` in this process.
//!
//! `cargo bench -p tests --bench enrollment` prints a row for each database, with its floor beside it:
//! the very commits of such a crowd, put straight into an empty store of that kind by 64 callers at once,
//! without requests and reads. Callers sign and read their answers on the same processors. Every run is
//! checked as the storms are ([`harness::invariants`]); nothing is asserted about time.
//!
//! `POSTERN_CROWD=<number>` makes it so many devices.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::crowd::databases::{Backend, Database};
use harness::crowd::{CLIENTS, Crowd, Manners, Told, network, serve};
use harness::invariants::breaches;
use harness::plane::Plane;
use jiff::Timestamp;
use store::conformance::{Between, Watched};
use store::{MemoryStore, Store, Write};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many devices want in, if nothing else is asked for.
const DEVICES: u32 = 10_000;
/// Pools of 262,144 addresses, of which the crowd takes 4 in 100.
const PREFIX: u8 = 14;
const SEED: u64 = 7;

fn main() {
    // `cargo test` also builds and starts benches, to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let devices = std::env::var("POSTERN_CROWD").ok();
    let devices = devices.map_or(DEVICES, |text| text.parse().expect("a number"));
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    runtime.block_on(async {
        let commits = commits(devices).await;
        println!(
            "{CLIENTS} callers, {devices} devices\n\n\
             | database | enrollments | half within | 99 of 100 within | all within | \
             its commits alone |\n|---|---|---|---|---|---|"
        );
        for backend in Backend::ALL {
            row(backend, devices, &commits).await;
        }
    });
}

/// Prints the row of `backend`, unless this machine lacks it.
async fn row(backend: Backend, devices: u32, commits: &[Vec<Write>]) {
    let Some(database) = backend.start("enrollments").await else {
        return;
    };
    let told = enroll(devices, &*database).await;
    let Some(empty) = backend.start("enrollments").await else {
        return;
    };
    let floor = replay(&*empty, commits).await;
    println!(
        "| {} | {} | {} | {} | {} | {} |",
        backend.name(),
        rate(told.waits.len(), told.took),
        ms(told.within(0.5)),
        ms(told.within(0.99)),
        ms(told.within(1.0)),
        rate(commits.len(), floor),
    );
}

/// Enrolls a crowd and checks what is left of it.
async fn enroll(devices: u32, database: &dyn Database) -> Told {
    let mut told = enroll_in(devices, database.store()).await;
    let books = database.books().await;
    told.look_up(&books);
    let found = breaches(&books, &told.ledger, &network(PREFIX));
    assert!(found.is_empty(), "{found:#?}");
    told
}

async fn enroll_in(devices: u32, store: Arc<dyn Store>) -> Told {
    let network = network(PREFIX);
    let url = serve(store.clone(), &network).await;
    let plane = Arc::new(Plane::new(network, url));
    let crowd = Crowd::new(devices, Manners::GOOD, SEED);
    let invites = crowd.invite(&*store, &plane.network).await;
    crowd.enroll(&plane, invites).await
}

/// The commits of a crowd's enrollments.
async fn commits(devices: u32) -> Vec<Vec<Write>> {
    let store = Arc::new(Watched::new(MemoryStore::new(), Recorder::default()));
    enroll_in(devices, store.clone()).await;
    let commits = std::mem::take(&mut *store.between.commits.lock().expect("nobody has panicked"));
    // The invites were made before; an enrollment has more than an item and its event.
    let of_devices = commits.into_iter().filter(|writes| writes.len() > 2);
    let of_devices: Vec<_> = of_devices.collect();
    assert_eq!(
        of_devices.len(),
        usize::try_from(devices).expect("some thousands")
    );
    of_devices
}

/// Puts the commits into the store, so many at once.
async fn replay(database: &dyn Database, commits: &[Vec<Write>]) -> Duration {
    #[allow(clippy::disallowed_methods, reason = "a bench says what time it is")]
    let now = Timestamp::now();
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CLIENTS {
        let store = database.store();
        let own: Vec<_> = commits
            .iter()
            .skip(caller)
            .step_by(CLIENTS)
            .cloned()
            .collect();
        callers.spawn(async move {
            for writes in own {
                store.commit(now, writes).await.expect("it is applied");
            }
        });
    }
    callers.join_all().await;
    began.elapsed()
}

/// Remembers what was committed.
#[derive(Default)]
struct Recorder {
    commits: Mutex<Vec<Vec<Write>>>,
}

impl Between for Recorder {
    fn applied(&self, writes: &[Write]) {
        let mut commits = self.commits.lock().expect("nobody has panicked");
        commits.push(writes.to_vec());
    }
}

/// So many in that time, a second.
fn rate(count: usize, time: Duration) -> String {
    let count = u32::try_from(count).expect("a bench's count is small");
    format!("{:.0} a second", f64::from(count) / time.as_secs_f64())
}

/// A duration in milliseconds, with a decimal.
fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
