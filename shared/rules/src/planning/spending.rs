//! What the providers list, by node; and what all of it costs.

use std::collections::BTreeMap;

use model::provider::{Address, Labels, Price, ResourceKind, Server};
use model::{Amount, GatewayId, Mode, Node, PoolName, ProviderName, Stage};

use super::choice::address_price;
use super::{Change, Draft, Gate, Input, Step, labels};

/// The servers and addresses of all providers by their names.
pub(super) struct Seen<'a> {
    servers: BTreeMap<&'a ProviderName, BTreeMap<&'a str, &'a Server>>,
    addresses: BTreeMap<&'a ProviderName, BTreeMap<&'a str, &'a Address>>,
    /// The records by gateway, with the names of their resources.
    pub nodes: BTreeMap<&'a GatewayId, (&'a Node, String)>,
}

/// What a plan costs.
pub(super) struct Costs {
    pub before: Price,
    pub after: Price,
    pub most: Price,
    pub unpriced: Vec<String>,
}

impl<'a> Seen<'a> {
    pub fn of(input: &Input<'a>) -> Self {
        let mut seen = Self {
            servers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        for (name, providing) in input.providers {
            let Ok(inventory) = providing.inventory else {
                continue;
            };
            // Of several with one name the oldest counts, as looking it up by name does.
            let mut servers: BTreeMap<&str, &Server> = BTreeMap::new();
            for server in &inventory.servers {
                let first = servers.entry(&server.name).or_insert(server);
                if server.created_at < first.created_at {
                    *first = server;
                }
            }
            seen.servers.insert(name, servers);
            let mut addresses: BTreeMap<&str, &Address> = BTreeMap::new();
            for address in &inventory.addresses {
                let first = addresses.entry(&address.name).or_insert(address);
                if address.created_at < first.created_at {
                    *first = address;
                }
            }
            seen.addresses.insert(name, addresses);
        }
        let nodes = input.nodes.iter();
        seen.nodes = nodes
            .map(|node| {
                let name = labels::node_name(input.network, &node.gateway);
                (&node.gateway, (node, name))
            })
            .collect();
        seen
    }

    fn name(&self, node: &Node) -> &str {
        self.nodes.get(&node.gateway).map_or("", |(_, name)| name)
    }

    pub fn server(&self, node: &Node) -> Option<&'a Server> {
        self.servers
            .get(&node.provider)?
            .get(self.name(node))
            .copied()
    }

    pub fn address(&self, node: &Node) -> Option<&'a Address> {
        self.addresses
            .get(&node.provider)?
            .get(self.name(node))
            .copied()
    }

    /// Whether the provider's list is there, and the node's server is not on it.
    pub fn server_is_gone(&self, node: &Node) -> bool {
        let list = self.servers.get(&node.provider);
        list.is_some_and(|list| !list.contains_key(self.name(node)))
    }

    /// What the provider lists of a node although its record does not say so yet.
    pub fn made_unnoticed(&self, node: &Node) -> impl Iterator<Item = (ResourceKind, &str)> {
        let address = (node.stage == Stage::Intent)
            .then(|| self.address(node))
            .flatten();
        let server = (node.stage <= Stage::Address)
            .then(|| self.server(node))
            .flatten();
        let address = address.map(|address| (ResourceKind::Address, address.name.as_str()));
        let server = server.map(|server| (ResourceKind::Server, server.name.as_str()));
        address.into_iter().chain(server)
    }

    /// The labels of a node's server or address, if it is listed.
    pub fn labels(&self, node: &Node, kind: ResourceKind) -> Option<&'a Labels> {
        match kind {
            ResourceKind::Server => self.server(node).map(|server| &server.labels),
            ResourceKind::Address => self.address(node).map(|address| &address.labels),
            ResourceKind::Firewall => None,
        }
    }
}

/// Counts all costs, fills in what steps save, and holds what the caps do not allow.
pub(super) fn count(input: &Input<'_>, seen: &Seen<'_>, draft: &mut Draft) -> Costs {
    let mut before = Price::default();
    let mut going = Price::default();
    let mut unpriced = Vec::new();
    let mut by_pool: BTreeMap<&PoolName, Amount> = BTreeMap::new();
    let mut by_node: BTreeMap<&GatewayId, Price> = BTreeMap::new();
    for (node, _) in seen.nodes.values() {
        if node.stage.is_over() {
            continue;
        }
        let cost = cost(input, seen, node, &mut unpriced);
        before = before.plus(cost);
        if node.stage.is_leaving() {
            going = going.plus(cost);
        }
        if node.mode == Mode::Live {
            let sum = by_pool.entry(&node.pool).or_default();
            *sum = sum.plus(cost.month);
        }
        by_node.insert(&node.gateway, cost);
    }
    let strangers = strangers(input, seen, &mut unpriced);
    before = before.plus(
        strangers
            .values()
            .fold(Price::default(), |sum, one| sum.plus(*one)),
    );

    let mut adds = Price::default();
    for step in &mut draft.steps {
        step.saves = match &step.change {
            Change::Drain { gateway } | Change::Remove { gateway, .. } => {
                by_node.get(gateway).copied()
            }
            Change::RemoveUnknown { gateway, .. } => strangers.get(gateway).copied(),
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

/// What a node costs: what its provider lists of it, and what its record intends.
fn cost(input: &Input<'_>, seen: &Seen<'_>, node: &Node, unpriced: &mut Vec<String>) -> Price {
    let providing = input.providers.get(&node.provider);
    let listed = providing.is_some_and(|providing| providing.inventory.is_ok());
    if listed && node.stage.is_leaving() {
        let server = seen.server(node).is_some();
        if !server && seen.address(node).is_none() {
            return Price::default();
        }
    }
    let offers = providing.and_then(|providing| providing.offers.ok());
    let offered = offers.and_then(|offers| super::price(offers, &node.place));
    offered.or(node.price).unwrap_or_else(|| {
        unpriced.push(seen.name(node).to_owned());
        Price::default()
    })
}

/// What is listed and belongs to no record, by the gateway that its labels name.
fn strangers(
    input: &Input<'_>,
    seen: &Seen<'_>,
    unpriced: &mut Vec<String>,
) -> BTreeMap<GatewayId, Price> {
    let mut costs: BTreeMap<GatewayId, Price> = BTreeMap::new();
    for providing in input.providers.values() {
        let (Ok(inventory), Ok(offers)) = (providing.inventory, providing.offers) else {
            continue;
        };
        let servers = inventory.servers.iter().map(|server| {
            let sizes = server.size.as_ref().and_then(|size| offers.sizes.get(size));
            let region = server.region.as_ref();
            let offer = sizes
                .zip(region)
                .and_then(|(size, region)| size.regions.get(region));
            (&server.name, &server.labels, offer.map(|offer| offer.price))
        });
        let addresses = inventory.addresses.iter().map(|address| {
            let region = address.region.as_ref();
            let price = region.and_then(|region| address_price(offers, region));
            (&address.name, &address.labels, price)
        });
        for (name, labels, price) in servers.chain(addresses) {
            let gateway = labels
                .get(labels::GATEWAY)
                .and_then(|text| text.parse().ok());
            let gateway: Option<GatewayId> = gateway;
            let known = gateway.as_ref().and_then(|gateway| seen.nodes.get(gateway));
            if known.is_some_and(|(node, _)| !node.stage.is_over()) {
                continue;
            }
            let Some(price) = price else {
                unpriced.push(name.clone());
                continue;
            };
            if let Some(gateway) = gateway {
                let sum = costs.entry(gateway).or_default();
                *sum = sum.plus(price);
            }
        }
    }
    costs
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
