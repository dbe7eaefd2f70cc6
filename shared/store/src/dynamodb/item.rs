//! The form of an item in the table.
//!
//! | attribute | type | |
//! |---|---|---|
//! | `pk`, `sk` | S | the key |
//! | `version` | N | from 1 |
//! | `body` | M | one entry for each field of the body |
//! | `commit_id` | S | the commit that wrote it last |
//! | `born_by` | S | the commit that wrote version 1 |
//! | `expires_at` | N | in ms; only where it expires |
//! | `ttl` | N | in seconds; only where it expires: from when on DynamoDB may remove it |
//! | `is_large` | BOOL | only where its body is so large that a bump must look at it first |
//!
//! **The body** is neither one JSON text nor DynamoDB's native form all the way down. A field whose
//! value is an integer of 64 bits is a number, so that DynamoDB itself can add to it; any other
//! field is the JSON text of its value. One text for all would cost a bump a read, and a hot counter
//! its progress. The native form cannot hold what JSON can: it has no name of no characters, makes
//! `1.0` into `1`, refuses 1e300, and counts up to twice the bytes of the JSON for lists of small
//! things, past DynamoDB's 400 KB for an item. A field costs DynamoDB a byte beside its name and
//! value, and JSON at least three: so what keeps [`MOST_BODY_BYTES`](crate::MOST_BODY_BYTES) as
//! JSON keeps it here.
//!
//! **The end** is written twice, since DynamoDB's own is in seconds. It is a day after the other: no
//! caller's clock is a day behind another's, so nobody finds an item gone that he believes live.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::rules::{is_live, item};
use crate::{Item, Key, StoreError};

pub(super) const PK: &str = "pk";
pub(super) const SK: &str = "sk";
pub(super) const VERSION: &str = "version";
pub(super) const BODY: &str = "body";
pub(super) const COMMIT_ID: &str = "commit_id";
pub(super) const BORN_BY: &str = "born_by";
pub(super) const EXPIRES_AT: &str = "expires_at";
pub(super) const TTL: &str = "ttl";
pub(super) const IS_LARGE: &str = "is_large";

/// How long what has expired stays before DynamoDB may remove it.
const REMOVED_AFTER_SECONDS: i64 = 24 * 60 * 60;
/// A body that has more bytes as JSON is large: bumps of [`MOST_FIELDS_TO_BUMP`] fields, each with
/// the longest name there can be (1,554 bytes as JSON), cannot take a smaller one past the limit.
const LARGE_BYTES: usize = 300_000;
/// To a body with more fields a bump is made with its contents in view.
pub(super) const MOST_FIELDS_TO_BUMP: u32 = 48;
/// Names in a map of DynamoDB have at least one character. A name that is empty or begins with this
/// one gets one in front.
const ESCAPE: char = '~';

/// The attributes of an item, or of a map in it.
pub(super) type Attributes = BTreeMap<String, AttributeValue>;

/// An item as it was found in the table, whether it has expired or not.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stored {
    pub item: Item,
    pub commit_id: String,
    pub born_by: String,
}

impl Stored {
    /// Whether it is there at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        is_live(self.item.expires_at.map(Timestamp::as_millisecond), now)
    }

    /// Reads what DynamoDB gave.
    pub fn read(
        attributes: impl IntoIterator<Item = (String, AttributeValue)>,
    ) -> Result<Self, StoreError> {
        let mut attributes: Attributes = attributes.into_iter().collect();
        let mut key = |name| match attributes.remove(name) {
            Some(AttributeValue::S(part)) => Ok(part),
            _ => Err(StoreError::Corrupt(format!("an item has no {name}"))),
        };
        let key = Key::new(key(PK)?, key(SK)?);
        let Some(parts) = Parts::take(&mut attributes) else {
            return Err(StoreError::Corrupt(format!(
                "{key:?} is not of the form that this program writes"
            )));
        };
        let body = parse_body(&key, parts.body)?;
        Ok(Self {
            item: item(key, parts.version, body, parts.expires_at_ms)?,
            commit_id: parts.commit_id,
            born_by: parts.born_by,
        })
    }
}

/// What an item has beside its key.
struct Parts {
    version: u64,
    body: Attributes,
    commit_id: String,
    born_by: String,
    expires_at_ms: Option<i64>,
}

impl Parts {
    fn take(attributes: &mut Attributes) -> Option<Self> {
        let version = parse_number(attributes.get(VERSION)?)?;
        let Some(AttributeValue::M(body)) = attributes.remove(BODY) else {
            return None;
        };
        let mut id = |name| match attributes.remove(name) {
            Some(AttributeValue::S(id)) => Some(id),
            _ => None,
        };
        let (commit_id, born_by) = (id(COMMIT_ID)?, id(BORN_BY)?);
        let expires_at_ms = match attributes.get(EXPIRES_AT) {
            Some(end) => Some(parse_number(end)?),
            None => None,
        };
        (version > 0).then(|| Self {
            version,
            body: body.into_iter().collect(),
            commit_id,
            born_by,
            expires_at_ms,
        })
    }
}

/// The attributes of `key` alone.
pub(super) fn key_attributes(key: &Key) -> Attributes {
    let part = |name: &str, part: &str| (name.to_owned(), AttributeValue::S(part.to_owned()));
    Attributes::from([part(PK, &key.pk), part(SK, &key.sk)])
}

/// A number.
pub(super) fn number(number: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// The body of `key`, which must be an object.
pub(super) fn body(body: &Value) -> AttributeValue {
    let fields = body.as_object().into_iter().flatten();
    AttributeValue::M(
        fields
            .map(|(name, value)| (field_name(name), field(value)))
            .collect(),
    )
}

/// Whether a bump of `body` must look at it first.
pub(super) fn is_large(body: &Value) -> bool {
    body.to_string().len() > LARGE_BYTES
}

/// The name of the entry of the field `name`.
pub(super) fn field_name(name: &str) -> String {
    if name.is_empty() || name.starts_with(ESCAPE) {
        format!("{ESCAPE}{name}")
    } else {
        name.to_owned()
    }
}

/// From when on DynamoDB may remove what expires at `expires_at`, in seconds.
pub(super) fn ttl(expires_at: Timestamp) -> AttributeValue {
    number(expires_at.as_second() + REMOVED_AFTER_SECONDS)
}

fn field(value: &Value) -> AttributeValue {
    match value.as_i64() {
        Some(integer) => number(integer),
        None => AttributeValue::S(value.to_string()),
    }
}

fn parse_body(key: &Key, fields: Attributes) -> Result<Value, StoreError> {
    let mut body = Map::new();
    for (name, value) in fields {
        let value = match &value {
            AttributeValue::S(json) => serde_json::from_str(json).ok(),
            value => parse_number::<i64>(value).map(Value::from),
        };
        let Some(value) = value else {
            return Err(StoreError::Corrupt(format!(
                "{key:?}: the field {name:?} cannot be read"
            )));
        };
        let name = name
            .strip_prefix(ESCAPE)
            .map_or(name.clone(), str::to_owned);
        body.insert(name, value);
    }
    Ok(Value::Object(body))
}

fn parse_number<T: std::str::FromStr>(value: &AttributeValue) -> Option<T> {
    match value {
        AttributeValue::N(number) => number.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_numbers_and_all_else_is_json() {
        let value = json!({"n": -5, "": 1, "~a": 1.0, "big": u64::MAX, "list": [1]});

        let AttributeValue::M(fields) = body(&value) else {
            panic!("a body is a map");
        };

        let fields: Attributes = fields.into_iter().collect();
        let text = |json: &str| AttributeValue::S(json.to_owned());
        let expected = [
            ("n", number(-5)),
            ("~", number(1)),
            ("~~a", text("1.0")),
            ("big", text("18446744073709551615")),
            ("list", text("[1]")),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(fields, Attributes::from(expected));
        let read = parse_body(&Key::new("p", "s"), fields);
        assert_eq!(read.unwrap(), value);
    }

    #[test]
    fn dynamodb_may_remove_an_item_a_day_after_its_end() {
        let end = Timestamp::constant(1_800_000_000, 999_000_000);
        assert_eq!(ttl(end), number(1_800_086_400));
    }

    /// Bumps without a look stay within the limit: [`LARGE_BYTES`] says how.
    #[test]
    fn the_largest_small_body_can_take_every_bump_without_a_look() {
        let longest = json!({ "\u{1}".repeat(255): i64::MIN }).to_string().len();
        let most = LARGE_BYTES + (MOST_FIELDS_TO_BUMP as usize + 1) * longest;
        assert!(most <= crate::MOST_BODY_BYTES, "{most}");
    }
}
