//! Which region, size and image a new node gets, of those that its pool names and the provider offers
//! today.
//!
//! The first choice first: of each region in order, each size in order. A name that the provider does
//! not have at all is an operator's mistake and is said before anything is done, even if another
//! choice would do: whoever finds out later is paying for the wrong thing.

use jiff::Timestamp;
use model::node::PoolState;
use model::provider::{Family, Offers, Price};
use model::{Fleet, Place, Pool, RegionName, SizeName};

use super::Gate;

/// Why there is no place, and what to do.
pub(super) type NoPlace = (Gate, String);

/// The first place of the pool that can be had at `now`, and what a node costs there. With `only`, in
/// that region alone.
pub fn choose(
    fleet: &Fleet,
    pool: &Pool,
    offers: &Offers,
    state: Option<&PoolState>,
    only: Option<&RegionName>,
    now: Timestamp,
) -> Result<(Place, Price), (Gate, String)> {
    check(fleet, pool, offers)?;
    let mut tried = Vec::new();
    for region in pool
        .regions
        .iter()
        .filter(|region| only.is_none_or(|only| only == *region))
    {
        for size in &pool.sizes {
            let Some(offer) = offers.sizes[size].regions.get(region) else {
                tried.push(format!("{size} is not offered in {region}"));
                continue;
            };
            if !offer.available || is_sold_out(state, region, size, now) {
                tried.push(format!("{size} is sold out in {region}"));
                continue;
            }
            let Some(address) = address_price(offers, region) else {
                tried.push(format!("{region} has no IPv4 addresses on offer"));
                continue;
            };
            let place = Place {
                region: region.clone(),
                size: size.clone(),
                image: pool.image.clone(),
            };
            return Ok((place, offer.price.plus(address)));
        }
    }
    Err((
        Gate::SoldOut,
        format!(
            "{}: add a size or a region to the pool, or wait",
            tried.join(", ")
        ),
    ))
}

/// What an IPv4 address costs in a region.
pub(super) fn address_price(offers: &Offers, region: &RegionName) -> Option<Price> {
    offers.addresses.get(&Family::Ipv4)?.get(region).copied()
}

/// What a node costs at a place, if both its parts are on offer.
pub fn price(offers: &Offers, place: &Place) -> Option<Price> {
    let server = offers.sizes.get(&place.size)?.regions.get(&place.region)?;
    Some(server.price.plus(address_price(offers, &place.region)?))
}

fn is_sold_out(
    state: Option<&PoolState>,
    region: &RegionName,
    size: &SizeName,
    now: Timestamp,
) -> bool {
    let memory = state.map_or(&[][..], |state| &state.sold_out);
    memory
        .iter()
        .any(|sold| sold.region == *region && sold.size == *size && now < sold.until)
}

/// Whether all that the pool names exists and fits together.
fn check(fleet: &Fleet, pool: &Pool, offers: &Offers) -> Result<(), NoPlace> {
    let provider = &pool.provider;
    if offers.currency != fleet.currency {
        return Err((
            Gate::Currency,
            format!(
                "{provider} bills in {}, the fleet counts in {}: its cap could not be held; write \
                 the fleet in {}",
                offers.currency, fleet.currency, offers.currency
            ),
        ));
    }
    let unknown = pool
        .regions
        .iter()
        .find(|region| !offers.regions.contains(*region));
    if let Some(region) = unknown {
        return Err((
            Gate::UnknownRegion,
            format!(
                "{provider} has no region '{region}': it has {}",
                listed(offers.regions.iter())
            ),
        ));
    }
    if let Some(size) = pool
        .sizes
        .iter()
        .find(|size| !offers.sizes.contains_key(*size))
    {
        return Err((
            Gate::UnknownSize,
            format!(
                "{provider} has no size '{size}': it has {}",
                listed(offers.sizes.keys())
            ),
        ));
    }
    let Some(image) = offers.images.get(&pool.image) else {
        return Err((
            Gate::Image,
            format!(
                "{provider} has no image '{}': it has {}",
                pool.image,
                listed(offers.images.keys())
            ),
        ));
    };
    for size in &pool.sizes {
        let architecture = &offers.sizes[size].architecture;
        if !image.architectures.contains(architecture) {
            return Err((
                Gate::Architecture,
                format!(
                    "size '{size}' is {architecture}, and image '{}' is there for {} alone: \
                     choose another size or image",
                    pool.image,
                    listed(image.architectures.iter())
                ),
            ));
        }
        if !fleet.agent.contains_key(architecture) {
            return Err((
                Gate::Architecture,
                format!(
                    "size '{size}' is {architecture}, and the fleet's 'agent' has no program for \
                     it: add one, or choose another size"
                ),
            ));
        }
    }
    Ok(())
}

fn listed<T: ToString>(all: impl Iterator<Item = T>) -> String {
    let all: Vec<String> = all.map(|one| one.to_string()).collect();
    all.join(", ")
}
