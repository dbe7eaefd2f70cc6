//! A mirror in a run: its state, what came of it, and whether it may be waited for.

use jiff::SignedDuration;
use store::{CommitError, Expect, Item, Key};
use tuf::key::SigningKey;

use super::budget::{Meter, Target};
use super::stock::{Standing, Stock};
use super::{Failing, Head, MirrorState, Publisher};
use crate::{Context, Error, items};

/// So many runs in a row in which a mirror fails, each asks it again.
const PATIENT_RUNS: u32 = 2;
/// For how long a mirror rests after the next failure, in seconds; twice as long after each further
/// one. Schedules run once a minute or oftener.
const FIRST_REST: u32 = 10;
/// The longest rest, in seconds: a mirror that is back is served within it.
const LONGEST_REST: u32 = 640;

/// How far ahead no other publisher can be: one version a second for 34,000 years. Whoever signs
/// a higher one with our own key has stolen it, and wants the versions to end.
const TOO_FAR: u64 = 1 << 40;
/// What is said of that.
pub(super) const THEFT: &str = "a mirror held a timestamp of an enormous version that our own timestamp key \
     signed: somebody else holds that key. Rotate it (docs/runbooks/stolen-key.md)";

/// A mirror and its state in this run.
pub(super) struct Slot<'a> {
    pub target: &'a Target<'a>,
    pub state: MirrorState,
    pub came_to: CameTo,
    /// Whether something stood there that only a thief of our key signs.
    pub saw_theft: bool,
    key: Key,
    /// What the store has: the state and the version of its item.
    stored: (Option<u64>, MirrorState),
    /// Immutable files that this run has put there already.
    put: Vec<String>,
    /// Whether this run has counted a failure.
    counted: bool,
    /// Whether another run has kept its place instead.
    given_up: bool,
}

/// What a run's work on a mirror came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CameTo {
    /// Its end, or it failed, or it rests.
    End,
    /// The end of the budget.
    Unfinished,
    /// A file of the head that nobody has any more: the next version replaces it.
    Lost(String),
    /// A newer version of ours than the head: another publisher is at work, or the store was restored
    /// from a backup.
    Overtaken,
    /// Something that this program did not leave there, while there is news: it gets those at once.
    Tampered,
}

/// What all mirrors of a run work with.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub publisher: &'a Publisher<'a>,
    pub context: Context<'a>,
    pub meter: &'a Meter,
    pub stock: &'a Stock<'a>,
    /// How many files of a mirror are looked at that holds all, or whose timestamp does not tell
    /// what it serves.
    pub checks: usize,
    /// What there is to do besides bringing mirrors to the head.
    pub besides: Besides,
    /// Whether mirrors that fail again and again are left alone for a while: not where all do, since
    /// then nothing else is to be done, and nobody is served the news.
    pub rests: bool,
}

/// What a run has to do besides bringing mirrors to the head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Besides {
    /// Nothing: it looks around on those that hold all.
    Nothing,
    /// Others are on their way.
    Others,
    /// A new version is due.
    News,
}

impl<'a> Slot<'a> {
    /// What was seen that another timestamp key signed counts no more: clients forget it, too, when the
    /// key is rotated (TUF specification, section 5.3.11).
    pub fn new(
        target: &'a Target<'a>,
        item: Option<&Item>,
        timestamp: &SigningKey,
    ) -> Result<Self, Error> {
        let mut state: MirrorState = items::read(item)?.unwrap_or_default();
        let stored = state.clone();
        let key = timestamp.key_id();
        if state.seen > 0 && state.seen_by.as_ref().is_some_and(|by| *by != key) {
            state.seen = 0;
        }
        state.seen_by = Some(key);
        Ok(Self {
            target,
            key: items::mirror(target.name()),
            stored: (item.map(|item| item.version), stored),
            state,
            came_to: CameTo::End,
            saw_theft: false,
            put: Vec::new(),
            counted: false,
            given_up: false,
        })
    }

    /// Takes note of a version that our key signed; `None` if it is none to go by.
    pub fn see(&mut self, version: Option<u64>) -> Option<u64> {
        let version = version?;
        if version > self.state.whole.version.saturating_add(TOO_FAR) {
            self.saw_theft = true;
            tracing::error!(mirror = self.target.name(), version, THEFT);
            return None;
        }
        self.state.seen = self.state.seen.max(version);
        Some(version)
    }

    /// Whether it failed in this run or in its last one.
    pub fn is_failing(&self) -> bool {
        self.state.failing.is_some() || self.target.failure().is_some()
    }

    /// Whether it failed in this run.
    pub fn has_failed(&self) -> bool {
        self.counted
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        Standing {
            whole: self.state.whole.version,
            is_failing: self.is_failing(),
        }
    }

    /// Whether it does not hold all of `head`.
    pub fn is_behind(&self, head: &Head) -> bool {
        self.state.whole.version < head.version || self.state.under_way.is_some()
    }

    /// Whether the next version waits for it: it is on its way to `head`, and gets there. It does not
    /// where a file is lost that only the next version replaces.
    pub fn holds_up(&self, head: &Head) -> bool {
        let is_stuck = !matches!(self.came_to, CameTo::End | CameTo::Unfinished);
        self.is_behind(head) && !self.is_failing() && !is_stuck
    }

    /// Its name and why it lags, if it does.
    pub fn lag(&self) -> Option<(String, String)> {
        let why = match (&self.state.failing, &self.came_to) {
            (Some(failing), _) => failing.why.clone(),
            (None, CameTo::Lost(path)) => format!("no mirror has '{path}'"),
            _ => return None,
        };
        Some((self.target.name().to_owned(), why))
    }

    /// Whether it failed so often that this run leaves it alone.
    pub fn is_resting(&self, work: Work<'_>) -> bool {
        let rest = self.state.failing.as_ref().map(|failing| failing.retry_at);
        work.rests && rest.is_some_and(|until| until > work.context.moment.now)
    }

    /// Takes note that this run has put an immutable file there.
    pub fn put(&mut self, path: String) {
        self.put.push(path);
    }

    /// Whether this run has put this file there.
    pub fn has_put(&self, path: &String) -> bool {
        self.put.contains(path)
    }

    /// Takes note of a failure, once in a run.
    pub fn fail(&mut self, work: Work<'_>, why: String) {
        if self.counted {
            return;
        }
        self.counted = true;
        let before = self.state.failing.as_ref();
        let runs = before.map_or(1, |failing| failing.runs.saturating_add(1));
        let now = work.context.moment.now;
        let rest = if runs <= PATIENT_RUNS {
            0
        } else {
            let doublings = (runs - PATIENT_RUNS - 1).min(16);
            (FIRST_REST << doublings).min(LONGEST_REST)
        };
        let rest = SignedDuration::from_secs(i64::from(rest));
        self.state.failing = Some(Failing {
            runs,
            retry_at: now.checked_add(rest).unwrap_or(now),
            why,
        });
    }

    /// Commits the state if it is another than before.
    pub async fn save(&mut self, work: Work<'_>) -> Result<(), Error> {
        work.meter.release();
        let (version, stored) = &self.stored;
        if *stored == self.state || self.given_up {
            return Ok(());
        }
        let expect = version.map_or(Expect::Absent, Expect::Version);
        let write = items::put(self.key.clone(), expect, &self.state);
        let now = work.context.moment.now;
        match work.context.store.commit(now, vec![write]).await {
            Ok(()) => {
                let next = version.map_or(1, |version| version + 1);
                self.stored = (Some(next), self.state.clone());
                Ok(())
            }
            // Another run works on it and keeps its own place, which is as good.
            Err(CommitError::Failed(_)) => {
                self.given_up = true;
                Ok(())
            }
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}
