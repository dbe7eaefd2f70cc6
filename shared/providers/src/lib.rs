//! Providers: clouds that rent nodes, by the hour and for real money.
//!
//! [`Provider`] is what `control::fleet` needs of one, in the words of the glossary. An implementation is
//! a thin client of one API over [`api::http::Http`], the same natively and in a Worker:
//!
//! - A method that changes something makes **one** request, and never repeats it: whoever asked may
//!   have got no answer and must look before asking again ([`Fault::Unclear`]). What reads may need a
//!   request a page. So `control::fleet` can count every call, commit its intent before it, and be
//!   stopped just before or just after it.
//! - What was made is found again by its **name** and its **labels**, never by a stored id alone.
//! - What is told by nobody's documents (an unknown status, a field that is missing) is kept as
//!   [`ServerStatus::Other`] and the like: a provider that grows must not stop a clean-up.
//! - A token is never part of an error, a debug text or a record.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod hetzner;
pub mod record;
mod token;

pub use hetzner::Hetzner;
pub use token::Token;

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use model::{ImageName, NetworkId, ProviderName, RegionName, SizeName};
use serde::{Deserialize, Serialize};

pub use model::provider::{
    Address, Family, Firewall, ImageOffer, Inventory, Labels, NETWORK_LABEL, Offers, Opening,
    Price, Protocol, RegionOffer, ResourceId, ResourceKind, Server, ServerStatus, SizeOffer,
};

/// A cloud that rents nodes.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name, as fleets write it.
    fn name(&self) -> ProviderName;

    /// The most bytes of user data that a server takes.
    fn most_user_data(&self) -> usize;

    /// What the last answer said of the provider's rate limit.
    fn rate(&self) -> Option<Rate>;

    /// What it rents, where, for how much. Some requests, a page each.
    async fn offers(&self) -> Result<Offers, ProviderError>;

    /// Everything that carries the network's label, from the provider's own lists.
    async fn inventory(&self, network: &NetworkId) -> Result<Inventory, ProviderError>;

    /// The server of this name, whatever its labels. Where names are not unique it is the oldest: the
    /// others are in the inventory, and nobody's.
    async fn server(&self, name: &str) -> Result<Option<Server>, ProviderError>;

    /// The address of this name, whatever its labels.
    async fn address(&self, name: &str) -> Result<Option<Address>, ProviderError>;

    /// The firewall of this name, whatever its labels.
    async fn firewall(&self, name: &str) -> Result<Option<Firewall>, ProviderError>;

    /// Rents an address that belongs to no server yet, and stays when its server goes.
    async fn create_address(&self, new: &NewAddress) -> Result<Started<Address>, ProviderError>;

    /// Rents a server with the address and the firewall that are named, and boots it.
    async fn create_server(&self, new: &NewServer) -> Result<Started<Server>, ProviderError>;

    /// Makes a firewall that lets in what is named and nothing else.
    async fn create_firewall(&self, new: &NewFirewall) -> Result<Started<Firewall>, ProviderError>;

    /// Gives a resource these labels and no others.
    async fn label(
        &self,
        what: ResourceKind,
        id: &ResourceId,
        labels: &Labels,
    ) -> Result<(), ProviderError>;

    /// Cuts the server's power: it serves nobody any more.
    async fn power_off(&self, id: &ResourceId) -> Result<Option<ActionId>, ProviderError>;

    /// Takes the address from its server, which must be off.
    async fn release_address(&self, id: &ResourceId) -> Result<Option<ActionId>, ProviderError>;

    /// Ends the rent of a resource. It is gone when a list no longer has it, not when this answers.
    async fn delete(
        &self,
        what: ResourceKind,
        id: &ResourceId,
    ) -> Result<Option<ActionId>, ProviderError>;

    /// How far an action is.
    async fn poll(&self, action: &ActionId) -> Result<ActionState, ProviderError>;
}

/// The provider's id of something that it does after it answered.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(pub String);

/// A resource that was ordered, and what to poll until it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Started<T> {
    /// As the answer showed it.
    pub resource: T,
    /// The actions under way.
    pub actions: Vec<ActionId>,
}

/// How far an action is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ActionState {
    /// Not at its end, or in a state that this program does not know.
    Running,
    /// Done.
    Done,
    /// It failed; the provider's code and words.
    Failed {
        /// As `resource_unavailable`.
        code: String,
        /// For people.
        detail: String,
    },
}

/// An address to rent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewAddress {
    /// Its name.
    pub name: String,
    /// Where it will be used.
    pub region: RegionName,
    /// IPv4, or an IPv6 network.
    pub family: Family,
    /// Its labels.
    pub labels: Labels,
}

/// A server to rent.
#[derive(Clone, PartialEq, Eq)]
pub struct NewServer {
    /// Its name.
    pub name: String,
    /// Where it will stand.
    pub region: RegionName,
    /// How large it is.
    pub size: SizeName,
    /// What it boots from.
    pub image: ImageName,
    /// The address that it gets, in its region: the only one it has.
    pub address: ResourceId,
    /// Of which family that is.
    pub family: Family,
    /// The firewall that guards it from its first packet on.
    pub firewall: ResourceId,
    /// Its cloud-init user data; it may hold a secret.
    pub user_data: String,
    /// Its labels.
    pub labels: Labels,
}

impl std::fmt::Debug for NewServer {
    /// Without the user data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "NewServer({}, {}, {})",
            self.name, self.size, self.region
        )
    }
}

/// A firewall to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewFirewall {
    /// Its name.
    pub name: String,
    /// What it lets in.
    pub lets_in: BTreeSet<Opening>,
    /// Its labels.
    pub labels: Labels,
}

/// How many requests a provider still answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// The most there can be.
    pub limit: u32,
    /// What is left.
    pub remaining: u32,
    /// When it is the limit again.
    pub full_at: Option<Timestamp>,
}

/// Why a provider did not do what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{provider}: {doing}: {detail}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub struct ProviderError {
    /// Whose answer it is.
    pub provider: ProviderName,
    /// What was asked, as `create the server postern-n-gx`.
    pub doing: String,
    /// What the caller can do about it.
    pub fault: Fault,
    /// The provider's code, as `uniqueness_error`.
    pub code: Option<String>,
    /// The provider's words; never a credential.
    pub detail: String,
    /// The provider's id of the request, to ask its support.
    pub request: Option<Box<str>>,
}

/// What to do after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nobody knows whether it was done (no answer, or a server's error): look, then go on.
    Unclear,
    /// It was not done, and may be if asked again a little later (locked, a conflict, still in use).
    /// A read that failed is this too.
    Retry,
    /// It was not even sent: the calls of this run are used up ([`record::SPENT`]).
    Spent,
    /// Too many requests: not before this many seconds have gone.
    Wait {
        /// As the provider says, or a guess of one's own.
        seconds: u32,
    },
    /// Something has that name or is that way already: look, and adopt it if it is ours.
    Adopt,
    /// It is not there; what was to be deleted is gone.
    Gone,
    /// It cannot be had here now (sold out): take the fallback.
    Unavailable,
    /// The account's own limit is reached: an operator must raise it.
    Limit,
    /// The credential is not accepted or lacks the right: an operator must replace it.
    Credential,
    /// The request is wrong, and will be the next time.
    Refused,
}
