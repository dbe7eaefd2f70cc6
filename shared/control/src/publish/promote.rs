//! Bringing one mirror to a head, as far as the budget goes: the immutable files that it lacks,
//! then those that change, each over the version that is known to stand there; and looking after
//! a mirror that holds all. The mirror's state keeps the place to go on from.

use model::CatalogName;

use super::budget::Stop;
use super::files::{self, File, What};
use super::slot::{Besides, CameTo, Slot, Work};
use super::stock::Lack;
use super::{Etag, Head, Replaced, UnderWay, Whole, served};
use crate::Error;

/// How often a replacement is tried while others replace the same file.
const MOST_REPLACEMENTS: u32 = 8;

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

/// What stands at a path.
enum There {
    /// What should, or a newer version of ours that another publisher has put there.
    Right,
    /// This, or nothing.
    Else(Option<Etag>),
    /// That must be looked up.
    Unknown,
}

impl Slot<'_> {
    /// Brings it to `head`, or looks after it if it is there.
    pub async fn bring(&mut self, work: Work<'_>, head: &Head) -> Result<(), Error> {
        self.came_to = CameTo::End;
        if self.is_resting(work) {
            return Ok(());
        }
        let before = self.state.under_way;
        match self.advance(work, head).await {
            Ok(()) if self.is_behind(head) => {}
            Ok(()) => self.state.failing = None,
            Err(Ended::Spent) => {
                if self.came_to == CameTo::End {
                    self.came_to = CameTo::Unfinished;
                }
                // It works again: the next version waits for it as for any other.
                if self.state.under_way != before && !self.has_failed() {
                    self.state.failing = None;
                }
            }
            Err(Ended::Failed(why)) => self.fail(work, why),
            Err(Ended::Lost(path)) => self.came_to = CameTo::Lost(path),
            Err(Ended::Defect(error)) => return Err(error),
        }
        Ok(())
    }

    async fn advance(&mut self, work: Work<'_>, head: &Head) -> Result<(), Ended> {
        if self.state.whole.version > head.version {
            // Another publisher has a newer head.
            return Ok(());
        }
        if self.state.whole.version == head.version && self.state.under_way.is_none() {
            self.look_at_timestamp(work, head).await?;
        }
        if self.came_to != CameTo::End {
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
            self.forget();
            self.distrust(work, "it lost its timestamp");
            return Ok(());
        };
        if served::fits(work.publisher, head, timestamp, &there.bytes) {
            self.state.note(&timestamp.path, Some(there.etag));
            return Ok(());
        }
        let version = self.see(served::version_of(work.publisher, timestamp, &there.bytes));
        if version.is_some_and(|version| version > head.version) {
            self.came_to = CameTo::Overtaken;
            return Ok(());
        }
        // The immutable files are there as before; those that change are looked at one by one.
        self.state.etags.clear();
        self.state.under_way = Some(UnderWay {
            version: head.version,
            immutable: 0,
            changing: 0,
        });
        self.distrust(work, "its timestamp was replaced");
        Ok(())
    }

    /// It does not hold what was put there. No version waits for it any more, or whoever can write
    /// to one mirror could keep news from all.
    fn distrust(&mut self, work: Work<'_>, why: &str) {
        tracing::error!(
            mirror = self.target.name(),
            why,
            "what was put there is gone"
        );
        self.fail(work, why.to_owned());
        if work.besides == Besides::News {
            self.came_to = CameTo::Tampered;
        }
    }

    /// Counts it as empty.
    fn forget(&mut self) {
        self.state.whole = Whole::default();
        self.state.under_way = None;
        self.state.etags.clear();
        self.state.was_filled = false;
    }

    /// Looks at some files in turn, and mends what is missing or not what it should be. Before news,
    /// which replace all files that change, it only learns their versions, if it can look at all.
    async fn look_around(&mut self, work: Work<'_>, head: &Head) -> Result<(), Ended> {
        let mut all = files::changing(head.catalogs.keys());
        all.remove(0);
        match work.besides {
            Besides::Nothing => {}
            Besides::News if work.checks >= all.len() => {
                for file in &all {
                    self.look(work, head, file).await?;
                }
                return Ok(());
            }
            Besides::News | Besides::Others => return Ok(()),
        }
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
            if !self.has_put(&file.path) {
                self.create(work, head, file).await?;
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
    async fn create(&mut self, work: Work<'_>, head: &Head, file: &File) -> Result<(), Ended> {
        let bytes = work.stock.bytes(head, file).await?;
        if self.target.create(&file.path, &bytes).await? {
            return Ok(());
        }
        self.mend(work, head, file).await
    }

    /// Looks at a file, and puts the right bytes there unless they or newer ones of ours are.
    async fn mend(&mut self, work: Work<'_>, head: &Head, file: &File) -> Result<(), Ended> {
        self.state.note(&file.path, None);
        self.replace(work, head, file, There::Unknown).await
    }

    /// Puts a file that changes in the place of what is known to stand there.
    async fn raise(&mut self, work: Work<'_>, head: &Head, file: &File) -> Result<(), Ended> {
        let known = match self.state.etag(&file.path) {
            Some(etag) => There::Else(Some(etag)),
            None if self.state.was_filled => There::Unknown,
            None => There::Else(None),
        };
        self.replace(work, head, file, known).await
    }

    /// Puts a file over what stands there.
    async fn replace(
        &mut self,
        work: Work<'_>,
        head: &Head,
        file: &File,
        mut there: There,
    ) -> Result<(), Ended> {
        for _ in 0..MOST_REPLACEMENTS {
            if matches!(there, There::Unknown) {
                there = self.look(work, head, file).await?;
            }
            let over = match std::mem::replace(&mut there, There::Unknown) {
                There::Else(over) => over,
                There::Right | There::Unknown => return Ok(()),
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

    async fn look(&mut self, work: Work<'_>, head: &Head, file: &File) -> Result<There, Ended> {
        // Until it is known better.
        self.state.note(&file.path, None);
        let Some(there) = self.target.get(&file.path).await? else {
            if file.what == What::Timestamp && self.state.was_filled {
                self.forget();
                return Err(Ended::Failed("it lost what it held".to_owned()));
            }
            return Ok(There::Else(None));
        };
        if served::fits(work.publisher, head, file, &there.bytes) {
            if file.what.changes() {
                self.state.note(&file.path, Some(there.etag));
            }
            return Ok(There::Right);
        }
        let version = self.see(served::version_of(work.publisher, file, &there.bytes));
        if version.is_some_and(|version| version > head.version) {
            self.came_to = CameTo::Overtaken;
            return Ok(There::Right);
        }
        if !file.what.changes() {
            tracing::error!(
                mirror = self.target.name(),
                path = file.path,
                "a file was altered"
            );
        }
        Ok(There::Else(Some(there.etag)))
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
        let most = work.checks.max(1);
        for (number, file) in files::changing(names).iter().take(most).enumerate() {
            let Ok(there) = self.target.get(&file.path).await else {
                break;
            };
            let bytes = there.as_ref().map(|there| &there.bytes);
            let version = bytes.and_then(|bytes| served::version_of(work.publisher, file, bytes));
            let version = self.see(version);
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
