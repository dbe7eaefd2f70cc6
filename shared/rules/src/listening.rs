//! Since when the control plane has listened without a break.
//!
//! Silence counts only while somebody listens. After an outage of the control plane itself every
//! gateway seems to have been silent for as long as that lasted, though nobody could have heard it.
//! So each judging run leaves its time behind, and a gap that is too long for the rhythm of the
//! runs means that listening begins again ([`crate::health`] counts from there).
//!
//! What is too long depends on the rhythm, because a schedule may be slower than the heartbeats: if
//! each of its gaps were taken for an outage, no gateway could ever leave service.

use jiff::{SignedDuration, Timestamp};
use model::Timing;
use serde::{Deserialize, Serialize};

/// What the judging runs left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listening {
    /// Since when there was no gap that was too long.
    pub since: Timestamp,
    /// The last mark: the time of a run.
    pub at: Timestamp,
    /// The mark before; from there to the last one is the rhythm.
    pub before: Timestamp,
}

/// What a run at `now` makes of the marks of the `last` ones. The same again if it need not be
/// kept: marks are half a heartbeat apart at least.
///
/// Listening begins at `now` if there is no mark, or if the last one is older than one and a half
/// heartbeats and than twice the rhythm.
pub fn listen(last: Option<&Listening>, timing: &Timing, now: Timestamp) -> Listening {
    let Some(last) = last else {
        return Listening {
            since: now,
            at: now,
            before: now,
        };
    };
    let beat = SignedDuration::from_secs(i64::from(timing.heartbeat));
    let gap = now.duration_since(last.at);
    if gap < beat / 2 {
        return *last;
    }
    let rhythm = last.at.duration_since(last.before);
    let was_away = gap > (beat * 3 / 2).max(rhythm * 2);
    Listening {
        since: if was_away { now } else { last.since },
        at: now,
        before: last.at,
    }
}

#[cfg(test)]
mod tests {
    use model::GatewayState;
    use proptest::prelude::*;

    use super::*;
    use crate::health::judge;
    use crate::health::tests::{NOW, gateway};

    fn after(seconds: i64) -> Timestamp {
        NOW + SignedDuration::from_secs(seconds)
    }

    /// The marks of runs at these seconds.
    fn marks(runs: impl IntoIterator<Item = i64>) -> Listening {
        let runs = runs.into_iter();
        let last = runs.fold(None, |last, run| {
            Some(listen(last.as_ref(), &Timing::default(), after(run)))
        });
        last.unwrap()
    }

    #[test]
    fn listening_goes_on_while_runs_come_and_begins_again_after_an_outage() {
        assert_eq!(marks(0..100).since, NOW);
        assert_eq!(marks((0..100).chain([400])).since, after(400));
        assert_eq!(marks((0..100).chain(400..500)).since, after(400));
    }

    #[test]
    fn a_mark_is_kept_every_half_heartbeat_and_no_more_often() {
        let first = marks([0]);
        assert_eq!(marks([0, 14]), first);
        assert_eq!(marks([0, 14, 15]).at, after(15));
        assert_eq!(marks([0, -100]), first, "a clock that lags moves nothing");
    }

    #[test]
    fn a_schedule_slower_than_the_heartbeats_is_no_outage() {
        assert_eq!(marks([0, 60, 125, 185, 250]).since, after(60));
        assert_eq!(marks([0, 300, 600, 900]).since, after(300));
    }

    /// Runs `every` seconds from `from` until before `until`.
    fn runs(from: i64, until: i64, every: usize) -> impl Iterator<Item = i64> {
        (from..until).step_by(every)
    }

    proptest! {
        #[test]
        fn an_outage_of_the_control_plane_is_no_silence_of_the_gateways(
            phases in prop::collection::vec(0i64..30, 1..9),
            (every, began, lasted) in (1usize..=30, 100i64..200, 0i64..600),
        ) {
            // Every gateway beats every 30 seconds; what it sends during the outage is lost.
            let ends = began + lasted;
            let hears = |at: &i64| *at <= began || *at >= ends;
            let mut last: Option<Listening> = None;
            for run in runs(0, began, every).chain(runs(ends, ends + 200, every)) {
                let listening = listen(last.as_ref(), &Timing::default(), after(run));
                last = Some(listening);
                let observed: Vec<_> = phases.iter().enumerate().map(|(number, phase)| {
                    let beats = (0..40).map(|beat| phase - 30 + 30 * beat);
                    let seen = beats.take_while(|at| *at <= run).filter(hears).last();
                    let mut observed = gateway(number, GatewayState::Active, None);
                    observed.seen_at = seen.map(after);
                    observed
                }).collect();

                let judgement = judge(&observed, &Timing::default(), listening.since, after(run));

                prop_assert_eq!(judgement.changes, []);
                prop_assert_eq!(judgement.mass_silence, None, "at {}", run);
            }
        }

        #[test]
        fn whatever_the_schedule_s_rhythm_a_dead_gateway_leaves(
            every in 1i64..600,
            late in prop::collection::vec(0i64..10, 12),
        ) {
            // Runs come up to a tenth of their rhythm late.
            let mut last: Option<Listening> = None;
            let run = |n: i64| n * every + every * late[usize::try_from(n).unwrap() % 12] / 100;
            let runs = (0..=600 / every + 8).map(run);
            let mut gone = false;
            for run in runs {
                let listening = listen(last.as_ref(), &Timing::default(), after(run));
                last = Some(listening);
                let mut dead = gateway(1, GatewayState::Active, None);
                dead.seen_at = Some(NOW);
                gone |= judge(&[dead], &Timing::default(), listening.since, after(run)).changes.len() == 1;
            }
            prop_assert!(gone);
        }
    }
}
