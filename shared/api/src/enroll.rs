//! The routes of the function `enroll`, for devices.

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use model::{
    Addresses, CatalogName, CohortName, DeviceId, DeviceState, ExitKey, HeldKey, IdentityKey,
    TunnelKey,
};
use serde::{Deserialize, Serialize};

/// `POST`: enrolls the device whose identity key signs. Idempotent.
pub const ENROLL: &str = "/v1/enroll";

/// `GET`: what the control plane knows of a device; signed by that device.
pub fn device(id: &DeviceId) -> String {
    format!("/v1/devices/{id}")
}

/// Asks for a place in the network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The invite's secret, base64url.
    pub invite: InviteSecret,
    /// The key for ingress gateways.
    pub tunnel_key: TunnelKey,
    /// The key for egress gateways.
    pub exit_key: ExitKey,
}

/// An invite's secret on its way. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InviteSecret(String);

impl InviteSecret {
    /// The secret of these bytes.
    pub fn new(secret: &[u8; crate::contact::SECRET_BYTES]) -> Self {
        Self(BASE64URL_NOPAD.encode(secret))
    }

    /// The bytes, or `None` if the text is not base64url.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64URL_NOPAD.decode(self.0.as_bytes()).ok()
    }
}

impl std::fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InviteSecret(…)")
    }
}

/// What a device is told of itself, at enrollment and at every contact.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeviceAnswer {
    /// Its id.
    pub device: DeviceId,
    /// Its state.
    pub state: DeviceState,
    /// Its rollout ring.
    pub cohort: CohortName,
    /// The catalog that it reads.
    pub catalog: CatalogName,
    /// Its tunnel addresses.
    pub addresses: Addresses,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// The key that it signs with now.
    pub identity_key: IdentityKey,
    /// The key that ingress gateways let in now.
    pub tunnel_key: TunnelKey,
    /// The key that egress gateways let in now.
    pub exit_key: ExitKey,
    /// Until when its keys from before the last rotation are let in, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Timestamp>,
    /// Since when an operator wants its keys rotated: it shall do so now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_wanted_at: Option<Timestamp>,
    /// The keys of its slices, this epoch's and the next's, and while their grace lasts the last ones'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<HeldKey>,
    /// When the next epoch shall begin: from then on there are keys of another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_epoch_at: Option<Timestamp>,
}
