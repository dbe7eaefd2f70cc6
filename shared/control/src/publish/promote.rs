//! Bringing one mirror to a head, as far as the budget goes: the immutable files that it lacks,
//! then those that change, each over the version that is known to stand there; and looking after
//! a mirror that holds all. The mirror's state keeps the place to go on from.

use model::CatalogName;
use store::{CommitError, Expect, Item, Key, Write};

use super::budget::{Meter, Stop, Target};
use super::files::{self, File, What};
use super::stock::{Lack, Standing, Stock};
use super::{Etag, Failing, Head, MirrorState, Publisher, Replaced, UnderWay, Whole, served};
use crate::{Context, Error, items};

/// How often a replacement is tried while others replace the same file.
const MOST_REPLACEMENTS: u32 = 8;
/// So many runs in a row in which a mirror fails, each asks it again.
const PATIENT_RUNS: u32 = 2;
/// For how long a mirror rests after the next failure, in seconds; twice as long after each further
/// one. Schedules run once a minute or oftener.
const FIRST_REST: u32 = 10;
/// The longest rest, in seconds: a mirror that is back is served within it.
const LONGEST_REST: u32 = 640;

/// A mirror and its state in this run.
pub(super) struct Slot<'a> {
    pub target: &'a Target<'a>,
    pub state: MirrorState,
    key: Key,
    /// What the store has: the state and the version of its item.
    stored: (Option<u64>, MirrorState),
    /// Immutable files that this run has put there already.
    put: Vec<String>,
    /// Whether the budget ended before the work.
    pub unfinished: bool,
    /// A file of the head that nobody has any more.
    pub lost: Option<String>,
    /// Whether a newer version of ours than the head is served there: another publisher is at work,
    /// or the store was restored from a backup.
    pub overtaken: bool,
    /// Whether this run has counted a failure.
    counted: bool,
    /// Whether another run has kept its place instead.
    given_up: bool,
}

/// Why a mirror's work ended early.
enum Ended {
    Spent,
    Failed(String),
    Lost(String),
    Defect(Error),
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Spent => Self::Spent,
            Stop::Failed(why) => Self::Failed(why),
        }
    }
}

impl From<Lack> for Ended {
    fn from(lack: Lack) -> Self {
        match lack {
            Lack::Spent => Self::Spent,
            Lack::Lost(path) => Self::Lost(path),
            Lack::Defect(error) => Self::Defect(error),
        }
    }
}

/// What all mirrors of a run work with.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub publisher: &'a Publisher<'a>,
    pub context: Context<'a>,
    pub meter: &'a Meter,
    pub stock: &'a Stock<'a>,
    /// How many files of a mirror that holds all are looked at.
    pub checks: usize,
    /// How many are where its timestamp does not tell what it serves.
    pub sweep: usize,
}

impl<'a> Slot<'a> {
    pub fn new(target: &'a Target<'a>, item: Option<&Item>) -> Result<Self, Error> {
        let state: MirrorState = items::read(item)?.unwrap_or_default();
        Ok(Self {
            target,
            key: items::mirror(target.name()),
            stored: (item.map(|item| item.version), state.clone()),
            state,
            put: Vec::new(),
            unfinished: false,
            lost: None,
            overtaken: false,
            counted: false,
            given_up: false,
        })
    }

    /// Whether it failed in this run or in its last one.
    pub fn is_failing(&self) -> bool {
        self.state.failing.is_some() || self.target.failure().is_some()
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
        let ends_here = self.is_failing() || self.lost.is_some() || self.overtaken;
        self.is_behind(head) && !ends_here
    }

    /// Its name and why it lags, if it does.
    pub fn lag(&self) -> Option<(String, String)> {
        let failing = self
            .state
            .failing
            .as_ref()
            .map(|failing| failing.why.clone());
        let lost = self
            .lost
            .as_ref()
            .map(|path| format!("no mirror has '{path}'"));
        let why = failing.or(lost)?;
        Some((self.target.name().to_owned(), why))
    }

    /// Whether it failed so often that this run leaves it alone.
    fn is_resting(&self, work: Work<'_>) -> bool {
        let rest = self.state.failing.as_ref().map(|failing| failing.retry_at);
        rest.is_some_and(|until| until > work.context.moment.now)
    }

    /// Takes note that this run has put an immutable file there.
    pub fn has(&mut self, path: String) {
        self.put.push(path);
    }

    /// Brings it to `head`, or looks after it if it is there.
    pub async fn bring(&mut self, work: Work<'_>, head: &Head) -> Result<(), Error> {
        (self.unfinished, self.lost, self.overtaken) = (false, None, false);
        if self.is_resting(work) {
            return Ok(());
        }
        let before = self.state.under_way;
        match self.advance(work, head).await {
            Ok(()) if self.is_behind(head) => {}
            Ok(()) => self.state.failing = None,
            Err(Ended::Spent) => {
                self.unfinished = true;
                // It works again: the next version waits for it as for any other.
                if self.state.under_way != before {
                    self.state.failing = None;
                }
            }
            Err(Ended::Failed(why)) => self.fail(work, why),
            Err(Ended::Lost(path)) => self.lost = Some(path),
            Err(Ended::Defect(error)) => return Err(error),
        }
        Ok(())
    }

    /// Takes note of a failure, once in a run.
    pub fn fail(&mut self, work: Work<'_>, why: String) {
        if self.counted {
            return;
        }
        self.counted = true;
        let before = self
            .state
            .failing
            .as_ref()
            .map_or(0, |failing| failing.runs);
        let runs = before.saturating_add(1);
        let now = work.context.moment.now;
        let rest = if runs <= PATIENT_RUNS {
            0
        } else {
            let doublings = (runs - PATIENT_RUNS - 1).min(16);
            (FIRST_REST << doublings).min(LONGEST_REST)
        };
        let rest = jiff::SignedDuration::from_secs(i64::from(rest));
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
        let write = Write::put(self.key.clone(), expect, &self.state);
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

    async fn advance(&mut self, work: Work<'_>, head: &Head) -> Result<(), Ended> {
        if self.state.whole.version > head.version {
            // Another publisher has a newer head.
            return Ok(());
        }
        if self.state.whole.version == head.version && self.state.under_way.is_none() {
            self.look_at_timestamp(work, head).await?;
        }
        if self.overtaken {
            return Ok(());
        }
        if self.state.whole.version == head.version && self.state.under_way.is_none() {
            return self.look_around(work, head).await;
        }
        self.fill(work, head).await
    }

    /// Looks at the file that every sync begins with. If another stands there than was put, then
    /// nothing that was known of this mirror is believed any more.
    async fn look_at_timestamp(&mut self, work: Work<'_>, head: &Head) -> Result<(), Ended> {
        let timestamp = &files::changing([].into_iter())[0];
        let Some(there) = self.target.get(&timestamp.path).await? else {
            tracing::warn!(
                mirror = self.target.name(),
                "it lost its timestamp: it is filled anew"
            );
            self.forget();
            return Ok(());
        };
        if served::fits(work.publisher, head, timestamp, &there.bytes) {
            self.state.note(&timestamp.path, Some(there.etag));
            return Ok(());
        }
        let version = served::version_of(work.publisher, timestamp, &there.bytes);
        self.state.seen = self.state.seen.max(version.unwrap_or(0));
        if version.is_some_and(|version| version > head.version) {
            self.overtaken = true;
            return Ok(());
        }
        // The immutable files are there as before; those that change are looked at one by one.
        self.state.etags.clear();
        self.state.under_way = Some(UnderWay {
            version: head.version,
            immutable: 0,
            changing: 0,
        });
        Ok(())
    }

    /// Counts it as empty.
    fn forget(&mut self) {
        self.state.whole = Whole::default();
        self.state.under_way = None;
        self.state.etags.clear();
        self.state.was_filled = false;
    }

    /// Looks at some files in turn, and mends what is missing or not what it should be.
    async fn look_around(&mut self, work: Work<'_>, head: &Head) -> Result<(), Ended> {
        let mut all = files::changing(head.catalogs.keys());
        all.remove(0);
        let nothing = Whole::default();
        all.extend(files::immutable(work.publisher.offline, head, &nothing));
        let first = self.state.check_from;
        for number in 0..work.checks.min(all.len()) {
            if work.meter.spare() == 0 {
                return Ok(());
            }
            let place = (first + number) % all.len();
            self.mend(work, head, &all[place]).await?;
            self.state.check_from = (place + 1) % all.len();
        }
        Ok(())
    }

    /// Writes what is missing for `head`, from where the last run ended.
    async fn fill(&mut self, work: Work<'_>, head: &Head) -> Result<(), Ended> {
        let mut at = self.state.under_way.filter(|at| at.version == head.version);
        let at = at.get_or_insert(UnderWay {
            version: head.version,
            immutable: 0,
            changing: 0,
        });
        self.state.under_way = Some(*at);
        let lacking = files::immutable(work.publisher.offline, head, &self.state.whole);
        for file in lacking.iter().skip(at.immutable) {
            if !self.put.contains(&file.path) {
                self.put(work, head, file).await?;
            }
            at.immutable += 1;
            self.state.under_way = Some(*at);
        }
        let changing = files::changing(head.catalogs.keys());
        for file in changing.iter().skip(at.changing) {
            self.raise(work, head, file).await?;
            at.changing += 1;
            self.state.under_way = Some(*at);
        }
        self.state.under_way = None;
        self.state.was_filled = true;
        let is_there = |path: &String| changing.iter().any(|file| file.path == *path);
        self.state.etags.retain(|path, _| is_there(path));
        self.state.whole = Whole {
            version: head.version,
            root_version: head.root_version,
            targets_version: head.targets_version,
        };
        Ok(())
    }

    /// Writes an immutable file. What stands in its place with other bytes is not ours: its name holds
    /// its version or its hash, and the head holds its hash.
    async fn put(&mut self, work: Work<'_>, head: &Head, file: &File) -> Result<(), Ended> {
        let bytes = work.stock.bytes(head, file).await?;
        if self.target.create(&file.path, &bytes).await? {
            return Ok(());
        }
        self.mend(work, head, file).await
    }

    /// Looks at a file, and puts the right bytes there unless they or newer ones of ours are.
    async fn mend(&mut self, work: Work<'_>, head: &Head, file: &File) -> Result<(), Ended> {
        self.state.note(&file.path, None);
        self.replace(work, head, file, None).await
    }

    /// Puts a file that changes in the place of what is known to stand there.
    async fn raise(&mut self, work: Work<'_>, head: &Head, file: &File) -> Result<(), Ended> {
        let known = match self.state.etag(&file.path) {
            Some(etag) => Some(Some(etag)),
            None if self.state.was_filled => None,
            None => Some(None),
        };
        self.replace(work, head, file, known).await
    }

    /// Puts a file over `known`, or over what is found there if that is not known.
    async fn replace(
        &mut self,
        work: Work<'_>,
        head: &Head,
        file: &File,
        known: Option<Option<Etag>>,
    ) -> Result<(), Ended> {
        let mut known = known;
        for _ in 0..MOST_REPLACEMENTS {
            let over = match known.take() {
                Some(over) => over,
                None => match self.look(work, head, file).await? {
                    Found::Right => return Ok(()),
                    Found::Over(over) => over,
                },
            };
            let bytes = work.stock.bytes(head, file).await?;
            if over.is_none() && !file.what.changes() {
                if self.target.create(&file.path, &bytes).await? {
                    return Ok(());
                }
                continue;
            }
            if let Replaced::Yes(etag) = self
                .target
                .replace(&file.path, &bytes, over.as_ref())
                .await?
            {
                if file.what.changes() {
                    self.state.note(&file.path, etag);
                }
                return Ok(());
            }
        }
        Err(Ended::Failed(format!(
            "'{}' was replaced by others again and again",
            file.path
        )))
    }

    async fn look(&mut self, work: Work<'_>, head: &Head, file: &File) -> Result<Found, Ended> {
        // Until it is known better.
        self.state.note(&file.path, None);
        let Some(there) = self.target.get(&file.path).await? else {
            if file.what == What::Timestamp && self.state.was_filled {
                self.forget();
                return Err(Ended::Failed("it lost what it held".to_owned()));
            }
            return Ok(Found::Over(None));
        };
        if served::fits(work.publisher, head, file, &there.bytes) {
            if file.what.changes() {
                self.state.note(&file.path, Some(there.etag));
            }
            return Ok(Found::Right);
        }
        if let Some(version) = served::version_of(work.publisher, file, &there.bytes) {
            self.state.seen = self.state.seen.max(version);
            if version > head.version {
                self.overtaken = true;
                return Ok(Found::Right);
            }
        }
        if !file.what.changes() {
            tracing::error!(
                mirror = self.target.name(),
                path = file.path,
                "a file was altered"
            );
        }
        Ok(Found::Over(Some(there.etag)))
    }

    /// Learns which version of ours it serves. Where the timestamp tells and is ours, no bundle is
    /// newer; where it was removed or replaced, bundles of `names` are asked too, as many as a check
    /// may look at: the calls that the next version needs are not spent on this.
    pub async fn learn<'n>(
        &mut self,
        work: Work<'_>,
        names: impl Iterator<Item = &'n CatalogName>,
    ) {
        let once_served = self.state.whole.version > 0 || self.state.was_filled;
        let most = work.sweep.max(1);
        for (number, file) in files::changing(names).iter().take(most).enumerate() {
            let Ok(there) = self.target.get(&file.path).await else {
                break;
            };
            let bytes = there.as_ref().map(|there| &there.bytes);
            let version = bytes.and_then(|bytes| served::version_of(work.publisher, file, bytes));
            self.state.seen = self.state.seen.max(version.unwrap_or(0));
            let plain = version.is_some() || (bytes.is_none() && !once_served);
            if number == 0 && plain {
                break;
            }
        }
        if let Some(why) = self.target.failure() {
            self.fail(work, why);
        }
    }
}

/// What stands at a path.
enum Found {
    /// What should, or a newer version of ours that another publisher has put there.
    Right,
    /// Nothing, or something else.
    Over(Option<Etag>),
}
