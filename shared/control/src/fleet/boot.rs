//! The secret that a node registers with: derived, so that asking for the same server twice is the same
//! request, and no database holds it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use model::{GatewayId, Invalid, NetworkId};
use sha2::Sha256;

/// What all bootstrap secrets are derived from: held by `reconcile` alone.
#[derive(Clone)]
pub struct BootstrapKey([u8; 32]);

impl BootstrapKey {
    /// The key of these bytes, which must be random.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads standard base64.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bytes = data_encoding::BASE64.decode(text.trim().as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        // The text is a secret: the error does not repeat it.
        let why = "32 bytes in standard base64 expected";
        Ok(Self(
            bytes.ok_or_else(|| Invalid::new("bootstrap key", why))?,
        ))
    }

    /// The bootstrap secret of a gateway: HMAC-SHA-256 (RFC 2104) of the network and the gateway,
    /// cut to 128 bits.
    pub fn secret(&self, network: &NetworkId, gateway: &GatewayId) -> [u8; 16] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in ["postern bootstrap", network.as_str(), gateway.as_str()] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        let mut secret = [0; 16];
        secret.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        secret
    }
}

impl fmt::Debug for BootstrapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootstrapKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_one_secret_under_a_key_and_shares_it_with_no_other() {
        let secret = |key: u8, network: &str, gateway: &str| {
            let key = BootstrapKey::from_bytes([key; 32]);
            key.secret(&network.parse().unwrap(), &gateway.parse().unwrap())
        };
        let one = secret(1, "n-abcdefgh", "g-aaaa");
        assert_eq!(one, secret(1, "n-abcdefgh", "g-aaaa"));
        assert_ne!(one, secret(2, "n-abcdefgh", "g-aaaa"));
        assert_ne!(one, secret(1, "n-abcdefgi", "g-aaaa"));
        assert_ne!(one, secret(1, "n-abcdefgh", "g-aaab"));
    }

    #[test]
    fn neither_debug_nor_an_error_shows_the_key() {
        let text = data_encoding::BASE64.encode(&[7; 32]);
        let key = BootstrapKey::parse(&text).unwrap();
        assert_eq!(format!("{key:?}"), "BootstrapKey(…)");
        let error = BootstrapKey::parse("c2hvcnQ=").unwrap_err();
        assert!(!error.to_string().contains("c2hvcnQ"));
    }
}
