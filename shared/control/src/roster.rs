//! The roster: which keys a gateway lets in.
//!
//! Each active device has an entry in one of its cohort's 256 shards, and each shard a version that
//! every commit bumps which changes an entry: [`put`] and [`remove`] give the writes that enrolling,
//! rotating and revoking add to their commits. No two requests meet at one item but those whose
//! devices share a shard, and they only bump it.
//!
//! A gateway asks for the shards whose versions differ from those that it holds ([`pull`]). What it
//! gets is filtered by its cohorts and by the policy for its pool, and has of each device only what
//! the gateway's role must know. Versions are read before the entries, so that a shard is at least as
//! new as the version that it is labelled with. A policy that was applied since makes all shards
//! differ.

use std::collections::{BTreeMap, BTreeSet};

use api::roster::{
    EgressPeer, IngressPeer, Peers, Previous, RosterPart, RosterRequest, RosterShard,
};
use model::{
    CatalogName, CohortName, Device, DeviceId, ExitKey, Gateway, GatewayId, IdentityKey,
    LeaseIndex, Policy, Role, Shard, Tag, TunnelKey,
};
use rules::policy::{self as rule, Subject};
use serde::{Deserialize, Serialize};
use store::{Change, Expect, Range, StoreError, Write};

use crate::items::Read as _;
use crate::{Context, Error, items};

/// The most shards of one answer, each of which costs at least one query: Workers allow 50 of them
/// in a request.
const MOST_SHARDS: usize = 32;
/// With so many peers an answer takes no further shard. 256 shards of 1 M devices have some 4,000
/// peers each, of some 250 bytes: an answer stays near 2 MB (a gateway takes 4, Lambda gives 6).
const ENOUGH_PEERS: usize = 4000;

/// A device's entry in the roster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Whose it is.
    pub device: DeviceId,
    /// The key that ingress gateways let in.
    pub tunnel_key: TunnelKey,
    /// The key that egress gateways let in.
    pub exit_key: ExitKey,
    /// Its place in the address pools.
    pub lease: LeaseIndex,
    /// Marks that policies name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// The keys from before a rotation, while they still work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousKeys>,
}

/// A device's WireGuard keys from before a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PreviousKeys {
    /// The key that ingress gateways knew.
    pub tunnel_key: TunnelKey,
    /// The key that egress gateways knew.
    pub exit_key: ExitKey,
    /// From when on they are refused.
    pub until: jiff::Timestamp,
}

/// How often a shard was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardVersion {
    /// How often; from 1.
    pub version: u64,
}

/// The writes that let `device` in with its keys as they are now: for the commit that changes them.
/// They expect nothing and never fail; the device's own write is the guard.
pub fn put(context: &Context<'_>, device: &Device) -> Vec<Write> {
    vec![entry(device, context.moment.now), bump(device)]
}

/// The write of the entry of `device` with its keys as they are at `now`.
pub(crate) fn entry(device: &Device, now: jiff::Timestamp) -> Write {
    let previous = device.previous_at(now);
    let entry = Entry {
        device: device.id.clone(),
        tunnel_key: device.tunnel_key,
        exit_key: device.exit_key,
        lease: device.lease,
        tags: device.tags.clone(),
        previous: previous.map(|previous| PreviousKeys {
            tunnel_key: previous.tunnel_key,
            exit_key: previous.exit_key,
            until: previous.until,
        }),
    };
    let key = items::roster_entry(&device.cohort, &device.id);
    items::put(key, Expect::Any, &entry)
}

/// The writes that shut `device` out: for the commit that revokes it.
pub fn remove(device: &Device) -> Vec<Write> {
    let entry = Write {
        key: items::roster_entry(&device.cohort, &device.id),
        expect: Expect::Any,
        change: Change::Delete,
    };
    vec![entry, bump(device)]
}

fn bump(device: &Device) -> Write {
    Write {
        key: items::roster_version(&device.cohort, Shard::of(&device.id)),
        expect: Expect::Any,
        change: Change::Bump {
            field: "version".to_owned(),
        },
    }
}

/// The shards of the gateway `id` that differ from those that it holds, to be signed.
pub async fn pull(
    context: &Context<'_>,
    identity: IdentityKey,
    id: &GatewayId,
    request: &RosterRequest,
) -> Result<RosterPart, Error> {
    let now = context.moment.now;
    let keys = [items::gateway(id), items::policy()];
    let found = context.store.get_many(now, &keys).await?;
    let gateway: Option<Gateway> = items::read(found[0].as_ref())?;
    let Some(gateway) = gateway.filter(|gateway| gateway.is_signed_by(&identity, now)) else {
        return Err(crate::gateways::unknown(id));
    };
    let in_force = crate::policy::in_force(found[1].as_ref())?;
    let cohorts = served(&gateway);

    let is_fresh = request.policy_version == in_force.version;
    let mut differing = Vec::new();
    for cohort in &cohorts {
        let held = request.shards.get(cohort).filter(|_| is_fresh);
        differing.extend(compare(context, cohort, held).await?);
    }
    let mut roster = Filter::new(context, &in_force.policy, &gateway);
    let mut shards = Vec::new();
    let mut peers = 0;
    let mut differing = differing.into_iter().peekable();
    while shards.len() < MOST_SHARDS && peers < ENOUGH_PEERS {
        let Some((cohort, shard, version)) = differing.next() else {
            break;
        };
        let entries = entries(context, &cohort, shard).await?;
        let let_in = roster.peers(&cohort, &entries);
        peers += entries.len();
        shards.push(RosterShard {
            cohort,
            shard,
            version,
            peers: let_in,
        });
    }
    Ok(RosterPart {
        schema: RosterPart::SCHEMA.to_owned(),
        network: context.network.id.clone(),
        gateway: gateway.id.clone(),
        signed_at: now,
        policy_version: in_force.version,
        cohorts: cohorts.into_iter().collect(),
        rules: roster.rules(),
        shards,
        more: differing.peek().is_some(),
    })
}

/// The cohorts whose devices a gateway lets in. One that is out of service for good serves none.
fn served(gateway: &Gateway) -> BTreeSet<CohortName> {
    if gateway.state.is_over() {
        return BTreeSet::new();
    }
    gateway.cohorts.iter().cloned().collect()
}

/// The shards of `cohort` whose versions are not those that are `held`, with their versions.
async fn compare(
    context: &Context<'_>,
    cohort: &CohortName,
    held: Option<&BTreeMap<Shard, u64>>,
) -> Result<Vec<(CohortName, Shard, u64)>, Error> {
    let range = Range::all(items::roster_versions(cohort));
    let items = store::query_all(context.store, context.moment.now, &range).await?;
    // A shard that a gateway holds and the state does not know, as after a restore from a backup,
    // has version 0 here, and differs.
    let mut versions: BTreeMap<Shard, u64> = held
        .into_iter()
        .flat_map(|held| held.keys().map(|shard| (*shard, 0)))
        .collect();
    for item in &items {
        let shard: Shard = item
            .key
            .sk
            .parse()
            .map_err(|error: model::Invalid| StoreError::Corrupt(error.to_string()))?;
        versions.insert(shard, item.read::<ShardVersion>()?.version);
    }
    let is_held = |shard: &Shard, version: u64| {
        held.and_then(|held| held.get(shard)).copied() == Some(version)
    };
    Ok(versions
        .into_iter()
        .filter(|(shard, version)| !is_held(shard, *version))
        .map(|(shard, version)| (cohort.clone(), shard, version))
        .collect())
}

async fn entries(
    context: &Context<'_>,
    cohort: &CohortName,
    shard: Shard,
) -> Result<Vec<Entry>, Error> {
    let range = Range::all(items::roster_shard(cohort, shard));
    let items = store::query_all(context.store, context.moment.now, &range).await?;
    let entries = items.iter().map(store::Item::read);
    Ok(entries.collect::<Result<_, _>>()?)
}

/// What one gateway may see of the entries.
struct Filter<'a> {
    context: &'a Context<'a>,
    policy: &'a Policy,
    gateway: &'a Gateway,
    /// Whether devices of these names are let in: all devices of one name are alike.
    decided: BTreeMap<CatalogName, bool>,
}

impl<'a> Filter<'a> {
    fn new(context: &'a Context<'a>, policy: &'a Policy, gateway: &'a Gateway) -> Self {
        Self {
            context,
            policy,
            gateway,
            decided: BTreeMap::new(),
        }
    }

    fn peers(&mut self, cohort: &CohortName, entries: &[Entry]) -> Peers {
        let let_in = entries.iter().filter_map(|entry| {
            let name = self.admit(cohort, &entry.tags)?;
            Some((entry, name))
        });
        let let_in: Vec<(&Entry, CatalogName)> = let_in.collect();
        let let_in = let_in.into_iter();
        match self.gateway.role {
            Role::Ingress => {
                Peers::Ingress(let_in.map(|(entry, _)| self.ingress_peer(entry)).collect())
            }
            Role::Egress => Peers::Egress(
                let_in
                    .map(|(entry, name)| self.egress_peer(entry, name))
                    .collect(),
            ),
        }
    }

    /// The name that a device's rules go by, if the gateway lets it in.
    fn admit(&mut self, cohort: &CohortName, tags: &BTreeSet<Tag>) -> Option<CatalogName> {
        let name = rule::catalog_of(self.policy, Subject { cohort, tags });
        let (policy, gateway) = (self.policy, self.gateway);
        let is_in = *self
            .decided
            .entry(name.clone())
            .or_insert_with_key(|name| rule::gateway(policy, name.into(), gateway).allowed);
        is_in.then_some(name)
    }

    /// The rules of all devices that were let in so far, at an egress gateway.
    fn rules(&self) -> BTreeMap<CatalogName, Vec<model::policy::EgressRule>> {
        let names = self.decided.iter().filter(|(_, is_in)| **is_in);
        let names = names.filter(|_| self.gateway.role == Role::Egress);
        names
            .map(|(name, _)| {
                let rules = rule::egress_rules(self.policy, name.into(), &self.gateway.pool);
                (name.clone(), rules)
            })
            .collect()
    }

    fn ingress_peer(&self, entry: &Entry) -> IngressPeer {
        let pools = &self.context.network.pools;
        let addresses = pools.addresses(&entry.device, entry.lease);
        IngressPeer {
            tunnel_key: entry.tunnel_key,
            previous: self.previous(entry, |keys| keys.tunnel_key),
            outer: addresses.outer,
            outer6: addresses.outer6,
        }
    }

    fn egress_peer(&self, entry: &Entry, rules: CatalogName) -> EgressPeer {
        let pools = &self.context.network.pools;
        let addresses = pools.addresses(&entry.device, entry.lease);
        EgressPeer {
            exit_key: entry.exit_key,
            previous: self.previous(entry, |keys| keys.exit_key),
            inner: addresses.inner,
            inner6: addresses.inner6,
            rules,
        }
    }

    fn previous<K>(&self, entry: &Entry, key: fn(PreviousKeys) -> K) -> Option<Previous<K>> {
        let now = self.context.moment.now;
        let previous = entry.previous.filter(|previous| now < previous.until)?;
        Some(Previous {
            key: key(previous),
            until: previous.until,
        })
    }
}
