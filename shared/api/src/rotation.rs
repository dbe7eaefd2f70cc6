//! Rotation: a device or a gateway takes new keys.
//!
//! The request is signed with the **new** identity key, and the present one endorses it in the body:
//! a signature over network, id and all new keys ([`Endorsement`]). So the caller shows in one request
//! that they hold the new key and that the old one agrees, and the same request is right whether an
//! earlier copy of it arrived or not, however late it is sent again: if it arrived, its signer is the
//! present key. Nobody is locked out by a lost answer, even one that is noticed after the grace
//! (docs/adr/0009).
//!
//! Whoever rotates writes the new keys down before they ask, and keeps both sets until an answer tells
//! which one stands. From the answer on the new keys are theirs; the keys from before are let in until
//! the end of the grace.

use data_encoding::BASE64;
use jiff::Timestamp;
use model::{DeviceId, ExitKey, GatewayId, IdentityKey, Invalid, NetworkId, TunnelKey};
use serde::{Deserialize, Serialize};

use crate::secret::{self, IdentitySecret};

/// Why an endorsement does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EndorsementError {
    /// The key that signs is the one that it is to follow.
    #[error("the new identity key must be another than the present one: make new keys")]
    SameKey,
    /// Another key made it, or over something else.
    #[error(
        "'endorsement' was not made by 'from' over the network, the id, the key that signs and the \
         keys in the body"
    )]
    NotMade,
}

/// What an endorsement's text begins with: no other signature of an identity key can be one.
const DOMAIN: &[u8] = b"postern rotation";

/// `POST`: gives a device new keys; signed with the new identity key. Idempotent.
pub fn device_keys(id: &DeviceId) -> String {
    format!("/v1/devices/{id}/keys")
}

/// `POST`: gives a gateway new keys; signed with the new identity key. Idempotent.
pub fn gateway_keys(id: &GatewayId) -> String {
    format!("/v1/gateways/{id}/keys")
}

/// Gives the device new keys, all three at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateDevice {
    /// The present identity key, which endorses the new ones.
    pub from: IdentityKey,
    /// The new key for ingress gateways.
    pub tunnel_key: TunnelKey,
    /// The new key for egress gateways.
    pub exit_key: ExitKey,
    /// The present identity key's word for the new ones.
    pub endorsement: Endorsement,
}

impl RotateDevice {
    /// The request that lets the holder of `from` go on with `to` and these WireGuard keys.
    pub fn new(
        network: &NetworkId,
        id: &DeviceId,
        from: &IdentitySecret,
        to: IdentityKey,
        (tunnel_key, exit_key): (TunnelKey, ExitKey),
    ) -> Self {
        let keys = [tunnel_key.as_bytes(), exit_key.as_bytes()];
        Self {
            from: from.public(),
            tunnel_key,
            exit_key,
            endorsement: Endorsement::make(from, &text(network, id.as_str(), to, &keys)),
        }
    }

    /// Refuses an endorsement that `from` did not make for `signer` and these keys.
    pub fn check(
        &self,
        network: &NetworkId,
        id: &DeviceId,
        signer: IdentityKey,
    ) -> Result<(), EndorsementError> {
        let keys = [self.tunnel_key.as_bytes(), self.exit_key.as_bytes()];
        let text = text(network, id.as_str(), signer, &keys);
        self.endorsement.check(&self.from, signer, &text)
    }
}

/// Gives the gateway new keys, both at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateGateway {
    /// The present identity key, which endorses the new ones.
    pub from: IdentityKey,
    /// The new key of its WireGuard interface.
    pub tunnel_key: TunnelKey,
    /// The present identity key's word for the new ones.
    pub endorsement: Endorsement,
}

impl RotateGateway {
    /// The request that lets the holder of `from` go on with `to` and this WireGuard key.
    pub fn new(
        network: &NetworkId,
        id: &GatewayId,
        from: &IdentitySecret,
        to: IdentityKey,
        tunnel_key: TunnelKey,
    ) -> Self {
        let text = text(network, id.as_str(), to, &[tunnel_key.as_bytes()]);
        Self {
            from: from.public(),
            tunnel_key,
            endorsement: Endorsement::make(from, &text),
        }
    }

    /// Refuses an endorsement that `from` did not make for `signer` and this key.
    pub fn check(
        &self,
        network: &NetworkId,
        id: &GatewayId,
        signer: IdentityKey,
    ) -> Result<(), EndorsementError> {
        let text = text(network, id.as_str(), signer, &[self.tunnel_key.as_bytes()]);
        self.endorsement.check(&self.from, signer, &text)
    }
}

/// What a gateway is told when its keys were rotated.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatewayRotated {
    /// The version that the next heartbeat, signed with the new key, must expect.
    pub version: u64,
    /// Until when devices may still use the tunnel key from before.
    pub previous_until: Timestamp,
}

/// An Ed25519 signature by the present identity key over what it is to be followed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endorsement([u8; 64]);

impl Endorsement {
    fn make(from: &IdentitySecret, text: &[u8]) -> Self {
        Self(from.sign(text))
    }

    fn check(
        &self,
        from: &IdentityKey,
        to: IdentityKey,
        text: &[u8],
    ) -> Result<(), EndorsementError> {
        if *from == to {
            return Err(EndorsementError::SameKey);
        }
        if !secret::verify(from, text, &self.0) {
            return Err(EndorsementError::NotMade);
        }
        Ok(())
    }
}

/// What is endorsed: every part of fixed length or closed by a zero byte, which no id holds.
fn text(network: &NetworkId, id: &str, to: IdentityKey, keys: &[&[u8; 32]]) -> Vec<u8> {
    let mut text = Vec::new();
    for part in [DOMAIN, network.as_str().as_bytes(), id.as_bytes()] {
        text.extend_from_slice(part);
        text.push(0);
    }
    text.extend_from_slice(to.as_bytes());
    for key in keys {
        text.extend_from_slice(*key);
    }
    text
}

impl TryFrom<String> for Endorsement {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        let bytes = BASE64.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let why = "64 bytes in standard base64 expected";
        Ok(Self(bytes.ok_or_else(|| Invalid::new("endorsement", why))?))
    }
}

impl From<Endorsement> for String {
    fn from(endorsement: Endorsement) -> Self {
        BASE64.encode(&endorsement.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];

    fn network() -> NetworkId {
        "n-abcdefgh".parse().unwrap()
    }

    fn secret(seed: [u8; 32]) -> IdentitySecret {
        IdentitySecret::from_seed(seed)
    }

    fn id() -> DeviceId {
        DeviceId::of(&secret(OLD).public())
    }

    fn request() -> RotateDevice {
        let keys = (TunnelKey::from_bytes([3; 32]), ExitKey::from_bytes([4; 32]));
        RotateDevice::new(&network(), &id(), &secret(OLD), secret(NEW).public(), keys)
    }

    #[test]
    fn the_present_key_s_word_holds_for_what_it_endorsed_after_a_journey() {
        let json = serde_json::to_string(&request()).unwrap();
        let received: RotateDevice = serde_json::from_str(&json).unwrap();
        assert_eq!(
            received.check(&network(), &id(), secret(NEW).public()),
            Ok(())
        );
    }

    #[test]
    fn a_change_of_anything_endorsed_is_refused() {
        let new = secret(NEW).public();
        let refused = |request: RotateDevice, network: &str, id: &DeviceId, signer| {
            let network = network.parse().unwrap();
            let refused = request.check(&network, id, signer);
            assert_eq!(refused, Err(EndorsementError::NotMade));
        };
        let other = DeviceId::of(&new);
        refused(request(), "n-bbbbbbbb", &id(), new);
        refused(request(), "n-abcdefgh", &other, new);
        refused(request(), "n-abcdefgh", &id(), secret([9; 32]).public());
        let tunnel = RotateDevice {
            tunnel_key: TunnelKey::from_bytes([9; 32]),
            ..request()
        };
        refused(tunnel, "n-abcdefgh", &id(), new);
        let exit = RotateDevice {
            exit_key: ExitKey::from_bytes([9; 32]),
            ..request()
        };
        refused(exit, "n-abcdefgh", &id(), new);
        let from = RotateDevice {
            from: secret([9; 32]).public(),
            ..request()
        };
        refused(from, "n-abcdefgh", &id(), new);
    }

    #[test]
    fn a_key_cannot_follow_itself() {
        let old = secret(OLD);
        let keys = (TunnelKey::from_bytes([3; 32]), ExitKey::from_bytes([4; 32]));
        let request = RotateDevice::new(&network(), &id(), &old, old.public(), keys);
        let refused = request.check(&network(), &id(), old.public());
        assert_eq!(refused, Err(EndorsementError::SameKey));
    }

    #[test]
    fn a_gateway_s_endorsement_is_not_a_device_s() {
        let gateway: GatewayId = "g-0001".parse().unwrap();
        let tunnel = TunnelKey::from_bytes([3; 32]);
        let new = secret(NEW).public();
        let request = RotateGateway::new(&network(), &gateway, &secret(OLD), new, tunnel);
        assert_eq!(request.check(&network(), &gateway, new), Ok(()));
        let other: GatewayId = "g-0002".parse().unwrap();
        assert!(request.check(&network(), &other, new).is_err());
    }
}
