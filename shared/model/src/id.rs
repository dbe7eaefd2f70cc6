//! Identifiers.
//!
//! All are lowercase, safe in URLs, file names, RFC 1123 host names and provider labels
//! (`postern-<network>-<gateway>` stays under 63 characters). Those of devices, invites and admins
//! are hashes, so that whoever holds the key or the secret can derive them and nobody has to assign
//! them: a request that is sent twice names the same thing twice.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{IdentityKey, Invalid};

/// Characters of a hash in an id: 26 base32 characters hold 128 bits.
const HASH_CHARS: usize = 26;

/// RFC 4648 base32 in lowercase, without padding.
fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification
        .encoding()
        .expect("a constant, valid specification")
}

/// The first 128 bits of SHA-256 over `domain`, a zero byte and `bytes`, in base32.
fn hashed(domain: &str, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(domain.as_bytes());
    hash.update([0]);
    hash.update(bytes);
    base32().encode(&hash.finalize()[..16])
}

fn check(
    what: &'static str,
    prefix: &str,
    text: &str,
    length: Option<usize>,
) -> Result<(), Invalid> {
    let Some(rest) = text.strip_prefix(prefix) else {
        return Err(Invalid::new(
            what,
            format!("'{text}' does not start with '{prefix}'"),
        ));
    };
    let of_alphabet = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let right_length = length.map_or((4..=32).contains(&rest.len()), |n| rest.len() == n);
    if !right_length || !rest.chars().all(of_alphabet) {
        return Err(Invalid::new(
            what,
            format!(
                "'{text}' must be '{prefix}' and then {} lowercase letters or digits",
                length.map_or("4 to 32".to_owned(), |n| n.to_string())
            ),
        ));
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal, $length:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                check($what, $prefix, text, $length)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                check($what, $prefix, &text, $length)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A network: `n-` and 8 random base32 characters (40 bits).
    NetworkId, "network id", "n-", Some(8)
);
id!(
    /// A device: `d-` and the hash of its first identity key; it stays when the key rotates.
    DeviceId, "device id", "d-", Some(HASH_CHARS)
);
id!(
    /// An invite: `i-` and the hash of its secret.
    InviteId, "invite id", "i-", Some(HASH_CHARS)
);
id!(
    /// An admin: `a-` and the hash of their identity key.
    AdminId, "admin id", "a-", Some(HASH_CHARS)
);
id!(
    /// A gateway: `g-` and 4 to 32 characters, chosen before the node exists.
    GatewayId, "gateway id", "g-", None
);

impl NetworkId {
    /// The id drawn from 5 random bytes.
    pub fn from_random(random: [u8; 5]) -> Self {
        Self(format!("n-{}", base32().encode(&random)))
    }
}

impl DeviceId {
    /// The id of the device whose first identity key is `key`.
    pub fn of(key: &IdentityKey) -> Self {
        Self(format!("d-{}", hashed("postern device", key.as_bytes())))
    }
}

impl InviteId {
    /// The id of the invite whose secret is `secret`: what the control plane is told and stores.
    pub fn of(secret: &[u8]) -> Self {
        Self(format!("i-{}", hashed("postern invite", secret)))
    }
}

impl AdminId {
    /// The id of the admin whose identity key is `key`.
    pub fn of(key: &IdentityKey) -> Self {
        Self(format!("a-{}", hashed("postern admin", key.as_bytes())))
    }
}

impl GatewayId {
    /// The id drawn from 10 random bytes.
    pub fn from_random(random: [u8; 10]) -> Self {
        Self(format!("g-{}", base32().encode(&random)))
    }
}

/// The hash under which a gateway's bootstrap secret is stored, 26 base32 characters.
pub fn bootstrap_hash(secret: &[u8]) -> String {
    hashed("postern bootstrap", secret)
}

/// Whether `text` has the form of the hashes of this module.
pub fn is_hash(text: &str) -> bool {
    let bytes = base32().decode(text.as_bytes());
    bytes.is_ok_and(|bytes| bytes.len() == 16)
}

/// The hash by which the function `admin` knows the setup code, 26 base32 characters.
pub fn setup_hash(secret: &[u8]) -> String {
    hashed("postern setup", secret)
}

/// The hash under which a login's challenge is stored, 26 base32 characters.
pub fn challenge_hash(challenge: &[u8]) -> String {
    hashed("postern challenge", challenge)
}

/// The hash under which a session's secret is stored, 26 base32 characters.
pub fn session_hash(secret: &[u8]) -> String {
    hashed("postern session", secret)
}

/// A short name for an identity key in item keys and logs, 26 base32 characters.
pub fn key_hash(key: &IdentityKey) -> String {
    hashed("postern identity", key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_the_wrong_kind_is_refused_with_the_form_it_should_have() {
        let error = "g-abcd".parse::<NetworkId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "network id is not valid: 'g-abcd' does not start with 'n-'"
        );
        assert!("d-UPPER".parse::<DeviceId>().is_err());
        assert!("g-../etc".parse::<GatewayId>().is_err());
    }

    #[test]
    fn a_device_id_depends_on_the_key_alone() {
        let id = DeviceId::of(&IdentityKey::from_bytes([7; 32]));
        assert_eq!(id, DeviceId::of(&IdentityKey::from_bytes([7; 32])));
        assert_ne!(id, DeviceId::of(&IdentityKey::from_bytes([8; 32])));
        assert_eq!(id.as_str().parse::<DeviceId>(), Ok(id));
    }

    #[test]
    fn a_hash_is_told_from_other_text() {
        let hash = bootstrap_hash(b"secret");
        assert!(is_hash(&hash));
        for other in [
            "",
            "x",
            &hash[1..],
            &hash.to_uppercase(),
            &format!("{hash}a"),
        ] {
            assert!(!is_hash(other), "{other}");
        }
    }

    #[test]
    fn a_gateway_server_name_fits_a_host_name() {
        let network = NetworkId::from_random([255; 5]);
        let gateway = GatewayId::from_random([255; 10]);
        assert!(format!("postern-{network}-{gateway}").len() <= 63);
    }
}
