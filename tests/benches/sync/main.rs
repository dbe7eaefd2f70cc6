//! A cold and an unchanged sync of one repository, by `postern`, python-tuf and tough, from one local
//! server, in one run: requests, bytes, and time without and with 20 ms before each answer.
//!
//! The clients take turns in every round, so that what else the machine does is shared by all; the
//! medians of [`ROUNDS`] rounds are printed. That `postern` needs the fewest requests is asserted,
//! that it takes the least time is printed.

mod clients;
mod server;
#[allow(dead_code, reason = "the other benches use more of it")]
#[path = "../figures/world.rs"]
mod world;

use std::time::{Duration, Instant};

use clients::{Client, Place, Python};
use server::{Count, Server};
use world::World;

/// As many as the promise names (design, section 9).
const GATEWAYS: usize = 10_000;
const ROUNDS: usize = 21;
const DELAYS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(20)];

/// A kind of sync by one client under one delay.
#[derive(Default)]
struct Figures {
    times: Vec<Duration>,
    counts: Vec<Count>,
}

/// By client: cold and unchanged, each by delay.
type Table = Vec<[[Figures; 2]; 2]>;

fn main() {
    // `cargo test` also builds and starts benches, to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    runtime.block_on(run());
}

async fn run() {
    let world = World::new();
    world.gateways(GATEWAYS).await;
    world.publish().await;
    let (server, url) = Server::open(&world.site()).await;
    let mut clients = vec![Client::Ours, Client::Tough];
    match emulator::python() {
        Some(python) => clients.push(Client::Python(Box::new(Python::start(python)))),
        None => emulator::skipped("the sync of python-tuf", "no Python with the package 'tuf'"),
    }

    let mut table: Table = clients.iter().map(|_| Default::default()).collect();
    for round in 0..ROUNDS {
        for (number, delay) in DELAYS.into_iter().enumerate() {
            server.delay(delay);
            for turn in 0..clients.len() {
                // Nobody is always first.
                let which = (turn + round) % clients.len();
                let folder = tempfile::tempdir().expect("a folder");
                let place = Place {
                    world: &world,
                    url: &url,
                    folder: folder.path(),
                };
                for kind in &mut table[which] {
                    server.take();
                    let took = clients[which].sync(&place).await;
                    kind[number].times.push(took);
                    kind[number].counts.push(server.take());
                }
            }
        }
    }
    print(&clients, &table);
}

fn print(clients: &[Client], table: &Table) {
    println!("| sync of {GATEWAYS} gateways | requests | bytes | 0 ms | 20 ms |");
    println!("|---|---|---|---|---|");
    for (kind, name) in ["cold", "unchanged"].into_iter().enumerate() {
        for (client, figures) in clients.iter().zip(table) {
            let [near, far] = &figures[kind];
            let Count { requests, bytes } = near.count(far);
            println!(
                "| {name}, {} | {requests} | {bytes} | {} | {} |",
                client.name(),
                near.spread(),
                far.spread()
            );
        }
        let ours = &table[0][kind];
        for (client, others) in clients.iter().zip(table).skip(1) {
            let others = &others[kind];
            let fewer = ours[0].count(&ours[1]).requests < others[0].count(&others[1]).requests;
            assert!(fewer, "{name}: {} asks no more often", client.name());
            for (number, delay) in DELAYS.iter().enumerate() {
                if ours[number].median() >= others[number].median() {
                    println!("NOT THE LEAST TIME: {name}, {delay:?}: {}", client.name());
                }
            }
        }
    }
}

impl Figures {
    /// What every sync of its kind asked for; the delay changes nothing.
    fn count(&self, other: &Self) -> Count {
        let mut counts = self.counts.iter().chain(&other.counts);
        let first = *counts.next().expect("there are rounds");
        assert!(counts.all(|count| *count == first), "they differ");
        first
    }

    fn median(&self) -> Duration {
        self.sorted()[ROUNDS / 2]
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut times = self.times.clone();
        times.sort_unstable();
        times
    }

    /// The median, and between which times half of the rounds lie.
    fn spread(&self) -> String {
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
        let times = self.sorted();
        let (low, high) = (times[ROUNDS / 4], times[ROUNDS - 1 - ROUNDS / 4]);
        format!("{} ms ({} to {})", ms(self.median()), ms(low), ms(high))
    }
}

/// What the clock on the wall says: a bench measures just that.
#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
fn start() -> Instant {
    Instant::now()
}
