use std::collections::BTreeSet;

use model::IdentityKey;
use proptest::prelude::*;

use super::*;

fn salt(byte: u8) -> EpochSecret {
    EpochSecret::from_bytes([byte; 32])
}

fn device(number: u32) -> DeviceId {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::of(&IdentityKey::from_bytes(key))
}

fn gateways(count: usize) -> Vec<(GatewayId, Role)> {
    let mut all: Vec<(GatewayId, Role)> = (0..count)
        .map(|number| {
            let role = if number % 2 == 0 {
                Role::Ingress
            } else {
                Role::Egress
            };
            let id = data_encoding::BASE32_NOPAD.encode(&number.to_be_bytes());
            (format!("g-{}", id.to_lowercase()).parse().unwrap(), role)
        })
        .collect();
    all.sort();
    all
}

fn placed(gateways: &[(GatewayId, Role)], slices: u16) -> Vec<Vec<usize>> {
    place(gateways.iter().map(|(id, role)| (id, *role)), slices)
}

proptest! {
    #[test]
    fn a_device_holds_so_many_different_slices_and_always_the_same(
        number: u32, slices in 1u16..=256, count in 1u16..=16,
    ) {
        let mine = held(&salt(1), &device(number), slices, count);
        prop_assert_eq!(mine.len(), usize::from(count.min(slices)));
        prop_assert!(mine.windows(2).all(|two| two[0] < two[1]));
        prop_assert!(mine.iter().all(|slice| *slice < slices));
        prop_assert_eq!(mine, held(&salt(1), &device(number), slices, count));
    }

    #[test]
    fn holding_more_takes_none_away_and_one_slice_more_takes_one_at_most(
        number: u32, slices in 1u16..=255, count in 1u16..=15,
    ) {
        let of = |slices, count| -> BTreeSet<u16> {
            held(&salt(1), &device(number), slices, count).into_iter().collect()
        };
        prop_assert!(of(slices, count).is_subset(&of(slices, count + 1)));
        prop_assert!(of(slices, count).difference(&of(slices + 1, count)).count() <= 1);
    }

    #[test]
    fn every_slice_has_what_a_device_needs_and_every_gateway_a_slice(
        count in 0usize..60, slices in 1u16..=40,
    ) {
        let gateways = gateways(count);
        let placed = placed(&gateways, slices);
        prop_assert_eq!(placed.len(), usize::from(slices));
        for role in [Role::Ingress, Role::Egress] {
            let there = gateways.iter().filter(|(_, of)| *of == role).count();
            for slice in &placed {
                let here = slice.iter().filter(|index| gateways[**index].1 == role).count();
                prop_assert!(here >= there.min(LEAST), "{here} of {there} in {slice:?}");
            }
        }
        let all: BTreeSet<usize> = placed.iter().flatten().copied().collect();
        prop_assert_eq!(all.len(), count);
        prop_assert!(placed.iter().all(|slice| slice.windows(2).all(|two| two[0] < two[1])));
    }
}

#[test]
fn devices_spread_evenly_over_slices() {
    let mut counts = [0u32; 8];
    for number in 0..8000 {
        for slice in held(&salt(1), &device(number), 8, 2) {
            counts[usize::from(slice)] += 1;
        }
    }
    // 2,000 each; five standard deviations of a binomial with p = 1/4 are 194.
    assert!(
        counts.iter().all(|count| (1806..=2194).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn gateways_spread_evenly_over_slices_and_few_move_with_one_slice_more() {
    let gateways = gateways(4000);
    let (before, after) = (placed(&gateways, 8), placed(&gateways, 9));
    // 500 each; five standard deviations are 105.
    assert!(
        before
            .iter()
            .all(|slice| (395..=605).contains(&slice.len()))
    );

    let stayed: usize = before
        .iter()
        .zip(&after)
        .map(|(before, after)| before.iter().filter(|index| after.contains(index)).count())
        .sum();
    // A ninth moves, all of it into the new slice.
    assert_eq!(stayed + after[8].len(), 4000);
    assert!((345..=545).contains(&after[8].len()), "{}", after[8].len());
}

#[test]
fn a_gateway_more_moves_no_other() {
    let mut gateways = gateways(200);
    let before = placed(&gateways, 8);
    let last = gateways.pop().unwrap();
    let after = placed(&gateways, 8);

    let without: Vec<Vec<usize>> = before
        .iter()
        .map(|slice| slice.iter().copied().filter(|index| *index < 199).collect())
        .collect();
    assert_eq!(without, after, "all but {}", last.0);
}

#[test]
fn another_salt_gives_a_device_other_slices() {
    let differ = (0..100).filter(|number| {
        held(&salt(1), &device(*number), 16, 1) != held(&salt(2), &device(*number), 16, 1)
    });
    assert!(differ.count() > 80);
}
