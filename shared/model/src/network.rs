//! A network's settings: what every function knows before it reads the store.

use serde::{Deserialize, Serialize};

use crate::{AddressPools, Invalid, NetworkId};

/// The settings of a network. They change by deployment, not by request, so no request reads or
/// checks an item for them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Where devices' tunnel addresses come from.
    pub pools: AddressPools,
    /// Its rhythm.
    pub timing: Timing,
    /// Whether devices and gateways may send nothing but sealed requests: what travels in the plain
    /// is refused, whoever asks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed_only: bool,
}

/// How often things happen and how long they last, in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// From one heartbeat of a gateway to the next, 1 to 3,600.
    pub heartbeat: u32,
    /// How many heartbeats in a row must be missed before a gateway counts as silent, 2 to 100.
    pub missed_heartbeats: u32,
    /// How long a timestamp is valid. It is renewed at a quarter of that, so that a client that
    /// compares notes with any mirror learns of a freeze within it.
    pub timestamp: u32,
    /// How long snapshots and catalogs are valid.
    pub catalog: u32,
    /// For how long the keys from before a rotation still work: the grace.
    #[serde(default = "Timing::default_rotation_grace")]
    pub rotation_grace: u32,
    /// How long an epoch of the slices' keys lasts, from 60: at most for so long, and a grace, can a
    /// device that was revoked read catalogs.
    #[serde(default = "Timing::default_epoch")]
    pub epoch: u32,
    /// For how long the keys of the last epoch still open new catalogs, from 1 to an epoch: how long
    /// a device may be away from the control plane after an epoch that it has no keys of began.
    #[serde(default = "Timing::default_epoch_grace")]
    pub epoch_grace: u32,
    /// How long a revoked device's address rests: until no gateway can hold an older config.
    pub lease_rest: u32,
}

impl Default for Timing {
    /// A day of control plane outage passes unnoticed, and a lost gateway is gone in 90 seconds.
    fn default() -> Self {
        Self {
            heartbeat: 30,
            missed_heartbeats: 3,
            timestamp: 24 * 3600,
            catalog: 7 * 24 * 3600,
            rotation_grace: Self::default_rotation_grace(),
            epoch: Self::default_epoch(),
            epoch_grace: Self::default_epoch_grace(),
            lease_rest: 24 * 3600,
        }
    }
}

impl Timing {
    /// Two days: longer than a device that syncs daily can miss.
    const fn default_rotation_grace() -> u32 {
        48 * 3600
    }

    /// A week: devices make contact every six hours.
    const fn default_epoch() -> u32 {
        7 * 24 * 3600
    }

    /// Three days: a long weekend without the control plane.
    const fn default_epoch_grace() -> u32 {
        3 * 24 * 3600
    }

    /// Refuses values outside the documented ranges.
    pub fn check(&self) -> Result<(), Invalid> {
        let refuse = |why: &str| Err(Invalid::new("timing", why));
        if !(1..=3600).contains(&self.heartbeat) {
            return refuse("heartbeat must be from 1 to 3600 seconds");
        }
        if !(2..=100).contains(&self.missed_heartbeats) {
            return refuse("missed_heartbeats must be from 2 to 100");
        }
        if self.timestamp < 60 || self.catalog < self.timestamp {
            return refuse("timestamp must be at least 60 seconds, and catalog at least as long");
        }
        if self.epoch < 60 || !(1..=self.epoch).contains(&self.epoch_grace) {
            return refuse(
                "epoch must be at least 60 seconds, and epoch_grace from 1 second to an epoch",
            );
        }
        Ok(())
    }
}
