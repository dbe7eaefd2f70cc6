//! The policy: which devices may use which gateways, and where they may go from there.
//!
//! Two lists of rules. In each, the first rule that matches decides, and where none matches the
//! answer is no. A rule names devices ([`Who`]) and pools of gateways; an egress rule also names
//! destinations. What is left empty in a rule is no condition: no cohorts are all cohorts, no
//! pools all pools, no networks all addresses. `rules::policy` evaluates, this module only says what
//! a well-formed policy is; `docs/policy.md` is the page for operators.

mod ports;

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{CohortName, Invalid, PoolName, RuleName, Tag};

pub use ports::PortRange;

/// The most rules of a policy: a page that a person can still check.
pub const MOST_RULES: usize = 200;
/// The most distinct tags that a policy names. Each cohort has a catalog for each subset of them:
/// at most 16.
pub const MOST_TAGS: usize = 4;
/// The most networks of one rule.
pub const MOST_NETWORKS: usize = 100;
/// The most port ranges of one rule.
pub const MOST_PORTS: usize = 32;
/// The most slices of a catalog. Each is padded to 2 KiB at least: 256 of them are 700 KB of text.
pub const MOST_SLICES: u16 = 256;
/// The most slices that a device holds: an answer tells up to four epochs' keys of each, and shall stay
/// under 16 KB.
pub const MOST_HELD: u16 = 16;

/// What devices may do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// [`Policy::SCHEMA`].
    pub schema: String,
    /// Which devices may use which ingress gateways; the first match decides, none is a no.
    pub ingress: Vec<IngressRule>,
    /// Which devices may use which egress gateways for which destinations; likewise.
    pub egress: Vec<EgressRule>,
    /// How much of a catalog one device can read.
    #[serde(default)]
    pub disclosure: Disclosure,
}

/// How much of a catalog one device can read. A catalog's gateways lie in slices; a device holds the
/// keys of some.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub enum Disclosure {
    /// Whoever holds a catalog can read it, and catalogs are public.
    Open {},
    /// Slices are sealed.
    Sealed {
        /// Into how many slices each catalog is divided, 1 to [`MOST_SLICES`].
        slices: u16,
        /// How many of them each device holds, 1 to [`MOST_HELD`].
        held: u16,
    },
}

impl Default for Disclosure {
    /// Who reads a bucket learns nothing, and who is in the network is told all.
    fn default() -> Self {
        Self::Sealed { slices: 1, held: 1 }
    }
}

impl Disclosure {
    /// Refuses what cannot be.
    pub fn check(&self) -> Result<(), Invalid> {
        let Self::Sealed { slices, held } = *self else {
            return Ok(());
        };
        if !(1..=MOST_SLICES).contains(&slices) {
            return refuse(format!(
                "its disclosure has {slices} slices: from 1 to {MOST_SLICES} can be made"
            ));
        }
        if !(1..=slices.min(MOST_HELD)).contains(&held) {
            return refuse(format!(
                "its disclosure lets a device hold {held} of {slices} slices: from 1 to {} can be \
                 held",
                slices.min(MOST_HELD)
            ));
        }
        Ok(())
    }
}

/// What a rule that matches decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// Which devices a rule is about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    /// Devices of any of these cohorts; empty for all cohorts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cohorts: BTreeSet<CohortName>,
    /// Devices that have all of these tags.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
}

impl Who {
    fn is_everyone(&self) -> bool {
        *self == Self::default()
    }
}

/// A rule about ingress gateways.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngressRule {
    /// Its name, which no other rule of the policy has.
    pub name: RuleName,
    /// What it decides.
    pub effect: Effect,
    /// Which devices it is about.
    #[serde(default, skip_serializing_if = "Who::is_everyone")]
    pub who: Who,
    /// Gateways of any of these pools; empty for all pools.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pools: BTreeSet<PoolName>,
}

/// A rule about egress gateways and what lies behind them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// Its name, which no other rule of the policy has.
    pub name: RuleName,
    /// What it decides.
    pub effect: Effect,
    /// Which devices it is about.
    #[serde(default, skip_serializing_if = "Who::is_everyone")]
    pub who: Who,
    /// Gateways of any of these pools; empty for all pools.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pools: BTreeSet<PoolName>,
    /// Destinations in any of these networks; empty for anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<IpNet>,
    /// Destination ports in any of these ranges; empty for all ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortRange>,
    /// Which transports.
    #[serde(default, skip_serializing_if = "Protocol::is_any")]
    pub protocol: Protocol,
}

/// Which transports a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP and UDP.
    #[default]
    Any,
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
}

impl Protocol {
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "the form that serde's `skip_serializing_if` wants"
    )]
    fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

/// The transport of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Destinations that no packet of a device should reach: an egress gateway's own machine, its
/// neighbours at the provider, and the network's own pools, which lie inside these.
const NO_PRIVATE_RANGES: &[&str] = &[
    "0.0.0.0/8",      // RFC 1122: this host
    "10.0.0.0/8",     // RFC 1918
    "100.64.0.0/10",  // RFC 6598: shared address space, and the network's default pools
    "127.0.0.0/8",    // RFC 1122: loopback
    "169.254.0.0/16", // RFC 3927: link-local, where clouds serve their metadata
    "172.16.0.0/12",  // RFC 1918
    "192.168.0.0/16", // RFC 1918
    "224.0.0.0/4",    // RFC 5771: multicast
    "240.0.0.0/4",    // RFC 1112: reserved, with the broadcast address
    "::/128",         // RFC 4291: unspecified
    "::1/128",        // RFC 4291: loopback
    "::ffff:0:0/96",  // RFC 4291: IPv4-mapped, a way around the ranges above
    "64:ff9b:1::/48", // RFC 8215: NAT64 inside a provider's network
    "fc00::/7",       // RFC 4193: unique local, with the network's own prefix
    "fe80::/10",      // RFC 4291: link-local
    "fec0::/10",      // RFC 3879: site-local of old
    "ff00::/8",       // RFC 4291: multicast
];

/// SMTP and mail submission: whoever sends spam through an egress burns its address for all.
const MAIL_PORTS: &[u16] = &[25, 465, 587];

impl Default for Policy {
    /// The policy until an operator applies one: every device may use the ingress pool `ingress`,
    /// and by the egress pool `egress` reach the internet, but no private ranges and no mail.
    fn default() -> Self {
        fn name<T: std::str::FromStr<Err = Invalid>>(name: &str) -> T {
            name.parse().expect("a constant, valid name")
        }
        let deny = |text: &str| EgressRule {
            name: name(text),
            effect: Effect::Deny,
            who: Who::default(),
            pools: BTreeSet::new(),
            to: Vec::new(),
            ports: Vec::new(),
            protocol: Protocol::Any,
        };
        let networks = NO_PRIVATE_RANGES.iter();
        Self {
            schema: Self::SCHEMA.to_owned(),
            ingress: vec![IngressRule {
                name: name("everyone"),
                effect: Effect::Allow,
                who: Who::default(),
                pools: BTreeSet::from([name("ingress")]),
            }],
            egress: vec![
                EgressRule {
                    to: networks
                        .map(|net| net.parse().expect("a constant, valid network"))
                        .collect(),
                    ..deny("no-private-ranges")
                },
                EgressRule {
                    ports: MAIL_PORTS
                        .iter()
                        .map(|port| PortRange::one(*port))
                        .collect(),
                    protocol: Protocol::Tcp,
                    ..deny("no-mail")
                },
                EgressRule {
                    effect: Effect::Allow,
                    pools: BTreeSet::from([name("egress")]),
                    ..deny("internet")
                },
            ],
            disclosure: Disclosure::default(),
        }
    }
}

impl Policy {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-policy/1";

    /// The tags that some rule names: the only ones that tell devices apart.
    pub fn tags(&self) -> BTreeSet<Tag> {
        let whos = self.ingress.iter().map(|rule| &rule.who);
        whos.chain(self.egress.iter().map(|rule| &rule.who))
            .flat_map(|who| who.tags.iter().cloned())
            .collect()
    }

    /// Refuses what cannot be meant or would cost too much, and says what to do.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.schema != Self::SCHEMA {
            return refuse(format!(
                "its schema is '{}': write '{}'",
                self.schema,
                Self::SCHEMA
            ));
        }
        let rules = self.ingress.len() + self.egress.len();
        if rules > MOST_RULES {
            return refuse(format!(
                "it has {rules} rules: merge some, at most {MOST_RULES} are taken"
            ));
        }
        let names = self.ingress.iter().map(|rule| &rule.name);
        let mut seen = BTreeSet::new();
        for name in names.chain(self.egress.iter().map(|rule| &rule.name)) {
            if !seen.insert(name) {
                return refuse(format!(
                    "two rules are called '{name}': give each a name of its own, ingress and \
                     egress together"
                ));
            }
        }
        let tags = self.tags();
        if tags.len() > MOST_TAGS {
            let tags: Vec<_> = tags.iter().map(Tag::as_str).collect();
            return refuse(format!(
                "its rules name the tags {}: at most {MOST_TAGS} may be named, because every \
                 cohort has a catalog for each combination of them",
                tags.join(", ")
            ));
        }
        self.disclosure.check()?;
        self.egress.iter().try_for_each(EgressRule::check)
    }
}

impl EgressRule {
    fn check(&self) -> Result<(), Invalid> {
        let name = &self.name;
        if self.to.len() > MOST_NETWORKS || self.ports.len() > MOST_PORTS {
            return refuse(format!(
                "rule '{name}' has more than {MOST_NETWORKS} networks or {MOST_PORTS} port \
                 ranges: split it"
            ));
        }
        let wrong = self.to.iter().find(|net| net.trunc() != **net);
        if let Some(net) = wrong {
            return refuse(format!(
                "rule '{name}' names {net}, which is an address inside a network: write {}, or \
                 {}/{} for the one address",
                net.trunc(),
                net.addr(),
                net.max_prefix_len()
            ));
        }
        Ok(())
    }
}

fn refuse<T>(why: String) -> Result<T, Invalid> {
    Err(Invalid::new("policy", why))
}

#[cfg(test)]
mod tests;
