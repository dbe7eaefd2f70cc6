//! Whether a device's clock can be believed.
//!
//! Signed metadata expires, so a wrong clock refuses a fresh repository or takes an old one. Nobody
//! whom a device trusts tells it the time, but there are traces:
//!
//! - **Signed**: a catalog says when it last changed. A clock that is before that moment is behind,
//!   whatever else is said, and by at least so much.
//! - **Remembered**: what this device verified, it verified at a time. A clock before that was set
//!   back, or was ahead then.
//! - **Several doors**: each serves what is well signed and not older than what is known, and all of
//!   it has expired. Then the clock is ahead, or all of them are kept old.
//! - **Hinted**: an HTTP `Date`, which nobody signed. It never makes a verdict alone at one door, and
//!   decides nothing but what a person is told.
//!
//! A verdict is said and not obeyed: no time but the device's own is ever put in its place, because
//! whoever could do that could bring back an old catalog, or end a good one.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How far a clock may be off without a word: publisher and device may each drift, and a request
/// takes time.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// How far unsigned hints must lie from the clock to be worth a word.
pub const WORTH_A_HINT: SignedDuration = SignedDuration::from_hours(1);
/// How many doors must agree.
const SEVERAL: usize = 2;

/// What speaks about the time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The device's clock.
    pub now: Timestamp,
    /// A moment that signed files say has passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Timestamp>,
    /// What the clock said when the known repository was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remembered: Option<Timestamp>,
    /// What doors said, those that said anything about the time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doors: Vec<Heard>,
}

/// What one door said.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// Whether what it served, or what it says has not changed, is well signed, not older than what
    /// is known, and valid. None if it served nothing of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
    /// Its HTTP `Date`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
}

/// How well signed metadata stands by the device's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is")]
pub enum Served {
    /// It is valid.
    Valid,
    /// It has expired.
    Expired {
        /// When.
        at: Timestamp,
    },
}

/// What is to be thought of a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Nothing speaks against it.
    Plausible,
    /// A signed file comes from its future.
    Behind {
        /// At least by so many seconds.
        seconds: i64,
    },
    /// It is before the time at which this device verified what it knows.
    WentBack {
        /// By so many seconds.
        seconds: i64,
    },
    /// Several doors hint that it is behind.
    SeemsBehind {
        /// By so many seconds, as the nearest of them says.
        seconds: i64,
    },
    /// It seems ahead: several doors hint so, or all that they serve has expired.
    SeemsAhead {
        /// By so many seconds, where their hints agree.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<i64>,
    },
    /// All that several doors serve has expired, and their own clocks agree with this one.
    DoorsAreOld,
}

/// Judges a clock.
pub fn judge(evidence: &Evidence) -> Verdict {
    let now = evidence.now;
    // The most certain first.
    if let Some(seconds) = evidence.signed.and_then(|at| beyond(at, now, TOLERANCE)) {
        return Verdict::Behind { seconds };
    }
    if let Some(seconds) = evidence
        .remembered
        .and_then(|at| beyond(at, now, TOLERANCE))
    {
        return Verdict::WentBack { seconds };
    }
    let served: Vec<Served> = evidence
        .doors
        .iter()
        .filter_map(|door| door.served)
        .collect();
    let dates: Vec<Timestamp> = evidence.doors.iter().filter_map(|door| door.date).collect();
    let several_dates = dates.len() >= SEVERAL;
    let expired: Vec<Timestamp> = served.iter().filter_map(Served::expired_at).collect();
    if served.len() >= SEVERAL && expired.len() == served.len() {
        let agree = |date: &Timestamp| apart(*date, now) < WORTH_A_HINT;
        if several_dates && dates.iter().all(agree) {
            return Verdict::DoorsAreOld;
        }
        let seconds = several_dates.then(|| all_beyond(&dates, now, Side::Before));
        return Verdict::SeemsAhead {
            seconds: seconds.flatten(),
        };
    }
    if several_dates {
        if let Some(seconds) = all_beyond(&dates, now, Side::After) {
            return Verdict::SeemsBehind { seconds };
        }
        if let Some(seconds) = all_beyond(&dates, now, Side::Before) {
            let seconds = Some(seconds);
            return Verdict::SeemsAhead { seconds };
        }
    }
    Verdict::Plausible
}

impl Served {
    fn expired_at(&self) -> Option<Timestamp> {
        match self {
            Self::Valid => None,
            Self::Expired { at } => Some(*at),
        }
    }
}

impl Verdict {
    /// Whether there is nothing to say.
    pub fn is_plausible(&self) -> bool {
        *self == Self::Plausible
    }

    /// Whether the clock may be ahead of the time, so that what it calls expired may not be.
    pub fn may_be_ahead(&self) -> bool {
        matches!(self, Self::SeemsAhead { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plausible => f.write_str("nothing speaks against this device's clock"),
            Self::Behind { seconds } => write!(
                f,
                "your clock is behind by at least {}: the catalog was signed later than it says. Set it",
                Span(*seconds)
            ),
            Self::WentBack { seconds } => write!(
                f,
                "your clock says {} less than when the catalog was verified: it was wrong then or is \
                 now. Check it",
                Span(*seconds)
            ),
            Self::SeemsBehind { seconds } => write!(
                f,
                "your clock seems behind by {} or more, as several doors say (nobody signed that): an \
                 old catalog may pass as valid. Check it",
                Span(*seconds)
            ),
            Self::SeemsAhead {
                seconds: Some(seconds),
            } => write!(
                f,
                "your clock seems ahead by {} or more, as several doors say (nobody signed that); or \
                 all doors are stale. Check it",
                Span(*seconds)
            ),
            Self::SeemsAhead { seconds: None } => f.write_str(
                "your clock seems ahead, because all that several doors serve has expired; or all \
                 doors are stale. Check it",
            ),
            Self::DoorsAreOld => f.write_str(
                "all that several doors serve has expired, and their clocks agree with yours: the \
                 network has published nothing new, or somebody keeps it from you",
            ),
        }
    }
}

/// A time in its largest whole unit.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self.0 {
            seconds if seconds >= 2 * 86_400 => (seconds / 86_400, "days"),
            seconds if seconds >= 2 * 3_600 => (seconds / 3_600, "hours"),
            seconds => (seconds / 60, "minutes"),
        };
        write!(f, "{count} {unit}")
    }
}

#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

/// By how many seconds `at` is after `now`, if by more than `least`.
fn beyond(at: Timestamp, now: Timestamp, least: SignedDuration) -> Option<i64> {
    let ahead = at.duration_since(now);
    (ahead > least).then(|| ahead.as_secs())
}

fn apart(one: Timestamp, other: Timestamp) -> SignedDuration {
    one.duration_since(other).abs()
}

/// By how much all dates are on one side of `now`: the nearest counts.
fn all_beyond(dates: &[Timestamp], now: Timestamp, side: Side) -> Option<i64> {
    let distances = dates.iter().map(|date| match side {
        Side::After => beyond(*date, now, WORTH_A_HINT),
        Side::Before => beyond(now, *date, WORTH_A_HINT),
    });
    distances.collect::<Option<Vec<i64>>>()?.into_iter().min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn evidence(doors: &[(Option<Served>, Option<i64>)]) -> Evidence {
        let heard = doors.iter().map(|(served, date)| Heard {
            served: *served,
            date: date.map(at),
        });
        Evidence {
            now: at(0),
            signed: None,
            remembered: None,
            doors: heard.collect(),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a door says it")]
    fn expired(ago: i64) -> Option<Served> {
        Some(Served::Expired { at: at(-ago) })
    }

    #[test]
    fn a_signed_moment_in_the_future_says_by_how_much_the_clock_is_behind_at_least() {
        let mut evidence = evidence(&[(expired(DAY), Some(-DAY)), (expired(DAY), Some(-DAY))]);
        evidence.signed = Some(at(9 * DAY));
        let verdict = judge(&evidence);
        assert_eq!(verdict, Verdict::Behind { seconds: 9 * DAY });
        assert!(
            verdict
                .to_string()
                .starts_with("your clock is behind by at least 9 days")
        );
        evidence.signed = Some(at(TOLERANCE.as_secs()));
        assert!(!matches!(judge(&evidence), Verdict::Behind { .. }));
    }

    #[test]
    fn a_clock_that_was_set_back_is_noticed() {
        let mut evidence = evidence(&[]);
        evidence.remembered = Some(at(3 * DAY));
        assert_eq!(judge(&evidence), Verdict::WentBack { seconds: 3 * DAY });
    }

    #[test]
    fn several_doors_with_nothing_but_what_has_expired_make_a_clock_seem_ahead() {
        let doors = [(expired(DAY), None), (expired(DAY), None), (None, None)];
        let verdict = judge(&evidence(&doors));
        assert_eq!(verdict, Verdict::SeemsAhead { seconds: None });
        assert!(verdict.to_string().contains("or all doors are stale"));
        // Their hints say by how much, the nearest counts.
        let doors = [
            (expired(DAY), Some(-40 * DAY)),
            (expired(DAY), Some(-30 * DAY)),
        ];
        let seconds = Some(30 * DAY);
        assert_eq!(judge(&evidence(&doors)), Verdict::SeemsAhead { seconds });
        // Where they agree with the clock, it is the doors.
        let doors = [(expired(DAY), Some(1)), (expired(DAY), Some(-2))];
        assert_eq!(judge(&evidence(&doors)), Verdict::DoorsAreOld);
    }

    #[test]
    fn one_door_alone_says_nothing_about_a_clock() {
        for door in [
            (expired(DAY), None),
            (expired(DAY), Some(-DAY)),
            (Some(Served::Valid), Some(DAY)),
            (None, Some(-DAY)),
        ] {
            assert_eq!(judge(&evidence(&[door])), Verdict::Plausible);
        }
        // A single valid answer settles that the clock is not ahead of what is published.
        let doors = [
            (expired(DAY), None),
            (expired(DAY), None),
            (Some(Served::Valid), None),
        ];
        assert_eq!(judge(&evidence(&doors)), Verdict::Plausible);
    }

    #[test]
    fn hints_of_several_doors_are_told_as_hints() {
        let doors = [(Some(Served::Valid), Some(2 * DAY)), (None, Some(3 * DAY))];
        let verdict = judge(&evidence(&doors));
        assert_eq!(verdict, Verdict::SeemsBehind { seconds: 2 * DAY });
        assert!(verdict.to_string().contains("nobody signed"));
        let doors = [
            (Some(Served::Valid), Some(-2 * DAY)),
            (None, Some(-3 * DAY)),
        ];
        let seconds = Some(2 * DAY);
        assert_eq!(judge(&evidence(&doors)), Verdict::SeemsAhead { seconds });
        // They disagree.
        let doors = [(Some(Served::Valid), Some(-2 * DAY)), (None, Some(0))];
        assert_eq!(judge(&evidence(&doors)), Verdict::Plausible);
    }

    proptest! {
        /// Whatever doors say without a signature, they make no certain verdict, and without signed
        /// expiries none that doubts an expiry of more than their hint.
        #[test]
        fn hints_alone_are_never_certain(dates in prop::collection::vec(-900_000_000_i64..900_000_000, 0..6)) {
            let doors: Vec<_> = dates.iter().map(|date| (None, Some(*date))).collect();
            let verdict = judge(&evidence(&doors));
            prop_assert!(!matches!(verdict, Verdict::Behind { .. } | Verdict::WentBack { .. } | Verdict::DoorsAreOld), "{verdict:?}");
            if dates.iter().any(|date| date.abs() <= WORTH_A_HINT.as_secs()) {
                prop_assert_eq!(verdict, Verdict::Plausible);
            }
        }

        /// A right clock before right doors is never doubted.
        #[test]
        fn a_right_clock_is_plausible(drift in -TOLERANCE.as_secs()..=TOLERANCE.as_secs(), doors in 0_usize..5) {
            let doors = vec![(Some(Served::Valid), Some(drift)); doors];
            let mut evidence = evidence(&doors);
            evidence.signed = Some(at(drift));
            evidence.remembered = Some(at(drift));
            prop_assert_eq!(judge(&evidence), Verdict::Plausible);
        }
    }
}
