//! Why a step of a ceremony is refused. None leaves anything behind.

use jiff::Timestamp;

use super::{Document, Quorum, Role};
use crate::{SignError, VerifyError};

/// Why a step of a ceremony is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CeremonyError {
    /// What could not be signed, or a signature that is not one.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What is in force, or would be, is not well signed.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The change's file is not one that this program would write.
    #[error("the change cannot be read: {0}")]
    Malformed(String),
    /// A word that is no role.
    #[error("'{0}' is no role: root, targets, snapshot, timestamp, catalogs or config")]
    UnknownRole(String),
    /// One key with two roles: whoever steals it would hold both.
    #[error("the key {key} is given to both '{first}' and '{second}'")]
    Shared {
        /// The key's id.
        key: String,
        /// The role that has it.
        first: Role,
        /// The other role.
        second: Role,
    },
    /// A role that has the key already.
    #[error("'{role}' has the key {key} already")]
    There {
        /// The role.
        role: Role,
        /// The key's id.
        key: String,
    },
    /// A threshold that the keys cannot reach.
    #[error("'{role}' would want {threshold} signatures of {keys} keys: nobody could sign it")]
    Unreachable {
        /// The role.
        role: Role,
        /// The threshold.
        threshold: u32,
        /// How many keys the role would have.
        keys: u32,
    },
    /// A threshold above one for what one function signs alone.
    #[error("'{role}' would want {threshold} signatures, and one function signs it with one key")]
    Alone {
        /// The role.
        role: Role,
        /// The threshold.
        threshold: u32,
    },
    /// A key to take away that the role has not.
    #[error("'{role}' has no key {key}")]
    NotThere {
        /// The role.
        role: Role,
        /// The beginning of an id.
        key: String,
    },
    /// The beginning of an id that several keys have.
    #[error("'{role}' has several keys that begin with {key}: give more of the id")]
    Ambiguous {
        /// The role.
        role: Role,
        /// The beginning.
        key: String,
    },
    /// A key of a kind that the role cannot have.
    #[error("'{role}' can only have Ed25519 keys")]
    Kind {
        /// The role.
        role: Role,
    },
    /// A change that changes nothing.
    #[error("nothing would change: name keys, a threshold, a file, or what shall be renewed")]
    Nothing,
    /// An expiry that is not ahead.
    #[error("it would have expired already")]
    Expired,
    /// A new document that waited too long for its signatures.
    #[error("the new {document} expired at {expires:.0}: no client would take it. Begin it again")]
    Late {
        /// Which document.
        document: Document,
        /// Until when it was valid.
        expires: Timestamp,
    },
    /// A version that is not the next.
    #[error("the {document} in force is {last}, and the change's is {found}")]
    Gap {
        /// Which document.
        document: Document,
        /// The version in force.
        last: u64,
        /// The version of the change.
        found: u64,
    },
    /// What is in force is not what the change was made from.
    #[error(
        "what is in force is not what this change was made from: another was finished meanwhile. \
         Begin it again"
    )]
    Stale,
    /// A signature that does not fit.
    #[error(
        "the {document} was altered after {key} signed it, or somebody else signed in that name: \
             trust nothing in this file"
    )]
    Altered {
        /// Which document.
        document: Document,
        /// The key's id.
        key: String,
    },
    /// A key whose signature says nothing here.
    #[error("the key {0} need not sign this change: it is of none of the roles that must")]
    NotNeeded(String),
    /// A key that has signed.
    #[error("the key {0} has signed this change already")]
    SignedAlready(String),
    /// A copy of another change.
    #[error("these are not copies of one change")]
    Another,
    /// Signatures are missing.
    #[error("signatures are missing: {}", list(.0))]
    Unsigned(Vec<Quorum>),
}

fn list(quorums: &[Quorum]) -> String {
    let lines: Vec<String> = quorums.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
