//! A sync: race the known doors for the catalog's bundle, ask a [witness](crate::witness) where it is
//! time, keep what verified, remember how each door did; then read it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use model::FrontDoor;
use rules::clock::{Evidence, Verdict};
use rules::ranking::{Candidate, Rank, rank};
use serde::Serialize;
use tuf::slices::Sealed;
use tuf::{TrustedState, Unread, Verified};

use crate::decisions::{About, Decision, Judged};
use crate::device::Etag;
use crate::doors::{self, Answer, Ask, Came, DoorOutcome, Lane};
use crate::gist::{self, Gist, gist, gist_if_sound};
use crate::standing::Standing;
use crate::{Context, Device, Error, Locked, keys, witness};

/// What a sync came to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The version of the repository: of its timestamp.
    pub version: u64,
    /// The version at which the catalog last changed.
    pub catalog_version: Option<u64>,
    /// How many gateways it lists, as far as this device can read it.
    pub gateways: usize,
    /// How many slices the newest catalog has, and were opened. If none was, what is told of the catalog
    /// besides is told of the last one that was.
    pub sealed: Sealed,
    /// Whether anything is new.
    pub changed: bool,
    /// The door whose answer counted.
    pub door: String,
    /// What came of each door that was asked, in the order of asking.
    pub outcomes: Vec<DoorOutcome>,
    /// What was left out of the catalog, a line each.
    pub skipped: Vec<String>,
    /// Until when the timestamp is valid.
    pub expires: Timestamp,
    /// Whether it has expired.
    pub stale: bool,
    /// How the catalog stands.
    pub standing: Standing,
    /// What is to be thought of this device's clock.
    pub clock: Verdict,
}

/// Fetches the newest catalog, keeps it in the device's file, and reads it. The device is changed in either
/// case (histories, the decision log); what reading it changed is the caller's to save.
pub async fn sync_kept(
    file: &Locked,
    device: &mut Device,
    context: &Context<'_>,
) -> Result<Report, Error> {
    let fetched = fetch(device, context).await;
    file.save(device)?;
    fetched?.read(device, context.clock.now())
}

/// The same for a device without a file, or that is saved when it was read.
pub async fn sync(device: &mut Device, context: &Context<'_>) -> Result<Report, Error> {
    let fetched = fetch(device, context).await?;
    fetched.read(device, context.clock.now())
}

/// What the doors had: in the device, to be kept, and not read yet.
pub struct Fetched {
    /// What was known before.
    known: Option<Gist>,
    /// What was served; None for a 304.
    served: Option<Unread>,
    door: String,
    outcomes: Vec<DoorOutcome>,
    clock: Verdict,
}

/// Fetches the newest catalog and verifies it; it is to be [read](Fetched::read) when it is on disk. The device
/// is changed in either case and is the caller's to save.
pub async fn fetch(device: &mut Device, context: &Context<'_>) -> Result<Fetched, Error> {
    let now = context.clock.now();
    let (known, damaged) = match gist(device, now) {
        // A catalog is always among what was verified.
        Ok(None) if device.trusted.is_some() => {
            tracing::warn!("the device file has no catalog in it, all is fetched");
            (None, true)
        }
        Ok(known) => (known, false),
        Err(Error::Trusted(error)) => {
            tracing::warn!("the catalog in the device file is damaged, all is fetched: {error}");
            (None, true)
        }
        Err(error) => return Err(error),
    };
    device.gist.clone_from(&known);
    let ask = Arc::new(Ask {
        network: device.contact.network.clone(),
        catalog: Some(device.enrolled()?.catalog.clone()),
        keys: keys::held(device).into_owned(),
        pin: device.contact.root.clone(),
        trusted: device.trusted.clone(),
        damaged,
    });
    let kit = known.as_ref().and_then(|known| known.kit.as_ref());
    let listed = known.as_ref().map_or(&[][..], |known| &known.front_doors);
    let doors = doors::known(&device.contact, kit, listed);
    device
        .doors
        .retain(|url, _| doors.iter().any(|door| door.url == *url));

    let candidates: Vec<_> = doors.iter().map(|door| candidate(device, door)).collect();
    let id = device.id();
    let ranks = rank(&candidates, id.as_str(), now);
    let lanes: Vec<_> = ranks
        .iter()
        .filter_map(|rank| doors.iter().find(|door| door.url == rank.id))
        .map(|door| lane(device, &ask, door, now))
        .collect();

    let (won, outcomes) = race(device, context, &ask, &ranks, &lanes).await;
    let winner = won.as_ref().map(|won| won.door.clone());
    remember(device, context.clock.now(), &outcomes);
    let judged = Judged::by(Evidence {
        now: context.clock.now(),
        signed: changed_at(won.as_ref().map(|won| &won.answer), known.as_ref()),
        remembered: ask.trusted.as_ref().map(TrustedState::verified_at),
        doors: outcomes
            .iter()
            .filter_map(|outcome| outcome.heard)
            .collect(),
    });
    let clock = judged.verdict;
    let about = About::Sync {
        winner,
        outcomes: outcomes.clone(),
        clock: Some(judged),
    };
    let decision = Decision::new(now, id.as_str(), &candidates, &ranks, about);
    device.decisions.push(decision);

    let now = context.clock.now();
    let Some(won) = won else {
        device.judged_clock(clock, now);
        let there = gist_if_sound(device, now)?;
        let standing = known.and(there).map(|known| known.standing(device, now));
        return Err(Error::NoDoor {
            outcomes,
            standing,
            clock,
        });
    };
    let served = keep(device, &won.ask, &won.door, won.answer, now);
    device.judged_clock(clock, now);
    Ok(Fetched {
        known,
        served,
        door: won.door,
        outcomes,
        clock,
    })
}

impl Fetched {
    /// Reads what was served, remembers what a sync wants to know of it, and tells. `device` is as
    /// [`fetch`] left it: no other keys came meanwhile.
    pub fn read(self, device: &mut Device, now: Timestamp) -> Result<Report, Error> {
        let state = device.trusted.as_ref().ok_or(Error::NoCatalog)?;
        let mut report = Report {
            version: state.timestamp_version(),
            catalog_version: None,
            gateways: 0,
            sealed: Sealed::default(),
            changed: false,
            door: self.door,
            outcomes: self.outcomes,
            skipped: Vec::new(),
            expires: state.timestamp_expires(),
            stale: false,
            standing: Standing::of(device, state.timestamp_expires(), now),
            clock: self.clock,
        };
        match (self.served.map(Unread::read), self.known) {
            (Some(verified), _) => report.tell_served(device, verified, now)?,
            (None, Some(known)) => report.tell_known(device, &known, now),
            (None, None) => look_again(device, &mut report, now)?,
        }
        Ok(report)
    }
}

/// The answer that counts.
struct Won {
    answer: Answer,
    /// The door that gave it.
    door: String,
    /// What it was held against.
    ask: Arc<Ask>,
}

/// Races the doors, and asks a witness where it is time. What came of each door that was asked.
async fn race(
    device: &mut Device,
    context: &Context<'_>,
    ask: &Arc<Ask>,
    ranks: &[Rank],
    lanes: &[Lane],
) -> (Option<Won>, Vec<DoorOutcome>) {
    let now = context.clock.now();
    let (web, clock, options) = (context.web, context.clock, context.options);
    let (answer, mut outcomes) = doors::fetch(web, clock, options, ask.clone(), lanes).await;
    let Some(mut answer) = answer else {
        return (None, outcomes);
    };
    let mut ask = ask.clone();
    if let Some(lane) = witness::due(device, ranks, lanes, answer.lane, now) {
        let memory = device.doors.entry(lanes[lane].door.url.clone());
        memory.or_default().witness_at = Some(now);
        if let Some(better) = witness::ask(context, &ask, &answer, lanes, lane).await {
            answer = better.answer;
            outcomes.extend(better.outcomes);
            ask = better.ask;
        }
    }
    let door = lanes[answer.lane].door.url.clone();
    (Some(Won { answer, door, ask }), outcomes)
}

/// Tells of the catalog again, after the device got other keys.
pub(crate) fn look_again(
    device: &Device,
    report: &mut Report,
    now: Timestamp,
) -> Result<(), Error> {
    if let Some(known) = gist(device, now)? {
        report.tell_known(device, &known, now);
    }
    Ok(())
}

impl Report {
    /// Tells of what was served, and remembers it, if anything of it could be opened.
    fn tell_served(
        &mut self,
        device: &mut Device,
        verified: Verified,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.changed = verified.changed;
        self.sealed = verified.sealed;
        self.skipped = verified.skipped;
        let Some(catalog) = verified.catalog.filter(|_| !verified.sealed.is_shut()) else {
            return look_again(device, self, now);
        };
        let listed: BTreeSet<_> = catalog
            .gateways()
            .map(|gateway| gateway.id.as_str())
            .collect();
        device.gateways.retain(|id, _| listed.contains(id.as_str()));
        let rest = gist::Rest {
            kit: verified.kit,
            sealed: verified.sealed,
            expires: verified.state.timestamp_expires(),
        };
        gist::remember(device, &catalog, rest);
        self.tell(catalog.version, catalog.gateways().count());
        Ok(())
    }

    fn tell_known(&mut self, device: &Device, known: &Gist, now: Timestamp) {
        self.sealed = known.sealed;
        self.expires = known.expires;
        self.standing = known.standing(device, now);
        self.tell(known.catalog_version, known.gateways);
    }

    fn tell(&mut self, catalog_version: u64, gateways: usize) {
        self.catalog_version = Some(catalog_version);
        self.gateways = gateways;
        self.stale = self.standing.is_stale();
    }
}

/// When the newest catalog that verified had changed: a moment that has passed.
fn changed_at(answer: Option<&Answer>, known: Option<&Gist>) -> Option<Timestamp> {
    let served = answer.and_then(|answer| answer.served.as_ref());
    let served = served.and_then(|served| served.verified.changed_at());
    served.or(known.map(|known| known.changed_at))
}

fn candidate(device: &Device, door: &FrontDoor) -> Candidate {
    let memory = device.doors.get(&door.url);
    Candidate {
        id: door.url.clone(),
        preferred: true,
        load: 0,
        history: memory
            .map(|memory| memory.history.clone())
            .unwrap_or_default(),
    }
}

/// A door's lane. Its entity tag goes along only if it stands for exactly what we hold, undamaged,
/// and while that is valid: a door that has nothing better than an expired timestamp shall show it.
fn lane(device: &Device, ask: &Ask, door: &FrontDoor, now: Timestamp) -> Lane {
    let memory = device.doors.get(&door.url);
    let valid = |state: &&TrustedState| now < state.timestamp_expires();
    let version = ask
        .trusted
        .as_ref()
        .filter(|_| !ask.damaged)
        .filter(valid)
        .map(TrustedState::timestamp_version);
    let stands = |etag: &&Etag| Some(etag.version) == version && etag.path == ask.path();
    Lane {
        door: door.clone(),
        smoothed_ms: memory.and_then(|memory| memory.history.rtt_ms),
        etag: memory
            .and_then(|memory| memory.etag.as_ref())
            .filter(stands)
            .map(|etag| etag.value.clone()),
    }
}

/// Notes how each door did.
fn remember(device: &mut Device, now: Timestamp, outcomes: &[DoorOutcome]) {
    for outcome in outcomes {
        let history = &mut device
            .doors
            .entry(outcome.door.clone())
            .or_default()
            .history;
        let ms = u32::try_from(outcome.ms).unwrap_or(u32::MAX);
        match outcome.outcome {
            Came::Verified | Came::Unchanged => history.succeeded(now, ms),
            Came::Failed => {
                history.failed(now);
                // It took at least this long: after its rest a faster one is still asked first,
                // and its stagger is not paid for ever.
                if outcome.kind.as_deref() == Some("silent") {
                    history.rtt_ms = history.rtt_ms.max(Some(ms));
                }
            }
            Came::Cancelled => {}
        }
    }
}

/// Keeps what the door served; None for a 304.
fn keep(
    device: &mut Device,
    ask: &Ask,
    door: &str,
    answer: Answer,
    now: Timestamp,
) -> Option<Unread> {
    let served = answer.served?;
    let verified = *served.verified;
    let memory = device.doors.entry(door.to_owned()).or_default();
    memory.etag = served.etag.map(|value| Etag {
        value,
        path: ask.path(),
        version: verified.state.timestamp_version(),
    });
    let control_key = verified.kit.as_ref().and_then(|kit| kit.control_key);
    device.contact.adopt(control_key);
    let is_shut = verified.sealed().is_shut();
    keys::verified(device, verified.state.clone(), is_shut, now);
    Some(verified)
}

#[cfg(test)]
mod tests;
