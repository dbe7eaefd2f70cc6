//! What a device remembers: one JSON document of the schema [`SCHEMA`], and beside it a [`Memory`].
//!
//! It holds secrets (private keys, the invite's while enrolling), so it is written by
//! [`crate::file`] alone, readable by its owner alone. Whatever a sync or a selection learns is
//! kept here, so that the next start begins where the last one ended. What a device can do without is
//! kept in the memory: a sync that brings nothing new writes that alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use api::enroll::{DeviceAnswer, InviteSecret};
use api::{IdentitySecret, InviteText, WireGuardSecret};
use jiff::Timestamp;
use model::{
    CatalogGateway, DeviceId, FirstContact, GatewayId, HeldKey, InviteId, NetworkId, TunnelKey,
};
use rules::clock::Verdict;
use rules::ranking::History;
use serde::{Deserialize, Serialize};
use tuf::TrustedState;

use crate::decisions::Log;
use crate::error::Error;
use crate::gist::Gist;

/// The schema that this code writes and reads.
pub const SCHEMA: &str = "postern-device/1";
/// What the schemas of all device files start with.
pub const SCHEMA_FAMILY: &str = "postern-device/";
/// The schema of the memory beside a device file.
pub const MEMORY_SCHEMA: &str = "postern-memory/1";
/// How many random bytes new keys need: three secrets.
pub const RANDOM_BYTES: usize = 96;

/// A device and all that it remembers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Device {
    /// [`SCHEMA`].
    pub schema: String,
    /// How the network was first reached, and where trust started.
    pub contact: FirstContact,
    /// The invite that it enrolls or enrolled with.
    pub invite: InviteId,
    /// The invite's secret, until enrollment is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite_secret: Option<InviteSecret>,
    /// Signs its requests.
    pub identity: IdentitySecret,
    /// The outer tunnel's secret.
    pub tunnel: WireGuardSecret,
    /// The inner tunnel's secret.
    pub exit: WireGuardSecret,
    /// The keys that it is about to take, from before they are first asked for until an answer tells
    /// that they stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_keys: Option<Keys>,
    /// What the control plane last said of it; None until it is enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<DeviceAnswer>,
    /// How contact with the control plane went. Of the memory.
    #[serde(default)]
    pub contacts: Contacts,
    /// What was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<TrustedState>,
    /// What was verified before, while nothing in `trusted` can be opened: the last catalog that could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<TrustedState>,
    /// Keys that the control plane gives no more and that still open what is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub old_keys: Vec<HeldKey>,
    /// Front doors by URL. Of the memory.
    #[serde(default)]
    pub doors: BTreeMap<String, DoorMemory>,
    /// Gateways by id. Of the memory.
    #[serde(default)]
    pub gateways: BTreeMap<String, History>,
    /// The gateways in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// The tunnel configs as they were last written.
    #[serde(default)]
    pub issued: Issued,
    /// What its person prefers.
    #[serde(default)]
    pub preferences: Preferences,
    /// What the last sync thought of this device's clock. Of the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockMemory>,
    /// What was decided, and why. Of the memory.
    #[serde(default)]
    pub decisions: Log,
    /// The gist of what was verified. Of the memory.
    #[serde(skip)]
    pub gist: Option<Gist>,
}

/// What a device can do without: how doors and gateways did, what was decided. Without it the device is
/// as one that has just enrolled and synced.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// [`MEMORY_SCHEMA`].
    pub schema: String,
    /// Whose it is.
    pub device: DeviceId,
    /// [`Device::contacts`].
    pub contacts: Contacts,
    /// [`Device::doors`].
    pub doors: BTreeMap<String, DoorMemory>,
    /// [`Device::gateways`].
    pub gateways: BTreeMap<String, History>,
    /// [`Device::clock`].
    pub clock: Option<ClockMemory>,
    /// [`Device::decisions`].
    pub decisions: Log,
    /// [`Device::gist`].
    pub gist: Option<Gist>,
}

/// What a sync thought of the device's clock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClockMemory {
    /// When, by that clock.
    pub judged_at: Timestamp,
    /// What it thought.
    pub verdict: Verdict,
    /// Since when the expiry of what is known is doubted. It stays while that is the same, whatever
    /// is thought later: so the doubt lengthens the grace of a version once, and not for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubted: Option<Doubted>,
}

/// A doubt about an expiry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Doubted {
    /// The version of the timestamp whose expiry is doubted.
    pub version: u64,
    /// Since when.
    pub since: Timestamp,
}

/// What is remembered of a front door.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DoorMemory {
    /// How it did.
    #[serde(default)]
    pub history: History,
    /// The entity tag of what it last served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Etag>,
    /// When it was last asked, as a witness, for a newer root than another door had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_at: Option<Timestamp>,
}

/// An entity tag, and what it stood for: it is sent back only while that is what we hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Etag {
    /// As the door sent it.
    pub value: String,
    /// The path that was asked for.
    pub path: String,
    /// The version of the timestamp in what was served.
    pub version: u64,
}

/// The gateways in use, as the catalog described them when they were chosen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Selection {
    /// Where the device enters.
    pub ingress: CatalogGateway,
    /// Where it leaves to the internet.
    pub egress: CatalogGateway,
    /// When they were chosen.
    pub at: Timestamp,
}

/// The three secrets of a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Keys {
    /// Signs its requests.
    pub identity: IdentitySecret,
    /// The outer tunnel's secret.
    pub tunnel: WireGuardSecret,
    /// The inner tunnel's secret.
    pub exit: WireGuardSecret,
}

/// How contact with the control plane went, and when it is due.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Contacts {
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// How often in a row it did not.
    #[serde(default)]
    pub failures: u32,
    /// When to try next; at once, if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
}

/// The tunnel configs as they were last written: what must be written anew when it differs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Issued {
    /// The outer tunnel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<IssuedHop>,
    /// The inner tunnel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<IssuedHop>,
}

impl Issued {
    /// The files that were written.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let hops = self.outer.iter().chain(&self.inner);
        hops.filter_map(|hop| hop.file.as_deref())
    }
}

/// One tunnel's config as it was last written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IssuedHop {
    /// The file; None if it was printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What stands in it.
    pub terms: Terms,
}

/// What a tunnel's config depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// This device's public key, base64.
    pub own_key: String,
    /// This device's addresses in the tunnel.
    pub addresses: (Ipv4Addr, Ipv6Addr),
    /// Where the tunnel ends.
    pub gateway: GatewayId,
    /// That gateway's key.
    pub gateway_key: TunnelKey,
    /// Where it is reached.
    pub endpoint: SocketAddr,
    /// At the outer tunnel, the one address that goes through it: the egress gateway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carries: Option<IpAddr>,
}

/// What the person at the device prefers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Preferences {
    /// Regions whose gateways come first; none: all are equal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
}

impl Keys {
    /// Keys made of random bytes.
    pub fn from_random(random: &[u8; RANDOM_BYTES]) -> Self {
        let part = |number: usize| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(&random[number * 32..][..32]);
            bytes
        };
        Self {
            identity: IdentitySecret::from_seed(part(0)),
            tunnel: WireGuardSecret::from_random(part(1)),
            exit: WireGuardSecret::from_random(part(2)),
        }
    }
}

impl Device {
    /// A device that is about to enroll with `invite`, with keys made of `random`.
    pub fn new(invite: &InviteText, random: &[u8; RANDOM_BYTES]) -> Self {
        let keys = Keys::from_random(random);
        Self {
            schema: SCHEMA.to_owned(),
            contact: invite.contact.clone(),
            invite: invite.id(),
            invite_secret: Some(InviteSecret::new(&invite.secret)),
            identity: keys.identity,
            tunnel: keys.tunnel,
            exit: keys.exit,
            next_keys: None,
            answer: None,
            contacts: Contacts::default(),
            trusted: None,
            opened: None,
            old_keys: Vec::new(),
            doors: BTreeMap::new(),
            gateways: BTreeMap::new(),
            selection: None,
            issued: Issued::default(),
            preferences: Preferences::default(),
            clock: None,
            decisions: Log::default(),
            gist: None,
        }
    }

    /// The device without its memory, and the memory.
    pub fn split(&self) -> (Self, Memory) {
        let mut device = self.clone();
        let memory = Memory {
            schema: MEMORY_SCHEMA.to_owned(),
            device: self.id(),
            contacts: std::mem::take(&mut device.contacts),
            doors: std::mem::take(&mut device.doors),
            gateways: std::mem::take(&mut device.gateways),
            clock: device.clock.take(),
            decisions: std::mem::take(&mut device.decisions),
            gist: device.gist.take(),
        };
        (device, memory)
    }

    /// Takes its memory back; one that is of another device, or of another version of this program, is
    /// none.
    pub fn remember(&mut self, memory: Memory) {
        if memory.schema != MEMORY_SCHEMA || memory.device != self.id() {
            return;
        }
        self.contacts = memory.contacts;
        self.doors = memory.doors;
        self.gateways = memory.gateways;
        self.clock = memory.clock;
        self.decisions = memory.decisions;
        self.gist = memory.gist;
    }

    /// Its id: the control plane's word for it, or what its key will make it.
    pub fn id(&self) -> DeviceId {
        self.answer.as_ref().map_or_else(
            || DeviceId::of(&self.identity.public()),
            |answer| answer.device.clone(),
        )
    }

    /// Its network.
    pub fn network(&self) -> &NetworkId {
        &self.contact.network
    }

    /// Remembers what is thought of its clock.
    pub fn judged_clock(&mut self, verdict: Verdict, now: Timestamp) {
        let version = self.trusted.as_ref().map(TrustedState::timestamp_version);
        let before = self.clock.take().and_then(|memory| memory.doubted);
        let doubted = before
            .filter(|doubted| Some(doubted.version) == version)
            // A clock that was far ahead must not lend time when it is right again.
            .map(|doubted| Doubted {
                since: doubted.since.min(now),
                ..doubted
            })
            .or_else(|| {
                let version = version.filter(|_| verdict.may_be_ahead())?;
                Some(Doubted {
                    version,
                    since: now,
                })
            });
        self.clock = Some(ClockMemory {
            judged_at: now,
            verdict,
            doubted,
        });
    }

    /// What the control plane last said; [`Error::Unfinished`] before enrollment.
    pub fn enrolled(&self) -> Result<&DeviceAnswer, Error> {
        self.answer
            .as_ref()
            .ok_or_else(|| Error::Unfinished { device: self.id() })
    }
}
