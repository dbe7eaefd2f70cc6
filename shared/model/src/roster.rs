//! Shards of the roster.
//!
//! The keys of a cohort's devices are spread over 256 shards by the device's id, so that a gateway
//! fetches a small part when one device comes or goes, and devices that change at once seldom meet
//! at one shard's version.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{DeviceId, Invalid};

/// A part of a cohort's roster: `00` to `ff`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard(u8);

impl Shard {
    /// The shard that the device `id` is in, for good.
    pub fn of(id: &DeviceId) -> Self {
        Self(Sha256::digest(id.as_str().as_bytes())[0])
    }
}

impl FromStr for Shard {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let shard = u8::from_str_radix(text, 16).ok().map(Self);
        shard
            .filter(|shard| shard.to_string() == text)
            .ok_or_else(|| Invalid::new("shard", format!("'{text}' must be from '00' to 'ff'")))
    }
}

impl TryFrom<String> for Shard {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdentityKey;

    #[test]
    fn a_shard_has_one_name() {
        assert_eq!("0f".parse(), Ok(Shard(15)));
        for bad in ["f", "0F", "100", "+f", "", "zz"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_spread_over_all_shards() {
        let of = |n: u16| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            Shard::of(&DeviceId::of(&IdentityKey::from_bytes(key)))
        };
        let shards: std::collections::BTreeSet<_> = (0..4000).map(of).collect();
        assert_eq!(shards.len(), 256);
    }
}
