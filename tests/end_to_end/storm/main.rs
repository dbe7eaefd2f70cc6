//! `kill -9` of the control plane, again and again, in a storm of enrollments, rotations,
//! revocations and heartbeats: what was answered holds, and nothing is half there.
//!
//! The real program, `posternctl up`, over its `SQLite` file. Some thirty callers ask at once, each
//! as a correct client does: a request whose answer was lost is sent again, with the same bytes,
//! until it is answered. The program is killed without a word (`SIGKILL`) after a random number of
//! answers, twenty times, and started again; then once more, and the file is read while nothing
//! runs: [`harness::invariants`] says what must hold. To show that they can fail, good books are damaged in
//! every way that must be seen. Then the program must tell what its file holds.
//!
//! The seed is printed, and is in the message of a failure. `POSTERN_STORM_SEED=<number>` runs the
//! storm of that seed again: what each caller is inclined to ask, with which keys, and after how
//! many answers the kills come. How the requests meet is the machine's to decide, so a failure may
//! take some runs to come back.

mod admins;
mod answers;
mod devices;
mod gateways;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::IdentitySecret;
use api::InviteText;
use api::admin::{GATEWAYS, GatewayView, INVITES, InviteView};
use fastrand::Rng;
use harness::Up;
use model::{GatewayState, Network};
use serde::Deserialize;
use store::SqliteStore;
use tokio::task::{JoinSet, LocalSet};

use admins::{Admin, Shared};
use gateways::Node;
use harness::invariants::{Books, breaches, sabotages};
use harness::ledger::{AdminTale, DeviceTale, Ledger};
use harness::plane::Plane;

/// How often the program is killed in the storm.
const KILLS: u32 = 20;
/// After how many answers since the last time.
const ANSWERS: std::ops::Range<u64> = 30..300;
/// Half of the kills come right behind an answer, which must have been durable by then, and half so
/// many microseconds later, among commits that are on their way: some take as long.
const MOMENT: std::ops::Range<u64> = 0..8000;
/// Callers of each kind.
const DEVICE_OWNERS: u8 = 20;
const GATEWAY_OWNERS: u8 = 8;
const ADMINS: u8 = 4;
/// How long all of it may take before something must be stuck.
const PATIENCE: Duration = Duration::from_mins(8);

/// What one of the storm's tasks has to tell in the end.
enum Done {
    Devices(Vec<DeviceTale>),
    Gateways(Admin, Vec<Node>),
    Admin(AdminTale),
    Killer(Up),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kills_in_a_storm() {
    let seed = std::env::var("POSTERN_STORM_SEED");
    let seed = seed.map_or_else(
        |_| fastrand::u64(..),
        |text| text.parse().expect("POSTERN_STORM_SEED is a number"),
    );
    let again = format!("POSTERN_STORM_SEED={seed}");
    println!("{again}");

    // In a task of its own, so that a failure can be told with its seed.
    let local = LocalSet::new();
    let storm = local.spawn_local(storm(Rng::with_seed(seed)));
    let storm = local.run_until(tokio::time::timeout(PATIENCE, storm));

    let Ok(ended) = storm.await else {
        panic!("{again}: not over after {PATIENCE:?}");
    };
    if let Err(failed) = ended {
        panic!("{again}: {}", why(failed));
    }
}

async fn storm(mut rng: Rng) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("network");
    let port = harness::programs::free_ports(&mut rng).to_string();
    let options = ["--gateways=0", "--heartbeat=60", "--port", &port];
    let up = Up::start(&data, &options).await;
    let made = Made::read(&data);
    let plane = Arc::new(Plane::new(made.network.clone(), up.control.clone()));

    let (up, mut ledger, mut nodes) = blow(&plane, up, &made.admin, &mut rng).await;
    ledger.admins.join(settle(&up, made.admin(&plane)).await);

    up.kill().await;
    plane.goes_down();
    let books = open(&data.join("state.sqlite")).await;
    hold(&books, &ledger, &plane);

    let up = Up::start(&data, &[]).await;
    plane.comes_back();
    let mut reader = made.admin(&plane);
    answers::check_lists(&mut reader, &books).await;
    answers::check_audit(&mut reader, &books).await;
    for node in &mut nodes {
        answers::check_roster(node, &books).await;
    }
    up.stop().await;
}

/// All callers and the killer, until all requests are answered.
async fn blow(
    plane: &Arc<Plane>,
    up: Up,
    admin: &IdentitySecret,
    rng: &mut Rng,
) -> (Up, Ledger, Vec<Node>) {
    let shared = Arc::new(Shared::default());
    let new_admin = || Admin::new(plane.clone(), admin.clone());
    let mut first = new_admin();
    first.invite(&shared, rng, 2000).await;
    let mut tasks = JoinSet::new();
    for _ in 0..DEVICE_OWNERS {
        let work = devices::work(plane.clone(), shared.clone(), rng.fork());
        tasks.spawn(async { Done::Devices(work.await) });
    }
    for number in 0..GATEWAY_OWNERS {
        let rng = (number, rng.fork());
        let work = gateways::work(new_admin(), plane.clone(), shared.clone(), rng);
        tasks.spawn(async {
            let (admin, nodes) = work.await;
            Done::Gateways(admin, nodes)
        });
    }
    for _ in 0..ADMINS {
        let work = admins::work(new_admin(), shared.clone(), rng.fork());
        tasks.spawn(async { Done::Admin(work.await) });
    }
    let killer = kill(plane.clone(), up, rng.fork());
    tasks.spawn(async { Done::Killer(killer.await) });

    let mut ledger = Ledger::default();
    ledger.admins.join(first.tale);
    let (mut nodes, mut up) = (Vec::new(), None);
    while let Some(done) = tasks.join_next().await {
        match done.unwrap_or_else(|failed| panic!("{}", why(failed))) {
            Done::Devices(tales) => ledger.devices.extend(tales),
            Done::Gateways(admin, some) => {
                ledger.admins.join(admin.tale);
                nodes.extend(some);
            }
            Done::Admin(tale) => ledger.admins.join(tale),
            Done::Killer(last) => up = Some(last),
        }
    }
    ledger.gateways = nodes.iter().map(|node| node.tale.clone()).collect();
    (up.expect("the killer is done"), ledger, nodes)
}

/// Waits until the schedule has put every gateway that was heard in service, so that nothing changes
/// any more; gives what is known of it, with the invite that 'up' made of itself.
async fn settle(up: &Up, mut admin: Admin) -> AdminTale {
    harness::until("every gateway that was heard is in service", async || {
        let gateways: Vec<GatewayView> = admin.list(GATEWAYS).await;
        let mut heard = gateways.iter().filter(|view| view.seen_at.is_some());
        let settled = heard.all(|view| view.gateway.state == GatewayState::Active);
        settled.then_some(())
    })
    .await;
    let made = InviteText::parse(&up.invite).expect("the invite that 'up' made");
    let invites: Vec<InviteView> = admin.list(INVITES).await;
    let made = invites.into_iter().find(|view| view.invite.id == made.id());
    let made = made.expect("the invite is listed").invite;
    admin.tale.invites.insert(made.id.clone(), made);
    admin.tale
}

/// Kills the program and starts it again, so often; then the storm is over.
async fn kill(plane: Arc<Plane>, mut up: Up, mut rng: Rng) -> Up {
    for _ in 0..KILLS {
        plane.answered(rng.u64(ANSWERS)).await;
        if rng.bool() {
            tokio::time::sleep(Duration::from_micros(rng.u64(MOMENT))).await;
        }
        let data = up.data.clone();
        up.kill().await;
        plane.goes_down();
        up = Up::start(&data, &[]).await;
        plane.comes_back();
    }
    plane.answered(rng.u64(ANSWERS)).await;
    plane.end();
    up
}

/// Checks the invariants, and that they see every damage.
fn hold(books: &Books, ledger: &Ledger, plane: &Plane) {
    let found = breaches(books, ledger, &plane.network);
    assert!(
        found.is_empty(),
        "{} breaches, first of them:\n{}",
        found.len(),
        found[..found.len().min(20)].join("\n")
    );
    for (name, damage) in sabotages() {
        let mut damaged = books.clone();
        damage(&mut damaged);
        let found = breaches(&damaged, ledger, &plane.network);
        assert!(!found.is_empty(), "not seen: {name}");
    }
    tell(books, ledger, plane);
}

/// Says what the storm was like, and fails if it was none.
fn tell(books: &Books, ledger: &Ledger, plane: &Plane) {
    let (answered, lost) = plane.counts();
    let enrolled = ledger.devices.iter().filter(|tale| !tale.sets.is_empty());
    let count = enrolled.clone().count();
    let sets: usize = enrolled.clone().map(|tale| tale.sets.len()).sum();
    let unheard = enrolled.filter(|tale| tale.was_unheard).count();
    println!(
        "{answered} requests answered, {lost} answers lost in {KILLS} kills; {count} devices, \
         {unheard} of them enrolled with an answer that was lost, {} rotations, {} revoked; \
         {} gateways; {} items",
        sets - count,
        ledger.admins.revoked.len(),
        ledger.gateways.len(),
        books.items.len()
    );
    assert_eq!(plane.unavailable(), 0, "nobody else held the file");
    assert!(lost > 0, "no kill met a request: this was no storm");
}

/// Everything in the file of a program that does not run.
async fn open(file: &Path) -> Books {
    let store = SqliteStore::open(file).expect("the store opens");
    let books = Books::read(&store, Plane::now()).await;
    books.expect("the store is read")
}

/// What `up` made in its data folder.
struct Made {
    network: Network,
    admin: IdentitySecret,
}

impl Made {
    fn read(data: &Path) -> Self {
        #[derive(Deserialize)]
        struct Settings {
            network: Network,
        }
        #[derive(Deserialize)]
        struct Profile {
            key: IdentitySecret,
        }
        let read = |name: &str| std::fs::read(data.join(name)).expect("'up' has made it");
        let settings: Settings = serde_json::from_slice(&read("network.json")).expect("settings");
        let profile: Profile = serde_json::from_slice(&read("operator.json")).expect("a profile");
        Self {
            network: settings.network,
            admin: profile.key,
        }
    }

    fn admin(&self, plane: &Arc<Plane>) -> Admin {
        Admin::new(plane.clone(), self.admin.clone())
    }
}

/// What a task that failed said.
fn why(failed: tokio::task::JoinError) -> String {
    let Ok(said) = failed.try_into_panic() else {
        return "it was cancelled".to_owned();
    };
    let text = said.downcast_ref::<String>().map(String::as_str);
    let text = text.or(said.downcast_ref::<&str>().copied());
    text.unwrap_or("it failed without a text").to_owned()
}
