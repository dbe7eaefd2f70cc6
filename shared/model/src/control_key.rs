//! The public half of the control key: what devices and gateways seal their requests to.
//!
//! Its text is base64url of the key configuration that Oblivious HTTP gives such keys (RFC 9458,
//! section 3.1), with the one suite that we use: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! `ChaCha20Poly1305` (RFC 9180, section 7). A key of another suite is refused, never skipped: whoever
//! did without a key that was given would send in the plain what was to be sealed.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// What stands between the key's id and the key: the KEM's id.
const KEM: [u8; 2] = 0x0020_u16.to_be_bytes();
/// What stands behind the key: how many bytes of suites follow, and the one suite.
const SUITES: [u8; 6] = [0, 4, 0, 1, 0, 3];
const LENGTH: usize = 1 + KEM.len() + 32 + SUITES.len();

/// A control key's public half, and the number that requests name it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControlKey {
    id: u8,
    key: [u8; 32],
}

impl ControlKey {
    /// The key with this number and these bytes (X25519, RFC 7748).
    pub const fn new(id: u8, key: [u8; 32]) -> Self {
        Self { id, key }
    }

    /// The number that requests name it by: a network's keys have each their own.
    pub const fn id(&self) -> u8 {
        self.id
    }

    /// The 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// The key configuration (RFC 9458, section 3.1).
    pub fn to_config(&self) -> Vec<u8> {
        [&[self.id][..], &KEM, &self.key, &SUITES].concat()
    }

    /// Reads a key configuration.
    fn from_config(config: &[u8]) -> Option<Self> {
        let config: &[u8; LENGTH] = config.try_into().ok()?;
        let (id, rest) = config.split_first()?;
        let rest = rest.strip_prefix(&KEM)?;
        let key = rest.strip_suffix(&SUITES)?.try_into().ok()?;
        Some(Self { id: *id, key })
    }
}

impl FromStr for ControlKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let config = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        config
            .and_then(|config| Self::from_config(&config))
            .ok_or_else(|| {
                let why = "it is damaged, or of a kind that this program does not know: update it";
                Invalid::new("control key", why)
            })
    }
}

impl TryFrom<String> for ControlKey {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ControlKey> for String {
    fn from(key: ControlKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for ControlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.to_config()))
    }
}

impl fmt::Debug for ControlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ControlKey({}: {self})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_which_is_rfc_9458_s_configuration() {
        let key = ControlKey::new(7, [9; 32]);

        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(
            key.to_config()[..4],
            [7, 0x00, 0x20, 9],
            "its number, and the KEM's id"
        );
        assert_eq!(key.to_config()[35..], [0, 4, 0, 1, 0, 3]);
    }

    #[test]
    fn a_key_of_another_kind_is_refused_and_says_what_to_do() {
        let good = ControlKey::new(7, [9; 32]).to_config();
        for place in [1, 2, 35, 36, 37, 38, 39, 40] {
            let mut other = good.clone();
            other[place] ^= 1;
            let read = BASE64URL_NOPAD.encode(&other).parse::<ControlKey>();
            assert!(read.unwrap_err().to_string().contains("update it"));
        }
        for length in [0, 1, 40] {
            let short = BASE64URL_NOPAD.encode(&good[..length]);
            assert!(short.parse::<ControlKey>().is_err());
        }
    }
}
