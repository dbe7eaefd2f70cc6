//! What a plan is given, and what becomes of it when plans are carried out.

use jiff::SignedDuration;
use model::{GatewayState, Stage};

use super::super::fixture::{
    NOW, address, firewall, fleet, gateway, network, node, offers, server,
};
use super::super::*;

/// What is there, as a plan is given it.
#[derive(Clone)]
pub struct World {
    pub fleet: Fleet,
    pub nodes: Vec<Node>,
    pub gateways: BTreeMap<GatewayId, Gateway>,
    pub heard: BTreeSet<GatewayId>,
    pub pools: BTreeMap<PoolName, PoolState>,
    pub inventory: Option<Inventory>,
    pub offers: Offers,
    pub policy: ProviderPolicy,
    pub mass_silence: bool,
    pub remove_unknown: bool,
    pub in_parts: bool,
    pub now: Timestamp,
}

impl World {
    /// A fleet of so many, of which so many are there and well.
    pub fn new(count: u32, there: u64) -> Self {
        let nodes: Vec<Node> = (0..there).map(|number| node("ingress", number)).collect();
        let gateways = nodes.iter().map(|node| {
            let gateway = gateway(node, GatewayState::Active);
            (node.gateway.clone(), gateway)
        });
        let state = PoolState {
            intended: there,
            ..PoolState::default()
        };
        let policy = ProviderPolicy {
            mode: Mode::Live,
            approval: Some(model::provider::Approval {
                by: format!("a-{}", "a".repeat(26)).parse().unwrap(),
                at: NOW,
                reason: "a test".to_owned(),
                expires_at: None,
            }),
            ..ProviderPolicy::default()
        };
        let mut world = Self {
            fleet: fleet(count),
            gateways: gateways.collect(),
            nodes,
            heard: BTreeSet::new(),
            pools: BTreeMap::from([("ingress".parse().unwrap(), state)]),
            inventory: Some(Inventory::default()),
            offers: offers(),
            policy,
            mass_silence: false,
            remove_unknown: false,
            in_parts: false,
            now: NOW,
        };
        world.list();
        world
    }

    /// Lets the provider list what the records say is there.
    pub fn list(&mut self) {
        let listed = |node: &&Node| !matches!(node.stage, Stage::Intent | Stage::Absent);
        let nodes: Vec<&Node> = self.nodes.iter().filter(listed).collect();
        self.inventory = Some(Inventory {
            servers: nodes.iter().map(|node| server(node)).collect(),
            addresses: nodes.iter().map(|node| address(node)).collect(),
            firewalls: nodes
                .first()
                .map(|_| firewall(Role::Ingress, &nodes))
                .into_iter()
                .collect(),
        });
    }

    pub fn plan(&self) -> Plan {
        let providing = Providing {
            policy: &self.policy,
            inventory: self.inventory.as_ref().ok_or("its API is down"),
            offers: Ok(&self.offers),
        };
        plan(&Input {
            network: &network(),
            fleet: &self.fleet,
            fleet_version: 1,
            nodes: &self.nodes,
            gateways: &self.gateways,
            heard: &self.heard,
            pools: &self.pools,
            providers: &BTreeMap::from([("hetzner".parse().unwrap(), providing)]),
            mass_silence: self.mass_silence,
            remove_unknown: self.remove_unknown,
            in_parts: self.in_parts,
            now: self.now,
        })
    }

    pub fn pool(&mut self) -> &mut model::Pool {
        self.fleet.pools.values_mut().next().unwrap()
    }

    pub fn set_state(&mut self, number: usize, state: GatewayState) {
        let gateway = self.gateways.get_mut(&self.nodes[number].gateway).unwrap();
        gateway.state = state;
        gateway.changed_at = NOW - SignedDuration::from_secs(1000);
    }

    /// Carries out what nothing holds, as if every provider did everything at once; new nodes boot
    /// and come into service one call later.
    pub fn step(&mut self) -> usize {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|number| self.nodes[*number].stage == Stage::Server)
            .collect();
        let plan = self.plan();
        let mut done = 0;
        for step in plan.free() {
            done += 1;
            match &step.change {
                Change::Create {
                    gateway: id, place, ..
                } => {
                    let mut new = node("ingress", 0);
                    new.gateway = id.clone();
                    new.place = place.clone();
                    new.stage = Stage::Server;
                    new.server_at = Some(self.now);
                    let record = gateway(&new, GatewayState::Provisioning);
                    assert!(
                        self.gateways.insert(id.clone(), record).is_none(),
                        "twice {id}"
                    );
                    self.nodes.push(new);
                    self.pools.values_mut().next().unwrap().intended += 1;
                }
                Change::Drain { gateway } | Change::Remove { gateway, .. } => {
                    let node = self.nodes.iter_mut().find(|node| node.gateway == *gateway);
                    node.unwrap().stage = Stage::Absent;
                    self.gateways.get_mut(gateway).unwrap().state = GatewayState::Retired;
                }
                Change::Cohorts { .. } | Change::DeleteFirewall { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        for number in up {
            if self.nodes[number].stage == Stage::Server {
                self.nodes[number].stage = Stage::Active;
                self.set_state(number, GatewayState::Active);
                done += 1;
            }
        }
        self.list();
        done
    }

    pub fn members(&self) -> usize {
        self.nodes
            .iter()
            .filter(|node| !node.stage.is_leaving())
            .count()
    }

    pub fn serving(&self) -> usize {
        self.nodes
            .iter()
            .filter(|node| !node.stage.is_leaving())
            .filter(|node| self.gateways[&node.gateway].state == GatewayState::Active)
            .count()
    }
}
