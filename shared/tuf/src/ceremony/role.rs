//! The roles that keys have, and what holds for all of them together.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use model::IdentityKey;
use serde::{Deserialize, Serialize};

use super::CeremonyError;
use crate::PublicKey;
use crate::repository::{RoleKeys, RootRoles};

/// A document that offline keys sign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Document {
    /// Who signs what.
    Root,
    /// Limits, config keys, the recovery kit, and who signs catalogs.
    Targets,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Targets => "targets",
        })
    }
}

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Offline: signs roots.
    Root,
    /// Offline: signs targets.
    Targets,
    /// Online, in `publish`.
    Snapshot,
    /// Online, in `publish`.
    Timestamp,
    /// Online, in `publish`.
    Catalogs,
    /// Online, in `register`: signs gateways' configs and rosters.
    Config,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Root,
        Self::Targets,
        Self::Snapshot,
        Self::Timestamp,
        Self::Catalogs,
        Self::Config,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
            Self::Catalogs => "catalogs",
            Self::Config => "config",
        }
    }

    /// Whether people hold its keys, off every machine that serves.
    pub fn is_offline(self) -> bool {
        matches!(self, Self::Root | Self::Targets)
    }

    /// The document that names its keys.
    pub fn named_by(self) -> Document {
        match self {
            Self::Root | Self::Targets | Self::Snapshot | Self::Timestamp => Document::Root,
            Self::Catalogs | Self::Config => Document::Targets,
        }
    }

    /// What whoever holds enough of its keys can do.
    pub fn power(self) -> &'static str {
        match self {
            Self::Root => "name every other key, and so do everything",
            Self::Targets => {
                "change the limits, the recovery kit and which keys sign catalogs and configs"
            }
            Self::Snapshot => {
                "say which versions belong together; it takes the timestamp key, too, to be believed"
            }
            Self::Timestamp => {
                "keep what is published now in force for long, and lead clients to enormous versions"
            }
            Self::Catalogs => {
                "list gateways and front doors within the limits; it takes the snapshot and timestamp \
                 keys, too, to be believed"
            }
            Self::Config => "sign gateways' configs and rosters",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = CeremonyError;

    fn from_str(text: &str) -> Result<Self, CeremonyError> {
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.as_str() == text)
            .ok_or_else(|| CeremonyError::UnknownRole(text.to_owned()))
    }
}

/// Who holds what.
pub(super) fn holders(
    roles: &RootRoles,
    catalogs: &RoleKeys,
    config: &[IdentityKey],
) -> BTreeMap<Role, RoleKeys> {
    let config = RoleKeys {
        keys: config.iter().map(|key| PublicKey::from(*key)).collect(),
        threshold: 1,
    };
    BTreeMap::from([
        (Role::Root, roles.root.clone()),
        (Role::Targets, roles.targets.clone()),
        (Role::Snapshot, roles.snapshot.clone()),
        (Role::Timestamp, roles.timestamp.clone()),
        (Role::Catalogs, catalogs.clone()),
        (Role::Config, config),
    ])
}

/// Refuses a key with two roles, a threshold that cannot be reached, and one above one where a
/// single function signs.
pub(super) fn check(holders: &BTreeMap<Role, RoleKeys>) -> Result<(), CeremonyError> {
    let mut owners: BTreeMap<String, Role> = BTreeMap::new();
    for (role, keys) in holders {
        let mut distinct = 0;
        for key in &keys.keys {
            let key = key.key_id();
            match owners.insert(key.clone(), *role) {
                None => distinct += 1,
                Some(first) if first == *role => {
                    return Err(CeremonyError::There { role: *role, key });
                }
                Some(first) => {
                    let second = *role;
                    return Err(CeremonyError::Shared { key, first, second });
                }
            }
        }
        let threshold = keys.threshold;
        if threshold == 0 || threshold > distinct {
            return Err(CeremonyError::Unreachable {
                role: *role,
                threshold,
                keys: distinct,
            });
        }
        if threshold > 1 && !role.is_offline() {
            return Err(CeremonyError::Alone {
                role: *role,
                threshold,
            });
        }
    }
    Ok(())
}
