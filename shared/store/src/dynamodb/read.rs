//! Reads: strongly consistent, so that each item is as of its last commit.
//!
//! `BatchGetItem` is enough for [`Store::get_many`](crate::Store::get_many): each item is read whole
//! and after every commit that was answered before. The items together are no snapshot, and the
//! interface promises none; `TransactGetItems`, which gives one, costs twice as much and fails on
//! every commit that runs meanwhile.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use jiff::Timestamp;

use super::Connection;
use super::failure::{Trouble, trouble};
use super::item::{Attributes, PK, SK, Stored, key_attributes, number};
use super::retry::Tries;
use crate::{Key, Page, Range, StoreError};

/// The items at `keys`, of which at most [`MOST_KEYS`](crate::MOST_KEYS) differ, expired ones too.
pub(super) async fn get(
    connection: &Connection,
    tries: &mut Tries<'_>,
    mut keys: Vec<Key>,
) -> Result<BTreeMap<Key, Stored>, StoreError> {
    // DynamoDB refuses a key that is asked for twice.
    keys.sort_unstable();
    keys.dedup();
    let mut found = BTreeMap::new();
    let keys = keys.iter().map(key_attributes);
    let mut left = Some(wanted(keys)?).filter(|wanted| !wanted.keys().is_empty());
    while let Some(wanted) = left.take() {
        let request = connection
            .client
            .batch_get_item()
            .request_items(&connection.table, wanted.clone());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => match trouble(&connection.place, &error) {
                Trouble::Passing { why, .. } => {
                    tries.pause(&why).await?;
                    left = Some(wanted);
                    continue;
                }
                Trouble::Lasting(error) => return Err(error),
            },
        };

        let items = answer.responses.into_iter().flatten();
        for item in items.flat_map(|(_, items)| items) {
            let stored = Stored::read(item)?;
            found.insert(stored.item.key.clone(), stored);
        }
        let unread = answer.unprocessed_keys.unwrap_or_default();
        if let Some((_, unread)) = unread.into_iter().next() {
            tries.pause("DynamoDB left some of the keys unread").await?;
            left = Some(unread);
        }
    }
    Ok(found)
}

fn wanted(keys: impl Iterator<Item = Attributes>) -> Result<KeysAndAttributes, StoreError> {
    let keys = keys.map(|key| key.into_iter().collect()).collect();
    KeysAndAttributes::builder()
        .set_keys(Some(keys))
        .consistent_read(true)
        .build()
        .map_err(|error| StoreError::Misuse(error.to_string()))
}

/// A page of `range`: one request, which looks at `limit` items, expired ones too.
pub(super) async fn query(
    connection: &Connection,
    now: Timestamp,
    range: &Range,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, StoreError> {
    let Some(span) = Span::of(range, after) else {
        return Ok(Page {
            items: Vec::new(),
            next: None,
        });
    };
    let (condition, values) = span.condition(range, now);
    let start = span
        .start
        .map(|sk| key_attributes(&Key::new(&range.pk, sk)));
    let request = connection
        .client
        .query()
        .table_name(&connection.table)
        .consistent_read(true)
        .key_condition_expression(condition)
        .filter_expression("attribute_not_exists(expires_at) OR expires_at > :now")
        .set_expression_attribute_values(Some(values.into_iter().collect()))
        .scan_index_forward(!range.descending)
        .set_exclusive_start_key(start.map(|key| key.into_iter().collect()))
        .limit(i32::try_from(limit).expect("a page has at most 1,000 items"));

    let mut tries = Tries::begin(connection);
    let answer = loop {
        match request.clone().send().await {
            Ok(answer) => break answer,
            Err(error) => match trouble(&connection.place, &error) {
                Trouble::Passing { why, .. } => tries.pause(&why).await?,
                Trouble::Lasting(error) => return Err(error),
            },
        }
    };

    let mut next = match answer.last_evaluated_key.and_then(|mut key| key.remove(SK)) {
        Some(AttributeValue::S(sk)) => Some(sk),
        _ => None,
    };
    let mut items = Vec::new();
    for item in answer.items.unwrap_or_default() {
        items.push(Stored::read(item)?.item);
    }
    // DynamoDB's `BETWEEN` has both ends in it, ours has not the second.
    if let Some(until) = span.until {
        items.retain(|item| item.key.sk.as_str() < until);
        next = next.filter(|next| range.descending || next.as_str() < until);
    }
    Ok(Page { items, next })
}

/// What is left of a range behind a cursor.
#[derive(PartialEq, Debug)]
struct Span<'a> {
    /// From here on, inclusive.
    from: Option<&'a str>,
    /// Until here, exclusive.
    until: Option<&'a str>,
    /// Behind here, in the direction of the range. DynamoDB refuses one that its condition leaves out.
    start: Option<&'a str>,
}

impl<'a> Span<'a> {
    /// `None` where nothing is left.
    fn of(range: &'a Range, after: Option<&'a str>) -> Option<Self> {
        let from = range.from.as_str();
        let until = range.until.as_deref();
        let is_before_end = |sk: &str| until.is_none_or(|until| sk < until);
        // The end itself is looked at where the condition is a `BETWEEN`, and so a page may end on it.
        let is_seen_end = |sk| until == Some(sk) && !from.is_empty();
        let start = match after {
            Some(after) if range.descending => {
                Some(after).filter(|sk| is_before_end(sk) || is_seen_end(sk))
            }
            // Before the first key there is nothing to be behind of.
            Some(after) => Some(after).filter(|sk| !sk.is_empty() && *sk >= from),
            None => None,
        };
        let is_left = match start {
            Some(start) if range.descending => start > from,
            Some(start) => is_before_end(start),
            None => true,
        };
        let is_some = is_before_end(from) && is_left;
        is_some.then_some(Self {
            from: Some(from).filter(|from| !from.is_empty()),
            until,
            start,
        })
    }

    fn condition(&self, range: &Range, now: Timestamp) -> (String, Attributes) {
        let mut values = Attributes::from([
            (":pk".to_owned(), AttributeValue::S(range.pk.clone())),
            (":now".to_owned(), number(now.as_millisecond())),
        ]);
        let mut set = |name: &str, sk: &str| {
            values.insert(name.to_owned(), AttributeValue::S(sk.to_owned()));
        };
        let sort_key = match (self.from, self.until) {
            (None, None) => "",
            (Some(from), None) => {
                set(":from", from);
                " AND sk >= :from"
            }
            (None, Some(until)) => {
                set(":until", until);
                " AND sk < :until"
            }
            (Some(from), Some(until)) => {
                set(":from", from);
                set(":until", until);
                " AND sk BETWEEN :from AND :until"
            }
        };
        (format!("{PK} = :pk{sort_key}"), values)
    }
}
