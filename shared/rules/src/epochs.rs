//! Epochs: how long the keys of sealed slices are good for.
//!
//! Each epoch has a secret, from which its slices' keys come. Devices are given the keys of the present
//! epoch and of the next, long before that begins, and those of the last open new catalogs until its
//! grace is over; then its secret is forgotten, and nobody can read what was sealed with it alone.
//!
//! An epoch begins when [`advance`] says so, not by a clock that others read too. So the secret of an epoch
//! that begins was always drawn after the last revocation before it: where a device was revoked that may
//! hold the next secret, another takes its place first. The grace bridges the time until the others have it.

use jiff::{SignedDuration, Timestamp};
use model::{EpochSecret, Timing};
use serde::{Deserialize, Serialize};

/// The epochs that matter now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Epochs {
    /// Decides, with a device's id, which slices it holds ([`crate::slices`]). It never changes, and is
    /// secret: nobody can choose an identity by what it would be given.
    pub salt: EpochSecret,
    /// Those that are over and whose grace is not, the oldest first.
    pub past: Vec<PastEpoch>,
    /// The present one.
    pub present: PresentEpoch,
    /// The next one.
    pub next: NextEpoch,
}

/// An epoch that is over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PastEpoch {
    /// Its number.
    pub number: u64,
    /// Its secret.
    pub secret: EpochSecret,
    /// Until when its keys open new catalogs.
    pub until: Timestamp,
}

/// The epoch that began last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PresentEpoch {
    /// Its number.
    pub number: u64,
    /// Its secret.
    pub secret: EpochSecret,
    /// When it began.
    pub began_at: Timestamp,
}

/// The epoch that begins next, unless its secret must be replaced before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NextEpoch {
    /// Its number.
    pub number: u64,
    /// Its secret.
    pub secret: EpochSecret,
    /// When it shall begin.
    pub begins_at: Timestamp,
    /// How many revocations there had been when its secret was drawn.
    pub revocations: u64,
}

/// What [`advance`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advanced {
    /// The epochs from now on.
    pub epochs: Epochs,
    /// Whether an epoch began.
    pub began: bool,
    /// Whether the next secret was replaced because a device was revoked.
    pub replaced: bool,
}

impl Advanced {
    /// The same, numbered so that they follow the epoch `last`: devices may hold keys of that one, and of
    /// those before it, whose secrets are gone.
    #[must_use]
    pub fn after(mut self, last: u64) -> Self {
        self.epochs.present.number = self.epochs.present.number.saturating_add(last);
        self.epochs.next.number = self.epochs.next.number.saturating_add(last);
        self
    }
}

impl Epochs {
    /// The epochs whose keys open what is sealed now, the newest first.
    pub fn readable(&self) -> Vec<(u64, &EpochSecret)> {
        let past = self.past.iter().rev();
        let past = past.map(|epoch| (epoch.number, &epoch.secret));
        [(self.present.number, &self.present.secret)]
            .into_iter()
            .chain(past)
            .collect()
    }

    /// The epochs whose keys devices are given: those that are readable, and the next.
    pub fn given(&self) -> Vec<(u64, &EpochSecret)> {
        let next = (self.next.number, &self.next.secret);
        [next].into_iter().chain(self.readable()).collect()
    }
}

/// What becomes of the `last` epochs at `now`, after so many `revocations` in all; `None` if nothing does.
/// `draw` gives fresh random bytes.
pub fn advance(
    last: Option<&Epochs>,
    revocations: u64,
    timing: &Timing,
    now: Timestamp,
    mut draw: impl FnMut() -> [u8; 32],
) -> Option<Advanced> {
    let later = |seconds: u32| {
        let length = SignedDuration::from_secs(i64::from(seconds));
        now.checked_add(length).unwrap_or(Timestamp::MAX)
    };
    let mut secret = || EpochSecret::from_bytes(draw());
    let Some(last) = last else {
        let epochs = Epochs {
            salt: secret(),
            past: Vec::new(),
            present: PresentEpoch {
                number: 1,
                secret: secret(),
                began_at: now,
            },
            next: NextEpoch {
                number: 2,
                secret: secret(),
                begins_at: later(timing.epoch),
                revocations,
            },
        };
        return Some(Advanced {
            epochs,
            began: true,
            replaced: false,
        });
    };
    let mut epochs = last.clone();
    epochs.past.retain(|epoch| now < epoch.until);
    let replaced = epochs.next.revocations != revocations;
    if replaced {
        epochs.next.number += 1;
        epochs.next.secret = secret();
        epochs.next.revocations = revocations;
    }
    let began = epochs.next.begins_at <= now;
    if began {
        let over = epochs.present;
        epochs.past.push(PastEpoch {
            number: over.number,
            secret: over.secret,
            until: later(timing.epoch_grace),
        });
        epochs.present = PresentEpoch {
            number: epochs.next.number,
            secret: epochs.next.secret,
            began_at: now,
        };
        epochs.next = NextEpoch {
            number: epochs.present.number + 1,
            secret: secret(),
            begins_at: later(timing.epoch),
            revocations,
        };
    }
    (epochs != *last).then_some(Advanced {
        epochs,
        began,
        replaced,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        NOW + SignedDuration::from_secs(seconds)
    }

    fn timing() -> Timing {
        Timing {
            epoch: 1000,
            epoch_grace: 300,
            ..Timing::default()
        }
    }

    /// Draws that never repeat.
    fn counter() -> impl FnMut() -> [u8; 32] {
        let mut drawn = 0u64;
        move || {
            drawn += 1;
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&drawn.to_be_bytes());
            bytes
        }
    }

    fn numbers(epochs: &[(u64, &EpochSecret)]) -> Vec<u64> {
        epochs.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn an_epoch_lasts_its_time_and_its_keys_a_grace_longer() {
        let mut draw = counter();
        let first = advance(None, 0, &timing(), NOW, &mut draw).unwrap().epochs;
        assert_eq!(numbers(&first.given()), [2, 1]);
        assert_eq!(
            advance(Some(&first), 0, &timing(), at(999), &mut draw),
            None
        );

        let second = advance(Some(&first), 0, &timing(), at(1000), &mut draw).unwrap();
        assert!(second.began && !second.replaced);
        let second = second.epochs;
        assert_eq!(
            (numbers(&second.readable()), numbers(&second.given())),
            (vec![2, 1], vec![3, 2, 1])
        );
        assert_eq!(
            second.present.secret, first.next.secret,
            "as it was given before"
        );
        assert_eq!(
            advance(Some(&second), 0, &timing(), at(1299), &mut draw),
            None
        );

        let over = advance(Some(&second), 0, &timing(), at(1300), &mut draw).unwrap();
        assert!(!over.began);
        assert_eq!(numbers(&over.epochs.readable()), [2]);
        assert_eq!(over.epochs.salt, first.salt);
    }

    #[test]
    fn a_revocation_replaces_the_next_secret_and_nothing_else() {
        let mut draw = counter();
        let first = advance(None, 4, &timing(), NOW, &mut draw).unwrap().epochs;
        let after = advance(Some(&first), 5, &timing(), at(1), &mut draw).unwrap();
        assert!(after.replaced && !after.began);
        assert_eq!(after.epochs.next.begins_at, first.next.begins_at);
        assert_eq!(after.epochs.next.number, 3);
        assert_ne!(after.epochs.next.secret, first.next.secret);
        assert_eq!(
            (after.epochs.present, after.epochs.past),
            (first.present, first.past)
        );
    }

    #[test]
    fn a_revocation_at_the_last_moment_is_seen_before_the_epoch_begins() {
        let mut draw = counter();
        let first = advance(None, 0, &timing(), NOW, &mut draw).unwrap().epochs;
        let second = advance(Some(&first), 1, &timing(), at(1000), &mut draw).unwrap();
        assert!(second.began && second.replaced);
        assert_ne!(second.epochs.present.secret, first.next.secret);
    }

    proptest! {
        /// Whatever happens in whatever order: what a revoked device holds opens nothing once an
        /// epoch has begun after its revocation and the grace is over, and a device that makes contact
        /// twice a grace can always read.
        #[test]
        fn the_revoked_are_shut_out_and_the_others_never_are(
            steps in prop::collection::vec((1i64..200, prop::bool::weighted(0.1)), 1..80),
        ) {
            let (mut draw, mut now, mut revocations) = (counter(), NOW, 0u64);
            let mut epochs = advance(None, 0, &timing(), now, &mut draw).unwrap().epochs;
            let mut revoked: Vec<(BTreeSet<u64>, Option<Timestamp>)> = Vec::new();
            let mut held: BTreeMap<u64, EpochSecret> = BTreeMap::new();
            let mut contact = NOW;
            for (seconds, revokes) in steps {
                let given = |epochs: &Epochs| epochs.given().into_iter().map(|(n, s)| (n, s.clone())).collect::<BTreeMap<_, _>>();
                if now >= contact {
                    held = given(&epochs);
                    contact = now + SignedDuration::from_secs(140);
                }
                if revokes {
                    revocations += 1;
                    revoked.push((given(&epochs).into_keys().collect(), None));
                }
                now += SignedDuration::from_secs(seconds.min(150));
                if let Some(advanced) = advance(Some(&epochs), revocations, &timing(), now, &mut draw) {
                    if advanced.began {
                        for (_, began) in &mut revoked {
                            began.get_or_insert(now);
                        }
                    }
                    epochs = advanced.epochs;
                }
                let readable: BTreeSet<u64> = numbers(&epochs.readable()).into_iter().collect();
                let shut = |began: &Option<Timestamp>| began.is_some_and(|began| began + SignedDuration::from_secs(300) <= now);
                for (keys, began) in &revoked {
                    prop_assert!(!shut(began) || keys.is_disjoint(&readable));
                }
                let opens = epochs.readable().iter().any(|(n, s)| held.get(n) == Some(s));
                prop_assert!(opens, "{held:?} at {epochs:?}");
            }
        }
    }
}
