//! What a write asks of DynamoDB, decided without I/O.
//!
//! A write becomes one operation whose condition holds the expectation, and all that the operation
//! takes for granted: most can be stated for every state of the item at once, three cannot.
//!
//! - A put or a bump under [`Expect::Any`] goes on from a live item and starts again from an expired
//!   one. It is asked for as if the item had not expired.
//! - A bump under [`Expect::Any`] adds to a body that is there: DynamoDB cannot make the map and add
//!   to it in one update. It is asked for as if the item were there.
//! - A bump must not make a body too large. It is asked for as if the body were small.
//!
//! Each of the three guesses is right but for the first write of an item, or of its next life. Where
//! one is wrong the condition fails, and DynamoDB gives the item as it found it ([`judge`]): that is
//! the read, and only then is there one. The next operation is made for what was found.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::item::{
    Attributes, BODY, BORN_BY, COMMIT_ID, EXPIRES_AT, IS_LARGE, MOST_FIELDS_TO_BUMP, Stored, TTL,
    VERSION, body, field_name, is_large, key_attributes, number, ttl,
};
use crate::rules::{bumped, holds};
use crate::{Change, Expect, Item, Key, StoreError, Write};

/// No item, or one that has expired.
const ABSENT: &str = "(attribute_not_exists(pk) OR expires_at <= :now)";
/// No item, or one that has not expired.
const NOT_EXPIRED: &str = "(attribute_not_exists(expires_at) OR expires_at > :now)";

/// One operation on one item.
#[derive(PartialEq, Debug)]
pub(super) struct Operation {
    pub effect: Effect,
    pub condition: Option<String>,
    pub names: BTreeMap<String, String>,
    pub values: Attributes,
}

/// What an operation does where its condition holds.
#[derive(PartialEq, Debug)]
pub(super) enum Effect {
    /// Writes these attributes in place of what was there.
    Put(Attributes),
    /// Does what the update expression says to the item of this key.
    Update(Attributes, String),
    /// Removes the item of this key.
    Delete(Attributes),
    /// Nothing to the item of this key.
    Check(Attributes),
}

/// What is known of an item before its operation is made.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) enum Seen {
    /// Nothing.
    #[default]
    Unseen,
    /// A condition failed, and this was there.
    There(Stored),
    /// A condition failed, and nothing was there.
    Nothing,
}

/// What a failed condition means.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The expectation does not hold.
    Failed,
    /// The change is not possible.
    Impossible(StoreError),
    /// A guess was wrong: the operation is to be made again.
    Again,
}

/// The operation of `write`; `None` where nothing is asked and nothing changed.
pub(super) fn operation(
    write: &Write,
    seen: &Seen,
    now: Timestamp,
    commit_id: &str,
) -> Result<Option<Operation>, StoreError> {
    let mut draft = Draft::new(&write.key, now, commit_id);
    let live = match seen {
        Seen::There(stored) if stored.is_live(now) => Some(stored),
        _ => None,
    };
    let is_gone = *seen != Seen::Unseen && live.is_none();
    let operation = match (&write.change, write.expect) {
        (Change::Check, Expect::Any) => return Ok(None),
        (Change::Check, expect) => {
            draft.expect(expect);
            draft.finish(Effect::Check)
        }
        (Change::Delete, expect) => {
            draft.expect(expect);
            draft.finish(Effect::Delete)
        }
        (Change::Put { body, expires_at }, expect) if begins(expect, is_gone) => {
            draft.expect(Expect::Absent);
            draft.put(1, commit_id, body, *expires_at)
        }
        (Change::Put { body, expires_at }, expect) => {
            draft.expect(expect);
            draft.require(NOT_EXPIRED);
            draft.replace(body, *expires_at)
        }
        (Change::Bump { field }, expect) if begins(expect, is_gone) => {
            draft.expect(Expect::Absent);
            draft.put(1, commit_id, &json!({ field: 1 }), None)
        }
        (Change::Bump { field }, expect) => match live {
            Some(stored) if must_look(&stored.item.body) => {
                let body = bumped(&write.key, Some(stored.item.body.clone()), field)?;
                draft.expect(expect);
                draft.require_same(stored);
                let item = &stored.item;
                draft.put(item.version + 1, &stored.born_by, &body, item.expires_at)
            }
            _ => {
                draft.expect(match expect {
                    Expect::Any => Expect::Present,
                    expect => expect,
                });
                draft.bump(field)
            }
        },
    };
    Ok(Some(operation))
}

/// The operation that puts `item` as it is where nothing is, or nothing live; where it was `seen` there
/// already, the check that it still is.
pub(super) fn load_operation(
    item: &Item,
    seen: &Seen,
    now: Timestamp,
    commit_id: &str,
) -> Operation {
    let mut draft = Draft::new(&item.key, now, commit_id);
    match seen {
        Seen::There(stored) if stored.is_live(now) => {
            draft.require_same(stored);
            draft.finish(Effect::Check)
        }
        _ => {
            draft.expect(Expect::Absent);
            draft.put(item.version, commit_id, &item.body, item.expires_at)
        }
    }
}

/// What it means that the condition of `write`'s operation failed, with `seen` in the item's place.
pub(super) fn judge(write: &Write, seen: &Seen, now: Timestamp) -> Verdict {
    let live = match seen {
        Seen::There(stored) if stored.is_live(now) => Some(&stored.item),
        _ => None,
    };
    if !holds(write.expect, live.map(|item| item.version)) {
        return Verdict::Failed;
    }
    if let (Change::Bump { field }, Some(item)) = (&write.change, live)
        && let Err(error) = bumped(&write.key, Some(item.body.clone()), field)
    {
        return Verdict::Impossible(error);
    }
    Verdict::Again
}

/// Whether a bump of `body` could take it past its limits.
fn must_look(body: &Value) -> bool {
    let fields = body.as_object().map_or(0, serde_json::Map::len);
    is_large(body) || fields > MOST_FIELDS_TO_BUMP as usize
}

/// Whether a write that expects this begins an item, which `is_gone` if it was looked at.
fn begins(expect: Expect, is_gone: bool) -> bool {
    match expect {
        Expect::Absent => true,
        Expect::Any => is_gone,
        Expect::Version(_) | Expect::Present => false,
    }
}

/// An operation in the making.
struct Draft<'a> {
    key: &'a Key,
    now: Timestamp,
    commit_id: &'a str,
    conditions: Vec<String>,
    names: BTreeMap<String, String>,
    values: Attributes,
}

impl<'a> Draft<'a> {
    fn new(key: &'a Key, now: Timestamp, commit_id: &'a str) -> Self {
        Self {
            key,
            now,
            commit_id,
            conditions: Vec::new(),
            names: BTreeMap::new(),
            values: Attributes::new(),
        }
    }

    fn expect(&mut self, expect: Expect) {
        match expect {
            Expect::Absent => self.require(ABSENT),
            Expect::Version(version) => {
                self.require("version = :expected");
                self.require(NOT_EXPIRED);
                self.set(":expected", number(version));
            }
            Expect::Present => {
                self.require("attribute_exists(pk)");
                self.require(NOT_EXPIRED);
            }
            Expect::Any => {}
        }
    }

    fn require(&mut self, condition: &str) {
        if !self.conditions.iter().any(|known| known == condition) {
            self.conditions.push(condition.to_owned());
        }
        if condition.contains(":now") {
            self.set(":now", number(self.now.as_millisecond()));
        }
    }

    /// Requires that nobody has written the item since it was seen, as it was live.
    fn require_same(&mut self, stored: &Stored) {
        self.require("version = :seen_version AND commit_id = :seen_commit");
        self.set(":seen_version", number(stored.item.version));
        let commit = AttributeValue::S(stored.commit_id.clone());
        self.set(":seen_commit", commit);
    }

    fn set(&mut self, name: &str, value: AttributeValue) {
        self.values.insert(name.to_owned(), value);
    }

    /// Writes the whole item.
    fn put(
        self,
        version: u64,
        born_by: &str,
        new: &Value,
        expires_at: Option<Timestamp>,
    ) -> Operation {
        let mut item = key_attributes(self.key);
        let mut set = |name: &str, value| item.insert(name.to_owned(), value);
        set(VERSION, number(version));
        set(BODY, body(new));
        set(COMMIT_ID, AttributeValue::S(self.commit_id.to_owned()));
        set(BORN_BY, AttributeValue::S(born_by.to_owned()));
        if is_large(new) {
            set(IS_LARGE, AttributeValue::Bool(true));
        }
        if let Some(end) = expires_at {
            set(EXPIRES_AT, number(end.as_millisecond()));
            set(TTL, ttl(end));
        }
        self.finish(|_| Effect::Put(item))
    }

    /// Replaces the body and its end, or begins an item.
    fn replace(mut self, new: &Value, expires_at: Option<Timestamp>) -> Operation {
        let mut sets = vec![
            "version = if_not_exists(version, :zero) + :one",
            "body = :body",
            "commit_id = :commit",
            "born_by = if_not_exists(born_by, :commit)",
        ];
        let mut removes = Vec::new();
        self.set(":zero", number(0));
        self.set(":one", number(1));
        self.set(":body", body(new));
        self.set(":commit", AttributeValue::S(self.commit_id.to_owned()));
        // A word that expressions reserve.
        self.names.insert("#ttl".to_owned(), TTL.to_owned());
        if let Some(end) = expires_at {
            sets.extend(["expires_at = :end", "#ttl = :ttl"]);
            self.set(":end", number(end.as_millisecond()));
            self.set(":ttl", ttl(end));
        } else {
            removes.extend([EXPIRES_AT, "#ttl"]);
        }
        if is_large(new) {
            sets.push("is_large = :large");
            self.set(":large", AttributeValue::Bool(true));
        } else {
            removes.push(IS_LARGE);
        }
        let mut update = format!("SET {}", sets.join(", "));
        if !removes.is_empty() {
            update = format!("{update} REMOVE {}", removes.join(", "));
        }
        self.finish(|key| Effect::Update(key, update))
    }

    /// Adds one to a field of a small body that is there.
    fn bump(mut self, field: &str) -> Operation {
        self.require("(attribute_not_exists(body.#field) OR body.#field < :last)");
        self.require("attribute_not_exists(is_large)");
        self.require("size(body) <= :most_fields");
        self.names.insert("#field".to_owned(), field_name(field));
        self.set(":last", number(i64::MAX));
        self.set(":most_fields", number(MOST_FIELDS_TO_BUMP));
        self.set(":zero", number(0));
        self.set(":one", number(1));
        self.set(":commit", AttributeValue::S(self.commit_id.to_owned()));
        let update = "SET body.#field = if_not_exists(body.#field, :zero) + :one, \
                      version = version + :one, commit_id = :commit";
        self.finish(|key| Effect::Update(key, update.to_owned()))
    }

    fn finish(self, effect: impl FnOnce(Attributes) -> Effect) -> Operation {
        let conditions = self.conditions;
        Operation {
            effect: effect(key_attributes(self.key)),
            condition: (!conditions.is_empty()).then(|| conditions.join(" AND ")),
            names: self.names,
            values: self.values,
        }
    }
}
