//! The roster that a gateway holds: whom it lets in, and under which rules.
//!
//! It is made of the parts that the control plane signs, one shard at a time, and kept in a file of
//! its own beside the state, so that a gateway which restarts while the control plane is away goes
//! on letting in whom it let in. A shard stands, with the rules of the policy that it was made under,
//! until a newer one takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use api::roster::{Peers, Previous, RosterPart, RosterRequest};
use jiff::Timestamp;
use model::policy::EgressRule;
use model::{CatalogName, CohortName, GatewayId, NetworkId, Shard};
use serde::{Deserialize, Serialize};

use crate::StateError;
use crate::state::replace;

/// The schema that this code writes and reads.
const SCHEMA: &str = "postern-gateway-roster/1";
/// The file's name in the agent's data folder.
const FILE: &str = "roster.json";

/// Whom a gateway lets in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Roster {
    schema: String,
    /// When its newest part was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_at: Option<Timestamp>,
    /// The version of the policy that its newest part was made under.
    policy_version: u64,
    shards: BTreeMap<CohortName, BTreeMap<Shard, Held>>,
    /// The rules of egress gateways' devices, by the version of the policy that they come from.
    rules: BTreeMap<u64, BTreeMap<CatalogName, Vec<EgressRule>>>,
    /// Whether the file is older than this.
    #[serde(skip)]
    unsaved: bool,
}

/// A shard as it was pulled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Held {
    version: u64,
    policy_version: u64,
    peers: Peers,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            signed_at: None,
            policy_version: 0,
            shards: BTreeMap::new(),
            rules: BTreeMap::new(),
            unsaved: false,
        }
    }
}

impl Roster {
    /// The roster in `folder`; empty if there is none. One that cannot be read is pulled anew.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(StateError::File { path, error }),
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(roster) if roster.schema == SCHEMA => Ok(roster),
            read => {
                let why = read.err().map(|error| error.to_string());
                tracing::warn!(path = %path.display(), why, "the roster is pulled anew");
                Ok(Self::default())
            }
        }
    }

    /// Replaces the file in `folder` as a whole, if there is something new.
    pub fn save(&mut self, folder: &Path) -> Result<(), StateError> {
        if self.unsaved {
            replace(folder, FILE, || serde_json::to_vec(self))?;
            self.unsaved = false;
        }
        Ok(())
    }

    /// What to tell the control plane, so that only what differs comes back.
    pub fn request(&self) -> RosterRequest {
        let versions = |shards: &BTreeMap<Shard, Held>| {
            let fresh = shards.iter();
            let fresh = fresh.filter(|(_, held)| held.policy_version == self.policy_version);
            fresh.map(|(shard, held)| (*shard, held.version)).collect()
        };
        let shards = self.shards.iter();
        RosterRequest {
            policy_version: self.policy_version,
            shards: shards
                .map(|(cohort, shards)| (cohort.clone(), versions(shards)))
                .collect(),
        }
    }

    /// Takes a part whose signature was verified: the answer to [`Roster::request`]. One of another
    /// gateway or from before the last is refused, with the reason.
    pub fn take(
        &mut self,
        part: RosterPart,
        network: &NetworkId,
        gateway: &GatewayId,
    ) -> Result<(), String> {
        let ours = part.schema == RosterPart::SCHEMA
            && part.network == *network
            && part.gateway == *gateway;
        if !ours || self.signed_at.is_some_and(|last| part.signed_at < last) {
            let why = "the roster is refused: it is older than the last, or not for this gateway";
            return Err(why.to_owned());
        }
        let policy_version = part.policy_version;
        let before = (self.shards.len(), self.policy_version);
        self.signed_at = Some(part.signed_at);
        self.policy_version = policy_version;
        self.shards
            .retain(|cohort, _| part.cohorts.contains(cohort));
        self.unsaved |= before != (self.shards.len(), policy_version) || !part.shards.is_empty();

        let rules = self.rules.entry(policy_version).or_default();
        rules.extend(part.rules);
        for shard in part.shards {
            if !part.cohorts.contains(&shard.cohort) {
                continue;
            }
            let held = Held {
                version: shard.version,
                policy_version,
                peers: shard.peers,
            };
            let shards = self.shards.entry(shard.cohort).or_default();
            shards.insert(shard.shard, held);
        }
        if !part.more {
            // All that there is has come under this policy.
            for shards in self.shards.values_mut() {
                let before = shards.len();
                shards.retain(|_, held| held.policy_version == policy_version);
                self.unsaved |= before != shards.len();
            }
        }
        self.forget_rules();
        Ok(())
    }

    /// The WireGuard keys that are let in at `now`, tunnel keys at an ingress gateway and exit keys
    /// at an egress gateway; of a device within the grace of a rotation, both.
    pub fn keys(&self, now: Timestamp) -> BTreeSet<[u8; 32]> {
        let mut keys = BTreeSet::new();
        for held in self.shards.values().flat_map(BTreeMap::values) {
            match &held.peers {
                Peers::Ingress(peers) => {
                    for peer in peers {
                        keys.insert(*peer.tunnel_key.as_bytes());
                        keys.extend(valid(peer.previous, now).map(|key| *key.as_bytes()));
                    }
                }
                Peers::Egress(peers) => {
                    for peer in peers {
                        keys.insert(*peer.exit_key.as_bytes());
                        keys.extend(valid(peer.previous, now).map(|key| *key.as_bytes()));
                    }
                }
            }
        }
        keys
    }

    /// The rules that the device with this exit key is under at `now`, in order: the first that
    /// matches a destination decides, none is a no. `None` if it is not let in.
    pub fn rules(&self, exit_key: &[u8; 32], now: Timestamp) -> Option<&[EgressRule]> {
        let mut held = self.shards.values().flat_map(BTreeMap::values);
        held.find_map(|held| {
            let Peers::Egress(peers) = &held.peers else {
                return None;
            };
            let peer = peers.iter().find(|peer| {
                let previous = valid(peer.previous, now);
                peer.exit_key.as_bytes() == exit_key
                    || previous.is_some_and(|key| key.as_bytes() == exit_key)
            })?;
            let rules = self.rules.get(&held.policy_version)?.get(&peer.rules)?;
            Some(rules.as_slice())
        })
    }

    /// Forgets the rules of policies that no shard was made under any more.
    fn forget_rules(&mut self) {
        let held = self.shards.values().flat_map(BTreeMap::values);
        let used: BTreeSet<u64> = held.map(|held| held.policy_version).collect();
        self.rules.retain(|version, _| used.contains(version));
    }
}

fn valid<K>(previous: Option<Previous<K>>, now: Timestamp) -> Option<K> {
    let previous = previous.filter(|previous| now < previous.until)?;
    Some(previous.key)
}

#[cfg(test)]
mod tests;
