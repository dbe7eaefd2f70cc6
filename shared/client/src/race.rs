//! The hedged race over front doors, as a state machine without I/O.
//!
//! The driver ([`crate::doors`]) asks [`Race::step`] what to do now, does it, and reports what
//! came of it. One rule decides when the next door starts: **at most two doors are lively**, where
//! a door is lively while it runs and has been silent for less than [`QUIET`] staggers.
//!
//! - Nobody lively: the next starts at once.
//! - One lively: the next starts when that one has been silent for its stagger.
//! - Two lively: nobody starts until one of them fails or falls quiet.
//!
//! So a third door (and each further) is shown to a watcher only when one before it has failed or
//! been silent for four staggers, and a dead door costs at most its own stagger.
//!
//! An answer that is right but says nothing new, at a time when something new is due, is *held*:
//! the race goes on, and it counts only if nobody does better.

use std::time::Duration;

/// The least stagger: a door on the other side of the world answers in 250 ms.
pub const LEAST_STAGGER: Duration = Duration::from_millis(250);
/// After how many staggers of silence a door is no longer waited for (it still may win).
pub const QUIET: u32 = 4;

/// How long a door with this smoothed time has before the next starts.
pub fn stagger(smoothed_ms: Option<u32>) -> Duration {
    let twice = Duration::from_millis(u64::from(smoothed_ms.unwrap_or(0)) * 2);
    twice.max(LEAST_STAGGER)
}

/// What the driver does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Start this door, and ask again.
    Start(usize),
    /// Wait for an answer, at most until this moment.
    Wait(Option<Duration>),
    /// The race is over: see [`Race::result`].
    Over,
}

/// How a race ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// This door's answer wins.
    Won(usize),
    /// Nobody did better than this held answer.
    LastResort(usize),
    /// Every door failed.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lane {
    Waiting,
    Running { since: Duration },
    Failed,
    Held,
}

/// A race over doors in ranked order. All times are since its beginning.
#[derive(Clone, Debug)]
pub struct Race {
    staggers: Vec<Duration>,
    lanes: Vec<Lane>,
    won: Option<usize>,
    resort: Option<usize>,
}

impl Race {
    /// A race over as many doors as there are staggers, the best first.
    pub fn new(staggers: Vec<Duration>) -> Self {
        Self {
            lanes: vec![Lane::Waiting; staggers.len()],
            staggers,
            won: None,
            resort: None,
        }
    }

    /// What to do at `at`. A door that it says to start counts as started at `at`.
    pub fn step(&mut self, at: Duration) -> Step {
        if self.won.is_some() {
            return Step::Over;
        }
        let lively: Vec<usize> = (0..self.lanes.len())
            .filter(|lane| self.silent_until(*lane, QUIET).is_some_and(|end| at < end))
            .collect();
        let Some(next) = self.lanes.iter().position(|lane| *lane == Lane::Waiting) else {
            return self.last_steps(&lively);
        };
        let deadline = match lively[..] {
            [] => at,
            [only] => self.silent_until(only, 1).unwrap_or(at),
            _ => self.earliest(&lively).unwrap_or(at),
        };
        if at < deadline {
            return Step::Wait(Some(deadline));
        }
        self.lanes[next] = Lane::Running { since: at };
        Step::Start(next)
    }

    /// The door failed.
    pub fn failed(&mut self, door: usize) {
        self.lanes[door] = Lane::Failed;
    }

    /// The door's answer is right and nothing new, when something new is due.
    pub fn held(&mut self, door: usize) {
        self.lanes[door] = Lane::Held;
        self.resort.get_or_insert(door);
    }

    /// The door's answer ends the race.
    pub fn won(&mut self, door: usize) {
        self.won.get_or_insert(door);
    }

    /// How it ended, once [`Race::step`] has said [`Step::Over`].
    pub fn result(&self) -> Outcome {
        match (self.won, self.resort) {
            (Some(door), _) => Outcome::Won(door),
            (None, Some(door)) => Outcome::LastResort(door),
            (None, None) => Outcome::Lost,
        }
    }

    /// For how many whole staggers a running door has been silent at `at`; None if it does not
    /// run.
    pub fn silence(&self, door: usize, at: Duration) -> Option<u32> {
        let Lane::Running { since } = self.lanes[door] else {
            return None;
        };
        let staggers = at.saturating_sub(since).as_nanos() / self.staggers[door].as_nanos().max(1);
        Some(u32::try_from(staggers).unwrap_or(u32::MAX))
    }

    /// Nobody is left to start. A held answer waits for those still lively, and no longer.
    fn last_steps(&self, lively: &[usize]) -> Step {
        let running = |lane: &Lane| matches!(lane, Lane::Running { .. });
        if !self.lanes.iter().any(running) || (self.resort.is_some() && lively.is_empty()) {
            return Step::Over;
        }
        match self.resort {
            Some(_) => Step::Wait(self.earliest(lively)),
            None => Step::Wait(None),
        }
    }

    /// When the first of `lively` falls quiet.
    fn earliest(&self, lively: &[usize]) -> Option<Duration> {
        lively
            .iter()
            .filter_map(|lane| self.silent_until(*lane, QUIET))
            .min()
    }

    /// When a running door will have been silent for so many staggers.
    fn silent_until(&self, door: usize, staggers: u32) -> Option<Duration> {
        match self.lanes[door] {
            Lane::Running { since } => Some(since + self.staggers[door] * staggers),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
