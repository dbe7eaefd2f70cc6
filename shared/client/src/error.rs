//! What can go wrong on a device, and what the person at it can do.
//!
//! Every message is one line that ends in what to do. [`Error::kind`] is a stable word for
//! programs.

use std::path::PathBuf;

use jiff::Timestamp;
use model::{DeviceId, GatewayId, Invalid, Role};
use rules::clock::Verdict;
use tuf::VerifyError;

use crate::doors::DoorOutcome;
use crate::standing::Standing;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no device file.
    #[error(
        "there is no device file at {}: run `postern enroll <invite>`, or name another file with --device",
        path.display()
    )]
    NoDevice {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The platform names no folder for configuration.
    #[error("this system names no config folder: say where the device file is with --device FILE")]
    NoPlace,
    /// The file system refused.
    #[error("could not {doing} {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried, as a verb.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another process holds the device file.
    #[error(
        "another postern is using {} and did not finish: wait for it, or end it, and try again",
        path.display()
    )]
    Locked {
        /// The device file.
        path: PathBuf,
    },
    /// The device file cannot be read. It is left as it is.
    #[error(
        "the device file {} is damaged and was left as it is ({why}): restore a copy, or move it away and enroll with a new invite",
        path.display()
    )]
    Damaged {
        /// The device file.
        path: PathBuf,
        /// What is wrong with it, without any secret.
        why: String,
    },
    /// A later program wrote the device file.
    #[error(
        "the device file {} has the schema '{found}', which a newer postern wrote: update this program",
        path.display()
    )]
    NewerSchema {
        /// The device file.
        path: PathBuf,
        /// Its schema.
        found: String,
    },
    /// An invite that is none.
    #[error("{0}")]
    Invite(#[from] Invalid),
    /// The device file belongs to another enrollment.
    #[error("{held}: to use this invite too, name another device file with --device FILE")]
    OtherInvite {
        /// What the file already holds.
        held: String,
    },
    /// Enrollment was begun and never answered.
    #[error(
        "device {device} has not been enrolled yet: run `postern enroll` with its invite again"
    )]
    Unfinished {
        /// The device.
        device: DeviceId,
    },
    /// The control plane refused, and says why.
    #[error("{0}")]
    Problem(#[from] api::Problem),
    /// No control endpoint answered.
    #[error("no control endpoint answered, nothing is lost, try again later: {}", tried.join("; "))]
    Unreachable {
        /// Each endpoint and what happened.
        tried: Vec<String>,
    },
    /// No front door gave anything that verifies.
    #[error(
        "no front door gave a verified catalog: {}{}{}",
        list(outcomes),
        doubt(*clock),
        left(standing.as_ref())
    )]
    NoDoor {
        /// What happened at each.
        outcomes: Vec<DoorOutcome>,
        /// How the last verified catalog stands; None if there is none.
        standing: Option<Standing>,
        /// What is to be thought of this device's clock.
        clock: Verdict,
    },
    /// Nothing was verified yet.
    #[error("there is no verified catalog yet: run `postern sync`")]
    NoCatalog,
    /// Nothing in the catalog can be opened with the keys that the device holds.
    #[error(
        "this device holds no key that opens the catalog: run `postern sync` where the control plane can be reached"
    )]
    Shut,
    /// The grace of the last verified catalog is over.
    #[error(
        "the last verified catalog expired at {expired:.0} and its grace is over: run `postern sync`"
    )]
    Lapsed {
        /// When it expired.
        expired: Timestamp,
    },
    /// The catalog lists nobody for a role.
    #[error(
        "the network lists no {role} gateway now: try `postern sync` later, or ask the operator"
    )]
    NoGateway {
        /// The role.
        role: Role,
    },
    /// No gateways were selected.
    #[error("no gateways are selected yet: run `postern select`")]
    NotSelected,
    /// A selected gateway left the catalog.
    #[error("the selected {role} gateway {gateway} is no longer listed: run `postern select`")]
    NotListed {
        /// Its role.
        role: Role,
        /// The gateway.
        gateway: GatewayId,
    },
    /// What the device file holds as verified does not verify. A sync fetches it anew.
    #[error("the catalog in the device file is damaged ({0}): run `postern sync`")]
    Trusted(VerifyError),
    /// A folder or a file that does not verify.
    #[error("{} does not verify: {error}", path.display())]
    Refused {
        /// What was checked.
        path: PathBuf,
        /// Why it was refused.
        error: VerifyError,
    },
    /// The program's own means failed (TLS set-up, encoding).
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A stable word for programs: a problem's own name where the control plane gave one.
    pub fn kind(&self) -> &str {
        match self {
            Self::NoDevice { .. } => "no-device",
            Self::NoPlace => "no-place",
            Self::File { .. } => "file",
            Self::Locked { .. } => "locked",
            Self::Damaged { .. } => "damaged",
            Self::NewerSchema { .. } => "newer-schema",
            Self::Invite(_) => "invalid",
            Self::OtherInvite { .. } => "other-invite",
            Self::Unfinished { .. } => "unfinished",
            Self::Problem(problem) => problem
                .type_
                .strip_prefix(api::problem::TYPE_PREFIX)
                .unwrap_or("problem"),
            Self::Unreachable { .. } => "unreachable",
            Self::NoDoor { .. } => "no-door",
            Self::NoCatalog => "no-catalog",
            Self::Shut => "shut",
            Self::Lapsed { .. } => "lapsed",
            Self::NoGateway { .. } => "no-gateway",
            Self::NotSelected => "not-selected",
            Self::NotListed { .. } => "not-listed",
            Self::Trusted(_) => "trusted-state",
            Self::Refused { error, .. } => error.kind(),
            Self::Internal(_) => "internal",
        }
    }

    /// What happened at each front door, for [`Error::NoDoor`].
    pub fn outcomes(&self) -> &[DoorOutcome] {
        match self {
            Self::NoDoor { outcomes, .. } => outcomes,
            _ => &[],
        }
    }
}

fn list(outcomes: &[DoorOutcome]) -> String {
    if outcomes.is_empty() {
        return "none is known".to_owned();
    }
    let lines: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let reason = outcome.reason.as_deref().unwrap_or("no reason");
            format!("{}: {reason}", outcome.door)
        })
        .collect();
    lines.join("; ")
}

fn doubt(clock: Verdict) -> String {
    if clock.is_plausible() {
        return String::new();
    }
    format!(". About the time: {clock}")
}

fn left(standing: Option<&Standing>) -> String {
    match standing {
        None => {
            ". Try again later, or ask for a new invite: `postern enroll` takes its front doors"
                .to_owned()
        }
        Some(standing) => format!(". The last verified catalog {standing}"),
    }
}
