//! The use cases of the control plane, a module each: what is read, which rule decides, what is
//! committed.
//!
//! Every change of state is one commit that holds the change, its audit event and what makes a
//! retry harmless. Use cases take the store, the network's settings, the caller's key and a
//! [`Moment`]; they know nothing of HTTP, of Lambda or of Workers, and read no clock.

pub mod admins;
pub mod audit;
pub mod calls;
mod checks;
pub mod devices;
pub mod enroll;
pub mod epochs;
pub mod fleet;
pub mod gateways;
pub mod invites;
pub mod items;
pub mod measures;
pub mod migration;
pub mod policy;
pub mod publish;
pub mod restore;
pub mod roster;
pub mod sessions;
pub mod setup;
pub mod state;

use api::Kind;
use jiff::Timestamp;
use model::{AuditId, Network};
use sha2::{Digest, Sha256};
use store::{CommitError, Store, StoreError};

/// How often a change is tried while others change the same items, before the caller hears of it.
const MOST_TRIES: u32 = 4;

/// What every use case works on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The state.
    pub store: &'a dyn Store,
    /// The network's settings.
    pub network: &'a Network,
    /// The time and the randomness of this request.
    pub moment: Moment,
}

/// The time and the randomness of one request: all that it draws is derived from the seed, so that
/// the same moment always gives the same ids.
#[derive(Clone, Copy)]
pub struct Moment {
    /// The time, in whole milliseconds.
    pub now: Timestamp,
    seed: [u8; 32],
}

impl Moment {
    /// A moment at `now` with 32 fresh random bytes.
    pub fn new(now: Timestamp, seed: [u8; 32]) -> Self {
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        Self { now, seed }
    }

    /// A `UUIDv7` (RFC 9562) of this moment; `number` tells several apart.
    pub fn uuid(&self, number: u32) -> AuditId {
        let millis = u64::try_from(self.now.as_millisecond()).unwrap_or(0);
        let hash = self.drawn(b"uuid", number);
        let mut random = [0; 10];
        random.copy_from_slice(&hash[..10]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// 32 random bytes of this moment; `number` tells several apart. None of them can be told from
    /// the moment's ids.
    pub fn random(&self, number: u32) -> [u8; 32] {
        self.drawn(b"random", number)
    }

    fn drawn(&self, what: &[u8], number: u32) -> [u8; 32] {
        let hash = Sha256::new()
            .chain_update(self.seed)
            .chain_update(what)
            .chain_update(number.to_be_bytes());
        hash.finalize().into()
    }
}

/// Why a use case did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller must do something else; the text says what.
    #[error("{detail}")]
    Refused {
        /// What kind of problem it is.
        kind: Kind,
        /// What happened and what to do.
        detail: String,
        /// The version to go on from, for a heartbeat that is out of step.
        version: Option<u64>,
    },
    /// The store failed: later, or an operator must look.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others changed the same items again and again: the caller may try again.
    #[error("others changed the same thing at once, again and again: try again")]
    Contended,
    /// This program broke a rule of its own: an operator must look.
    #[error("{0}")]
    Defect(String),
}

impl Error {
    /// A refusal.
    pub fn refused(kind: Kind, detail: impl Into<String>) -> Self {
        Self::Refused {
            kind,
            detail: detail.into(),
            version: None,
        }
    }
}

impl From<CommitError> for Error {
    /// For commits whose every failed expectation means that others were faster.
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Failed(_) => Self::Contended,
            CommitError::Store(error) => Self::Store(error),
        }
    }
}
