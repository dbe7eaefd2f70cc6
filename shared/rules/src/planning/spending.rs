//! What is there costs, and what it would cost.

use std::collections::BTreeMap;

use model::provider::{Labels, Price};
use model::{Amount, GatewayId, Mode, PoolName};

use super::choice::address_price;
use super::seen::{Record, Seen};
use super::{Change, Draft, Gate, Input, Step, labels};

/// What a plan costs.
pub(super) struct Costs {
    pub before: Price,
    pub after: Price,
    pub most: Price,
    pub unpriced: Vec<String>,
}

/// What all that is there and intended costs.
struct There<'a> {
    before: Price,
    /// What of it is leaving.
    going: Price,
    by_pool: BTreeMap<&'a PoolName, Amount>,
    strangers: Strangers,
    unpriced: Vec<String>,
}

/// What is listed and belongs to no record.
#[derive(Default)]
struct Strangers {
    /// What all of it costs.
    sum: Price,
    /// What of it is a gateway's, by its labels.
    of_gateway: BTreeMap<GatewayId, Price>,
}

impl<'a> There<'a> {
    fn count(input: &Input<'_>, seen: &Seen<'a>) -> Self {
        let mut before = Price::default();
        let mut going = Price::default();
        let mut unpriced = Vec::new();
        let mut by_pool: BTreeMap<&PoolName, Amount> = BTreeMap::new();
        for record in &seen.records {
            let node = record.node;
            if node.stage.is_over() {
                continue;
            }
            let cost = cost(input, record, &mut unpriced);
            before = before.plus(cost);
            if node.stage.is_leaving() {
                going = going.plus(cost);
            }
            if node.mode == Mode::Live {
                let sum = by_pool.entry(&node.pool).or_default();
                *sum = sum.plus(cost.month);
            }
        }
        let strangers = strangers(input, seen, &mut unpriced);
        before = before.plus(strangers.sum);
        Self {
            before,
            going,
            by_pool,
            strangers,
            unpriced,
        }
    }
}

/// Whether the caps of the fleet and of its pool allow that an intended node costs `price` instead of
/// what it costs now; else which of them does not.
pub fn fits(input: &Input<'_>, gateway: &GatewayId, price: Price) -> Result<(), String> {
    let seen = Seen::of(input);
    let there = There::count(input, &seen);
    let Some(record) = seen.of_gateway(gateway) else {
        return Err("no record knows it".to_owned());
    };
    let now = cost(input, record, &mut Vec::new()).month;
    let instead = |sum: Amount| Amount(sum.0.saturating_sub(now.0)).plus(price.month);
    let currency = input.fleet.currency;
    let over = |sum: Amount, cap: Amount, whose: &str| {
        format!("it would cost {sum} {currency} a month, and the {whose} allows {cap}")
    };
    let (sum, cap) = (instead(there.before.month), input.fleet.most_per_month);
    if sum > cap {
        return Err(over(sum, cap, "fleet"));
    }
    let name = &record.node.pool;
    let pool = input.fleet.pools.get(name);
    if let Some(cap) = pool.and_then(|pool| pool.most_per_month) {
        let sum = instead(there.by_pool.get(name).copied().unwrap_or_default());
        if sum > cap {
            return Err(over(sum, cap, "pool"));
        }
    }
    Ok(())
}

/// Counts all costs, fills in what steps save, and holds what the caps do not allow.
pub(super) fn count(input: &Input<'_>, seen: &Seen<'_>, draft: &mut Draft) -> Costs {
    let There {
        before,
        mut going,
        by_pool,
        strangers,
        mut unpriced,
    } = There::count(input, seen);
    let mut adds = Price::default();
    for step in &mut draft.steps {
        step.saves = match &step.change {
            Change::Drain { gateway } | Change::Remove { gateway, .. } => seen
                .of_gateway(gateway)
                .map(|record| cost(input, record, &mut Vec::new())),
            Change::RemoveUnknown { gateway, .. } => strangers.of_gateway.get(gateway).copied(),
            _ => None,
        };
        going = going.plus(step.saves.unwrap_or_default());
        adds = adds.plus(step.adds.unwrap_or_default());
    }
    unpriced.sort_unstable();
    let most = before.plus(adds);
    hold_by_caps(input, &by_pool, most, draft);
    Costs {
        before,
        after: Price {
            hour: Amount(most.hour.0.saturating_sub(going.hour.0)),
            month: Amount(most.month.0.saturating_sub(going.month.0)),
        },
        most,
        unpriced,
    }
}

/// What a node costs, until its record says that it is gone: what its provider's list lacks may have
/// lost its labels, and is paid for.
fn cost(input: &Input<'_>, record: &Record<'_>, unpriced: &mut Vec<String>) -> Price {
    let node = record.node;
    let providing = input.providers.get(&node.provider);
    let offers = providing.and_then(|providing| providing.offers.ok());
    let offered = offers.and_then(|offers| super::price(offers, &node.place));
    offered.or(node.price).unwrap_or_else(|| {
        unpriced.push(labels::node_name(input.network, &node.gateway));
        Price::default()
    })
}

/// What is listed and belongs to no record: under another name than that of the gateway which its labels
/// name, too.
fn strangers(input: &Input<'_>, seen: &Seen<'_>, unpriced: &mut Vec<String>) -> Strangers {
    let mut costs = Strangers::default();
    let mut find = seen.finder();
    let prefix = labels::node_name_prefix(input.network);
    let mut is_known = |name: &str, labels: &Labels| {
        find(labels).is_some_and(|record| {
            let node = record.node;
            !node.stage.is_over() && name.strip_prefix(&prefix) == Some(node.gateway.as_str())
        })
    };
    for providing in input.providers.values() {
        let (Ok(inventory), Ok(offers)) = (providing.inventory, providing.offers) else {
            continue;
        };
        for server in &inventory.servers {
            if is_known(&server.name, &server.labels) {
                continue;
            }
            let size = server.size.as_ref().and_then(|size| offers.sizes.get(size));
            let region = server.region.as_ref();
            let offer = size
                .zip(region)
                .and_then(|(size, region)| size.regions.get(region));
            let price = offer.map(|offer| offer.price);
            add(&mut costs, unpriced, &server.name, &server.labels, price);
        }
        for address in &inventory.addresses {
            if is_known(&address.name, &address.labels) {
                continue;
            }
            let region = address.region.as_ref();
            let price = region.and_then(|region| address_price(offers, region));
            add(&mut costs, unpriced, &address.name, &address.labels, price);
        }
    }
    costs
}

fn add(
    costs: &mut Strangers,
    unpriced: &mut Vec<String>,
    name: &str,
    labels: &Labels,
    price: Option<Price>,
) {
    let gateway = labels
        .get(labels::GATEWAY)
        .and_then(|text| text.parse().ok());
    let Some(price) = price else {
        unpriced.push(name.to_owned());
        return;
    };
    costs.sum = costs.sum.plus(price);
    if let Some(gateway) = gateway {
        let sum: &mut Price = costs.of_gateway.entry(gateway).or_default();
        *sum = sum.plus(price);
    }
}

/// Holds all making of nodes if the fleet, or a pool, would cost more than it may.
fn hold_by_caps(
    input: &Input<'_>,
    by_pool: &BTreeMap<&PoolName, Amount>,
    most: Price,
    draft: &mut Draft,
) {
    let cap = input.fleet.most_per_month;
    let currency = input.fleet.currency;
    let creates = |step: &Step| matches!(step.change, Change::Create { .. });
    let advice = "raise 'most_per_month', or ask for less; what leaves counts until it is gone";
    if most.month > cap && draft.hold(Gate::SpendCap, creates) {
        let why = format!(
            "it would cost {} {currency} a month, and the fleet allows {cap}: {advice}",
            most.month
        );
        draft.block("plan".to_owned(), Gate::SpendCap, why);
    }
    for (name, pool) in &input.fleet.pools {
        let Some(cap) = pool.most_per_month else {
            continue;
        };
        let of_pool =
            |step: &Step| matches!(&step.change, Change::Create { pool, .. } if pool == name);
        let adds = draft.steps.iter().filter(|step| of_pool(step));
        let adds = adds.fold(Amount::default(), |sum, step| {
            sum.plus(step.adds.unwrap_or_default().month)
        });
        let there = by_pool.get(name).copied().unwrap_or_default();
        let sum = there.plus(adds);
        if sum > cap && draft.hold(Gate::SpendCap, of_pool) {
            let why = format!(
                "it would cost {sum} {currency} a month, and the pool allows {cap}: {advice}"
            );
            draft.block(format!("pool {name}"), Gate::SpendCap, why);
        }
    }
}
