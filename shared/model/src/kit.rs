//! What the offline keys sign, and what a first contact carries.
//!
//! `limits.json`, `trust.json` and `recovery-kit.json` are targets of the top-level role, so that
//! only a threshold of offline keys can change them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{CohortName, ControlKey, IdentityKey, NetworkId};

/// The most front doors of a first contact that took those of others: as many as a catalog may name.
pub const MOST_DOORS: usize = 16;

/// A base URL that serves the signed repository.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrontDoor {
    /// The base URL, `http` or `https`, without a slash at its end.
    pub url: String,
    /// Addresses at which its host is reached when DNS lies; may be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<IpAddr>,
}

/// `limits.json`: what online keys may list. A stolen online key can send nobody outside them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// [`Limits::SCHEMA`].
    pub schema: String,
    /// The network that it belongs to.
    pub network: NetworkId,
    /// Hosts that a catalog's front doors may have (a name, or an address; no port).
    pub front_door_hosts: Vec<String>,
    /// Networks that a gateway's endpoint may lie in.
    pub gateway_networks: Vec<IpNet>,
    /// Cohorts that may have a catalog.
    pub cohorts: Vec<CohortName>,
}

impl Limits {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-limits/1";
    /// Its target path in the signed repository.
    pub const PATH: &str = "limits.json";

    /// Whether a gateway may be listed at `address`.
    pub fn allow_gateway_at(&self, address: IpAddr) -> bool {
        self.gateway_networks
            .iter()
            .any(|net| net.contains(&address))
    }
}

/// `trust.json`: the keys that sign gateway configs, and the one that gateways seal to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TrustedKeys {
    /// [`TrustedKeys::SCHEMA`].
    pub schema: String,
    /// The network that it belongs to.
    pub network: NetworkId,
    /// Ed25519 keys, any one of which may sign a gateway's config.
    pub config_keys: Vec<IdentityKey>,
    /// What gateways seal their requests to; none in networks of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_key: Option<ControlKey>,
}

impl TrustedKeys {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-trust/1";
    /// Its target path in the signed repository.
    pub const PATH: &str = "trust.json";
}

/// `recovery-kit.json`: where to find the network again when everything known fails.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecoveryKit {
    /// [`RecoveryKit::SCHEMA`].
    pub schema: String,
    /// The network that it belongs to.
    pub network: NetworkId,
    /// Front doors, long-lived.
    pub front_doors: Vec<FrontDoor>,
    /// Base URLs of the control plane.
    pub control: Vec<String>,
    /// What devices seal their requests to; none in networks of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_key: Option<ControlKey>,
}

impl RecoveryKit {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-recovery-kit/1";
    /// Its target path in the signed repository.
    pub const PATH: &str = "recovery-kit.json";
}

/// The root metadata that trust starts from, named so exactly that a short text can carry it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RootPin {
    /// Its version.
    pub version: u64,
    /// SHA-256 of the file's bytes, lowercase hexadecimal.
    pub sha256: String,
}

/// What a stranger must hold to reach and trust a network: carried by invites and by gateways'
/// bootstrap tokens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FirstContact {
    /// The network.
    #[serde(rename = "n")]
    pub network: NetworkId,
    /// Where trust starts.
    #[serde(rename = "r")]
    pub root: RootPin,
    /// Front doors.
    #[serde(rename = "d")]
    pub front_doors: Vec<FrontDoor>,
    /// Base URLs of the control plane.
    #[serde(rename = "c")]
    pub control: Vec<String>,
    /// What requests are sealed to; none in texts of before.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub control_key: Option<ControlKey>,
}

impl FirstContact {
    /// Takes over the control key that the offline keys have signed, if they signed one. None is never
    /// taken over: whoever has sealed once never sends in the plain again.
    pub fn adopt(&mut self, signed: Option<ControlKey>) {
        self.control_key = signed.or(self.control_key);
    }

    /// Takes the front doors of another first contact before its own, and says how many it did not know. Of
    /// many such texts the newest count: it keeps [`MOST_DOORS`].
    pub fn take_doors(&mut self, other: &Self) -> usize {
        let known = std::mem::replace(&mut self.front_doors, other.front_doors.clone());
        let is_new = |door: &&FrontDoor| known.iter().all(|known| known.url != door.url);
        let new = other.front_doors.iter().filter(is_new).count();
        add_doors(&mut self.front_doors, &known);
        self.front_doors.truncate(MOST_DOORS);
        new
    }

    /// The same with the front doors and control endpoints of the recovery kit behind its own, each once:
    /// long after a first contact those of the kit may be all that is left.
    #[must_use]
    pub fn with(&self, kit: Option<&RecoveryKit>) -> Self {
        let mut contact = self.clone();
        let (doors, control) = kit.map_or((&[][..], &[][..]), |kit| {
            (kit.front_doors.as_slice(), kit.control.as_slice())
        });
        add_doors(&mut contact.front_doors, doors);
        for endpoint in control {
            if !contact.control.contains(endpoint) {
                contact.control.push(endpoint.clone());
            }
        }
        contact
    }
}

/// Puts those of `more` that are not in `doors` behind them, and adds the fallback addresses of the others.
fn add_doors(doors: &mut Vec<FrontDoor>, more: &[FrontDoor]) {
    for door in more {
        match doors.iter_mut().find(|known| known.url == door.url) {
            None => doors.push(door.clone()),
            Some(known) => {
                let new = door.fallback.iter();
                let new: Vec<_> = new.filter(|new| !known.fallback.contains(new)).collect();
                known.fallback.extend(new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(doors: &[(&str, &[&str])]) -> FirstContact {
        let doors = doors.iter().map(|(url, fallback)| FrontDoor {
            url: (*url).to_owned(),
            fallback: fallback.iter().map(|ip| ip.parse().unwrap()).collect(),
        });
        FirstContact {
            network: "n-abcdefgh".parse().unwrap(),
            root: RootPin {
                version: 1,
                sha256: "0".repeat(64),
            },
            front_doors: doors.collect(),
            control: Vec::new(),
            control_key: None,
        }
    }

    #[test]
    fn doors_that_are_taken_stand_first_each_once_and_the_oldest_go() {
        let mut mine = contact(&[("https://a", &["192.0.2.1"]), ("https://b", &[])]);
        let others = contact(&[("https://c", &[]), ("https://a", &["192.0.2.2"])]);

        assert_eq!(mine.take_doors(&others), 1);

        let both: &[&str] = &["192.0.2.2", "192.0.2.1"];
        let all = contact(&[("https://c", &[]), ("https://a", both), ("https://b", &[])]);
        assert_eq!(mine, all);
        assert_eq!(mine.take_doors(&others), 0);
        let many: Vec<_> = (0..MOST_DOORS).map(|n| format!("https://{n}")).collect();
        let many: Vec<(&str, &[&str])> = many.iter().map(|url| (url.as_str(), &[][..])).collect();
        assert_eq!(mine.take_doors(&contact(&many)), MOST_DOORS);
        assert_eq!(mine, contact(&many));
    }
}
