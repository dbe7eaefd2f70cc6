//! What the callers know in the end: every request that was answered, and what became of it.

use std::collections::BTreeMap;

use api::admins::Token;
use api::enroll::DeviceAnswer;
use jiff::Timestamp;
use model::gateway::GatewayKeys;
use model::{
    Device, DeviceId, ExitKey, Gateway, GatewayId, IdentityKey, Invite, InviteId, TunnelKey,
};

/// All that all callers know.
#[derive(Default)]
pub struct Ledger {
    /// One for each device that asked to be enrolled.
    pub devices: Vec<DeviceTale>,
    /// One for each gateway.
    pub gateways: Vec<GatewayTale>,
    /// What the admins did.
    pub admins: AdminTale,
}

/// A device's three public keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeySet {
    /// What signs.
    pub identity: IdentityKey,
    /// For ingress gateways.
    pub tunnel: TunnelKey,
    /// For egress gateways.
    pub exit: ExitKey,
}

/// What a device knows of itself.
#[derive(Clone)]
pub struct DeviceTale {
    /// Its id.
    pub id: DeviceId,
    /// The invite that it showed.
    pub invite: InviteId,
    /// Every set of keys that is its own, the oldest first; empty if it was refused.
    pub sets: Vec<KeySet>,
    /// The set of a rotation whose answer was lost and which, sent again, was refused because the
    /// device had been revoked meanwhile: it was taken whole or not at all.
    pub unclear: Option<KeySet>,
    /// The last answer that told its state; none if it was revoked before any came.
    pub told: Option<DeviceAnswer>,
    /// Whether it was enrolled by a request whose answer was lost.
    pub was_unheard: bool,
}

impl DeviceTale {
    /// The sets of keys that were taken, as `record` decides what is unclear.
    pub fn taken(&self, record: &Device) -> Vec<KeySet> {
        let unclear = self
            .unclear
            .filter(|set| set.identity == record.identity_key);
        self.sets.iter().copied().chain(unclear).collect()
    }
}

/// What a gateway knows of itself.
#[derive(Clone)]
pub struct GatewayTale {
    /// The record as it was made.
    pub made: Gateway,
    /// Every set of keys that it took, the oldest first; empty before it has registered.
    pub sets: Vec<GatewayKeys>,
    /// The version that its next heartbeat must expect.
    pub version: u64,
    /// The load of its last heartbeat.
    pub load: Option<u8>,
    /// Until when the keys before the last rotation are let in.
    pub previous_until: Option<Timestamp>,
}

impl GatewayTale {
    /// Its id.
    pub fn id(&self) -> &GatewayId {
        &self.made.id
    }
}

/// What the admins know.
#[derive(Clone, Default)]
pub struct AdminTale {
    /// The invites as they were made.
    pub invites: BTreeMap<InviteId, Invite>,
    /// When invites were withdrawn.
    pub withdrawn: BTreeMap<InviteId, Timestamp>,
    /// When devices were revoked.
    pub revoked: BTreeMap<DeviceId, Timestamp>,
    /// The rotations that they asked for.
    pub wants: Vec<Want>,
    /// The sessions that they were given.
    pub sessions: Vec<Token>,
}

impl AdminTale {
    /// What two admins know together.
    pub fn join(&mut self, other: Self) {
        self.invites.extend(other.invites);
        for (id, at) in other.withdrawn {
            let before = self.withdrawn.insert(id.clone(), at);
            assert!(
                before.is_none_or(|before| before == at),
                "{id} was withdrawn twice"
            );
        }
        for (id, at) in other.revoked {
            let before = self.revoked.insert(id.clone(), at);
            assert!(
                before.is_none_or(|before| before == at),
                "{id} was revoked twice"
            );
        }
        self.wants.extend(other.wants);
        self.sessions.extend(other.sessions);
    }

    /// Of the rotations of `subject` that were asked for: the times that were answered, and how many
    /// more there may be, because their answers were lost.
    pub fn wants(&self, subject: &str) -> (Vec<Timestamp>, usize) {
        let wants = self.wants.iter().filter(|want| want.subject == subject);
        let (mut times, mut lost) = (Vec::new(), 0);
        for want in wants {
            times.extend(want.at);
            lost += want.lost;
        }
        times.sort_unstable();
        times.dedup();
        (times, lost)
    }
}

/// An admin asked a device or a gateway for new keys.
#[derive(Clone)]
pub struct Want {
    /// Its id.
    pub subject: String,
    /// Since when they are wanted, as was answered; none if it was refused.
    pub at: Option<Timestamp>,
    /// How many answers were lost before.
    pub lost: usize,
}
