//! The figures of `docs/performance.md`, each beside its floor: what the same machine needs for the
//! part that nobody can leave out.
//!
//! `cargo bench -p tests` prints them as rows of a table. They are bounded in count, use loopback
//! alone, and assert nothing about time: a slow machine is no failure.

mod catalog;
mod control_plane;
mod failover;
mod planning;
mod world;

use std::time::{Duration, Instant};

fn main() {
    // `cargo test` also builds and starts benches, to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    println!("| what | figure | floor beside it |");
    println!("|---|---|---|");
    runtime.block_on(async {
        control_plane::run().await;
        failover::run().await;
        catalog::run().await;
    });
    planning::run();
}

/// Prints a row.
fn row(what: &str, figure: &str, floor: &str) {
    println!("| {what} | {figure} | {floor} |");
}

/// What the clock on the wall says: a bench measures just that.
#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
fn start() -> Instant {
    Instant::now()
}

/// The median of so many runs.
fn median(runs: usize, mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let began = start();
            run();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[runs / 2]
}

/// A duration in milliseconds, with a decimal.
fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// So many in that time, a second.
fn rate(count: usize, time: Duration) -> String {
    let count = u32::try_from(count).expect("a bench's count is small");
    format!("{:.0} a second", f64::from(count) / time.as_secs_f64())
}
