//! A stand-in for Hetzner's Cloud API that remembers: who rents here pays, and can be let down.
//!
//! It keeps the rules that are documented and cost people money when they are forgotten: names are
//! unique per kind, actions take time and lock what they are about, an address must be unassigned
//! before it can be deleted, a server must be off before it can lose its address, addresses that
//! were rented apart outlive their server and go on billing, a firewall in use stays, types sell
//! out, accounts have limits, requests are counted.
//!
//! It runs in two forms:
//!
//! - **in process**, as an [`Http`](api::http::Http) without sockets ([`SimCloud::http`]), with a
//!   clock that stands until a test moves it: every run of a test is the same;
//! - **served** on loopback for programs ([`SimCloud::serve`]), with the system's clock and actions
//!   of a tenth of a second.
//!
//! A test reads the requests that came ([`SimCloud::requests`]) and what everything has cost
//! ([`SimCloud::bill`]), and chooses what goes wrong, call by call ([`Rule`], [`Fault`]).

mod actions;
mod addresses;
mod bill;
mod boot;
mod bucket;
mod call;
mod error;
mod faults;
mod firewalls;
mod gate;
mod in_process;
mod labels;
mod log;
mod nodes;
mod pages;
mod routes;
mod served;
mod servers;
mod settings;
mod shop;
mod state;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

pub use bill::{Bill, Rent};
pub use boot::{Machines, NoIsolation};
pub use error::Refusal;
pub use faults::{Asked, Fault, Rule};
pub use in_process::InProcess;
pub use log::Logged;
pub use nodes::{Booted, Nodes};
pub use routes::router;
pub use served::Served;
pub use settings::{
    Clock, Durations, Image, Limits, Offer, Price, RateLimit, ServerType, Settings, Shop,
};

use state::State;

/// The cloud. Clones are the same one.
#[derive(Clone, Debug)]
pub struct SimCloud {
    state: Arc<Mutex<State>>,
    /// Told when a request has been answered: it may have begun an action.
    begun: Arc<Notify>,
}

impl SimCloud {
    /// A cloud of which nothing is rented yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(settings))),
            begun: Arc::default(),
        }
    }

    /// Begins anew with nothing, whoever serves it.
    pub fn reset(&self, settings: Settings) {
        *self.state() = State::new(settings);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no handler panics while it holds it")
    }

    /// What answers without sockets.
    pub fn http(&self) -> InProcess {
        InProcess::new(self)
    }

    /// Serves it on a free port of loopback, until what this gives is dropped.
    pub async fn serve(&self) -> std::io::Result<Served> {
        Served::start(self.clone(), 0).await
    }

    /// The same, on this port.
    pub async fn serve_on(&self, port: u16) -> std::io::Result<Served> {
        Served::start(self.clone(), port).await
    }

    /// Lets real machines be run for its servers.
    pub fn run_nodes(&self, nodes: Arc<dyn Nodes>) {
        self.state().nodes = Some(nodes);
    }

    /// What time it is there.
    pub fn now(&self) -> Timestamp {
        let mut state = self.state();
        state.settle();
        state.now
    }

    /// Moves a virtual clock, and ends the actions that are due until then.
    pub fn advance(&self, by: SignedDuration) {
        let mut state = self.state();
        let until = state.now + by;
        while let Some(due) = state.next_due().map(|action| action.due) {
            if due > until {
                break;
            }
            state.now = state.now.max(due);
            state.settle();
        }
        state.now = until;
    }

    /// Moves a virtual clock until no action is under way.
    pub fn finish_actions(&self) {
        loop {
            let (due, now) = {
                let state = self.state();
                (state.next_due().map(|action| action.due), state.now)
            };
            let Some(due) = due else { return };
            self.advance(due.duration_since(now).max(SignedDuration::ZERO));
        }
    }

    /// Makes the calls that it chooses go wrong. Of several rules the first that chooses counts.
    pub fn inject(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// Forgets all rules.
    pub fn heal(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.is_down = false;
    }

    /// Whether nobody can reach it.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Leaves so many requests in the bucket.
    pub fn leave_requests(&self, remaining: u32) {
        let mut state = self.state();
        let now = state.now;
        state.bucket.leave(remaining, now);
    }

    /// Changes what it rents.
    pub fn shop(&self, change: impl FnOnce(&mut Shop)) {
        change(&mut self.state().settings.shop);
    }

    /// Changes its settings; those of the clock and the bucket are read when it is made.
    pub fn settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().settings);
    }

    /// The requests that came until now.
    pub fn requests(&self) -> Vec<Logged> {
        self.state().log.clone()
    }

    /// How many came: the ordinal of the last.
    pub fn calls(&self) -> u64 {
        u64::try_from(self.state().log.len()).expect("a count")
    }

    /// What is and was rented.
    pub fn bill(&self) -> Bill {
        self.state().bill.clone()
    }

    /// What everything has cost until now, in millionths of the currency's unit.
    pub fn cost(&self) -> u64 {
        let state = self.state();
        state.bill.total(state.now)
    }

    /// The names of what there is, as `server postern-n-gx`, whatever its labels.
    pub fn resources(&self) -> Vec<String> {
        let mut state = self.state();
        state.settle();
        let servers = state
            .servers
            .values()
            .map(|server| format!("server {}", server.name));
        let addresses = state.addresses.values();
        let addresses = addresses.map(|address| format!("primary_ip {}", address.name));
        let firewalls = state.firewalls.values();
        let firewalls = firewalls.map(|firewall| format!("firewall {}", firewall.name));
        servers.chain(addresses).chain(firewalls).collect()
    }
}
