//! Public keys, 32 bytes each, as standard base64 in text and JSON.
//!
//! Three kinds that must never be exchanged for one another: a device's or gateway's Ed25519
//! identity, the X25519 key that ingress gateways know, and the one that egress gateways know.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::Invalid;

fn decode(what: &'static str, text: &str) -> Result<[u8; 32], Invalid> {
    let bytes = BASE64
        .decode(text.as_bytes())
        .map_err(|error| Invalid::new(what, format!("not standard base64: {error}")))?;
    bytes.try_into().map_err(|bytes: Vec<u8>| {
        Invalid::new(what, format!("32 bytes expected, found {}", bytes.len()))
    })
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The key with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Ok(Self(decode($what, text)?))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(key: $name) -> Self {
                BASE64.encode(&key.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE64.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

key!(
    /// An Ed25519 public key (RFC 8032): who signs requests.
    IdentityKey, "identity key"
);
key!(
    /// The X25519 public key (RFC 7748) of a WireGuard interface: a device's outer tunnel, or a
    /// gateway's interface.
    TunnelKey, "tunnel key"
);
key!(
    /// The X25519 public key of a device's inner tunnel, which only egress gateways know.
    ExitKey, "exit key"
);
