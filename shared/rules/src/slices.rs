//! Slices: which of them a gateway lies in, and which a device holds.
//!
//! Both by rendezvous hashing, so that a change of their number, or of the gateways, moves few. How many
//! slices there are is the policy's to say, whatever the fleet: so what a device holds follows from its id
//! alone, and enrolling it reads no gateway. In return every slice has gateways of each role, as many as
//! are needed to fail over, even if one must lie in several slices then: whatever a device holds, it can
//! use while the fleet has anything.

use model::{DeviceId, EpochSecret, GatewayId, Role};

use crate::hash64;

/// The least gateways of each role in a slice, if there are so many: one to use, and one to fail over to.
pub const LEAST: usize = 2;

/// The `held` of `slices` slices that a device holds, in ascending order; all, if there are no more. `salt`
/// is the network's secret: without it nobody can tell by an id what it will hold.
pub fn held(salt: &EpochSecret, device: &DeviceId, slices: u16, held: u16) -> Vec<u16> {
    let mut ranked: Vec<(u64, u16)> = (0..slices)
        .map(|slice| {
            let (salt, device) = (salt.as_bytes(), device.as_str().as_bytes());
            let hash = hash64(&[b"holds", salt, device, &slice.to_be_bytes()]);
            (hash, slice)
        })
        .collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.truncate(usize::from(held));
    let mut held: Vec<u16> = ranked.into_iter().map(|(_, slice)| slice).collect();
    held.sort_unstable();
    held
}

/// In which slices the gateways lie: for each slice their places in `gateways`, in ascending order. Every
/// gateway lies in one at least, and every slice has [`LEAST`] of each role, or all there are.
pub fn place<'a>(
    gateways: impl Iterator<Item = (&'a GatewayId, Role)>,
    slices: u16,
) -> Vec<Vec<usize>> {
    let gateways: Vec<_> = gateways.collect();
    let mut placed = vec![Vec::new(); usize::from(slices.max(1))];
    if placed.len() == 1 {
        placed[0].extend(0..gateways.len());
        return placed;
    }
    for role in [Role::Ingress, Role::Egress] {
        let of_role: Vec<usize> = (0..gateways.len())
            .filter(|index| gateways[*index].1 == role)
            .collect();
        let hash = |what: &[u8], index: usize, slice: u16| {
            let id = gateways[index].0.as_str().as_bytes();
            hash64(&[what, id, &slice.to_be_bytes()])
        };
        let mut own: Vec<Vec<usize>> = vec![Vec::new(); placed.len()];
        for index in &of_role {
            let best = (0..slices).max_by_key(|slice| (hash(b"lies in", *index, *slice), *slice));
            own[usize::from(best.unwrap_or(0))].push(*index);
        }
        for (slice, mut own) in (0..slices).zip(own) {
            if own.len() < LEAST {
                let mut others: Vec<usize> = of_role
                    .iter()
                    .copied()
                    .filter(|index| !own.contains(index))
                    .collect();
                others.sort_unstable_by_key(|index| (hash(b"lies in", *index, slice), *index));
                own.extend(others.into_iter().rev().take(LEAST - own.len()));
            }
            placed[usize::from(slice)].extend(own);
        }
    }
    for slice in &mut placed {
        slice.sort_unstable();
    }
    placed
}

#[cfg(test)]
mod tests;
