use proptest::prelude::*;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn race(doors: usize) -> Race {
    Race::new(vec![LEAST_STAGGER; doors])
}

#[test]
fn the_second_starts_after_one_stagger_and_the_third_after_four() {
    let mut race = race(4);
    assert_eq!(race.step(ms(0)), Step::Start(0));
    assert_eq!(race.step(ms(0)), Step::Wait(Some(ms(250))));
    assert_eq!(race.step(ms(250)), Step::Start(1));
    assert_eq!(race.step(ms(250)), Step::Wait(Some(ms(1000))));
    assert_eq!(race.step(ms(1000)), Step::Start(2));
    assert_eq!(race.step(ms(1000)), Step::Wait(Some(ms(1250))));
}

#[test]
fn a_failure_lets_the_next_start_at_once_when_nobody_else_runs() {
    let mut race = race(3);
    assert_eq!(race.step(ms(0)), Step::Start(0));
    race.failed(0);
    assert_eq!(race.step(ms(3)), Step::Start(1));
    race.failed(1);
    assert_eq!(race.step(ms(5)), Step::Start(2));
    race.failed(2);
    assert_eq!(race.step(ms(9)), Step::Over);
    assert_eq!(race.result(), Outcome::Lost);
}

#[test]
fn a_held_answer_counts_only_when_nobody_does_better() {
    let mut race = race(2);
    assert_eq!(race.step(ms(0)), Step::Start(0));
    race.held(0);
    assert_eq!(race.step(ms(40)), Step::Start(1));
    assert_eq!(race.step(ms(40)), Step::Wait(Some(ms(1040))));
    assert_eq!(race.step(ms(1040)), Step::Over);
    assert_eq!(race.result(), Outcome::LastResort(0));
}

#[test]
fn a_slow_door_is_given_twice_its_own_time() {
    assert_eq!(stagger(None), ms(250));
    assert_eq!(stagger(Some(100)), ms(250));
    assert_eq!(stagger(Some(400)), ms(800));
}

/// What a door does: answer after so long, or never.
#[derive(Clone, Debug)]
enum Fate {
    Fails(u64),
    Holds(u64),
    Wins(u64),
    Silent,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0u64..4000).prop_map(Fate::Fails),
        (0u64..4000).prop_map(Fate::Holds),
        (0u64..4000).prop_map(Fate::Wins),
        Just(Fate::Silent),
    ]
}

/// A silent door is given up by the driver after so long.
const GIVEN_UP: u64 = 20_000;

struct Played {
    result: Outcome,
    starts: Vec<(usize, Duration)>,
    /// For each start, how many doors before it had failed, held or fallen quiet.
    spent: Vec<usize>,
    end: Duration,
}

/// Plays a race in simulated time.
fn play(staggers: &[Duration], fates: &[Fate]) -> Played {
    let mut race = Race::new(staggers.to_vec());
    let mut at = Duration::ZERO;
    let mut starts: Vec<(usize, Duration)> = Vec::new();
    let mut spent = Vec::new();
    let mut finished = vec![false; fates.len()];
    let ends = |door: usize, since: Duration| match fates[door] {
        Fate::Fails(n) | Fate::Holds(n) | Fate::Wins(n) => since + ms(n),
        Fate::Silent => since + ms(GIVEN_UP),
    };
    loop {
        match race.step(at) {
            Step::Over => break,
            Step::Start(door) => {
                let quiet = |(door, since): &&(usize, Duration)| {
                    finished[*door] || at >= *since + staggers[*door] * QUIET
                };
                spent.push(starts.iter().filter(quiet).count());
                starts.push((door, at));
            }
            Step::Wait(until) => {
                let running = starts.iter().filter(|(door, _)| !finished[*door]);
                let first = running.map(|(d, s)| (ends(*d, *s), *d)).min();
                match (first, until) {
                    (Some((end, door)), until) if until.is_none_or(|until| end <= until) => {
                        at = end;
                        finished[door] = true;
                        match fates[door] {
                            Fate::Wins(_) => race.won(door),
                            Fate::Holds(_) => race.held(door),
                            Fate::Fails(_) | Fate::Silent => race.failed(door),
                        }
                    }
                    (_, Some(until)) => {
                        assert!(until > at, "it must not spin");
                        at = until;
                    }
                    (_, None) => panic!("it waits for nobody"),
                }
            }
        }
    }
    Played {
        result: race.result(),
        starts,
        spent,
        end: at,
    }
}

proptest! {
    #[test]
    fn a_race_ends_with_the_best_that_was_to_be_had(
        fates in prop::collection::vec(fate(), 0..7),
        smoothed in prop::collection::vec(prop::option::of(0u32..900), 7),
    ) {
        let staggers: Vec<_> = smoothed[..fates.len()].iter().map(|s| stagger(*s)).collect();
        let played = play(&staggers, &fates);
        match played.result {
            Outcome::Won(door) => prop_assert!(matches!(fates[door], Fate::Wins(_))),
            Outcome::LastResort(door) => prop_assert!(matches!(fates[door], Fate::Holds(_))),
            Outcome::Lost => {
                let hopeless = |f: &Fate| matches!(f, Fate::Fails(_) | Fate::Silent);
                prop_assert!(fates.iter().all(hopeless));
                prop_assert_eq!(played.starts.len(), fates.len());
            }
        }
    }

    #[test]
    fn doors_start_in_order_and_a_third_only_when_one_is_spent(
        fates in prop::collection::vec(fate(), 1..7),
    ) {
        let staggers = vec![LEAST_STAGGER; fates.len()];
        let played = play(&staggers, &fates);
        for (number, (door, at)) in played.starts.iter().enumerate() {
            prop_assert_eq!(*door, number);
            // Of those before it, all but one are failed, held or quiet.
            prop_assert!(played.spent[number] + 1 >= number, "{:?}", played.spent);
            prop_assert!(*at <= LEAST_STAGGER * QUIET * u32::try_from(number).unwrap());
        }
    }

    #[test]
    fn a_healthy_door_among_dead_ones_wins_within_its_time_and_the_staggers(
        place in 0usize..5,
        own in 0u64..200,
        fates in prop::collection::vec(
            prop_oneof![(0u64..200).prop_map(Fate::Fails), Just(Fate::Silent)], 5),
    ) {
        let mut fates = fates;
        fates[place] = Fate::Wins(own);
        let played = play(&[LEAST_STAGGER; 5], &fates);
        prop_assert_eq!(played.result, Outcome::Won(place));
        prop_assert!(played.end <= ms(own) + LEAST_STAGGER * QUIET * 3, "{:?}", played.end);
    }
}
