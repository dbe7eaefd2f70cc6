//! Judging the health of gateways by their heartbeats.
//!
//! A gateway that misses its heartbeats leaves service, one that sends them again comes back. But
//! if more than a third of the active gateways, and at least two, go quiet at once, the control
//! plane suspects itself: it keeps the last list and says so, because emptying the catalog would
//! shut out everybody for what is more likely a fault of its own (design, section 6).
//!
//! Silence counts from the last heartbeat or from when listening began, whichever is later: what
//! nobody listened for cannot be missed ([`crate::listening`]).

use jiff::{SignedDuration, Timestamp};
use model::{Gateway, GatewayId, GatewayState, Timing};

/// A gateway and when its last heartbeat arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// Its record.
    pub gateway: Gateway,
    /// When its last heartbeat arrived, if one did since it registered.
    pub seen_at: Option<Timestamp>,
    /// The load of that heartbeat, in percent.
    pub load: u8,
}

/// What follows from the heartbeats.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Judgement {
    /// Gateways whose state changes, and to what.
    pub changes: Vec<(GatewayId, GatewayState)>,
    /// Set if the control plane suspects itself; then no gateway leaves service.
    pub mass_silence: Option<MassSilence>,
    /// Whether all can be told to be well: no active gateway is late, or listening has gone on for
    /// long enough to tell. Until then an alarm that stands is neither believed nor cleared.
    pub can_clear: bool,
}

/// Too many active gateways went quiet at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MassSilence {
    /// The active gateways that are late, ordered by id.
    pub late: Vec<GatewayId>,
    /// How many gateways are active.
    pub active: usize,
}

/// Judges all gateways at `now`, by what was heard since the control plane has `listened_since`.
pub fn judge(
    observed: &[Observed],
    timing: &Timing,
    listened_since: Timestamp,
    now: Timestamp,
) -> Judgement {
    let beat = SignedDuration::from_secs(i64::from(timing.heartbeat));
    let silent_after = beat * i32::try_from(timing.missed_heartbeats).unwrap_or(i32::MAX);
    // One heartbeat late, with half of one for the journey. Gateways that died together are judged
    // some heartbeats apart, since each had its own rhythm: when the first counts as silent, the
    // others are late already, and the guard must see them.
    let late_after = beat * 3 / 2;
    let unseen_for = |gateway: &Observed| gateway.seen_at.map(|seen| now.duration_since(seen));
    let listened_for = now.duration_since(listened_since);
    let is_quiet = |gateway: &Observed, limit| {
        listened_for > limit && unseen_for(gateway).is_none_or(|unseen| unseen > limit)
    };

    let active: Vec<&Observed> = observed
        .iter()
        .filter(|observed| observed.gateway.state == GatewayState::Active)
        .collect();
    let silent: Vec<&&Observed> = active
        .iter()
        .filter(|gateway| is_quiet(gateway, silent_after))
        .collect();
    let mut late: Vec<GatewayId> = active
        .iter()
        .filter(|gateway| is_quiet(gateway, late_after))
        .map(|gateway| gateway.gateway.id.clone())
        .collect();
    late.sort_unstable();

    let all_heard = active
        .iter()
        .all(|gateway| unseen_for(gateway).is_some_and(|unseen| unseen <= late_after));
    let mut judgement = Judgement {
        can_clear: all_heard || listened_for > silent_after,
        ..Judgement::default()
    };
    let suspicious = late.len() >= 2 && late.len() * 3 > active.len();
    if !silent.is_empty() && suspicious {
        judgement.mass_silence = Some(MassSilence {
            late,
            active: active.len(),
        });
    } else {
        let gone = silent
            .iter()
            .map(|gateway| (gateway.gateway.id.clone(), GatewayState::Unhealthy));
        judgement.changes.extend(gone);
    }
    let returning = observed.iter().filter(|gateway| {
        let waits = matches!(
            gateway.gateway.state,
            GatewayState::Registered | GatewayState::Unhealthy
        );
        waits && unseen_for(gateway).is_some_and(|unseen| unseen <= late_after)
    });
    judgement
        .changes
        .extend(returning.map(|gateway| (gateway.gateway.id.clone(), GatewayState::Active)));
    judgement.changes.sort_unstable();
    judgement
}

#[cfg(test)]
pub(crate) mod tests {
    use model::Role;
    use proptest::prelude::*;

    use super::*;

    pub(crate) const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    /// The control plane has always listened.
    const EVER: Timestamp = Timestamp::MIN;

    pub(crate) fn gateway(number: usize, state: GatewayState, quiet: Option<i64>) -> Observed {
        let gateway = Gateway {
            id: format!("g-{number:04}").parse().unwrap(),
            role: Role::Ingress,
            state,
            region: "test".to_owned(),
            endpoint: "192.0.2.1:51820".parse().unwrap(),
            pool: "ingress".parse().unwrap(),
            cohorts: vec!["default".parse().unwrap()],
            bootstrap: None,
            keys: None,
            previous: None,
            rotation_wanted_at: None,
            created_at: NOW,
            changed_at: NOW,
        };
        let seen_at = quiet.map(|quiet| NOW - SignedDuration::from_secs(quiet));
        Observed {
            gateway,
            seen_at,
            load: 0,
        }
    }

    fn active(quiet: &[i64]) -> Vec<Observed> {
        let gateways = quiet.iter().enumerate();
        gateways
            .map(|(n, quiet)| gateway(n, GatewayState::Active, Some(*quiet)))
            .collect()
    }

    fn changes(observed: &[Observed]) -> Vec<(String, GatewayState)> {
        let judgement = judge(observed, &Timing::default(), EVER, NOW);
        judgement
            .changes
            .into_iter()
            .map(|(id, state)| (id.to_string(), state))
            .collect()
    }

    #[test]
    fn a_silent_gateway_leaves_and_a_late_one_stays() {
        assert_eq!(
            changes(&active(&[91, 60, 10, 10, 10, 10])),
            [("g-0000".to_owned(), GatewayState::Unhealthy)]
        );
    }

    #[test]
    fn a_heartbeat_brings_registered_and_unhealthy_gateways_into_service() {
        let observed = [
            gateway(0, GatewayState::Registered, Some(1)),
            gateway(1, GatewayState::Unhealthy, Some(1)),
            gateway(2, GatewayState::Registered, None),
            gateway(3, GatewayState::Draining, Some(1)),
        ];
        let active = |id: &str| (id.to_owned(), GatewayState::Active);
        assert_eq!(changes(&observed), [active("g-0000"), active("g-0001")]);
    }

    #[test]
    fn two_of_five_at_once_are_kept_and_an_alarm_is_raised() {
        let judgement = judge(&active(&[91, 91, 1, 1, 1]), &Timing::default(), EVER, NOW);
        assert_eq!(judgement.changes, []);
        assert_eq!(judgement.mass_silence.unwrap().late.len(), 2);
    }

    #[test]
    fn gateways_that_died_together_do_not_slip_out_one_by_one() {
        let judgement = judge(&active(&[91, 80, 70, 1, 1]), &Timing::default(), EVER, NOW);
        assert_eq!(judgement.changes, []);
        assert!(judgement.mass_silence.is_some());
    }

    #[test]
    fn exactly_a_third_is_believed() {
        assert_eq!(changes(&active(&[91, 91, 1, 1, 1, 1])).len(), 2);
        assert_eq!(changes(&active(&[91])).len(), 1);
    }

    fn judged_after_listening_for(seconds: i64, quiet: &[i64]) -> Judgement {
        let since = NOW - SignedDuration::from_secs(seconds);
        judge(&active(quiet), &Timing::default(), since, NOW)
    }

    #[test]
    fn what_nobody_listened_for_is_not_silence() {
        for quiet in [&[3600][..], &[3600, 3600, 3600], &[3600, 1, 1, 1]] {
            let early = judged_after_listening_for(90, quiet);
            assert_eq!((early.changes, early.mass_silence), (Vec::new(), None));
        }
        let late = judged_after_listening_for(91, &[3600]);
        assert_eq!(late.changes.len(), 1);
        let late = judged_after_listening_for(91, &[3600, 3600, 3600]);
        assert_eq!(late.mass_silence.unwrap().late.len(), 3);
    }

    #[test]
    fn an_alarm_is_cleared_only_by_what_was_heard() {
        let can_clear = |seconds, quiet| judged_after_listening_for(seconds, quiet).can_clear;
        assert!(!can_clear(10, &[3600, 3600, 1]));
        assert!(can_clear(10, &[10, 10, 1]));
        assert!(can_clear(91, &[3600, 1, 1, 1]));
    }

    #[test]
    fn an_unhealthy_gateway_does_not_return_because_nobody_listened() {
        let observed = [gateway(0, GatewayState::Unhealthy, Some(3600))];
        let judgement = judge(&observed, &Timing::default(), NOW, NOW);
        assert_eq!(judgement.changes, []);
    }

    proptest! {
        #[test]
        fn no_judgement_takes_more_than_a_third_out_of_service(
            quiet in prop::collection::vec(0i64..200, 0..40),
        ) {
            let observed = active(&quiet);
            let taken = judge(&observed, &Timing::default(), EVER, NOW).changes.len();
            prop_assert!(taken <= 1 || taken * 3 <= observed.len());
        }

        #[test]
        fn every_change_is_an_arrow_of_the_state_machine(
            states in prop::collection::vec((0usize..8, prop::option::of(0i64..200)), 0..20),
        ) {
            use GatewayState::{Active, Drained, Draining, Failed, Provisioning, Registered, Retired, Unhealthy};
            let all = [Provisioning, Registered, Active, Unhealthy, Draining, Drained, Retired, Failed];
            let observed: Vec<_> = states.iter().enumerate()
                .map(|(n, (state, quiet))| gateway(n, all[*state], *quiet)).collect();
            for (id, next) in judge(&observed, &Timing::default(), EVER, NOW).changes {
                let before = observed.iter().find(|o| o.gateway.id == id).unwrap().gateway.state;
                prop_assert!(before.can_become(next), "{before} → {next}");
            }
        }
    }
}
