//! What carries the network's labels and is not as the records say: nodes that nobody knows, labels
//! that went wrong, firewalls that guard nothing.
//!
//! A database that was lost looks just like a network whose nodes nobody knows. So what carries live
//! labels and has no record is removed only if an operator says that the database is whole; what has a
//! record that says that it is gone, or was a trial that has expired, goes without being asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::provider::{Inventory, Labels, ResourceId, ResourceKind};
use model::{GatewayId, Mode, ProviderName, Role};

use super::labels::{self, Said};
use super::seen::{Record, Seen};
use super::{Change, Draft, Gate, Input, UNKNOWN_SECONDS, life};

/// A server or an address on a provider's list.
struct Listed<'a> {
    kind: ResourceKind,
    id: &'a ResourceId,
    name: &'a str,
    labels: &'a Labels,
    created_at: Option<Timestamp>,
}

fn listed(inventory: &Inventory) -> impl Iterator<Item = Listed<'_>> {
    let servers = inventory.servers.iter().map(|server| Listed {
        kind: ResourceKind::Server,
        id: &server.id,
        name: &server.name,
        labels: &server.labels,
        created_at: server.created_at,
    });
    let addresses = inventory.addresses.iter().map(|address| Listed {
        kind: ResourceKind::Address,
        id: &address.id,
        name: &address.name,
        labels: &address.labels,
        created_at: address.created_at,
    });
    servers.chain(addresses)
}

/// Plans what is to be done about everything listed that no pool's plan has seen.
pub(super) fn plan(input: &Input<'_>, seen: &Seen<'_>, draft: &mut Draft) {
    for (provider, providing) in input.providers {
        match providing.inventory {
            Ok(inventory) => {
                plan_provider(input, seen, provider, inventory, draft);
                firewalls(input, provider, inventory, draft);
            }
            Err(why) => {
                let what = format!("provider {provider}");
                draft.block(what, Gate::Provider, why.to_owned());
            }
        }
    }
}

fn plan_provider(
    input: &Input<'_>,
    seen: &Seen<'_>,
    provider: &ProviderName,
    inventory: &Inventory,
    draft: &mut Draft,
) {
    let mut strangers: BTreeMap<GatewayId, (Said, Vec<Listed<'_>>)> = BTreeMap::new();
    let mut find = seen.finder();
    for resource in listed(inventory) {
        match find(resource.labels) {
            Some(record) if !record.node.stage.is_over() => {
                known(input, provider, record, &resource, draft);
            }
            _ => {
                let said = labels::parse(input.network, resource.labels);
                let gateway = said.as_ref().and_then(|said| said.gateway.clone());
                let named = gateway
                    .filter(|gateway| labels::node_name(input.network, gateway) == resource.name);
                match (named, said) {
                    (Some(gateway), Some(said)) => {
                        let entry = strangers.entry(gateway).or_insert((said, Vec::new()));
                        entry.1.push(resource);
                    }
                    _ => not_ours(provider, &resource, draft),
                }
            }
        }
    }
    for (gateway, (said, resources)) in strangers {
        stranger(input, seen, provider, gateway, &said, &resources, draft);
    }
}

/// Something that labels say is a node's: whether it is, and its labels say all that they should.
fn known(
    input: &Input<'_>,
    provider: &ProviderName,
    record: &Record<'_>,
    resource: &Listed<'_>,
    draft: &mut Draft,
) {
    let node = record.node;
    // Of several with one name, which some providers allow, the oldest is the node's.
    let own = match resource.kind {
        ResourceKind::Server => record.server.map(|server| &server.id),
        _ => record.address.map(|address| &address.id),
    };
    let is_own = node.provider == *provider && own == Some(resource.id);
    if !is_own || !labels::agree(input.network, node, resource.labels) {
        return not_ours(provider, resource, draft);
    }
    if life::is_older(node, resource.created_at) {
        let why = life::older_than_its_record(resource.kind, resource.name, provider);
        let what = format!("{} {}", resource.kind, resource.name);
        return draft.block(what, Gate::NotOurs, why);
    }
    if let Some(labels) = labels::corrected(input.network, node, resource.labels) {
        let change = Change::Relabel {
            kind: resource.kind,
            name: resource.name.to_owned(),
            labels,
        };
        let why = "its labels do not say what they should".to_owned();
        draft.step(provider, change, why);
    }
}

fn not_ours(provider: &ProviderName, resource: &Listed<'_>, draft: &mut Draft) {
    let why = format!(
        "its name and its labels do not agree with the records, or it is the second of its name ({}): \
         look at it in {provider}'s console, and correct its labels or delete it there",
        texts(resource.labels)
    );
    draft.block(
        format!("{} {}", resource.kind, resource.name),
        Gate::NotOurs,
        why,
    );
}

fn texts(labels: &Labels) -> String {
    let texts: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    texts.join(", ")
}

/// Resources of a gateway that has no record, or whose record says that they are gone.
fn stranger(
    input: &Input<'_>,
    seen: &Seen<'_>,
    provider: &ProviderName,
    gateway: GatewayId,
    said: &Said,
    resources: &[Listed<'_>],
    draft: &mut Draft,
) {
    let grace = SignedDuration::from_secs(i64::from(UNKNOWN_SECONDS));
    let is_old = |resource: &Listed<'_>| {
        resource
            .created_at
            .is_none_or(|made| made + grace <= input.now)
    };
    let is_ended = seen.of_gateway(&gateway).is_some();
    let is_trial = said.is_expired_trial(input.now);
    let is_allowed = input.remove_unknown && resources.iter().all(is_old);
    let what = format!("gateway {gateway}");
    let (Some(pool), Some(role)) = (said.pool.clone(), said.role) else {
        let why = format!(
            "something at {provider} carries its label but not its pool and its role: look at it \
             there"
        );
        return draft.block(what, Gate::NotOurs, why);
    };
    if !(is_ended || is_trial || is_allowed) {
        let why = match said.mode {
            Some(Mode::Smoke) => format!(
                "a smoke run at {provider} that no record knows: it is removed when it has expired"
            ),
            _ => format!(
                "{provider} lists it, and no record knows it: if the database is whole, plan with \
                 the removal of unknown resources; if it was lost, restore it first"
            ),
        };
        return draft.block(what, Gate::Unknown, why);
    }
    let why = if is_ended {
        "its record says that it is gone, and its provider lists it"
    } else if is_trial {
        "a smoke run that has expired"
    } else {
        "no record knows it"
    };
    let change = Change::RemoveUnknown {
        gateway,
        pool,
        role,
        mode: said.mode.unwrap_or(Mode::Live),
        resources: resources
            .iter()
            .map(|resource| (resource.kind, resource.name.to_owned()))
            .collect(),
    };
    draft.step(provider, change, why.to_owned());
}

/// Firewalls of ours that guard nothing and that no node will need.
fn firewalls(input: &Input<'_>, provider: &ProviderName, inventory: &Inventory, draft: &mut Draft) {
    let there = input.nodes.iter().filter(|node| !node.stage.is_over());
    let needed: BTreeSet<(Role, u16)> = there
        .filter(|node| node.provider == *provider)
        .map(|node| (node.role, node.port))
        .chain(wanted(input, provider))
        .collect();
    let name = |(role, port)| labels::firewall_name(input.network, role, port);
    let needed: BTreeSet<String> = needed.into_iter().map(name).collect();
    for firewall in &inventory.firewalls {
        let said = labels::parse(input.network, &firewall.labels);
        let Some(role) = said.and_then(|said| said.role) else {
            continue;
        };
        if needed.contains(&firewall.name) || !firewall.servers.is_empty() {
            continue;
        }
        let change = Change::DeleteFirewall {
            name: firewall.name.clone(),
        };
        let why = format!("no {role} node is left that needs it");
        draft.step(provider, change, why);
    }
}

/// The roles and ports of the pools that want nodes at a provider.
fn wanted<'a>(
    input: &'a Input<'_>,
    provider: &'a ProviderName,
) -> impl Iterator<Item = (Role, u16)> {
    // Where the fleet may not be rented, nothing of it will need one.
    let mode = input.providers.get(provider);
    let mode = mode.map(|providing| providing.policy.mode_at(input.now));
    let pools = input.fleet.pools.values();
    pools
        .filter(move |pool| pool.provider == *provider && pool.count > 0)
        .filter(move |_| mode == Some(Mode::Live))
        .map(|pool| (pool.role, pool.port))
}
