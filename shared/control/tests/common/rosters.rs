//! Gateways that pull their rosters, and devices of other kinds than the usual one.

use std::collections::{BTreeMap, BTreeSet};

use api::admin::NewInvite;
use api::policy::{ApplyPolicy, PolicyView};
use api::roster::{EgressPeer, IngressPeer, Peers, RosterPart, RosterRequest, RosterShard};
use control::{Error, invites, policy, roster};
use jiff::Timestamp;
use model::policy::EgressRule;
use model::{CatalogName, CohortName, InviteId, Policy, Shard};
use serde_json::Value;

use super::nodes::{gateway_id, gateway_identity};
use super::{START, Stage, after, limits, operator, secret};

/// What the gateway `number` holds of its roster.
pub struct Holder {
    number: u8,
    policy_version: u64,
    shards: BTreeMap<(CohortName, Shard), RosterShard>,
    rules: BTreeMap<CatalogName, Vec<EgressRule>>,
}

impl Holder {
    pub fn new(number: u8) -> Self {
        Self {
            number,
            policy_version: 0,
            shards: BTreeMap::new(),
            rules: BTreeMap::new(),
        }
    }

    pub fn request(&self) -> RosterRequest {
        let mut shards: BTreeMap<CohortName, BTreeMap<Shard, u64>> = BTreeMap::new();
        for ((cohort, shard), held) in &self.shards {
            let of_cohort = shards.entry(cohort.clone()).or_default();
            of_cohort.insert(*shard, held.version);
        }
        RosterRequest {
            policy_version: self.policy_version,
            shards,
        }
    }

    /// One part, taken.
    pub async fn pull_one(&mut self, stage: &Stage, now: Timestamp) -> Result<RosterPart, Error> {
        let context = stage.context(now);
        let (identity, id) = (gateway_identity(self.number), gateway_id(self.number));
        let part = roster::pull(&context, identity, &id, &self.request()).await?;
        if part.policy_version != self.policy_version {
            self.shards.clear();
            self.rules.clear();
            self.policy_version = part.policy_version;
        }
        self.shards
            .retain(|(cohort, _), _| part.cohorts.contains(cohort));
        for shard in part.shards.clone() {
            self.shards
                .insert((shard.cohort.clone(), shard.shard), shard);
        }
        self.rules.extend(part.rules.clone());
        Ok(part)
    }

    /// All parts; how many shards there were.
    pub async fn pull(&mut self, stage: &Stage, now: Timestamp) -> usize {
        let mut shards = 0;
        loop {
            let part = self.pull_one(stage, now).await.unwrap();
            shards += part.shards.len();
            if !part.more {
                return shards;
            }
        }
    }

    pub fn ingress(&self) -> Vec<&IngressPeer> {
        let peers = self.shards.values().flat_map(|shard| match &shard.peers {
            Peers::Ingress(peers) => peers,
            Peers::Egress(_) => panic!("an ingress gateway is given tunnel keys"),
        });
        peers.collect()
    }

    pub fn egress(&self) -> Vec<(&EgressPeer, &[EgressRule])> {
        let peers = self.shards.values().flat_map(|shard| match &shard.peers {
            Peers::Egress(peers) => peers,
            Peers::Ingress(_) => panic!("an egress gateway is given exit keys"),
        });
        let with_rules = |peer: &'_ EgressPeer| self.rules[&peer.rules].as_slice();
        peers.map(|peer| (peer, with_rules(peer))).collect()
    }

    /// The keys that are let in.
    pub fn keys(&self) -> BTreeSet<[u8; 32]> {
        let shards = self.shards.values();
        let keys = shards.flat_map(|shard| match &shard.peers {
            Peers::Ingress(peers) => {
                let keys = peers.iter().map(|peer| *peer.tunnel_key.as_bytes());
                keys.collect::<Vec<_>>()
            }
            Peers::Egress(peers) => {
                let keys = peers.iter().map(|peer| *peer.exit_key.as_bytes());
                keys.collect()
            }
        });
        keys.collect()
    }

    /// The version of each shard.
    pub fn versions(&self) -> BTreeMap<Shard, u64> {
        let shards = self.shards.iter();
        shards
            .map(|((_, shard), held)| (*shard, held.version))
            .collect()
    }
}

impl Stage {
    /// Makes the invite of [`secret`]`(number)` for devices of a cohort with tags.
    pub async fn invite_for(&self, number: u8, cohort: &str, tags: &[&str]) {
        let new = NewInvite {
            id: InviteId::of(&secret(number)),
            cohort: cohort.parse().unwrap(),
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            uses: 10,
            expires_at: after(3600),
            note: String::new(),
        };
        let mut limits = limits();
        limits.cohorts = vec![new.cohort.clone()];
        invites::create(&self.context(START), &limits, &operator(), new)
            .await
            .unwrap();
    }

    /// Applies a policy over the version in force.
    pub async fn apply(&self, now: Timestamp, policy: &Policy) -> PolicyView {
        let context = self.context(now);
        let request = ApplyPolicy {
            expected_version: policy::show(&context).await.unwrap().version,
            policy: policy.clone(),
        };
        policy::apply(&context, &operator(), request).await.unwrap()
    }
}

/// A valid policy of these rules.
pub fn policy(ingress: &Value, egress: &Value) -> Policy {
    let document = serde_json::json!({
        "schema": Policy::SCHEMA, "ingress": ingress, "egress": egress,
    });
    let policy: Policy = serde_json::from_value(document).unwrap();
    policy.check().unwrap();
    policy
}
