//! What spies learn: so many enrolled devices that tell somebody all that they can read.
//!
//! A device holds some slices of the one catalog of its cohort and tags, and nobody chooses which ones
//! ([`crate::slices::held`]): so each of `n` devices that hold `k` of `s` slices misses a gateway that lies
//! in one slice with the chance `1 - k/s`, by itself. That gives what is to be expected; the worst case is
//! that no two of them hold the same slice, and theirs are the largest.

use std::collections::BTreeSet;

use model::{CatalogName, Disclosure, Gateway, GatewayId, GatewayState, Policy, Role};
use serde::{Deserialize, Serialize};

use crate::{policy, slices};

/// Where it is no longer said how many devices it takes to learn half.
const MOST_SPIES: u32 = 1 << 24;

/// What spies learn of one role's gateways in one catalog.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Whose catalog: what follows holds for spies that all read it.
    pub catalog: CatalogName,
    /// The role.
    pub role: Role,
    /// How many gateways of that role it lists.
    pub gateways: u32,
    /// For each number of spies that was asked about.
    pub learned: Vec<Learned>,
    /// The fewest spies that can expect to learn half of them. None where there is nothing to learn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half: Option<u32>,
}

/// What some spies learn.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Learned {
    /// How many spies.
    pub spies: u32,
    /// How many gateways they can expect to learn.
    pub expected: f64,
    /// How many they learn at most.
    pub most: u32,
}

/// What so many `spies` learn of each catalog, while these are the gateways. Ordered by catalog and role.
pub fn report(policy: &Policy, gateways: &[Gateway], spies: &[u32]) -> Vec<Row> {
    let active = |gateway: &&Gateway| gateway.state == GatewayState::Active;
    let active: Vec<&Gateway> = gateways.iter().filter(active).collect();
    let cohorts: BTreeSet<_> = active.iter().flat_map(|gateway| &gateway.cohorts).collect();
    let names: BTreeSet<CatalogName> = cohorts
        .into_iter()
        .flat_map(|cohort| policy::catalogs(policy, cohort))
        .collect();
    let mut rows = Vec::new();
    for name in names {
        let listed: Vec<(&GatewayId, Role)> = active
            .iter()
            .filter(|gateway| policy::gateway(policy, (&name).into(), gateway).allowed)
            .map(|gateway| (&gateway.id, gateway.role))
            .collect();
        for role in [Role::Ingress, Role::Egress] {
            let spread = Spread::of(policy.disclosure, &listed, role);
            rows.push(Row {
                catalog: name.clone(),
                role,
                gateways: spread.gateways(),
                learned: spies.iter().map(|spies| spread.learned(*spies)).collect(),
                half: spread.half(),
            });
        }
    }
    rows
}

/// How the gateways of one role are spread over slices.
struct Spread {
    /// How many slices there are, and a device holds; None where all is open.
    sealed: Option<(u32, u32)>,
    /// In how many slices each gateway lies.
    lies_in: Vec<u32>,
    /// How many gateways each slice has, the most first.
    sizes: Vec<u32>,
}

impl Spread {
    fn of(disclosure: Disclosure, listed: &[(&GatewayId, Role)], role: Role) -> Self {
        let (count, sealed) = match disclosure {
            Disclosure::Open {} => (1, None),
            Disclosure::Sealed { slices, held } => {
                (slices, Some((u32::from(slices), u32::from(held))))
            }
        };
        let mut lies_in = vec![0; listed.len()];
        let mut sizes = Vec::new();
        for slice in slices::place(listed.iter().copied(), count) {
            let mut size = 0;
            for at in slice {
                if listed[at].1 == role {
                    lies_in[at] += 1;
                    size += 1;
                }
            }
            sizes.push(size);
        }
        lies_in.retain(|slices| *slices > 0);
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            sealed,
            lies_in,
            sizes,
        }
    }

    fn gateways(&self) -> u32 {
        u32::try_from(self.lies_in.len()).unwrap_or(u32::MAX)
    }

    fn learned(&self, spies: u32) -> Learned {
        let Some((slices, held)) = self.sealed else {
            return Learned {
                spies,
                expected: f64::from(self.gateways()),
                most: self.gateways(),
            };
        };
        let known = |lies_in: &u32| {
            let missed = missed_by_one(*lies_in, slices, held);
            1.0 - missed.powf(f64::from(spies))
        };
        let different = spies.saturating_mul(held).min(slices);
        let largest = self
            .sizes
            .iter()
            .take(usize::try_from(different).unwrap_or(usize::MAX));
        Learned {
            spies,
            expected: self.lies_in.iter().map(known).sum(),
            most: largest.sum::<u32>().min(self.gateways()),
        }
    }

    /// The fewest spies that can expect to learn half.
    fn half(&self) -> Option<u32> {
        if self.lies_in.is_empty() {
            return None;
        }
        let enough = |spies: u32| self.learned(spies).expected * 2.0 >= f64::from(self.gateways());
        let mut above = 1;
        while !enough(above) {
            above *= 2;
            if above > MOST_SPIES {
                return None;
            }
        }
        if enough(0) {
            return Some(0);
        }
        let mut below = above / 2;
        while below + 1 < above {
            let middle = below.midpoint(above);
            if enough(middle) {
                above = middle;
            } else {
                below = middle;
            }
        }
        Some(above)
    }
}

/// The chance that a device which holds `held` of `slices` slices holds none of the `lies_in`: that of
/// drawing as often from the others, without putting back.
fn missed_by_one(lies_in: u32, slices: u32, held: u32) -> f64 {
    (0..held.min(slices))
        .map(|drawn| {
            let left = slices - drawn;
            f64::from(left.saturating_sub(lies_in)) / f64::from(left)
        })
        .product()
}

#[cfg(test)]
mod tests {
    use model::{DeviceId, EpochSecret, IdentityKey};

    use super::*;

    /// A spread of so many gateways of each role, and the ids of those of ingress by slice.
    fn spread(count: u32, slices: u16, held: u16) -> (Spread, Vec<Vec<usize>>) {
        let ids: Vec<(GatewayId, Role)> = (0..2 * count)
            .map(|number| {
                let role = if number < count {
                    Role::Ingress
                } else {
                    Role::Egress
                };
                let id = data_encoding::BASE32_NOPAD.encode(&number.to_be_bytes());
                (format!("g-{}", id.to_lowercase()).parse().unwrap(), role)
            })
            .collect();
        let listed: Vec<_> = ids.iter().map(|(id, role)| (id, *role)).collect();
        let mut placed = slices::place(listed.iter().copied(), slices);
        for slice in &mut placed {
            slice.retain(|at| listed[*at].1 == Role::Ingress);
        }
        let disclosure = Disclosure::Sealed { slices, held };
        (Spread::of(disclosure, &listed, Role::Ingress), placed)
    }

    /// What a group of spies learns when their ids fall as they fall.
    fn simulated(placed: &[Vec<usize>], slices: u16, held: u16, spies: u32, run: u32) -> u32 {
        let salt = EpochSecret::from_bytes([9; 32]);
        let mut known: BTreeSet<usize> = BTreeSet::new();
        for spy in 0..spies {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&run.to_be_bytes());
            key[4..8].copy_from_slice(&spy.to_be_bytes());
            let device = DeviceId::of(&IdentityKey::from_bytes(key));
            for slice in slices::held(&salt, &device, slices, held) {
                known.extend(&placed[usize::from(slice)]);
            }
        }
        u32::try_from(known.len()).unwrap()
    }

    #[test]
    fn a_simulation_confirms_what_is_expected_and_never_passes_the_most() {
        const RUNS: u32 = 200;
        for (count, slices, held, spies) in [
            (40, 8, 1, 1),
            (40, 8, 2, 3),
            (100, 32, 2, 10),
            (12, 24, 3, 4),
            (5, 16, 1, 6),
        ] {
            let (spread, placed) = spread(count, slices, held);
            let computed = spread.learned(spies);
            let runs: Vec<f64> = (0..RUNS)
                .map(|run| {
                    let learned = simulated(&placed, slices, held, spies, run);
                    assert!(learned <= computed.most, "{learned} of {computed:?}");
                    f64::from(learned)
                })
                .collect();
            let mean = runs.iter().sum::<f64>() / f64::from(RUNS);
            let variance =
                runs.iter().map(|run| (run - mean).powi(2)).sum::<f64>() / f64::from(RUNS - 1);
            // Four standard errors of the mean, and the ids are always the same: no chance of a bad day.
            let bound = 4.0 * (variance / f64::from(RUNS)).sqrt();
            assert!(
                (mean - computed.expected).abs() <= bound,
                "{slices} slices, {held} held, {spies} spies: {mean} ± {bound}, {computed:?}"
            );
        }
    }

    #[test]
    fn one_slice_or_none_hides_nothing_from_a_device_and_all_from_the_others() {
        let (sealed, _) = spread(10, 1, 1);
        assert_eq!(
            (sealed.learned(0).expected, sealed.learned(0).most),
            (0.0, 0)
        );
        assert_eq!(
            (sealed.learned(1).expected, sealed.learned(1).most),
            (10.0, 10)
        );
        assert_eq!(sealed.half(), Some(1));
        let open = Spread {
            sealed: None,
            ..sealed
        };
        assert_eq!((open.learned(0).most, open.half()), (10, Some(0)));
    }

    #[test]
    fn more_spies_learn_more_and_never_more_than_there_is() {
        let (spread, _) = spread(50, 16, 2);
        let learned: Vec<_> = [0, 1, 2, 5, 10, 1000]
            .map(|spies| spread.learned(spies))
            .into();
        assert!(
            learned
                .windows(2)
                .all(|two| two[0].expected < two[1].expected)
        );
        assert!(
            learned
                .iter()
                .all(|learned| learned.expected <= f64::from(learned.most) + 1e-9)
        );
        assert_eq!(learned[5].most, 50);
        let half = spread.half().unwrap();
        assert!(spread.learned(half).expected >= 25.0 && spread.learned(half - 1).expected < 25.0);
    }

    #[test]
    fn the_report_has_a_row_for_each_catalog_and_role_of_active_gateways() {
        let gateway = |number, state| crate::health::tests::gateway(number, state, None).gateway;
        let gateways = [
            gateway(1, GatewayState::Active),
            gateway(2, GatewayState::Active),
            gateway(3, GatewayState::Retired),
        ];

        let rows = report(&Policy::default(), &gateways, &[1]);

        let counts: Vec<_> = rows
            .iter()
            .map(|row| (row.catalog.to_string(), row.role, row.gateways))
            .collect();
        assert_eq!(
            counts,
            [
                ("default".to_owned(), Role::Ingress, 2),
                ("default".to_owned(), Role::Egress, 0)
            ]
        );
        assert_eq!((rows[0].half, rows[1].half), (Some(1), None));
    }
}
