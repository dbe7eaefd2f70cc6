//! Everything that is known of each node, brought together once: its record, its gateway's, and what its
//! provider lists under its name.
//!
//! All of these come in the order of their names, from the store and from providers, so that each is found
//! next to the one before: ten thousand are looked up in one walk. In any other order they are found as
//! well, by halving.

use jiff::Timestamp;
use model::provider::{Address, Inventory, Labels, ResourceKind, Server};
use model::{Gateway, GatewayId, NetworkId, Node, ProviderName, Stage};

use super::{Input, labels};

/// All nodes, and what there is of each.
pub(super) struct Seen<'a> {
    /// Ordered by gateway.
    pub records: Vec<Record<'a>>,
}

/// What is known of a node.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub node: &'a Node,
    pub gateway: Option<&'a Gateway>,
    /// The oldest server of its name at its provider.
    pub server: Option<&'a Server>,
    /// The oldest address of its name.
    pub address: Option<&'a Address>,
    /// Whether its provider's list could be read.
    pub is_listed: bool,
}

/// Things under their names, ordered, and where the last one was found.
struct Index<'a, T> {
    entries: Vec<(&'a str, &'a T)>,
    next: usize,
}

impl<'a, T> Index<'a, T> {
    fn of(entries: impl Iterator<Item = (&'a str, &'a T)>) -> Self {
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|(name, _)| *name);
        Self { entries, next: 0 }
    }

    /// The first of this name: the one behind the last that was found, that one again, or wherever
    /// it is.
    fn find(&mut self, name: &str) -> Option<&'a T> {
        let is_first = |at: usize| {
            let is = |at: usize| {
                self.entries
                    .get(at)
                    .is_some_and(|(other, _)| *other == name)
            };
            is(at) && (at == 0 || !is(at - 1))
        };
        let near = [Some(self.next), self.next.checked_sub(1)];
        let near = near.into_iter().flatten().find(|at| is_first(*at));
        let at = near.unwrap_or_else(|| self.entries.partition_point(|(other, _)| *other < name));
        let (found, thing) = self.entries.get(at)?;
        if *found != name {
            return None;
        }
        self.next = at + 1;
        Some(thing)
    }
}

impl<'a> Seen<'a> {
    pub fn of(input: &Input<'a>) -> Self {
        let mut nodes: Vec<&Node> = input.nodes.iter().collect();
        nodes.sort_by_key(|node| &node.gateway);
        let gateways = input.gateways.iter();
        let mut gateways = Index::of(gateways.map(|(id, gateway)| (id.as_str(), gateway)));
        let mut records: Vec<Record<'a>> = nodes
            .into_iter()
            .map(|node| Record {
                node,
                gateway: gateways.find(node.gateway.as_str()),
                server: None,
                address: None,
                is_listed: false,
            })
            .collect();
        for (name, providing) in input.providers {
            if let Ok(inventory) = providing.inventory {
                list(input.network, name, inventory, &mut records);
            }
        }
        Self { records }
    }

    /// Finds records by the gateways that labels name.
    pub fn finder<'s>(&'s self) -> impl FnMut(&Labels) -> Option<&'s Record<'a>> + use<'a, 's> {
        let records = self.records.iter();
        let mut index = Index::of(records.map(|one| (one.node.gateway.as_str(), one)));
        move |labels| index.find(labels.get(labels::GATEWAY)?)
    }

    /// The record of a gateway's node.
    pub fn of_gateway(&self, id: &GatewayId) -> Option<&Record<'a>> {
        let found = self
            .records
            .binary_search_by_key(&id, |one| &one.node.gateway);
        found.ok().map(|at| &self.records[at])
    }
}

/// Puts what a provider lists beside the records of the nodes that it is for.
fn list<'a>(
    network: &NetworkId,
    provider: &ProviderName,
    inventory: &'a Inventory,
    records: &mut [Record<'a>],
) {
    let prefix = labels::node_name_prefix(network);
    let mut servers: Vec<&Server> = inventory.servers.iter().collect();
    servers.sort_by(|a, b| (&a.name, a.created_at).cmp(&(&b.name, b.created_at)));
    let mut addresses: Vec<&Address> = inventory.addresses.iter().collect();
    addresses.sort_by(|a, b| (&a.name, a.created_at).cmp(&(&b.name, b.created_at)));
    let servers = servers.into_iter();
    let mut servers =
        Index::of(servers.filter_map(|one| Some((one.name.strip_prefix(&prefix)?, one))));
    let addresses = addresses.into_iter();
    let mut addresses =
        Index::of(addresses.filter_map(|one| Some((one.name.strip_prefix(&prefix)?, one))));
    for record in records {
        if record.node.provider == *provider {
            record.server = servers.find(record.node.gateway.as_str());
            record.address = addresses.find(record.node.gateway.as_str());
            record.is_listed = true;
        }
    }
}

impl<'a> Record<'a> {
    /// Whether the provider's list is there, and the node's server is not on it.
    pub fn server_is_gone(&self) -> bool {
        self.is_listed && self.server.is_none()
    }

    /// What the provider lists of a node although its record does not say so yet: its kind, name,
    /// labels, and when it was made.
    pub fn made_unnoticed(
        &self,
    ) -> impl Iterator<Item = (ResourceKind, &'a str, &'a Labels, Option<Timestamp>)> {
        let stage = self.node.stage;
        let address = self.address.filter(|_| stage == Stage::Intent);
        let server = self.server.filter(|_| stage <= Stage::Address);
        let address = address.map(|one| {
            let kind = ResourceKind::Address;
            (kind, one.name.as_str(), &one.labels, one.created_at)
        });
        let server = server.map(|one| {
            let kind = ResourceKind::Server;
            (kind, one.name.as_str(), &one.labels, one.created_at)
        });
        address.into_iter().chain(server)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_asked_in_whatever_order_the_first_of_its_name_is_found(
            names in prop::collection::vec("[a-e]{1,2}", 0..12),
            asked in prop::collection::vec("[a-f]{1,2}", 0..30),
        ) {
            let numbers: Vec<usize> = (0..names.len()).collect();
            let entries = names.iter().map(String::as_str).zip(&numbers);
            let mut index = Index::of(entries);
            for name in &asked {
                let first = names.iter().position(|other| other == name);
                prop_assert_eq!(index.find(name).copied(), first);
            }
        }
    }
}
