//! The gateways' agent: from a bootstrap token to a node in service.
//!
//! An agent makes its keys, registers once with its one-time token, sends heartbeats, and pulls
//! its config and, with every heartbeat, what changed of its roster. It believes these only if a key
//! of `trust.json` signed them, and `trust.json` only if the offline keys did (TUF, from any front
//! door). What that defends, and what it does not:
//!
//! | a thief of | can |
//! |---|---|
//! | the control plane's network or endpoints | keep configs and rosters back; make none and end no agent |
//! | the online keys `catalogs`, `snapshot`, `timestamp` | make no config and no roster: none of them signs one, or `trust.json` |
//! | the config key, which is online too (the function `register` holds it) | sign configs and rosters until the offline keys withdraw it in `trust.json` and the gateway sees that; by blocking every front door, for 14 days after the known timestamp's expiry at most |
//!
//! No answer from the network ends an agent. A refusal is not signed, so a forged one must not kill
//! a node: the agent asks again, more and more slowly, and says why in its log. Only a state file
//! that cannot be used, or a folder that cannot be written, ends it.
//!
//! Where its config says that an operator wants it to, it takes new keys (`api::rotation`): they are in
//! its state before it asks for them, and before each heartbeat it asks again until it is told that they
//! stand. A lost answer, or a restart at any point, leaves it with a key that is taken.
//!
//! Its state is one file, and beside it the roster. The state is written before each request that
//! the control plane must not see twice with other keys: a lost answer or a restart goes on where it was.

mod agent;
#[cfg(test)]
mod fixture;
mod pull;
mod remote;
mod retry;
mod roster;
mod rotation;
mod state;

pub use agent::{Agent, Clock, Event};
pub use roster::Roster;
pub use state::{Keys, PreviousTunnel, State, StateError};

use api::{NoClient, Problem};

/// Why an agent cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no HTTP client. At the start only.
    #[error(transparent)]
    Client(#[from] NoClient),
}

/// Why one piece of work was not done.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The state file cannot be written: the agent must not go on.
    #[error(transparent)]
    State(#[from] StateError),
    /// Every control endpoint that answered refuses, and a node cannot change its mind.
    #[error("{0}")]
    Refused(Problem),
    /// The heartbeat does not follow the last one: the version to go on from.
    #[error("the control plane expects version {0}")]
    OutOfStep(u64),
    /// Nobody answered usefully.
    #[error("{0}")]
    Later(String),
}
