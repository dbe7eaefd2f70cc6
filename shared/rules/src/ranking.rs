//! Ranking: in which order a device tries front doors and gateways.
//!
//! A pure function of the candidates with their history, the device's id and `now`. It compares,
//! in this order: policy and preference, whether the candidate rests after a failure, smoothed
//! round-trip time, load, and last a rendezvous hash on the device's id, so that devices spread
//! over equals and each one's order stays. Times and loads are compared in coarse steps: noise
//! does not reorder.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::hash64;

/// Rest after a first failure; it doubles with each further one in a row.
const FIRST_REST: SignedDuration = SignedDuration::from_secs(30);
/// The longest rest.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(1);
/// For how long a candidate that recovered stays behind those that never failed: it does not take
/// all its devices back at once.
const PROBATION: SignedDuration = SignedDuration::from_secs(60);
/// Upper bounds of the steps of round-trip time, in milliseconds.
const RTT_STEPS: [u32; 4] = [50, 100, 200, 400];
/// The step of a candidate that was never measured: worth a try before those known to be slow.
const RTT_UNKNOWN: u8 = 1;

/// What a device remembers of a front door or a gateway.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// Smoothed round-trip time in milliseconds (weight 1/8 for the newest, RFC 6298).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u32>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// When it last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// When it first worked again after failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_at: Option<Timestamp>,
}

impl History {
    /// Notes that it worked at `now`, and how long it took.
    pub fn succeeded(&mut self, now: Timestamp, rtt_ms: u32) {
        self.rtt_ms = Some(match self.rtt_ms {
            Some(smoothed) => smoothed - smoothed / 8 + rtt_ms / 8,
            None => rtt_ms,
        });
        if self.failures > 0 {
            self.recovered_at = Some(now);
        }
        self.failures = 0;
    }

    /// Notes that it failed at `now`.
    pub fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.recovered_at = None;
    }

    /// Until when it is ranked behind the others, if it is. The rest after a failure is between
    /// half and the whole of its step, by a hash of who rests from what: devices that failed
    /// together do not return together.
    fn resting_until(&self, device: &str, id: &str) -> Option<Timestamp> {
        if self.failures == 0 {
            return self
                .recovered_at
                .and_then(|at| at.checked_add(PROBATION).ok());
        }
        let doublings = (self.failures - 1).min(16);
        let step = (FIRST_REST * (1 << doublings)).min(LONGEST_REST);
        let jitter = hash64(&[
            b"rest",
            device.as_bytes(),
            id.as_bytes(),
            &self.failures.to_be_bytes(),
        ]);
        // A share of 1,024ths between 512 and 1,023.
        let share = 512 + i64::try_from(jitter % 512).unwrap_or(0);
        let rest = SignedDuration::from_millis_i128(step.as_millis() * i128::from(share) / 1024);
        self.failed_at.and_then(|at| at.checked_add(rest).ok())
    }
}

/// A front door or a gateway that may be tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// A door's URL, or a gateway's id.
    pub id: String,
    /// Whether it is what policy and preferences ask for; others come after all that are.
    pub preferred: bool,
    /// Its load, from 0 (idle) to 4 (full).
    pub load: u8,
    /// What is remembered of it.
    #[serde(default)]
    pub history: History,
}

/// A candidate's place, and why it is there. Compared field by field: smaller comes first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Rank {
    /// It is not what is preferred.
    pub disliked: bool,
    /// Until when it rests, if it does: the one that ends first comes first.
    pub resting_until: Option<Timestamp>,
    /// The step of its round-trip time, from 0 (under 50 ms) to 4 (400 ms and more).
    pub rtt_step: u8,
    /// Its load, from 0 to 4.
    pub load: u8,
    /// The rendezvous hash of device and candidate, in hexadecimal: of equals, the least first.
    pub weight: String,
    /// The candidate.
    pub id: String,
}

impl Rank {
    /// The reasons in words, the weightiest first.
    pub fn reasons(&self) -> String {
        let mut reasons = Vec::new();
        if self.disliked {
            reasons.push("not preferred".to_owned());
        }
        if let Some(until) = self.resting_until {
            reasons.push(format!("rests until {until:.0} after a failure"));
        }
        reasons.push(match RTT_STEPS.get(usize::from(self.rtt_step)) {
            Some(bound) if self.rtt_step == RTT_UNKNOWN => {
                format!("round trip under {bound} ms or never measured")
            }
            Some(bound) => format!("round trip under {bound} ms"),
            None => "round trip of 400 ms or more".to_owned(),
        });
        reasons.push(format!("load {} of 4", self.load));
        reasons.push(format!("draw {}", &self.weight[..4]));
        reasons.join(", ")
    }
}

/// The order in which `device` tries `candidates` at `now`, the best first.
pub fn rank(candidates: &[Candidate], device: &str, now: Timestamp) -> Vec<Rank> {
    let mut ranks: Vec<Rank> = candidates
        .iter()
        .map(|candidate| Rank {
            disliked: !candidate.preferred,
            resting_until: candidate
                .history
                .resting_until(device, &candidate.id)
                .filter(|until| *until > now),
            rtt_step: rtt_step(candidate.history.rtt_ms),
            load: candidate.load,
            weight: format!(
                "{:016x}",
                hash64(&[b"rank", device.as_bytes(), candidate.id.as_bytes()])
            ),
            id: candidate.id.clone(),
        })
        .collect();
    ranks.sort_unstable();
    ranks
}

fn rtt_step(rtt_ms: Option<u32>) -> u8 {
    let Some(rtt_ms) = rtt_ms else {
        return RTT_UNKNOWN;
    };
    let step = RTT_STEPS.iter().position(|bound| rtt_ms < *bound);
    u8::try_from(step.unwrap_or(RTT_STEPS.len())).expect("there are fewer than 256 steps")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn candidate(id: &str) -> Candidate {
        Candidate {
            id: id.to_owned(),
            preferred: true,
            load: 0,
            history: History::default(),
        }
    }

    fn order(candidates: &[Candidate], device: &str, now: Timestamp) -> Vec<String> {
        rank(candidates, device, now)
            .into_iter()
            .map(|rank| rank.id)
            .collect()
    }

    fn later(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW.as_second() + seconds).unwrap()
    }

    #[test]
    fn a_failed_candidate_goes_last_rests_and_comes_back() {
        let mut candidates: Vec<_> = ["a", "b", "c"].map(candidate).into();
        let first = order(&candidates, "d-1", NOW)[0].clone();
        let failed = candidates.iter_mut().find(|c| c.id == first).unwrap();
        failed.history.failed(NOW);
        assert_eq!(order(&candidates, "d-1", later(1))[2], first);
        assert_eq!(order(&candidates, "d-1", later(31))[0], first);
    }

    #[test]
    fn a_recovered_candidate_stays_behind_for_its_probation() {
        let mut candidates: Vec<_> = ["a", "b"].map(candidate).into();
        let first = order(&candidates, "d-1", NOW)[0].clone();
        let recovered = candidates.iter_mut().find(|c| c.id == first).unwrap();
        recovered.history.failed(NOW);
        recovered.history.succeeded(later(40), 60);
        assert_eq!(order(&candidates, "d-1", later(41))[1], first);
        assert_eq!(order(&candidates, "d-1", later(101))[0], first);
    }

    #[test]
    fn preference_outweighs_rest_and_rest_outweighs_speed_and_speed_outweighs_load() {
        let mut disliked = candidate("disliked");
        disliked.preferred = false;
        let mut resting = candidate("resting");
        resting.history.rtt_ms = Some(10);
        resting.history.failed(NOW);
        let mut slow = candidate("slow");
        slow.history.rtt_ms = Some(300);
        let mut busy = candidate("busy");
        busy.load = 4;
        let candidates = [disliked, resting, slow, busy];
        assert_eq!(
            order(&candidates, "d", NOW),
            ["busy", "slow", "resting", "disliked"]
        );
    }

    #[test]
    fn devices_spread_over_equals() {
        let candidates: Vec<_> = ["a", "b", "c", "d"].map(candidate).into();
        let mut firsts = std::collections::BTreeMap::new();
        for device in 0..4000 {
            let first = order(&candidates, &format!("d-{device}"), NOW)[0].clone();
            *firsts.entry(first).or_insert(0) += 1;
        }
        // 1,000 each expected; six standard deviations are 164.
        assert!(
            firsts.values().all(|count| (836..1164).contains(count)),
            "{firsts:?}"
        );
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        (
            "[a-e]{1,3}",
            any::<bool>(),
            0u8..5,
            prop::option::of(0u32..900),
            0u32..40,
        )
            .prop_map(|(id, preferred, load, rtt_ms, failures)| {
                let failed_at = (failures > 0).then_some(NOW);
                let history = History {
                    rtt_ms,
                    failures,
                    failed_at,
                    recovered_at: None,
                };
                Candidate {
                    id,
                    preferred,
                    load,
                    history,
                }
            })
    }

    proptest! {
        #[test]
        fn the_order_depends_on_the_inputs_alone(
            mut candidates in prop::collection::vec(any_candidate(), 0..12),
            age in 0i64..8000,
        ) {
            let once = rank(&candidates, "d-1", later(age));
            candidates.reverse();
            prop_assert_eq!(once.len(), candidates.len());
            prop_assert_eq!(once, rank(&candidates, "d-1", later(age)));
        }

        #[test]
        fn taking_one_away_never_reorders_the_others(
            candidates in prop::collection::vec(any_candidate(), 1..12),
            gone in any::<prop::sample::Index>(),
        ) {
            let gone = candidates[gone.index(candidates.len())].id.clone();
            let rest: Vec<_> = candidates.iter().filter(|c| c.id != gone).cloned().collect();
            let mut expected = rank(&candidates, "d-1", NOW);
            expected.retain(|rank| rank.id != gone);
            prop_assert_eq!(expected, rank(&rest, "d-1", NOW));
        }
    }
}
