//! How long to leave something alone after it failed.

use jiff::{SignedDuration, Timestamp};
use model::node::{PoolState, SoldOut};
use model::{GatewayId, Place};

use crate::hash64;

/// The first wait of a node, in seconds; it doubles with every failure.
const FIRST_SECONDS: i64 = 5;
/// The longest wait of a node, in seconds.
const LONGEST_SECONDS: i64 = 15 * 60;
/// How many nodes of a pool in a row may fail before the pool waits.
pub const MOST_FAILURES: u32 = 3;
/// The first wait of a pool, in seconds; it doubles with every failure.
const POOL_SECONDS: i64 = 30 * 60;
/// The longest wait of a pool, in seconds.
const LONGEST_POOL_SECONDS: i64 = 24 * 3600;
/// For how long what was sold out is not asked for again, in seconds.
const SOLD_OUT_SECONDS: i64 = 30 * 60;

/// When a node that failed `tries` times in a row is tried again: at a time drawn from the whole of a
/// span that doubles (full jitter), so that all that failed at once do not come back at once, and not
/// before the provider's own word of `least` seconds.
pub fn again(gateway: &GatewayId, tries: u32, least: u32, now: Timestamp) -> Timestamp {
    let span = FIRST_SECONDS << tries.saturating_sub(1).min(20);
    let span = span.min(LONGEST_SECONDS);
    let drawn = hash64(&[b"again", gateway.as_str().as_bytes(), &tries.to_be_bytes()]);
    let drawn = i64::try_from(drawn % span.unsigned_abs()).unwrap_or(0);
    now + SignedDuration::from_secs(i64::from(least) + drawn)
}

/// What becomes of a pool when another of its nodes never came into service.
#[must_use]
pub fn failed(pool: &PoolState, now: Timestamp) -> PoolState {
    let failures = pool.failures.saturating_add(1);
    let mut failed = PoolState {
        failures,
        ..pool.clone()
    };
    if failures >= MOST_FAILURES {
        let span = POOL_SECONDS << (failures - MOST_FAILURES).min(20);
        let span = span.min(LONGEST_POOL_SECONDS);
        failed.not_before = Some(now + SignedDuration::from_secs(span));
        failed.alarm = Some(format!("{failures} nodes in a row never came into service"));
    }
    failed
}

/// What becomes of a pool when one of its nodes came into service.
#[must_use]
pub fn succeeded(pool: &PoolState) -> PoolState {
    PoolState {
        failures: 0,
        not_before: None,
        alarm: None,
        ..pool.clone()
    }
}

/// What becomes of a pool when a place was sold out although it was on offer.
#[must_use]
pub fn sold_out(pool: &PoolState, place: &Place, now: Timestamp) -> PoolState {
    let mut after = pool.clone();
    after.sold_out.retain(|sold| {
        now < sold.until && (&sold.region, &sold.size) != (&place.region, &place.size)
    });
    after.sold_out.push(SoldOut {
        region: place.region.clone(),
        size: place.size.clone(),
        until: now + SignedDuration::from_secs(SOLD_OUT_SECONDS),
    });
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planning::fixture::{NOW, node};

    #[test]
    fn waits_spread_and_keep_to_the_provider_s_word() {
        let ids = (0..200).map(|number| node("ingress", number).gateway);
        let waits: Vec<i64> = ids
            .map(|id| again(&id, 4, 7, NOW).duration_since(NOW).as_secs())
            .collect();
        assert!(waits.iter().all(|wait| (7..47).contains(wait)));
        let distinct: std::collections::BTreeSet<_> = waits.iter().collect();
        assert!(distinct.len() > 30);
        let longest = again(&node("ingress", 1).gateway, u32::MAX, 0, NOW);
        assert!(longest.duration_since(NOW).as_secs() <= LONGEST_SECONDS);
    }

    #[test]
    fn a_pool_waits_longer_with_every_failure_and_forgets_when_one_succeeds() {
        let mut pool = PoolState::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            pool = failed(&pool, NOW);
            waits.push(pool.not_before.map(|at| at.duration_since(NOW).as_secs()));
        }
        assert_eq!(waits[..5], [None, None, Some(1800), Some(3600), Some(7200)]);
        assert_eq!(waits[11], Some(LONGEST_POOL_SECONDS));
        assert!(pool.alarm.is_some());
        assert_eq!(succeeded(&pool), PoolState::default());
    }

    #[test]
    fn a_place_is_remembered_once() {
        let place = node("ingress", 1).place;
        let once = sold_out(&PoolState::default(), &place, NOW);
        let twice = sold_out(&once, &place, NOW);
        assert_eq!(once, twice);
        assert_eq!(once.sold_out.len(), 1);
    }
}
