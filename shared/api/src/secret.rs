//! The secret halves of identities and tunnels, as devices and gateways keep them.
//!
//! Secrets are made from random bytes that are passed in, are written as standard base64 (as
//! WireGuard's tools do), and never show in `Debug`.

use data_encoding::BASE64;
use ed25519_compact::{KeyPair, Noise, Seed, Signature, x25519};
use model::{ExitKey, IdentityKey, Invalid, TunnelKey};
use serde::{Deserialize, Serialize};

/// An Ed25519 secret: the seed of RFC 8032.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentitySecret([u8; 32]);

impl IdentitySecret {
    /// The secret with this random seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// The public half.
    pub fn public(&self) -> IdentityKey {
        IdentityKey::from_bytes(*self.pair().pk)
    }

    /// Signs `message`; the same message always gives the same signature (RFC 8032).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        *self.pair().sk.sign(message, None::<Noise>)
    }

    fn pair(&self) -> KeyPair {
        KeyPair::from_seed(Seed::new(self.0))
    }
}

/// Whether `signature` by `key` covers `message`. Strict: keys of small order and signatures that
/// are not canonical are refused.
pub fn verify(key: &IdentityKey, message: &[u8], signature: &[u8]) -> bool {
    let key = ed25519_compact::PublicKey::new(*key.as_bytes());
    Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// An X25519 secret of a WireGuard interface.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WireGuardSecret([u8; 32]);

impl WireGuardSecret {
    /// The secret made from 32 random bytes, clamped as RFC 7748 (section 5) asks.
    pub fn from_random(mut random: [u8; 32]) -> Self {
        random[0] &= 0b1111_1000;
        random[31] = (random[31] & 0b0111_1111) | 0b0100_0000;
        Self(random)
    }

    /// The public half, as an outer tunnel's or a gateway's key.
    pub fn tunnel_key(&self) -> TunnelKey {
        TunnelKey::from_bytes(self.public())
    }

    /// The public half, as an inner tunnel's key.
    pub fn exit_key(&self) -> ExitKey {
        ExitKey::from_bytes(self.public())
    }

    fn public(&self) -> [u8; 32] {
        let public = x25519::SecretKey::new(self.0)
            .recover_public_key()
            .expect("a clamped scalar times the base point is never the identity");
        *public
    }

    /// The secret as WireGuard's tools write it: for a config file only.
    pub fn reveal(&self) -> String {
        BASE64.encode(&self.0)
    }
}

macro_rules! as_base64 {
    ($name:ident, $what:literal) => {
        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                let bytes = BASE64.decode(text.as_bytes()).ok();
                let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                // The text is a secret: the error does not repeat it.
                Ok(Self(bytes.ok_or_else(|| {
                    Invalid::new($what, "32 bytes in standard base64 expected")
                })?))
            }
        }

        impl From<$name> for String {
            fn from(secret: $name) -> Self {
                BASE64.encode(&secret.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

as_base64!(IdentitySecret, "identity secret");
as_base64!(WireGuardSecret, "WireGuard secret");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wireguard_keys_match_rfc_7748_section_6_1() {
        let bytes = |hex: &str| -> [u8; 32] {
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
            bytes.try_into().unwrap()
        };
        let secret = WireGuardSecret::from_random(bytes(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        ));
        assert_eq!(
            *secret.tunnel_key().as_bytes(),
            bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        );
    }

    #[test]
    fn secrets_never_show_in_debug() {
        let identity = IdentitySecret::from_seed([7; 32]);
        let tunnel = WireGuardSecret::from_random([7; 32]);
        assert_eq!(
            format!("{identity:?} {tunnel:?}"),
            "IdentitySecret(…) WireGuardSecret(…)"
        );
    }

    #[test]
    fn a_signature_covers_its_message_alone() {
        let secret = IdentitySecret::from_seed([7; 32]);
        let signature = secret.sign(b"open");
        assert!(verify(&secret.public(), b"open", &signature));
        assert!(!verify(&secret.public(), b"shut", &signature));
        assert!(!verify(
            &IdentityKey::from_bytes([0; 32]),
            b"open",
            &signature
        ));
    }
}
