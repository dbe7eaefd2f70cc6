//! The secret halves of the control keys, as the functions `enroll` and `register` hold them.
//!
//! There are several while one takes the other's place: each request names the one that it is sealed to.

use data_encoding::BASE64;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, Serializable};
use model::{ControlKey, Invalid};
use serde::{Deserialize, Serialize};

/// The schema of the file and of the setting.
const SCHEMA: &str = "postern-control-keys/1";
/// The most keys that there may be: while one takes another's place, two are enough.
const MOST_KEYS: usize = 8;

/// The secret half of a control key. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSecret {
    id: u8,
    #[serde(with = "base64")]
    secret: [u8; 32],
}

/// The control keys of a network, none of them with another's number. It is a file, and a setting.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct ControlSecrets(Vec<ControlSecret>);

impl ControlSecret {
    /// The secret of these random bytes, under the number that requests will name.
    pub const fn from_random(id: u8, random: [u8; 32]) -> Self {
        Self { id, secret: random }
    }

    /// The public half.
    pub fn public(&self) -> ControlKey {
        let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&self.secret)
            .expect("32 bytes are a secret of X25519");
        ControlKey::new(
            self.id,
            X25519HkdfSha256::sk_to_pk(&secret).to_bytes().into(),
        )
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl ControlSecrets {
    /// These keys, the newest first.
    pub fn new(keys: Vec<ControlSecret>) -> Result<Self, Invalid> {
        let numbers: std::collections::BTreeSet<_> = keys.iter().map(|key| key.id).collect();
        if keys.len() > MOST_KEYS || numbers.len() != keys.len() {
            let why = format!("there must be at most {MOST_KEYS}, each with a number of its own");
            return Err(Invalid::new("list of control keys", why));
        }
        Ok(Self(keys))
    }

    /// The public halves, the newest first.
    pub fn public(&self) -> Vec<ControlKey> {
        self.0.iter().map(ControlSecret::public).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and, as the newest, one more of `random` under a number that none of them has.
    pub fn with_new(&self, random: [u8; 32]) -> Result<Self, Invalid> {
        let newest = self.0.first().map_or(0, |key| key.id);
        let free = (1..=u8::MAX).map(|step| newest.wrapping_add(step));
        let id = free.into_iter().find(|id| self.find(*id).is_none());
        let new = ControlSecret::from_random(id.unwrap_or_default(), random);
        Self::new([vec![new], self.0.clone()].concat())
    }

    /// These without the one of this number.
    #[must_use]
    pub fn without(&self, id: u8) -> Self {
        let left = self.0.iter().filter(|key| key.id != id);
        Self(left.cloned().collect())
    }

    pub(super) fn find(&self, id: u8) -> Option<&ControlSecret> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Reads the text of the file or the setting. An error never repeats what it holds.
    pub fn from_json(text: &str) -> Result<Self, Invalid> {
        serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let why = format!("it cannot be read at line {line}, column {column}");
            Invalid::new("list of control keys", why)
        })
    }

    /// The text of the file and of the setting. It is a secret.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }
}

impl std::fmt::Debug for ControlSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ControlSecret({}: …)", self.id)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: String,
    keys: Vec<ControlSecret>,
}

impl TryFrom<Written> for ControlSecrets {
    type Error = Invalid;

    fn try_from(written: Written) -> Result<Self, Invalid> {
        if written.schema != SCHEMA {
            let why = format!("this program reads the schema '{SCHEMA}' alone");
            return Err(Invalid::new("list of control keys", why));
        }
        Self::new(written.keys)
    }
}

impl From<ControlSecrets> for Written {
    fn from(keys: ControlSecrets) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            keys: keys.0,
        }
    }
}

mod base64 {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::BASE64;

    pub fn serialize<S: Serializer>(secret: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(secret))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let bytes = BASE64.decode(text.as_bytes()).ok();
        // The text is a secret: the error does not repeat it.
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| D::Error::custom("32 bytes in standard base64 expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_text_and_never_show_in_debug_or_errors() {
        let keys = ControlSecrets::default().with_new([7; 32]).unwrap();
        let text = keys.to_json();

        assert_eq!(ControlSecrets::from_json(&text), Ok(keys.clone()));
        let secret = BASE64.encode(&[7; 32]);
        assert!(text.contains(&secret) && !format!("{keys:?}").contains(&secret));
        let damaged = text.replace("\"keys\"", "\"kees\"");
        let error = ControlSecrets::from_json(&damaged).unwrap_err();
        assert!(!error.to_string().contains(&secret));
    }

    #[test]
    fn a_new_key_has_a_number_of_its_own_and_an_old_one_can_go() {
        let one = ControlSecrets::default().with_new([1; 32]).unwrap();
        let both = one.with_new([2; 32]).unwrap();
        let [new, old] = both.public()[..] else {
            panic!("two keys");
        };

        assert_eq!(one.public(), [old]);
        assert_ne!((new.id(), new.as_bytes()), (old.id(), old.as_bytes()));
        assert_eq!(both.without(old.id()).public(), [new]);
        let twice = vec![ControlSecret::from_random(1, [1; 32]); 2];
        assert!(ControlSecrets::new(twice).is_err());
    }

    #[test]
    fn numbers_begin_again_after_the_last() {
        let last = ControlSecret::from_random(255, [1; 32]);
        let keys = ControlSecrets::new(vec![last]).unwrap();

        assert_eq!(keys.with_new([2; 32]).unwrap().public()[0].id(), 0);
    }
}
