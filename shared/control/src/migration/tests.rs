//! Which pass comes next, and when nothing is left to do.

use super::*;

const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn kinds(number: u32) -> BTreeMap<String, u32> {
    BTreeMap::from([("gateway".to_owned(), number), ("pool".to_owned(), 1)])
}

/// The pass that `plan` wants to go on with.
fn pass(progress: &Progress, number: u32, now: Timestamp) -> Pass {
    match plan(progress, kinds(number), now) {
        Plan::Go(pass) => pass,
        other => panic!("{other:?}"),
    }
}

fn over(pass: Pass, rewritten: u64, lost: u64) -> Pass {
    Pass {
        at: None,
        rewritten,
        lost,
        ..pass
    }
}

#[test]
fn only_a_pass_that_began_late_enough_and_changed_nothing_is_the_last() {
    let settled = START + SETTLE;
    for (rewritten, lost, is_last) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
        let first = over(pass(&Progress::default(), 2, START), 0, 0);
        let (progress, left) = after(Progress::default(), first, START);
        assert_eq!(left, Left::Waits { until: settled });
        assert_eq!(plan(&progress, kinds(2), START), Plan::Wait(settled));

        let second = pass(&progress, 2, settled);
        assert_eq!((second.since, second.began_at), (START, settled));
        let (progress, left) = after(progress, over(second, rewritten, lost), settled);

        let expected = if is_last { Left::Nothing } else { Left::More };
        assert_eq!(left, expected);
        assert_eq!(plan(&progress, kinds(2), settled) == Plan::Rest, is_last);
    }
}

#[test]
fn a_kind_of_one_form_is_looked_through_by_nobody() {
    assert_eq!(plan(&Progress::default(), kinds(1), START), Plan::Rest);
    let pass = pass(&Progress::default(), 2, START);
    assert_eq!(pass.to, BTreeMap::from([("gateway".to_owned(), 2)]));
}

#[test]
fn another_release_begins_a_pass_of_its_own() {
    let later = START + SETTLE * 2;
    let progress = Progress {
        done: BTreeMap::from([("gateway".to_owned(), 2)]),
        pass: None,
    };
    assert_eq!(plan(&progress, kinds(2), later), Plan::Rest);
    // The next one, and the one of before, where the next was taken back.
    for number in [3, 1] {
        let first = pass(&progress, number, later);
        assert_eq!((first.since, first.to["gateway"]), (later, number));
    }

    let going = Progress {
        pass: Some(pass(&progress, 3, later)),
        ..progress
    };
    let again = later + SETTLE;
    assert_eq!(pass(&going, 3, again).began_at, later);
    assert_eq!(pass(&going, 4, again).began_at, again);
}
