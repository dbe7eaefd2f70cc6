//! What a commit does, decided without I/O: the backends that run on this machine share it, so that
//! they cannot differ.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::limits::validate_body;
use crate::{Expect, Item, Key, Range, StoreError};

/// Whether an item that expires at `expires_at_ms`, if it does, is there at `now`.
pub(crate) fn is_live(expires_at_ms: Option<i64>, now: Timestamp) -> bool {
    expires_at_ms.is_none_or(|at| at > now.as_millisecond())
}

/// Whether `expect` holds of an item whose version is `live`; `None` if it is missing or has
/// expired.
pub(crate) fn holds(expect: Expect, live: Option<u64>) -> bool {
    match expect {
        Expect::Absent => live.is_none(),
        Expect::Version(version) => live == Some(version),
        Expect::Present => live.is_some(),
        Expect::Any => true,
    }
}

/// The version of what is written over an item whose version is `live`.
pub(crate) fn next_version(live: Option<u64>) -> u64 {
    live.unwrap_or(0) + 1
}

/// The `body` of `key` with one added to `field`; `None` where there is no item.
pub(crate) fn bumped(key: &Key, body: Option<Value>, field: &str) -> Result<Value, StoreError> {
    let mut body = body.unwrap_or_else(|| Value::Object(Map::new()));
    let Some(fields) = body.as_object_mut() else {
        return Err(StoreError::Corrupt(format!("{key:?} is not an object")));
    };

    let count = fields.get(field).map_or(Some(0), Value::as_i64);
    let Some(next) = count.and_then(|count| count.checked_add(1)) else {
        return Err(StoreError::Corrupt(format!(
            "{key:?}: {field:?} is not an integer that one can be added to"
        )));
    };
    fields.insert(field.to_owned(), Value::from(next));
    validate_body(key, &body)?;
    Ok(body)
}

/// An item from its parts as they are stored.
pub(crate) fn item(
    key: Key,
    version: u64,
    body: Value,
    expires_at_ms: Option<i64>,
) -> Result<Item, StoreError> {
    let expires_at = match expires_at_ms.map(Timestamp::from_millisecond).transpose() {
        Ok(expires_at) => expires_at,
        Err(error) => return Err(StoreError::Corrupt(format!("{key:?}: {error}"))),
    };
    Ok(Item {
        key,
        version,
        body,
        expires_at,
    })
}

/// Whether `there`, as it was stored, is what is stored of `wanted`: a lifetime has whole milliseconds.
pub(crate) fn is_same(there: &Item, wanted: &Item) -> bool {
    let end = |item: &Item| item.expires_at.map(Timestamp::as_millisecond);
    there.key == wanted.key
        && there.version == wanted.version
        && there.body == wanted.body
        && end(there) == end(wanted)
}

/// The sort keys that are left of `range` behind `after`: from the first, inclusive, until the
/// second, exclusive.
pub(crate) fn span(range: &Range, after: Option<&str>) -> (String, Option<String>) {
    let from = range.from.clone();
    let until = range.until.clone();
    match after {
        None => (from, until),
        Some(after) if range.descending => {
            let after = after.to_owned();
            let until = until.map_or(after.clone(), |until| until.min(after));
            (from, Some(until))
        }
        // In the order of bytes nothing is between a string and itself with a zero byte behind.
        Some(after) => (from.max(format!("{after}\0")), until),
    }
}
