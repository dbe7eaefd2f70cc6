//! The log of decisions: what was chosen, from what, and why.
//!
//! An entry holds every input of the ranking (candidates with their history, device, time) and
//! what came of it, so that [`explain`] can decide again and show that the same comes out.
//!
//! A catalog may list 10,000 gateways, so an entry is compact: candidates of which nothing is
//! remembered are three values each, and of the order the first [`SHOWN`] places are kept with
//! their reasons and the whole as a hash. The log keeps the newest [`MOST_ENTRIES`], and fewer where
//! they would pass [`MOST_BYTES`].

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use model::Role;
use rules::clock::{self, Evidence, Verdict};
use rules::ranking::{Candidate, History, Rank, rank};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::doors::DoorOutcome;
use crate::select;

/// The most entries that are kept.
pub const MOST_ENTRIES: usize = 50;
/// The most bytes of all entries together as JSON: less than the catalog beside them.
pub const MOST_BYTES: usize = 2 * 1024 * 1024;
/// How many places of an order are kept with their reasons.
pub const SHOWN: usize = 10;

/// A log of decisions, the oldest first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Log {
    entries: Vec<Decision>,
}

/// One decision.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// When it was made: the ranking's `now`.
    pub at: Timestamp,
    /// Whose it is: the ranking's device.
    pub device: String,
    /// What was ranked.
    pub candidates: Candidates,
    /// The order that came out.
    pub order: Order,
    /// What it was about.
    #[serde(flatten)]
    pub about: About,
}

/// What a decision was about.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "lowercase")]
pub enum About {
    /// Which front doors to ask, in which order.
    Sync {
        /// The door whose answer counted.
        winner: Option<String>,
        /// What came of each door that was asked.
        outcomes: Vec<DoorOutcome>,
        /// What was thought of the device's clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock: Option<Judged>,
    },
    /// Which gateway of a role to use.
    Select {
        /// The role.
        role: Role,
        /// The gateway in use before.
        previous: Option<String>,
        /// Whether a new choice was asked for.
        again: bool,
        /// The gateway that was chosen.
        chosen: String,
        /// Why.
        why: String,
    },
}

/// What was thought of the device's clock, and by what evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// What spoke about the time.
    pub evidence: Evidence,
    /// What followed.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl Judged {
    /// Judges by this evidence.
    pub fn by(evidence: Evidence) -> Self {
        let verdict = clock::judge(&evidence);
        Self { evidence, verdict }
    }
}

/// Candidates, written compactly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidates {
    /// Those of which nothing is remembered: id, whether it is preferred, load.
    plain: Vec<(String, bool, u8)>,
    /// The others.
    remembered: Vec<Candidate>,
}

/// An order, written compactly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// How many places it has.
    pub length: usize,
    /// SHA-256 over all ids in their order, each followed by a newline; lowercase hexadecimal.
    pub sha256: String,
    /// The first places.
    pub first: Vec<Rank>,
}

/// A decision made again.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Replay<'a> {
    /// Its place in the log, from 1.
    pub number: usize,
    /// When it was made.
    pub at: Timestamp,
    /// What it was about, and what came of it.
    #[serde(flatten)]
    pub about: &'a About,
    /// The first places of the order, with the reasons in words.
    pub order: Vec<Place>,
    /// How many candidates there were.
    pub candidates: usize,
    /// Whether the same inputs give the same order and choice now.
    pub identical: bool,
}

/// A place in an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Place {
    /// The door's URL or the gateway's id.
    pub id: String,
    /// Why it is there.
    pub reasons: String,
}

impl Log {
    /// Adds a decision, and drops the oldest beyond the limits.
    pub fn push(&mut self, decision: Decision) {
        self.entries.push(decision);
        let mut bytes = 0;
        let fitting = self
            .entries
            .iter()
            .rev()
            .take(MOST_ENTRIES)
            .take_while(|entry| {
                bytes += entry.size();
                bytes <= MOST_BYTES
            });
        // The newest stays, however large.
        let kept = fitting.count().max(1);
        self.entries.drain(..self.entries.len() - kept);
    }

    /// The decisions, the oldest first.
    pub fn entries(&self) -> &[Decision] {
        &self.entries
    }
}

impl Decision {
    /// A decision whose order was `ranks`.
    pub fn new(
        at: Timestamp,
        device: &str,
        candidates: &[Candidate],
        ranks: &[Rank],
        about: About,
    ) -> Self {
        Self {
            at,
            device: device.to_owned(),
            candidates: Candidates::of(candidates),
            order: Order::of(ranks),
            about,
        }
    }

    /// Makes the decision again from its inputs.
    pub fn replay(&self, number: usize) -> Replay<'_> {
        let candidates = self.candidates.all();
        let ranks = rank(&candidates, &self.device, self.at);
        let same_choice = match &self.about {
            About::Sync { clock, .. } => clock
                .as_ref()
                .is_none_or(|judged| clock::judge(&judged.evidence) == judged.verdict),
            About::Select {
                previous,
                again,
                chosen,
                ..
            } => select::choose(&ranks, previous.as_deref(), *again)
                .is_some_and(|choice| choice.id == *chosen),
        };
        Replay {
            number,
            at: self.at,
            about: &self.about,
            order: self.order.first.iter().map(Place::of).collect(),
            candidates: self.order.length,
            identical: same_choice && Order::of(&ranks) == self.order,
        }
    }

    fn size(&self) -> usize {
        // What cannot be written would fail the save of the whole; here it only must not fit.
        serde_json::to_vec(self).map_or(usize::MAX / 2, |json| json.len())
    }
}

/// Makes every logged decision again, the oldest first.
pub fn explain(log: &Log) -> Vec<Replay<'_>> {
    let numbered = log.entries.iter().enumerate();
    numbered
        .map(|(index, decision)| decision.replay(index + 1))
        .collect()
}

impl Candidates {
    fn of(candidates: &[Candidate]) -> Self {
        let forgotten = History::default();
        let (plain, remembered): (Vec<_>, Vec<_>) = candidates
            .iter()
            .partition(|candidate| candidate.history == forgotten);
        Self {
            plain: plain
                .into_iter()
                .map(|c| (c.id.clone(), c.preferred, c.load))
                .collect(),
            remembered: remembered.into_iter().cloned().collect(),
        }
    }

    /// All of them. Their order is not the original one, which the ranking does not depend on.
    pub fn all(&self) -> Vec<Candidate> {
        let plain = self.plain.iter().map(|(id, preferred, load)| Candidate {
            id: id.clone(),
            preferred: *preferred,
            load: *load,
            history: History::default(),
        });
        plain.chain(self.remembered.iter().cloned()).collect()
    }
}

impl Order {
    fn of(ranks: &[Rank]) -> Self {
        let mut hash = Sha256::new();
        for rank in ranks {
            hash.update(rank.id.as_bytes());
            hash.update(b"\n");
        }
        Self {
            length: ranks.len(),
            sha256: HEXLOWER.encode(&hash.finalize()),
            first: ranks.iter().take(SHOWN).cloned().collect(),
        }
    }
}

impl Place {
    fn of(rank: &Rank) -> Self {
        Self {
            id: rank.id.clone(),
            reasons: rank.reasons(),
        }
    }
}

impl Replay<'_> {
    /// The decision in words, several lines.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = match self.about {
            About::Sync { winner, .. } => writeln!(
                text,
                "{}. {:.0} sync: {}",
                self.number,
                self.at,
                winner.as_deref().unwrap_or("every door failed")
            ),
            About::Select {
                role, chosen, why, ..
            } => writeln!(
                text,
                "{}. {:.0} select {role}: {chosen} ({why})",
                self.number, self.at
            ),
        };
        for (index, place) in self.order.iter().enumerate() {
            let _ = writeln!(text, "   {}. {}: {}", index + 1, place.id, place.reasons);
        }
        let hidden = self.candidates - self.order.len();
        if hidden > 0 {
            let _ = writeln!(text, "   and {hidden} more");
        }
        if let About::Sync {
            outcomes, clock, ..
        } = self.about
        {
            for outcome in outcomes {
                let _ = writeln!(text, "   - {}", outcome.text());
            }
            let doubted = clock.as_ref().filter(|clock| !clock.verdict.is_plausible());
            if let Some(judged) = doubted {
                let _ = writeln!(text, "   clock: {}", judged.verdict);
            }
        }
        let verdict = if self.identical {
            "the same inputs give the same order"
        } else {
            "THE SAME INPUTS GIVE ANOTHER ORDER NOW"
        };
        let _ = writeln!(text, "   {verdict}");
        text
    }
}

impl DoorOutcome {
    /// The outcome in words, one line.
    pub fn text(&self) -> String {
        let came = match self.outcome {
            crate::doors::Came::Verified => "verified",
            crate::doors::Came::Unchanged => "unchanged",
            crate::doors::Came::Failed => "failed",
            crate::doors::Came::Cancelled => "cancelled",
        };
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}"));
        format!(
            "{} {came} after {} ms{}",
            self.door,
            self.ms,
            reason.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests;
