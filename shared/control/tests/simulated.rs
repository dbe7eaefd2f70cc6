//! Publishing through whatever happens, drawn at random: budgets, crashes, publishers that sleep and
//! go on, mirrors that fail, lose files or have them replaced, and a network that changes. When it is
//! quiet again all is served, and nothing was ever signed in two ways.

mod common;

use std::sync::Arc;

use common::after;
use common::board::{Act, Board};
use common::scheduled::Scheduled;
use proptest::prelude::*;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A run to its end.
    Run,
    /// A run that dies at this call: before it or after it.
    Crash(usize, bool),
    /// A run that sleeps from this call on.
    Sleep(usize),
    /// The run that has slept longest goes on.
    Wake,
    /// This many cohorts have news.
    News(usize),
    /// A mirror is switched off, or on again.
    Switch(usize),
    /// A mirror loses the file at this place, or has it replaced.
    Lose(usize, usize),
    Alter(usize, usize),
    /// A mirror loses everything.
    Wipe(usize),
    /// The next runs may spend so many calls.
    Budget(u32),
}

const MIRRORS: usize = 3;
const COHORTS: u8 = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Run),
        3 => (0..40_usize, any::<bool>()).prop_map(|(call, after)| Step::Crash(call, after)),
        3 => (0..40_usize).prop_map(Step::Sleep),
        3 => Just(Step::Wake),
        4 => (1..=usize::from(COHORTS)).prop_map(Step::News),
        2 => (0..MIRRORS).prop_map(Step::Switch),
        1 => (0..MIRRORS, 0..30_usize).prop_map(|(mirror, file)| Step::Lose(mirror, file)),
        1 => (0..MIRRORS, 0..30_usize).prop_map(|(mirror, file)| Step::Alter(mirror, file)),
        1 => (0..MIRRORS).prop_map(Step::Wipe),
        1 => prop_oneof![Just(22), Just(30), Just(50), Just(u32::MAX)].prop_map(Step::Budget),
    ];
    proptest::collection::vec(step, 1..40)
}

struct Simulation {
    network: Scheduled,
    off: [bool; MIRRORS],
    asleep: Vec<(Arc<Board>, JoinHandle<()>)>,
    /// Whether a mirror lost or had replaced what clients see, so that they may see it again.
    tampered: bool,
}

impl Simulation {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Run => self.run(&Board::watching()).await,
            Step::Crash(call, is_after) => {
                let act = if is_after {
                    Act::FailAfter
                } else {
                    Act::FailBefore
                };
                self.run(&Board::new(|_| true, [(call, act)])).await;
            }
            Step::Sleep(call) => self.sleep(call).await,
            Step::Wake => {
                if !self.asleep.is_empty() {
                    let (board, run) = self.asleep.remove(0);
                    board.thaw();
                    run.await.unwrap();
                }
            }
            Step::News(cohorts) => {
                let cohorts = self.network.cohorts[..cohorts].to_vec();
                self.network.change(&cohorts).await;
            }
            Step::Switch(mirror) => {
                self.off[mirror] = !self.off[mirror];
                self.network.world.mirrors[mirror].switch_off(self.off[mirror]);
            }
            Step::Lose(mirror, file) | Step::Alter(mirror, file) => {
                let mirror = &self.network.world.mirrors[mirror];
                let Some(path) = mirror.files().into_keys().nth(file) else {
                    return;
                };
                self.tampered = true;
                if matches!(step, Step::Lose(..)) {
                    mirror.lose(&path);
                } else {
                    mirror.alter(&path, b"altered");
                }
            }
            Step::Wipe(mirror) => {
                self.tampered = true;
                self.network.world.mirrors[mirror].lose_everything();
            }
            Step::Budget(calls) => self.network.set_budget(calls),
        }
    }

    async fn run(&mut self, board: &Arc<Board>) {
        self.network.beat().await;
        let now = after(self.network.seconds);
        let _ = self.network.run_through(board, now).await;
        self.network.assert_within(board);
        self.network.seconds += 60;
    }

    /// Begins a run and waits until it sleeps, or has ended before.
    async fn sleep(&mut self, call: usize) {
        self.network.beat().await;
        let board = Board::new(|_| true, [(call, Act::Freeze)]);
        let now = after(self.network.seconds);
        let (world, budget) = (Arc::clone(&self.network.world), self.network.budget());
        let run = tokio::spawn({
            let board = Arc::clone(&board);
            async move {
                let _ = world.run_within(budget, &board, now).await;
            }
        });
        while !run.is_finished() && !board.is_spent() {
            tokio::task::yield_now().await;
        }
        self.network.seconds += 60;
        self.asleep.push((board, run));
    }

    /// Everybody wakes, all mirrors are on, and the schedule goes on without news.
    async fn settle(&mut self) {
        while !self.asleep.is_empty() {
            self.step(Step::Wake).await;
        }
        for mirror in &self.network.world.mirrors {
            mirror.switch_off(false);
        }
        self.network.until_settled().await;
        if self.tampered {
            // As many runs as it takes to look at every file.
            for _ in 0..40 {
                self.network.run().await;
            }
            self.network.until_settled().await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_all_is_served_in_the_end(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut simulation = Simulation {
                network: Scheduled::new(COHORTS, MIRRORS, 22).await,
                off: [false; MIRRORS],
                asleep: Vec::new(),
                tampered: false,
            };
            for step in &steps {
                simulation.step(*step).await;
            }
            simulation.settle().await;

            let network = &simulation.network;
            network.assert_served_by(&[0, 1, 2]).await;
            if !simulation.tampered {
                network.assert_history();
            }
        });
    }
}
