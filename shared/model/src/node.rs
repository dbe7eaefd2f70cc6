//! Nodes: what is rented for one gateway, and how far that is.
//!
//! The record is the intent. It is written before the first call that costs money and before each
//! that cannot be undone, and says after each what came of it, so that whoever reads it can go on
//! from any point. What a provider told of ids is kept for people: a resource is always found again
//! by its name and its labels.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::provider::{Price, ResourceId};
use crate::{
    CohortName, GatewayId, ImageName, Mode, Pool, PoolName, ProviderName, RegionName, Role,
    SizeName,
};

/// A rented node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// The gateway that it is for; its server and its address are named after it.
    pub gateway: GatewayId,
    /// The pool that it belongs to.
    pub pool: PoolName,
    /// What it does.
    pub role: Role,
    /// Who rents it out.
    pub provider: ProviderName,
    /// What was chosen of the pool's regions, sizes and image.
    pub place: Place,
    /// The UDP port of its tunnels.
    pub port: u16,
    /// The cohorts whose catalogs may list its gateway.
    pub cohorts: Vec<CohortName>,
    /// [`Mode::Live`] for the fleet, [`Mode::Smoke`] for a trial.
    pub mode: Mode,
    /// From when on anybody may remove it: of a trial alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// How far it is.
    pub stage: Stage,
    /// Since when it is there.
    pub changed_at: Timestamp,
    /// When the intent was written.
    pub created_at: Timestamp,
    /// What the provider told of it: for people, and never trusted alone.
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub hints: Hints,
    /// What it costs, as offered when it was intended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// When its server was made: it must register soon after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_at: Option<Timestamp>,
    /// When its gateway was first seen to be well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proved_at: Option<Timestamp>,
    /// Why it is being removed, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<String>,
    /// What its provider refused or left open, one after the other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// Until when it is left alone after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The last of it, in words; never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Node {
    /// The intent of a live node of a pool at a place.
    pub fn intended(
        name: &PoolName,
        pool: &Pool,
        place: Place,
        gateway: GatewayId,
        now: Timestamp,
    ) -> Self {
        Self {
            gateway,
            pool: name.clone(),
            role: pool.role,
            provider: pool.provider.clone(),
            place,
            port: pool.port,
            cohorts: pool.cohorts.clone(),
            mode: Mode::Live,
            expires_at: None,
            stage: Stage::Intent,
            changed_at: now,
            created_at: now,
            hints: Hints::default(),
            price: None,
            server_at: None,
            proved_at: None,
            leaving: None,
            tries: 0,
            not_before: None,
            last_error: None,
        }
    }
}

/// Where a node stands, how large it is, what it boots from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The region.
    pub region: RegionName,
    /// The size.
    pub size: SizeName,
    /// The image.
    pub image: ImageName,
}

/// What the provider told of a node's resources.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Hints {
    /// The server's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ResourceId>,
    /// The address's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<ResourceId>,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl Hints {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde's `skip_serializing_if` wants"
)]
fn is_zero(tries: &u32) -> bool {
    *tries == 0
}

/// How far a node is: what is written in its record before the next thing is done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is wanted. Its address is about to be rented.
    Intent,
    /// It has an address and a gateway's record. Its server is about to be rented.
    Address,
    /// It has a server, which boots.
    Server,
    /// Its gateway has registered.
    Registered,
    /// Its gateway is, or was, in service.
    Active,
    /// Its gateway serves the devices that it has, and takes no more.
    Draining,
    /// Nobody needs it. Its server is about to be switched off.
    Drained,
    /// Its server is off, or there is none. Its address is about to be taken from it.
    Off,
    /// Its address belongs to no server. Both are about to be deleted.
    Released,
    /// Both are deleted, says the provider; its lists may still show them.
    Deleted,
    /// The provider's lists were seen without it: it is gone.
    Absent,
}

impl Stage {
    /// Whether it is on its way out.
    pub fn is_leaving(self) -> bool {
        self >= Self::Draining
    }

    /// Whether it is gone, which the provider's lists have shown.
    pub fn is_over(self) -> bool {
        self == Self::Absent
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intent => "intent",
            Self::Address => "address",
            Self::Server => "server",
            Self::Registered => "registered",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Off => "off",
            Self::Released => "released",
            Self::Deleted => "deleted",
            Self::Absent => "absent",
        })
    }
}

/// What a pool's nodes went through together.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolState {
    /// How many nodes were ever intended: the next one's number, which its id is made of.
    pub intended: u64,
    /// How many in a row never came into service.
    pub failures: u32,
    /// Until when no more are made after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// What an operator must look at, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// What was found to be sold out although it was on offer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sold_out: Vec<SoldOut>,
}

/// A size that a region had none of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SoldOut {
    /// The region.
    pub region: RegionName,
    /// The size.
    pub size: SizeName,
    /// Until when it is not asked for again.
    pub until: Timestamp,
}
