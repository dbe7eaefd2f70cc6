//! Providers and what they rent: the nouns that plans are made of.
//!
//! An implementation of `providers::Provider` fills them in from a cloud's own lists. What is told by
//! nobody's documents is kept ([`ServerStatus::Other`], `None`): a provider that grows must not stop a
//! clean-up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AdminId, Amount, Currency, ImageName, Invalid, RegionName, SizeName};

/// Labels of a resource, as the provider keeps them.
pub type Labels = BTreeMap<String, String>;

/// The label that every resource of ours has; its value is the network's id.
pub const NETWORK_LABEL: &str = "postern-network";

/// The kinds of resources that cost money, or stand in the way of what does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    /// A server.
    Server,
    /// A public address.
    Address,
    /// A firewall.
    Firewall,
}

/// The provider's id of a resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(pub String);

/// A server, as the provider lists it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Server {
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// What it does.
    pub status: ServerStatus,
    /// Where it stands.
    pub region: Option<RegionName>,
    /// How large it is.
    pub size: Option<SizeName>,
    /// What it was booted from, where that is still known.
    pub image: Option<ImageName>,
    /// Its public IPv4 address.
    pub ipv4: Option<std::net::Ipv4Addr>,
    /// Its public IPv6 address, the first of its network.
    pub ipv6: Option<Ipv6Addr>,
    /// The addresses that are rented apart and are assigned to it.
    pub addresses: BTreeSet<ResourceId>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
}

/// What a server does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerStatus {
    /// It is being made, started or moved.
    Starting,
    /// It runs.
    Running,
    /// It is off.
    Off,
    /// It is being deleted.
    Deleting,
    /// What this program does not know, as the provider wrote it.
    Other(String),
}

/// A public address that is rented apart from servers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Address {
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// The address; of an IPv6 network the first.
    pub ip: IpAddr,
    /// Where it can be used.
    pub region: Option<RegionName>,
    /// The server that has it.
    pub server: Option<ResourceId>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
}

/// A firewall.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Firewall {
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// What it lets in; nothing where one of its rules is not of that form.
    pub lets_in: BTreeSet<Opening>,
    /// The servers that it guards.
    pub servers: BTreeSet<ResourceId>,
}

/// A port that a firewall lets everybody reach.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Opening {
    /// The protocol.
    pub protocol: Protocol,
    /// The port; none for ICMP.
    pub port: Option<u16>,
}

/// A protocol that a firewall tells apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP: the tunnels'.
    Udp,
    /// ICMP: path MTU discovery needs it.
    Icmp,
}

/// All that carries a network's label.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// The servers, by name.
    pub servers: Vec<Server>,
    /// The addresses, by name.
    pub addresses: Vec<Address>,
    /// The firewalls, by name.
    pub firewalls: Vec<Firewall>,
}

impl Inventory {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.addresses.is_empty() && self.firewalls.is_empty()
    }
}

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What a provider rents.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Offers {
    /// The currency of all its prices.
    pub currency: Currency,
    /// The regions that there are.
    pub regions: BTreeSet<RegionName>,
    /// The sizes that there are.
    pub sizes: BTreeMap<SizeName, SizeOffer>,
    /// The images that there are, by name and by number.
    pub images: BTreeMap<ImageName, ImageOffer>,
    /// What an address costs, by family and region.
    pub addresses: BTreeMap<Family, BTreeMap<RegionName, Price>>,
}

/// A size of servers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SizeOffer {
    /// The processors' architecture (`x86`, `arm`), as images name it.
    pub architecture: String,
    /// In which regions it is offered, at which price, and whether one can be had now.
    pub regions: BTreeMap<RegionName, RegionOffer>,
}

/// A size in a region.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegionOffer {
    /// What it costs.
    pub price: Price,
    /// Whether one can be had now; false is sold out.
    pub available: bool,
}

/// An image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImageOffer {
    /// For which architectures it is there.
    pub architectures: BTreeSet<String>,
}

/// What something costs, with tax.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Price {
    /// An hour.
    pub hour: Amount,
    /// A month: the most that is billed for one.
    pub month: Amount,
}

/// What may be done at a provider.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is changed: plans are shown, and no more.
    #[default]
    Plan,
    /// Labelled, expiring, capped nodes for a trial alone.
    Smoke,
    /// The fleet's nodes, too.
    Live,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan => "plan",
            Self::Smoke => "smoke",
            Self::Live => "live",
        })
    }
}

impl FromStr for Mode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "plan" => Ok(Self::Plan),
            "smoke" => Ok(Self::Smoke),
            "live" => Ok(Self::Live),
            _ => {
                let why = format!("'{text}' must be 'plan', 'smoke' or 'live'");
                Err(Invalid::new("mode", why))
            }
        }
    }
}

/// What an operator allows at a provider. Until one says so, it is [`Mode::Plan`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProviderPolicy {
    /// What may be done.
    pub mode: Mode,
    /// Who approved of [`Mode::Live`]: never absent in that mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// The most that the node of a smoke run may cost an hour, its address included.
    #[serde(default = "ProviderPolicy::smoke_most_per_hour")]
    pub smoke_most_per_hour: Amount,
}

/// An owner's word that money may be spent on the fleet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approval {
    /// Who gave it.
    pub by: AdminId,
    /// When.
    pub at: Timestamp,
    /// Why; what the audit shows.
    pub reason: String,
    /// From when on it does not hold any more, if it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Default for ProviderPolicy {
    fn default() -> Self {
        Self {
            mode: Mode::Plan,
            approval: None,
            smoke_most_per_hour: Self::smoke_most_per_hour(),
        }
    }
}

impl ProviderPolicy {
    /// Five hundredths of the currency's unit: several times the smallest node of any provider.
    fn smoke_most_per_hour() -> Amount {
        Amount(50_000)
    }

    /// What may be done at `now`: live needs an approval that still holds.
    pub fn mode_at(&self, now: Timestamp) -> Mode {
        let holds = |approval: &Approval| approval.expires_at.is_none_or(|end| now < end);
        match self.mode {
            Mode::Live if !self.approval.as_ref().is_some_and(holds) => Mode::Plan,
            mode => mode,
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Address => "address",
            Self::Firewall => "firewall",
        })
    }
}

impl Price {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            hour: self.hour.plus(other.hour),
            month: self.month.plus(other.month),
        }
    }
}
