//! Probing for a free address or a free use of an invite.
//!
//! Candidates are taken in an order that depends on who asks, one conditional write each, so that
//! no counter is shared by all (design, section 5). The order visits every place exactly once: a
//! small, nearly full pool is searched to its last place.

use crate::hash64;

/// Lost probes after which candidates are read in batches instead of tried one by one.
pub const TRIED_ONE_BY_ONE: usize = 16;
/// Lost probes after which the search is given up.
pub const MOST_PROBES: usize = 256;

/// All of `0..size`, each once, in an order that depends on `who` and `what`. Empty for size 0.
pub fn sequence(who: &str, what: &str, size: u32) -> impl Iterator<Item = u32> + Send + use<> {
    let size = u64::from(size);
    let hash = hash64(&[b"probe", who.as_bytes(), what.as_bytes()]);
    let start = hash.checked_rem(size).unwrap_or(0);
    // A step without a common factor visits every place. Drawn from other bits than the start.
    let drawn = (hash >> 32).checked_rem(size).unwrap_or(0).max(1);
    let step = (drawn..drawn + size.max(1))
        .find(|step| greatest_common_divisor(*step, size) == 1)
        .unwrap_or(1);
    (0..size).map(move |n| {
        let place = (start + n * step) % size;
        u32::try_from(place).expect("smaller than `size`, which is a u32")
    })
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_place_is_visited_exactly_once(who in "[a-z]{1,8}", size in 0u32..3000) {
            let visited: Vec<u32> = sequence(&who, "lease", size).collect();
            let distinct: BTreeSet<u32> = visited.iter().copied().collect();
            prop_assert_eq!(visited.len(), size as usize);
            prop_assert_eq!(distinct, (0..size).collect::<BTreeSet<u32>>());
        }
    }

    #[test]
    fn two_devices_start_apart_and_each_one_is_steady() {
        let first = |who: &str| sequence(who, "lease", 1 << 21).next();
        assert_eq!(first("d-one"), first("d-one"));
        assert_ne!(first("d-one"), first("d-two"));
    }
}
