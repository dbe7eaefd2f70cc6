//! The limits of the interface, which are those of the narrowest backend.
//!
//! Every backend checks them before it does anything, so that code which works on one works on all.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    Change, Item, Key, MOST_BODY_BYTES, MOST_COMMIT_BYTES, MOST_KEYS, MOST_PAGE, MOST_WRITES,
    Range, StoreError, Write,
};

/// The most bytes of either part of a key: DynamoDB's limit for a sort key.
const MOST_KEY_BYTES: usize = 1024;
/// The most bytes of the name of a bumped field: DynamoDB's limit for a name in an expression.
const MOST_FIELD_BYTES: usize = 255;
/// The deepest nesting of a body: DynamoDB's 32 levels, less those that hold the body.
const MOST_LEVELS: usize = 30;

/// Whether `writes` can be a commit: 1 to [`MOST_WRITES`] of them, each to another key; both parts
/// of a key 1 to 1,024 bytes; each body an object of at most [`MOST_BODY_BYTES`] as compact JSON and
/// at most 30 levels, together at most [`MOST_COMMIT_BYTES`]; a bumped field's name 1 to 255 bytes.
///
/// Fails with [`StoreError::Misuse`], which names the first write that is wrong.
pub fn validate(writes: &[Write]) -> Result<(), StoreError> {
    if writes.is_empty() || writes.len() > MOST_WRITES {
        return misuse(format!(
            "a commit has 1 to {MOST_WRITES} writes, not {}",
            writes.len()
        ));
    }

    let changes = writes
        .iter()
        .map(|write| (&write.key, validate_change(&write.key, &write.change)));
    validate_together(changes)
}

/// Whether `items` can be loaded together: as [`validate`] has it for puts of them.
pub(crate) fn validate_load(items: &[Item]) -> Result<(), StoreError> {
    if items.is_empty() || items.len() > MOST_WRITES {
        return misuse(format!(
            "1 to {MOST_WRITES} items are loaded together, not {}",
            items.len()
        ));
    }
    if let Some(item) = items.iter().find(|item| item.version == 0) {
        return misuse(format!("the version of {:?} is 0", item.key));
    }
    let bodies = items
        .iter()
        .map(|item| (&item.key, validate_body(&item.key, &item.body)));
    validate_together(bodies)
}

/// Whether what is written together, keys and the sizes of bodies, is within the limits.
fn validate_together<'a>(
    written: impl Iterator<Item = (&'a Key, Result<usize, StoreError>)>,
) -> Result<(), StoreError> {
    let mut keys = BTreeSet::new();
    let mut bytes = 0;
    for (key, size) in written {
        validate_key(key)?;
        if !keys.insert(key) {
            return misuse(format!("a commit writes {key:?} twice"));
        }
        bytes += size?;
    }
    if bytes > MOST_COMMIT_BYTES {
        return misuse(format!(
            "the bodies of a commit have {bytes} bytes, more than {MOST_COMMIT_BYTES}"
        ));
    }
    Ok(())
}

/// Whether `keys` can be read together.
pub(crate) fn validate_get(keys: &[Key]) -> Result<(), StoreError> {
    if keys.len() > MOST_KEYS {
        return misuse(format!(
            "at most {MOST_KEYS} items are read together, not {}",
            keys.len()
        ));
    }
    keys.iter().try_for_each(validate_key)
}

/// Whether this can be a query.
pub(crate) fn validate_query(
    range: &Range,
    after: Option<&str>,
    limit: usize,
) -> Result<(), StoreError> {
    if limit == 0 || limit > MOST_PAGE {
        return misuse(format!("a page has 1 to {MOST_PAGE} items, not {limit}"));
    }
    if range.pk.is_empty() || range.pk.len() > MOST_KEY_BYTES {
        return misuse(format!(
            "the partition {:?} has not 1 to {MOST_KEY_BYTES} bytes",
            range.pk
        ));
    }
    let bounds = [Some(range.from.as_str()), range.until.as_deref(), after];
    for bound in bounds.into_iter().flatten() {
        if bound.len() > MOST_KEY_BYTES {
            return misuse(format!(
                "the bound {bound:?} has more than {MOST_KEY_BYTES} bytes"
            ));
        }
    }
    Ok(())
}

fn validate_key(key: &Key) -> Result<(), StoreError> {
    for part in [&key.pk, &key.sk] {
        if part.is_empty() || part.len() > MOST_KEY_BYTES {
            return misuse(format!(
                "a part of {key:?} has not 1 to {MOST_KEY_BYTES} bytes"
            ));
        }
    }
    Ok(())
}

/// How many bytes the body of `change` has, if it is within the limits.
fn validate_change(key: &Key, change: &Change) -> Result<usize, StoreError> {
    match change {
        Change::Put { body, .. } => validate_body(key, body),
        Change::Bump { field } if field.is_empty() || field.len() > MOST_FIELD_BYTES => misuse(
            format!("the field to bump in {key:?} has not 1 to {MOST_FIELD_BYTES} bytes"),
        ),
        Change::Bump { .. } | Change::Delete | Change::Check => Ok(0),
    }
}

/// How many bytes `body` has as compact JSON, if it is within the limits.
pub(crate) fn validate_body(key: &Key, body: &Value) -> Result<usize, StoreError> {
    if !body.is_object() {
        return misuse(format!("the body of {key:?} is not an object"));
    }
    if !is_within(body, MOST_LEVELS) {
        return misuse(format!(
            "the body of {key:?} has more than {MOST_LEVELS} levels"
        ));
    }
    let bytes = body.to_string().len();
    if bytes > MOST_BODY_BYTES {
        return misuse(format!(
            "the body of {key:?} has {bytes} bytes, more than {MOST_BODY_BYTES}"
        ));
    }
    Ok(bytes)
}

/// Whether `value` nests objects and arrays at most `levels` deep.
fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(|v| is_within(v, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|v| is_within(v, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn misuse<T>(why: String) -> Result<T, StoreError> {
    Err(StoreError::Misuse(why))
}
