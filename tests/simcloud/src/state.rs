//! What the cloud holds: resources, actions under way, the bill, and the clock that ends actions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::bill::Bill;
use crate::bucket::Bucket;
use crate::error::Refusal;
use crate::faults::Rule;
use crate::labels::Labels;
use crate::log::Logged;
use crate::nodes::Nodes;
use crate::settings::{Clock, Settings};

#[derive(Debug)]
pub(crate) struct State {
    pub settings: Settings,
    pub now: Timestamp,
    pub servers: BTreeMap<u64, Server>,
    pub addresses: BTreeMap<u64, Address>,
    pub firewalls: BTreeMap<u64, Firewall>,
    pub actions: BTreeMap<u64, Action>,
    pub bill: Bill,
    pub log: Vec<Logged>,
    pub bucket: Bucket,
    pub rules: Vec<Rule>,
    pub is_down: bool,
    pub nodes: Option<Arc<dyn Nodes>>,
    last_id: u64,
    last_address: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub id: u64,
    pub name: String,
    pub labels: Labels,
    pub status: Status,
    pub size: String,
    pub location: String,
    pub image: u64,
    pub firewalls: BTreeSet<u64>,
    pub user_data: String,
    pub created: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    Initializing,
    Starting,
    Running,
    Stopping,
    Off,
    Deleting,
}

#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub id: u64,
    pub name: String,
    pub labels: Labels,
    pub ip: IpAddr,
    pub location: String,
    pub server: Option<u64>,
    pub auto_delete: bool,
    pub created: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Firewall {
    pub id: u64,
    pub name: String,
    pub labels: Labels,
    pub rules: Vec<serde_json::Value>,
    pub created: Timestamp,
}

#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub id: u64,
    pub command: &'static str,
    pub resources: Vec<(&'static str, u64)>,
    pub started: Timestamp,
    pub due: Timestamp,
    pub finished: Option<Timestamp>,
    pub error: Option<&'static str>,
    effect: Effect,
}

/// What an action does when it ends well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Nothing,
    /// A server is there, and off.
    Made(u64),
    Started(u64),
    Stopped(u64),
    Deleted(u64),
    /// An address belongs to a server.
    Assigned(u64, u64),
    Unassigned(u64),
    FirewallApplied(u64, u64),
    FirewallRemoved(u64, u64),
}

/// What a fault does to the actions that a call starts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Twist {
    pub error: Option<&'static str>,
    pub delay: SignedDuration,
}

impl State {
    pub fn new(settings: Settings) -> Self {
        let now = match settings.clock {
            Clock::Virtual(now) => now,
            Clock::System => system_now(),
        };
        Self {
            bucket: Bucket::new(settings.rate, now),
            settings,
            now,
            servers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            firewalls: BTreeMap::new(),
            actions: BTreeMap::new(),
            bill: Bill::default(),
            log: Vec::new(),
            rules: Vec::new(),
            is_down: false,
            nodes: None,
            last_id: 1000,
            last_address: 0,
        }
    }

    pub fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// An address that nobody had before: of the network for benchmarks (RFC 2544), or a /64 of the
    /// documentation's (RFC 3849).
    pub fn fresh_ip(&mut self, family: &str) -> IpAddr {
        self.last_address += 1;
        let n = self.last_address;
        if family == "ipv6" {
            let bits = (0x2001_0db8_u128 << 96) | (u128::from(n) << 64);
            return Ipv6Addr::from_bits(bits).into();
        }
        let base = Ipv4Addr::new(198, 18, 0, 0).to_bits();
        Ipv4Addr::from_bits(base + n).into()
    }

    /// Brings the clock to now and carries out what is due until then, in the order in which it is.
    pub fn settle(&mut self) {
        let until = match self.settings.clock {
            Clock::Virtual(_) => self.now,
            Clock::System => self.now.max(system_now()),
        };
        while let Some(action) = self.next_due().filter(|action| action.due <= until) {
            let (id, due) = (action.id, action.due);
            self.now = self.now.max(due).min(until);
            self.finish(id, due);
        }
        self.now = until;
    }

    /// When the next action is due.
    pub fn next_due(&self) -> Option<&Action> {
        let running = self.actions.values().filter(|a| a.finished.is_none());
        running.min_by_key(|action| (action.due, action.id))
    }

    fn finish(&mut self, id: u64, at: Timestamp) {
        let action = self.actions.get_mut(&id).expect("it is due");
        action.finished = Some(at);
        let effect = action.effect;
        if action.error.is_some() {
            self.fail(effect, at);
            return;
        }
        match effect {
            Effect::Nothing => {}
            Effect::Made(server) => self.set(server, Status::Off),
            Effect::Started(server) => self.start(server),
            Effect::Stopped(server) => self.stop(server),
            Effect::Deleted(server) => self.remove_server(server, at),
            Effect::Assigned(address, server) => self.assign(address, Some(server)),
            Effect::Unassigned(address) => self.assign(address, None),
            Effect::FirewallApplied(firewall, server) => {
                self.with_server(server, |server| server.firewalls.insert(firewall));
            }
            Effect::FirewallRemoved(firewall, server) => {
                self.with_server(server, |server| server.firewalls.remove(&firewall));
            }
        }
    }

    /// A failed action leaves things as they were; a server that could not be made or started is
    /// there, off, and is paid for.
    fn fail(&mut self, effect: Effect, at: Timestamp) {
        match effect {
            Effect::Made(server) => {
                self.set(server, Status::Off);
                for action in self.actions.values_mut() {
                    if action.effect == Effect::Started(server) && action.finished.is_none() {
                        action.finished = Some(at);
                        action.error = Some("action_failed");
                    }
                }
            }
            Effect::Started(server) => self.set(server, Status::Off),
            Effect::Stopped(server) | Effect::Deleted(server) => self.set(server, Status::Running),
            _ => {}
        }
    }

    fn with_server(&mut self, id: u64, change: impl FnOnce(&mut Server) -> bool) {
        if let Some(server) = self.servers.get_mut(&id) {
            change(server);
        }
    }

    pub fn set(&mut self, id: u64, status: Status) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.status = status;
        }
    }

    fn assign(&mut self, address: u64, server: Option<u64>) {
        if let Some(address) = self.addresses.get_mut(&address) {
            address.server = server;
        }
    }

    fn start(&mut self, id: u64) {
        self.set(id, Status::Running);
        if let (Some(nodes), Some(server)) = (self.nodes.clone(), self.servers.get(&id)) {
            nodes.boot(&crate::nodes::Booted {
                id,
                name: server.name.clone(),
                user_data: server.user_data.clone(),
                addresses: self.addresses_of(id).map(|address| address.ip).collect(),
            });
        }
    }

    fn stop(&mut self, id: u64) {
        self.set(id, Status::Off);
        if let Some(nodes) = &self.nodes {
            nodes.cut(id);
        }
    }

    fn remove_server(&mut self, id: u64, at: Timestamp) {
        if self.servers.remove(&id).is_none() {
            return;
        }
        self.bill.end(id, at);
        let had: Vec<(u64, bool)> = self
            .addresses_of(id)
            .map(|address| (address.id, address.auto_delete))
            .collect();
        for (address, auto_delete) in had {
            if auto_delete {
                self.addresses.remove(&address);
                self.bill.end(address, at);
            } else {
                self.assign(address, None);
            }
        }
        if let Some(nodes) = &self.nodes {
            nodes.remove(id);
        }
    }

    pub fn addresses_of(&self, server: u64) -> impl Iterator<Item = &Address> {
        let addresses = self.addresses.values();
        addresses.filter(move |address| address.server == Some(server))
    }

    /// Starts an action that ends when `after` has passed.
    pub fn act(
        &mut self,
        command: &'static str,
        resources: Vec<(&'static str, u64)>,
        after: SignedDuration,
        twist: Twist,
        effect: Effect,
    ) -> u64 {
        let id = self.id();
        let action = Action {
            id,
            command,
            resources,
            started: self.now,
            due: self.now + after + twist.delay,
            finished: None,
            error: twist.error,
            effect,
        };
        self.actions.insert(id, action);
        id
    }

    /// Refuses where an action on the resource is under way.
    pub fn unlocked(&self, kind: &'static str, id: u64) -> Result<(), Refusal> {
        let mut running = self.actions.values().filter(|a| a.finished.is_none());
        if running.any(|action| action.resources.contains(&(kind, id))) {
            return Err(Refusal::locked(kind));
        }
        Ok(())
    }

    pub fn server(&self, id: u64) -> Result<&Server, Refusal> {
        let server = self.servers.get(&id);
        server.ok_or_else(|| Refusal::not_found("server", id))
    }

    pub fn address(&self, id: u64) -> Result<&Address, Refusal> {
        let address = self.addresses.get(&id);
        address.ok_or_else(|| Refusal::not_found("primary_ip", id))
    }

    pub fn firewall(&self, id: u64) -> Result<&Firewall, Refusal> {
        let firewall = self.firewalls.get(&id);
        firewall.ok_or_else(|| Refusal::not_found("firewall", id))
    }
}

impl Address {
    pub fn family(&self) -> &'static str {
        if self.ip.is_ipv4() { "ipv4" } else { "ipv6" }
    }
}

#[allow(clippy::disallowed_methods, reason = "the served cloud's clock")]
fn system_now() -> Timestamp {
    Timestamp::now()
}
