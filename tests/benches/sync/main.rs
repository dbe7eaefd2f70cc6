//! A cold and an unchanged sync of one repository, by `postern`, python-tuf and tough, from one local
//! server, in one run: requests, bytes, and time without and with 20 ms before each answer.
//!
//! Each sync is a program that starts and ends, as a person or a timer would start it. Beside it is said how
//! long it took, without its start, until what was verified was kept on disk. The clients take turns in
//! every round, so that what else the machine does is shared by all; medians of [`ROUNDS`] rounds are
//! printed. That `postern` needs the fewest requests is asserted. Where it does not take the least time,
//! that is printed.

mod clients;
mod server;
#[allow(dead_code, reason = "the other benches use more of it")]
#[path = "../figures/world.rs"]
mod world;

use std::time::{Duration, Instant};

use clients::{Client, FLAG, Took};
use server::{Count, Server};
use world::World;

/// As many as the promise names (design, section 9).
const GATEWAYS: usize = 10_000;
const ROUNDS: usize = 21;
const DELAYS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(20)];

/// A kind of sync by one client under one delay.
#[derive(Default)]
struct Figures {
    times: Vec<Took>,
    counts: Vec<Count>,
}

/// By client: cold and unchanged, each by delay.
type Table = Vec<[[Figures; 2]; 2]>;

fn main() {
    let mut arguments = std::env::args().skip(1).skip_while(|it| it != FLAG);
    if arguments.next().is_some() {
        let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
        runtime.block_on(clients::run(arguments));
        return;
    }
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
        Some(python) => clients.push(Client::Python(python)),
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
                clients[which].prepare(&world, &url, folder.path()).await;
                for kind in &mut table[which] {
                    server.take();
                    let took = clients[which].sync(&url, folder.path()).await;
                    kind[number].times.push(took);
                    kind[number].counts.push(server.take());
                }
            }
        }
    }
    print(&clients, &table);
}

fn print(clients: &[Client], table: &Table) {
    println!(
        "| sync of {GATEWAYS} gateways | requests | bytes | program, 0 ms | program, 20 ms | verified and kept, 0 ms | 20 ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (kind, name) in ["cold", "unchanged"].into_iter().enumerate() {
        for (client, figures) in clients.iter().zip(table) {
            let [near, far] = &figures[kind];
            let Count { requests, bytes } = near.count(far);
            println!(
                "| {name}, {} | {requests} | {bytes} | {} | {} | {} | {} |",
                client.name(),
                near.spread(),
                far.spread(),
                ms(near.median(|took| took.kept)),
                ms(far.median(|took| took.kept))
            );
        }
        let ours = &table[0][kind];
        for (client, others) in clients.iter().zip(table).skip(1) {
            let others = &others[kind];
            let fewer = ours[0].count(&ours[1]).requests < others[0].count(&others[1]).requests;
            assert!(fewer, "{name}: {} asks no more often", client.name());
            for (number, delay) in DELAYS.iter().enumerate() {
                let longer = |which: fn(&Took) -> Duration| {
                    ours[number].median(which) >= others[number].median(which)
                };
                if longer(|took| took.program) || longer(|took| took.kept) {
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

    fn median(&self, which: impl Fn(&Took) -> Duration) -> Duration {
        middle(&self.sorted(which))
    }

    fn sorted(&self, which: impl Fn(&Took) -> Duration) -> Vec<Duration> {
        let mut times: Vec<_> = self.times.iter().map(which).collect();
        times.sort_unstable();
        times
    }

    /// The program's median, and between which times half of the rounds lie.
    fn spread(&self) -> String {
        let times = self.sorted(|took| took.program);
        let (low, high) = (times[ROUNDS / 4], times[ROUNDS - 1 - ROUNDS / 4]);
        format!("{} ({} to {})", ms(middle(&times)), ms(low), ms(high))
    }
}

fn middle(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// What the clock on the wall says: a bench measures just that.
#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
fn start() -> Instant {
    Instant::now()
}
