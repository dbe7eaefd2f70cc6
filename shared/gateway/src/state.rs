//! The agent's state file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use api::{BootstrapText, IdentitySecret, WireGuardSecret};
use jiff::Timestamp;
use model::{FirstContact, GatewayId, RecoveryKit};
use serde::{Deserialize, Serialize};
use tuf::client::TrustedState;

/// The schema that this code writes and reads.
const SCHEMA: &str = "postern-gateway-state/1";
/// The file's name in the agent's data folder.
const FILE: &str = "gateway.json";

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is none, and no bootstrap token was given.
    #[error("{0} does not exist: start with a bootstrap token (--token)")]
    Missing(PathBuf),
    /// It belongs to another gateway than the token does.
    #[error("{0} belongs to {1}: use another data folder for another gateway")]
    OtherGateway(PathBuf, GatewayId),
    /// It cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is damaged, or of another version of this program.
    #[error(
        "{path} cannot be read: {why}. Restore it, or remove it and start with a new gateway's token"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What an agent must not forget.
#[derive(Clone, Serialize, Deserialize)]
pub struct State {
    schema: String,
    /// Which gateway it is.
    pub gateway: GatewayId,
    /// How to reach and trust the network.
    pub contact: FirstContact,
    /// The bootstrap secret, until registration was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<api::enroll::InviteSecret>,
    /// Signs its requests.
    pub identity: IdentitySecret,
    /// The secret of its WireGuard interface.
    pub tunnel: WireGuardSecret,
    /// The keys that it is about to take, from before they are first asked for until an answer tells
    /// that they stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_keys: Option<Keys>,
    /// The tunnel's secret from before the last rotation, which devices with an older catalog use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_tunnel: Option<PreviousTunnel>,
    /// The version that the next heartbeat must expect; 0 before registration.
    #[serde(default)]
    pub version: u64,
    /// Seconds from one heartbeat to the next.
    #[serde(default)]
    pub heartbeat_seconds: u32,
    /// The signed repository, as far as it is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<TrustedState>,
    /// The recovery kit in it: where the network can be reached now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kit: Option<RecoveryKit>,
    /// The last verified config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<api::register::GatewayConfig>,
}

/// A gateway's secrets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Keys {
    /// Signs its requests.
    pub identity: IdentitySecret,
    /// The secret of its WireGuard interface.
    pub tunnel: WireGuardSecret,
}

impl Keys {
    /// New ones, from `random`.
    pub fn from_random(random: impl Fn() -> [u8; 32]) -> Self {
        Self {
            identity: IdentitySecret::from_seed(random()),
            tunnel: WireGuardSecret::from_random(random()),
        }
    }
}

/// A tunnel's secret from before a rotation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PreviousTunnel {
    /// The secret.
    pub secret: WireGuardSecret,
    /// From when on it is of no use: the end of the grace.
    pub until: Timestamp,
}

impl State {
    /// Where and how to reach the network: what the first contact says, and the recovery kit since.
    pub fn reach(&self) -> FirstContact {
        self.contact.with(self.kit.as_ref())
    }

    /// Reads the state in `folder`, or makes it from `token` with keys from `random`.
    pub fn open(
        folder: &Path,
        token: Option<&BootstrapText>,
        random: impl Fn() -> [u8; 32],
    ) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::parse(path, &bytes, token),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = token.ok_or(StateError::Missing(path))?;
                let keys = Keys::from_random(random);
                let state = Self {
                    schema: SCHEMA.to_owned(),
                    gateway: token.gateway.clone(),
                    contact: token.contact.clone(),
                    bootstrap: Some(api::enroll::InviteSecret::new(&token.secret)),
                    identity: keys.identity,
                    tunnel: keys.tunnel,
                    next_keys: None,
                    previous_tunnel: None,
                    version: 0,
                    heartbeat_seconds: 0,
                    trusted: None,
                    kit: None,
                    config: None,
                };
                state.save(folder)?;
                Ok(state)
            }
            Err(error) => Err(StateError::File { path, error }),
        }
    }

    fn parse(
        path: PathBuf,
        bytes: &[u8],
        token: Option<&BootstrapText>,
    ) -> Result<Self, StateError> {
        let state: Self = match serde_json::from_slice(bytes) {
            Ok(state) => state,
            Err(error) => {
                return Err(StateError::Damaged {
                    path,
                    why: error.to_string(),
                });
            }
        };
        if state.schema != SCHEMA {
            let why = format!(
                "its schema is '{}', this program reads '{SCHEMA}'",
                state.schema
            );
            return Err(StateError::Damaged { path, why });
        }
        if token.is_some_and(|token| token.gateway != state.gateway) {
            return Err(StateError::OtherGateway(path, state.gateway));
        }
        Ok(state)
    }

    /// Replaces the file in `folder` as a whole, readable by its owner alone.
    pub fn save(&self, folder: &Path) -> Result<(), StateError> {
        replace(folder, FILE, || serde_json::to_vec_pretty(self))
    }
}

/// Replaces the file `name` in `folder` as a whole, readable by its owner alone.
pub(crate) fn replace(
    folder: &Path,
    name: &str,
    bytes: impl FnOnce() -> serde_json::Result<Vec<u8>>,
) -> Result<(), StateError> {
    let path = folder.join(name);
    let write = || {
        fs::create_dir_all(folder)?;
        api::files::replace(&path, &bytes()?)
    };
    write().map_err(|error: io::Error| StateError::File {
        path: path.clone(),
        error,
    })
}

#[cfg(test)]
mod tests;
