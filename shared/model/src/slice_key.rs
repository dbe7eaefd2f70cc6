//! The secrets of sealed slices.
//!
//! An epoch has one secret, which only the store holds. From it comes a key for each slice of each
//! catalog (`tuf::slices`), and a device is given those of its own slices. Neither kind shows in `Debug`.

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::{CatalogName, Invalid};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// The secret with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                let bytes = BASE64.decode(text.as_bytes()).ok();
                let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
                // The text is a secret: the error does not repeat it.
                let why = "32 bytes in standard base64 expected";
                Ok(Self(bytes.ok_or_else(|| Invalid::new($what, why))?))
            }
        }

        impl From<$name> for String {
            fn from(secret: $name) -> Self {
                BASE64.encode(&secret.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

secret!(
    /// An epoch's secret, or the network's salt for who holds which slice.
    EpochSecret, "epoch secret"
);
secret!(
    /// Opens one slice of one catalog in one epoch.
    SliceKey, "slice key"
);

/// A key that a device holds, and what it opens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldKey {
    /// Of which catalog.
    pub catalog: CatalogName,
    /// In which epoch.
    pub epoch: u64,
    /// Of how many slices: a key of one out of two opens nothing of three.
    pub slices: u16,
    /// Which of them, from 0.
    pub slice: u16,
    /// The key.
    pub key: SliceKey,
}

impl HeldKey {
    /// Whether both open the same thing, were it in place of each other.
    pub fn is_for_the_same(&self, other: &Self) -> bool {
        let label = |held: &Self| (held.epoch, held.slices, held.slice);
        label(self) == label(other) && self.catalog == other.catalog
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_an_error_shows_a_secret() {
        let key = SliceKey::from_bytes([0xAB; 32]);
        let text = String::from(key.clone());
        let held = HeldKey {
            catalog: "default".parse().unwrap(),
            epoch: 3,
            slices: 4,
            slice: 1,
            key,
        };

        let shown = format!("{held:?} {:?}", EpochSecret::from_bytes([0xAB; 32]));
        let refusal = SliceKey::try_from(text[1..].to_owned()).unwrap_err();

        assert!(shown.contains("SliceKey(…)") && shown.contains("EpochSecret(…)"));
        assert!(!shown.contains(&text) && !shown.contains("171"), "{shown}");
        assert!(!refusal.to_string().contains(&text[1..]), "{refusal}");
        assert_eq!(serde_json::to_value(&held).unwrap()["key"], text);
    }
}
