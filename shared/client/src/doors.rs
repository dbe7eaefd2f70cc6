//! Front doors: who they are, and the fetch that races them.
//!
//! Doors are untrusted mirrors. [`fetch`] drives a [`Race`]: it starts doors when the race says so,
//! reads what they serve up to a cap, verifies it off the async thread, and reports back. The
//! first answer that verifies and is not older than what is known wins; every other outcome is
//! that door's failure with its reason, and its bytes go nowhere.
//!
//! A 304 is signed by nobody, and an equal version says only that the door has nothing newer. Both
//! end the race while news is not yet due: in the first half of the known timestamp's life.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use model::{CatalogName, FirstContact, FrontDoor, HeldKey, NetworkId, RecoveryKit, RootPin};
use rules::clock::{Heard, Served as Standing};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tuf::{MOST_BUNDLE_BYTES, Start, TrustedState, Unread, VerifyError, Wanted};

use crate::race::{self, Outcome, Race, Step};
use crate::web::{Failure, Fetched};
use crate::{Clock, Web};

/// Limits of waiting.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long one door may take for a whole answer, its verification not counted.
    pub door_timeout: Duration,
    /// The most bytes that a door's answer may have.
    pub most_bytes: u64,
}

impl Default for Options {
    /// 20 seconds: a catalog of 10,000 gateways (3 MB) at 1.2 Mbit/s.
    fn default() -> Self {
        Self {
            door_timeout: Duration::from_secs(20),
            most_bytes: MOST_BUNDLE_BYTES,
        }
    }
}

/// All doors that are known: those of the first contact, of the recovery kit and of the catalog,
/// each URL once, with the fallback addresses of all who name it.
pub fn known(
    contact: &FirstContact,
    kit: Option<&RecoveryKit>,
    listed: &[String],
) -> Vec<FrontDoor> {
    let mut doors: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let mut add = |url: &str, fallback: &[IpAddr]| {
        let addresses = doors
            .entry(url.trim_end_matches('/').to_owned())
            .or_default();
        for address in fallback {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
    };
    let kept = kit.map_or(&[][..], |kit| &kit.front_doors);
    for door in contact.front_doors.iter().chain(kept) {
        add(&door.url, &door.fallback);
    }
    for url in listed {
        add(url, &[]);
    }
    doors
        .into_iter()
        .map(|(url, fallback)| FrontDoor { url, fallback })
        .collect()
}

/// What came of one door in a race.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DoorOutcome {
    /// Its URL.
    pub door: String,
    /// What came of it.
    pub outcome: Came,
    /// A short stable word for a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// In words; always there for a failure.
    #[serde(default)]
    pub reason: Option<String>,
    /// How long it ran, in milliseconds.
    pub ms: u64,
    /// When it was started, in milliseconds from the beginning of the race.
    pub started_ms: u64,
    /// What it said about the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

/// What can come of a door.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Came {
    /// It served something new that verifies.
    Verified,
    /// It says that nothing changed.
    Unchanged,
    /// It failed.
    Failed,
    /// Another was faster. Not a failure.
    Cancelled,
}

/// One door of a race.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The door.
    pub door: FrontDoor,
    /// Its smoothed time, in milliseconds.
    pub smoothed_ms: Option<u32>,
    /// The entity tag to send: only one that stands for what we hold.
    pub etag: Option<String>,
}

/// What every door is asked for, and what its answer is held against.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The network.
    pub network: NetworkId,
    /// The catalog that is wanted: the one that a device reads, none for who wants what the offline keys
    /// have signed.
    pub catalog: Option<CatalogName>,
    /// The keys that it holds.
    pub keys: Vec<HeldKey>,
    /// Where trust starts when nothing is known.
    pub pin: RootPin,
    /// What is known.
    pub trusted: Option<TrustedState>,
    /// Whether what is known is damaged: it still says what is too old, and all is fetched anew.
    pub damaged: bool,
}

/// How far a clock may be behind the moment at which something was verified, and still be believed.
const BEHIND: SignedDuration = SignedDuration::from_mins(5);

impl Ask {
    /// The path that is asked for, below a door's base URL.
    pub fn path(&self) -> String {
        tuf::repository::bundle_path(self.catalog.as_ref())
    }

    /// Whether "nothing changed" is believed at `now`.
    fn is_fresh(&self, now: Timestamp) -> bool {
        // A clock that is behind when that was verified says nothing about its age.
        let fresh =
            |state: &TrustedState| state.verified_at() <= now + BEHIND && now < state.fresh_until();
        !self.damaged && self.trusted.as_ref().is_some_and(fresh)
    }

    fn verify(&self, bytes: &[u8], now: Timestamp) -> Result<Unread, Failure> {
        let start = match &self.trusted {
            Some(state) if !self.damaged => Start::State(state),
            Some(state) if state.has_sound_root() => Start::Floor(state),
            _ => Start::Pin(&self.pin),
        };
        let wanted = Wanted {
            network: &self.network,
            catalog: self.catalog.as_ref(),
            keys: &self.keys,
        };
        tuf::verify_bundle_unread(start, &wanted, bytes, now).map_err(|error| {
            let mut failure = Failure::new(error.kind(), error.to_string());
            // Signatures and versions were right, or the error would be another.
            if let VerifyError::Expired { expires, .. } = error {
                failure.expired = Some(expires);
            }
            failure
        })
    }
}

/// An answer that counts.
#[derive(Debug)]
pub struct Answer {
    /// Which lane gave it.
    pub lane: usize,
    /// What it served; None for a 304.
    pub served: Option<Served>,
}

/// Bytes that verified.
#[derive(Debug)]
pub struct Served {
    /// What is in them.
    pub verified: Box<Unread>,
    /// Their entity tag.
    pub etag: Option<String>,
}

/// Races `lanes`, which are in ranked order. Gives the answer that counts, or None if every door
/// failed, and what came of each door that was started.
pub async fn fetch(
    web: &Web,
    clock: &dyn Clock,
    options: Options,
    ask: Arc<Ask>,
    lanes: &[Lane],
) -> (Option<Answer>, Vec<DoorOutcome>) {
    let staggers = lanes.iter().map(|lane| race::stagger(lane.smoothed_ms));
    let mut race = Race::new(staggers.collect());
    let mut log = RaceLog::new(lanes);
    let mut running = FuturesUnordered::new();
    let mut answers: BTreeMap<usize, Option<Served>> = BTreeMap::new();
    web.make_ready(lanes.iter().map(|lane| lane.door.url.as_str()));
    let began = Instant::now();
    loop {
        match race.step(began.elapsed()) {
            Step::Over => break,
            Step::Start(lane) => {
                tracing::debug!(door = lanes[lane].door.url, "asking");
                log.started(lane, began.elapsed());
                let ask = Arc::clone(&ask);
                running.push(attempt(web, clock, options, ask, lane, &lanes[lane]));
            }
            Step::Wait(until) => {
                let Some((lane, came)) = next_answer(&mut running, began, until).await else {
                    continue;
                };
                let fresh = ask.is_fresh(clock.now());
                if let Some(served) = log.answered(&mut race, lane, came, fresh, began.elapsed()) {
                    answers.insert(lane, served);
                }
            }
        }
    }
    drop(running);

    let outcomes = log.close(&race, began.elapsed());
    let answer = match race.result() {
        Outcome::Won(lane) | Outcome::LastResort(lane) => {
            answers.remove(&lane).map(|served| Answer { lane, served })
        }
        Outcome::Lost => None,
    };
    (answer, outcomes)
}

/// What one door came to: `None` for a 304.
struct Attempt {
    result: Result<Option<Served>, Failure>,
    /// From its start to its whole answer.
    took: Duration,
    over_fallback: bool,
    date: Option<Timestamp>,
}

/// The next answer, or None at `until`.
async fn next_answer<F: Future>(
    running: &mut FuturesUnordered<F>,
    began: Instant,
    until: Option<Duration>,
) -> Option<F::Output> {
    match until {
        None => running.next().await,
        Some(until) => tokio::time::timeout_at(began + until, running.next())
            .await
            .unwrap_or_default(),
    }
}

async fn attempt(
    web: &Web,
    clock: &dyn Clock,
    options: Options,
    ask: Arc<Ask>,
    lane: usize,
    of: &Lane,
) -> (usize, Attempt) {
    let began = Instant::now();
    let url = format!("{}/{}", of.door.url, ask.path());
    let get = web.get(
        &url,
        &of.door.fallback,
        of.etag.as_deref(),
        options.most_bytes,
    );
    let in_time = tokio::time::timeout(options.door_timeout, get).await;
    let (fetched, over_fallback) = in_time.unwrap_or_else(|_| {
        let why = format!("no answer in {} ms", options.door_timeout.as_millis());
        (Err(Failure::new("timeout", why)), false)
    });
    let took = began.elapsed();
    let (result, date) = match fetched {
        Err(failure) => (Err(failure), None),
        Ok(Fetched::NotModified { date }) => (Ok(None), date),
        Ok(Fetched::Body { bytes, etag, date }) => {
            let verified = verify(ask, bytes, clock.now()).await;
            (
                verified.map(|verified| Some(Served { verified, etag })),
                date,
            )
        }
    };
    let attempt = Attempt {
        result,
        took,
        over_fallback,
        date,
    };
    (lane, attempt)
}

/// Verifies off the async thread: a large catalog takes milliseconds of pure work.
async fn verify(ask: Arc<Ask>, bytes: Vec<u8>, now: Timestamp) -> Result<Box<Unread>, Failure> {
    let work = tokio::task::spawn_blocking(move || ask.verify(&bytes, now));
    match work.await {
        Ok(result) => result.map(Box::new),
        Err(error) => Err(Failure::new("malformed", format!("not verified: {error}"))),
    }
}

/// Keeps the record of a race while it runs.
struct RaceLog<'a> {
    lanes: &'a [Lane],
    started: Vec<(usize, Duration)>,
    outcomes: BTreeMap<usize, DoorOutcome>,
}

impl<'a> RaceLog<'a> {
    fn new(lanes: &'a [Lane]) -> Self {
        Self {
            lanes,
            started: Vec::new(),
            outcomes: BTreeMap::new(),
        }
    }

    fn started(&mut self, lane: usize, at: Duration) {
        self.started.push((lane, at));
    }

    /// Tells the race what came of a lane and writes it down. Gives what was served, if the
    /// answer was right.
    #[expect(
        clippy::option_option,
        reason = "a right answer may be a 304, with nothing in it"
    )]
    fn answered(
        &mut self,
        race: &mut Race,
        lane: usize,
        attempt: Attempt,
        fresh: bool,
        at: Duration,
    ) -> Option<Option<Served>> {
        let fallback = attempt.over_fallback.then_some("over a fallback address");
        let ended = EndedAs {
            at,
            took: Some(attempt.took),
            heard: attempt.heard(),
        };
        match attempt.result {
            Err(failure) => {
                race.failed(lane);
                self.write(
                    lane,
                    Came::Failed,
                    Some(failure.kind),
                    Some(failure.why),
                    ended,
                );
                None
            }
            Ok(Some(served)) if served.verified.changed => {
                race.won(lane);
                self.write(
                    lane,
                    Came::Verified,
                    None,
                    fallback.map(str::to_owned),
                    ended,
                );
                Some(Some(served))
            }
            Ok(served) => {
                let reason = if fresh {
                    race.won(lane);
                    fallback
                } else {
                    race.held(lane);
                    Some("nothing new, though news is due: others were asked too")
                };
                self.write(
                    lane,
                    Came::Unchanged,
                    None,
                    reason.map(str::to_owned),
                    ended,
                );
                Some(served)
            }
        }
    }

    /// Writes down those that were still running when the race ended, in the order of starting.
    fn close(mut self, race: &Race, at: Duration) -> Vec<DoorOutcome> {
        for (lane, started) in self.started.clone() {
            let Some(staggers) = race.silence(lane, at) else {
                continue;
            };
            if self.outcomes.contains_key(&lane) {
                continue;
            }
            let ms = at.saturating_sub(started).as_millis();
            let ended = EndedAs {
                at,
                took: None,
                heard: None,
            };
            // It made the next door start, and that one or another was faster: it failed, and the
            // log says so. A door that still had time did not.
            if staggers >= 1 {
                let why = format!("no answer in {ms} ms, and another was faster");
                self.write(lane, Came::Failed, Some("silent"), Some(why), ended);
            } else {
                self.write(lane, Came::Cancelled, None, None, ended);
            }
        }
        let mut outcomes = self.outcomes;
        self.started
            .iter()
            .filter_map(|(lane, _)| outcomes.remove(lane))
            .collect()
    }

    fn write(
        &mut self,
        lane: usize,
        outcome: Came,
        kind: Option<&str>,
        reason: Option<String>,
        ended: EndedAs,
    ) {
        let started = self.started.iter().find(|(number, _)| *number == lane);
        let started = started.map_or(Duration::ZERO, |(_, at)| *at);
        let took = ended.took.unwrap_or(ended.at.saturating_sub(started));
        let door = self.lanes[lane].door.url.clone();
        tracing::debug!(door, ?outcome, reason, "answered");
        self.outcomes.insert(
            lane,
            DoorOutcome {
                door,
                outcome,
                kind: kind.map(str::to_owned),
                reason,
                ms: millis(took),
                started_ms: millis(started),
                heard: ended.heard,
            },
        );
    }
}

/// When a lane ended, and how long its own work took where that is known.
#[derive(Clone, Copy)]
struct EndedAs {
    at: Duration,
    took: Option<Duration>,
    heard: Option<Heard>,
}

impl Attempt {
    /// What the door said about the time, if it did.
    fn heard(&self) -> Option<Heard> {
        let served = match &self.result {
            Ok(Some(_)) => Some(Standing::Valid),
            Err(failure) => failure.expired.map(|at| Standing::Expired { at }),
            // Nobody signed a 304.
            Ok(None) => None,
        };
        let date = self.date;
        (served.is_some() || date.is_some()).then_some(Heard { served, date })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
