//! What may be removed of a provider's list, by its labels alone.
//!
//! Clean-up starts from what is billed and not from what was written down: it works with a database
//! that was lost. For the same reason it believes a record that says that something is in use, and takes
//! its absence for nothing: what carries live labels goes only if an operator asks for just that.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::provider::{Inventory, Labels, ResourceId, ResourceKind};
use model::{GatewayId, Mode, NetworkId, Node, Role};
use serde::{Deserialize, Serialize};

use super::labels;

/// What a clean-up was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wanted {
    /// Also trials that have not expired yet.
    pub all_trials: bool,
    /// Also what carries live labels and has no record: for whoever has seen that the database is
    /// whole, or gives the network up.
    pub unknown_live: bool,
    /// How old what has no record must be, in seconds; for live things alone.
    pub grace_seconds: u32,
}

/// Something that is to be removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Removal {
    /// What it is.
    pub kind: ResourceKind,
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
    /// Whether it must wait for something else that is removed first: an address for its server, a
    /// firewall for the servers that it guards.
    pub waits: bool,
}

/// What is removed, and what carries the network's label and stays, with the reason.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cleaning {
    /// What is removed, in this order.
    pub removals: Vec<Removal>,
    /// What stays: its kind, its name, why.
    pub stays: Vec<(ResourceKind, String, String)>,
}

/// Decides about all of a provider's list. `nodes` are the records that there are, none if the
/// database is empty or was not asked. What was made for the fleet goes in mode `live` alone.
pub fn decide(
    network: &NetworkId,
    inventory: &Inventory,
    nodes: &BTreeMap<GatewayId, Node>,
    wanted: Wanted,
    mode: Mode,
    now: Timestamp,
) -> Cleaning {
    let mut cleaning = Cleaning::default();
    let mut kept_roles = BTreeSet::new();
    let judge = |labels: &Labels, made: Option<Timestamp>| {
        judge(network, nodes, (wanted, mode), labels, made, now)
    };
    let listed: BTreeSet<&ResourceId> = inventory.servers.iter().map(|one| &one.id).collect();
    let mut gone = BTreeSet::new();
    for server in &inventory.servers {
        match judge(&server.labels, server.created_at) {
            Ok(why) => {
                gone.insert(&server.id);
                cleaning.remove(ResourceKind::Server, &server.id, &server.name, why, false);
            }
            Err(why) => {
                kept_roles.extend(role(network, &server.labels));
                cleaning.stay(ResourceKind::Server, &server.name, why);
            }
        }
    }
    for address in &inventory.addresses {
        match judge(&address.labels, address.created_at) {
            Ok(why) => {
                let holder = address.server.as_ref();
                // Of a server that is not listed any more it is let go of in a moment: the provider
                // refuses until then, and asking harms nobody.
                let holder = holder.filter(|server| listed.contains(server));
                if holder.is_some_and(|server| !gone.contains(server)) {
                    let why = "a server that stays has it".to_owned();
                    cleaning.stay(ResourceKind::Address, &address.name, why);
                    continue;
                }
                let waits = holder.is_some();
                cleaning.remove(
                    ResourceKind::Address,
                    &address.id,
                    &address.name,
                    why,
                    waits,
                );
            }
            Err(why) => cleaning.stay(ResourceKind::Address, &address.name, why),
        }
    }
    let needed = nodes
        .values()
        .filter(|node| !node.stage.is_over() && node.mode == Mode::Live);
    kept_roles.extend(needed.map(|node| node.role));
    for firewall in &inventory.firewalls {
        let role = role(network, &firewall.labels);
        let mut guarded = firewall.servers.iter();
        let guards = guarded.any(|server| listed.contains(server) && !gone.contains(server));
        if labels::parse(network, &firewall.labels).is_none() {
            let why = "it does not carry the network's label".to_owned();
            cleaning.stay(ResourceKind::Firewall, &firewall.name, why);
        } else if guards || role.is_some_and(|role| kept_roles.contains(&role)) {
            let why = "servers that stay need it".to_owned();
            cleaning.stay(ResourceKind::Firewall, &firewall.name, why);
        } else {
            let waits = firewall
                .servers
                .iter()
                .any(|server| listed.contains(server));
            let why = "it guards nothing that stays".to_owned();
            cleaning.remove(
                ResourceKind::Firewall,
                &firewall.id,
                &firewall.name,
                why,
                waits,
            );
        }
    }
    cleaning
}

impl Cleaning {
    fn remove(
        &mut self,
        kind: ResourceKind,
        id: &ResourceId,
        name: &str,
        why: String,
        waits: bool,
    ) {
        self.removals.push(Removal {
            kind,
            id: id.clone(),
            name: name.to_owned(),
            why,
            waits,
        });
    }

    fn stay(&mut self, kind: ResourceKind, name: &str, why: String) {
        self.stays.push((kind, name.to_owned(), why));
    }
}

fn role(network: &NetworkId, labels: &Labels) -> Option<Role> {
    labels::parse(network, labels)?.role
}

/// Why something may go, or why it stays.
fn judge(
    network: &NetworkId,
    nodes: &BTreeMap<GatewayId, Node>,
    (wanted, allowed): (Wanted, Mode),
    labels: &Labels,
    made: Option<Timestamp>,
    now: Timestamp,
) -> Result<String, String> {
    let Some(said) = labels::parse(network, labels) else {
        return Err("it does not carry the network's label".to_owned());
    };
    let node = said.gateway.as_ref().and_then(|gateway| nodes.get(gateway));
    if said.mode == Some(Mode::Smoke) && node.is_none_or(|node| node.mode == Mode::Smoke) {
        if said.is_expired_trial(now) {
            return Ok("a smoke run that has expired".to_owned());
        }
        if wanted.all_trials {
            return Ok("a smoke run, as asked".to_owned());
        }
        return Err("a smoke run that has not expired".to_owned());
    }
    if let Some(node) = node.filter(|node| !node.stage.is_over()) {
        return Err(format!(
            "its record says that it is at stage '{}'",
            node.stage
        ));
    }
    let grace = SignedDuration::from_secs(i64::from(wanted.grace_seconds));
    if made.is_some_and(|made| now < made + grace) {
        return Err("no record knows it, and it is too young to be sure".to_owned());
    }
    if allowed != Mode::Live && (node.is_some() || wanted.unknown_live) {
        return Err(format!(
            "it was made for the fleet, and the provider is in mode '{allowed}': that takes mode 'live'"
        ));
    }
    if node.is_some() {
        return Ok("its record says that it is gone".to_owned());
    }
    if wanted.unknown_live {
        return Ok("no record knows it, and its removal was asked for".to_owned());
    }
    Err("no record knows it: it goes only if that is asked for, because an empty database may be a \
         lost one"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use model::Stage;

    use super::*;
    use crate::planning::fixture::{NOW, address, firewall, network, node, server};

    fn inventory(nodes: &[&Node]) -> Inventory {
        Inventory {
            servers: nodes.iter().map(|node| server(node)).collect(),
            addresses: nodes.iter().map(|node| address(node)).collect(),
            firewalls: vec![firewall(Role::Ingress, nodes)],
        }
    }

    fn trial(number: u64, expires_in: i64) -> Node {
        let mut node = node("smoke", number);
        node.mode = Mode::Smoke;
        node.expires_at = Some(NOW + SignedDuration::from_secs(expires_in));
        node
    }

    fn removed(inventory: &Inventory, nodes: &[&Node], wanted: Wanted) -> Vec<ResourceKind> {
        let nodes = nodes
            .iter()
            .map(|node| (node.gateway.clone(), (*node).clone()));
        let nodes = nodes.collect();
        let cleaning = decide(&network(), inventory, &nodes, wanted, Mode::Live, NOW);
        let all = inventory.servers.len() + inventory.addresses.len() + inventory.firewalls.len();
        assert_eq!(cleaning.removals.len() + cleaning.stays.len(), all);
        cleaning
            .removals
            .iter()
            .map(|removal| removal.kind)
            .collect()
    }

    const WHOLE: [ResourceKind; 3] = [
        ResourceKind::Server,
        ResourceKind::Address,
        ResourceKind::Firewall,
    ];

    #[test]
    fn an_expired_trial_goes_whether_or_not_a_record_knows_it() {
        let trial = trial(1, 0);
        let there = inventory(&[&trial]);
        assert_eq!(removed(&there, &[], Wanted::default()), WHOLE);
        assert_eq!(removed(&there, &[&trial], Wanted::default()), WHOLE);
    }

    #[test]
    fn what_hung_on_a_server_that_is_gone_is_asked_for_until_it_goes() {
        let trial = trial(1, 0);
        let mut there = inventory(&[&trial]);
        there.servers.clear();
        assert!(there.addresses[0].server.is_some());
        assert!(!there.firewalls[0].servers.is_empty());

        let cleaning = decide(
            &network(),
            &there,
            &BTreeMap::new(),
            Wanted::default(),
            Mode::Live,
            NOW,
        );

        let asked: Vec<_> = cleaning
            .removals
            .iter()
            .map(|removal| (removal.kind, removal.waits))
            .collect();
        let both = [
            (ResourceKind::Address, false),
            (ResourceKind::Firewall, false),
        ];
        assert_eq!(asked, both);
    }

    #[test]
    fn a_trial_that_runs_goes_only_if_asked() {
        let there = inventory(&[&trial(1, 60)]);
        assert_eq!(removed(&there, &[], Wanted::default()), []);
        let asked = Wanted {
            all_trials: true,
            ..Wanted::default()
        };
        assert_eq!(removed(&there, &[], asked), WHOLE);
    }

    #[test]
    fn what_is_live_and_unknown_goes_only_if_asked_and_old_enough() {
        let live = node("ingress", 1);
        let there = inventory(&[&live]);
        let trials = Wanted {
            all_trials: true,
            ..Wanted::default()
        };
        assert_eq!(removed(&there, &[], trials), []);
        let asked = Wanted {
            unknown_live: true,
            ..Wanted::default()
        };
        assert_eq!(removed(&there, &[], asked), WHOLE);
        let young = Wanted {
            grace_seconds: 3600,
            ..asked
        };
        assert_eq!(removed(&there, &[], young), []);
    }

    #[test]
    fn what_a_record_says_is_in_use_stays_whatever_is_asked() {
        let mut live = node("ingress", 1);
        let there = inventory(&[&live]);
        let asked = Wanted {
            all_trials: true,
            unknown_live: true,
            grace_seconds: 0,
        };
        assert_eq!(removed(&there, &[&live], asked), []);
        live.stage = Stage::Absent;
        assert_eq!(removed(&there, &[&live], asked), WHOLE);
    }

    #[test]
    fn a_label_that_says_trial_does_not_outdo_a_record_that_says_live() {
        let live = node("ingress", 1);
        let mut there = inventory(&[&live]);
        for server in &mut there.servers {
            server.labels = labels::of_node(
                &network(),
                &Node {
                    mode: Mode::Smoke,
                    ..live.clone()
                },
            );
        }
        let asked = Wanted {
            all_trials: true,
            ..Wanted::default()
        };
        assert_eq!(removed(&there, &[&live], asked), []);
    }

    #[test]
    fn other_people_s_things_stay() {
        let mut there = inventory(&[&trial(1, 0)]);
        for labels in there.servers.iter_mut().map(|server| &mut server.labels) {
            labels.insert("postern-network".to_owned(), "n-zzzzzzzz".to_owned());
        }
        let asked = Wanted {
            all_trials: true,
            unknown_live: true,
            grace_seconds: 0,
        };
        // Its address and its firewall are held by a server that stays.
        assert_eq!(removed(&there, &[], asked), []);
    }
}
