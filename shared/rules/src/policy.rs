//! What the policy decides: which gateways a device may use, and where it may go from there.
//!
//! This is the one place that evaluates a [`Policy`]: catalogs and rosters ask [`gateway`],
//! gateways' rule sets come from [`egress_rules`], and what explains a decision asks the same
//! functions, so that none can disagree with another. The first rule that matches decides; where
//! none does, the answer is no.
//!
//! Only those of a device's tags that the policy names can make a difference. So all devices of
//! one [`catalog_of`] are alike, and a catalog and a rule set for each such name are enough.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::policy::{Effect, EgressRule, IngressRule, Policy, Protocol, Transport, Who};
use model::{CatalogName, CohortName, Device, Gateway, PoolName, Role, RuleName, Tag};

/// Who asks: what rules can tell devices apart by.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The device's cohort.
    pub cohort: &'a CohortName,
    /// All of the device's tags, or at least those that the policy names.
    pub tags: &'a BTreeSet<Tag>,
}

impl<'a> From<&'a Device> for Subject<'a> {
    fn from(device: &'a Device) -> Self {
        Self {
            cohort: &device.cohort,
            tags: &device.tags,
        }
    }
}

impl<'a> From<&'a CatalogName> for Subject<'a> {
    fn from(name: &'a CatalogName) -> Self {
        Self {
            cohort: name.cohort(),
            tags: name.tags(),
        }
    }
}

/// Where a packet wants to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Its address, as it stands in the packet: rules match addresses and resolve nothing.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its transport.
    pub transport: Transport,
}

/// A decision and what made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Yes or no.
    pub allowed: bool,
    /// The rule that decided; `None` where no rule matched, which is a no.
    pub rule: Option<RuleName>,
}

impl Verdict {
    /// No, because nothing says yes.
    const NO_RULE: Self = Self {
        allowed: false,
        rule: None,
    };

    fn by(rule: Option<(Effect, &RuleName)>) -> Self {
        rule.map_or(Self::NO_RULE, |(effect, name)| Self {
            allowed: effect == Effect::Allow,
            rule: Some(name.clone()),
        })
    }
}

/// Whether `subject` may use `gateway` at all: it is for the subject's cohort, and the policy allows
/// its pool. Catalogs list it, and rosters let the device in, only then.
pub fn gateway(policy: &Policy, subject: Subject<'_>, gateway: &Gateway) -> Verdict {
    if !gateway.cohorts.contains(subject.cohort) {
        return Verdict::NO_RULE;
    }
    match gateway.role {
        Role::Ingress => ingress(policy, subject, &gateway.pool),
        Role::Egress => egress_gateway(policy, subject, &gateway.pool),
    }
}

/// Whether `subject` may use the ingress gateways of `pool`.
pub fn ingress(policy: &Policy, subject: Subject<'_>, pool: &PoolName) -> Verdict {
    let about = |rule: &&IngressRule| is_about(&rule.who, &rule.pools, subject, pool);
    let rule = policy.ingress.iter().find(about);
    Verdict::by(rule.map(|rule| (rule.effect, &rule.name)))
}

/// Whether `subject` may use the egress gateways of `pool` for some destination. A yes names the
/// rule that allows one; a no names the rule that denies all of them, if one alone does.
pub fn egress_gateway(policy: &Policy, subject: Subject<'_>, pool: &PoolName) -> Verdict {
    let rules: Vec<&EgressRule> = about_egress(policy, subject, pool).collect();
    let denies_all = |rule: &&&EgressRule| {
        let anything = rule.to.is_empty() && rule.ports.is_empty();
        rule.effect == Effect::Deny && anything && rule.protocol == Protocol::Any
    };
    let decides = reaches_something(&rules).or_else(|| rules.iter().find(denies_all).copied());
    Verdict::by(decides.map(|rule| (rule.effect, &rule.name)))
}

/// Whether `subject` may reach `destination` through the egress gateways of `pool`.
pub fn egress(
    policy: &Policy,
    subject: Subject<'_>,
    pool: &PoolName,
    destination: Destination,
) -> Verdict {
    among(about_egress(policy, subject, pool), destination)
}

/// What the first of `rules` that matches `destination` says, whoever asks: for a gateway that was
/// given the [`egress_rules`] of a device.
pub fn among<'a>(
    rules: impl IntoIterator<Item = &'a EgressRule>,
    destination: Destination,
) -> Verdict {
    let mut rules = rules.into_iter();
    let rule = rules.find(|rule| {
        let of_net = rule.to.is_empty() || rule.to.iter().any(|n| n.contains(&destination.address));
        of_net && is_for(rule, destination.transport, destination.port)
    });
    Verdict::by(rule.map(|rule| (rule.effect, &rule.name)))
}

/// The egress rules that hold for `subject` at the gateways of `pool`, in order, without the
/// conditions that are met: [`among`] them decides as [`egress`] does.
pub fn egress_rules(policy: &Policy, subject: Subject<'_>, pool: &PoolName) -> Vec<EgressRule> {
    let rules = about_egress(policy, subject, pool);
    rules
        .map(|rule| EgressRule {
            who: Who::default(),
            pools: BTreeSet::new(),
            ..rule.clone()
        })
        .collect()
}

/// The name of the catalog that is `subject`'s: its cohort, and those of its tags that the policy
/// names.
pub fn catalog_of(policy: &Policy, subject: Subject<'_>) -> CatalogName {
    let tags = policy.tags().intersection(subject.tags).cloned().collect();
    CatalogName::new(subject.cohort.clone(), tags)
}

/// The names of all catalogs that devices of `cohort` can have: one for each subset of the tags
/// that the policy names.
pub fn catalogs(policy: &Policy, cohort: &CohortName) -> Vec<CatalogName> {
    let mut subsets = vec![BTreeSet::new()];
    for tag in policy.tags() {
        let with: Vec<BTreeSet<Tag>> = subsets
            .iter()
            .map(|subset| subset.iter().cloned().chain([tag.clone()]).collect())
            .collect();
        subsets.extend(with);
    }
    let name = |tags| CatalogName::new(cohort.clone(), tags);
    subsets.into_iter().map(name).collect()
}

fn about_egress<'a>(
    policy: &'a Policy,
    subject: Subject<'a>,
    pool: &'a PoolName,
) -> impl Iterator<Item = &'a EgressRule> {
    let rules = policy.egress.iter();
    rules.filter(move |rule| is_about(&rule.who, &rule.pools, subject, pool))
}

fn is_about(who: &Who, pools: &BTreeSet<PoolName>, subject: Subject<'_>, pool: &PoolName) -> bool {
    (who.cohorts.is_empty() || who.cohorts.contains(subject.cohort))
        && who.tags.is_subset(subject.tags)
        && (pools.is_empty() || pools.contains(pool))
}

/// Whether `rule` is about packets of this kind, wherever they go.
fn is_for(rule: &EgressRule, transport: Transport, port: u16) -> bool {
    let of_protocol = matches!(
        (rule.protocol, transport),
        (Protocol::Any, _) | (Protocol::Tcp, Transport::Tcp) | (Protocol::Udp, Transport::Udp)
    );
    of_protocol && (rule.ports.is_empty() || rule.ports.iter().any(|ports| ports.contains(port)))
}

/// The rule that allows some destination, if any is allowed.
///
/// Exact, although it tries few ports: take the lowest allowed port of an allowed destination. Just
/// below it, the rule that allows it ends or an earlier one denies. So it is 1, the start of an
/// allowing range or one behind the end of a denying one.
fn reaches_something<'a>(rules: &[&'a EgressRule]) -> Option<&'a EgressRule> {
    let edges = rules.iter().flat_map(|rule| {
        rule.ports.iter().filter_map(|ports| match rule.effect {
            Effect::Allow => Some(ports.from()),
            Effect::Deny => ports.to().checked_add(1),
        })
    });
    let ports: BTreeSet<u16> = edges.chain([1]).collect();
    [Transport::Tcp, Transport::Udp]
        .into_iter()
        .flat_map(|transport| ports.iter().map(move |port| (transport, *port)))
        .find_map(|(transport, port)| {
            let rules = rules.iter().filter(|rule| is_for(rule, transport, port));
            reaches_some_address(rules.copied())
        })
}

/// The same for one transport and port, so that only networks are left to compare.
fn reaches_some_address<'a>(rules: impl Iterator<Item = &'a EgressRule>) -> Option<&'a EgressRule> {
    let everywhere = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let mut denied: Vec<IpNet> = Vec::new();
    for rule in rules {
        let to = match rule.to.as_slice() {
            [] => &everywhere,
            to => to,
        };
        match rule.effect {
            Effect::Deny => {
                denied.extend(to);
                // Neighbours become one: what all of them cover, one of them covers.
                denied = IpNet::aggregate(&denied);
            }
            Effect::Allow => {
                let is_open = |net: &IpNet| !denied.iter().any(|denied| denied.contains(net));
                if to.iter().any(is_open) {
                    return Some(rule);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
