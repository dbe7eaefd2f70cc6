//! The gateways' agent: from a bootstrap token to a node in service.
//!
//! An agent makes its keys, registers once with its one-time token, sends heartbeats, and pulls
//! its config and, with every heartbeat, what changed of its roster. It believes these only if a key
//! of `trust.json` signed them, and `trust.json` only if the offline keys did (TUF, from any front
//! door): whoever holds the control plane's network or its online keys can turn no gateway.
//!
//! Its state is one file, and beside it the roster, written before each request that the control plane must not see twice
//! with other keys: a lost answer or a restart goes on where it was.

mod agent;
mod remote;
mod roster;
mod state;

pub use agent::{Agent, Clock, Event};
pub use roster::Roster;
pub use state::{State, StateError};

use api::Problem;

/// Why an agent cannot go on, or not now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The control plane refused; trying the same again does not help.
    #[error("the control plane refused: {0}")]
    Refused(Problem),
    /// Nobody answered usefully: the agent tries again by itself.
    #[error("{0}")]
    Later(String),
}
