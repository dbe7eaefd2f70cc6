//! Admins: the people who operate a network, and the code that lets the first one in.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AdminId, IdentityKey, Invalid};

/// Somebody who may see or change the network, as the control plane keeps them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Admin {
    /// The hash of the key.
    pub id: AdminId,
    /// What the others call them.
    pub name: String,
    /// What they may do.
    pub role: AdminRole,
    /// The key that signs their logins.
    pub key: IdentityKey,
    /// Since when they are one.
    pub created_at: Timestamp,
    /// When they were removed, if they were. A key that was removed never comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

impl Admin {
    /// Whether they are an owner now.
    pub fn is_owner(&self) -> bool {
        self.role == AdminRole::Owner && self.removed_at.is_none()
    }
}

/// What an admin may do. Each role may do all that the ones before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Sees everything and changes nothing.
    Auditor,
    /// Changes the network: invites, devices, gateways, policies.
    Operator,
    /// Changes the admins, too.
    Owner,
}

impl fmt::Display for AdminRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Owner => "owner",
        })
    }
}

impl FromStr for AdminRole {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "auditor" => Ok(Self::Auditor),
            "operator" => Ok(Self::Operator),
            "owner" => Ok(Self::Owner),
            _ => Err(Invalid::new(
                "role",
                format!("'{text}' must be 'auditor', 'operator' or 'owner'"),
            )),
        }
    }
}

/// The one-time code that makes the first owner, as the function `admin` is told of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupCode {
    /// [`crate::id::setup_hash`] of its secret.
    pub hash: String,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_do_what_the_ones_before_it_may() {
        let roles = [AdminRole::Auditor, AdminRole::Operator, AdminRole::Owner];
        assert!(roles.is_sorted());
        for role in roles {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("root".parse::<AdminRole>().is_err());
    }
}
