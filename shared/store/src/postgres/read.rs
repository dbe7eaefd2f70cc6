//! Reads: one statement each, which sees what was committed before it began.

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use super::Database;
use super::failure::{Trouble, trouble};
use crate::rules::{item, span};
use crate::{Item, Key, Page, Range, StoreError};

/// Each key is looked up by itself: joined without the limit, the planner may read the whole table while it
/// knows nothing of its size yet.
const GET: &str = "
    SELECT k.n, i.version, i.body, i.expires_at_ms
    FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS k (pk, sk, n)
    CROSS JOIN LATERAL (
        SELECT version, body, expires_at_ms FROM postern_items
        WHERE pk = k.pk AND sk = k.sk AND (expires_at_ms IS NULL OR expires_at_ms > $3)
        LIMIT 1
    ) AS i";

/// The items at `keys` that have not expired at `now`.
pub(super) async fn get_many(
    database: &Database,
    now: Timestamp,
    keys: &[Key],
) -> Result<Vec<Option<Item>>, Trouble> {
    let mut items = vec![None; keys.len()];
    if keys.is_empty() {
        return Ok(items);
    }
    let (pks, sks) = parts(keys);
    let lent = database.pool.lend(database).await?;
    let parameters = [
        (&pks as _, Type::BYTEA_ARRAY),
        (&sks as _, Type::BYTEA_ARRAY),
        (&now.as_millisecond() as _, Type::INT8),
    ];
    let found = lent.client.query_typed(GET, &parameters);
    let found = database.within(found).await?;
    lent.give_back();
    for row in found {
        let nth = nth(database, &row)?;
        let stored = Stored {
            version: column(database, &row, 1)?,
            body: column(database, &row, 2)?,
            expires_at_ms: column(database, &row, 3)?,
        };
        items[nth] = Some(stored.item(keys[nth].clone())?);
    }
    Ok(items)
}

/// A page of `range`.
pub(super) async fn query(
    database: &Database,
    now: Timestamp,
    range: &Range,
    after: Option<&str>,
    limit: usize,
) -> Result<Page, Trouble> {
    let (from, until) = span(range, after);
    // Two texts, for an index is sought only by a plain comparison. Without an end any value will do.
    let end = if until.is_some() {
        "sk < $3"
    } else {
        "$3::bytea IS NULL"
    };
    let order = if range.descending { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT sk, version, body, expires_at_ms FROM postern_items
         WHERE pk = $1 AND sk >= $2 AND {end}
         AND (expires_at_ms IS NULL OR expires_at_ms > $4)
         ORDER BY sk {order} LIMIT $5"
    );
    // One more than the page, to know whether another follows.
    let most = i64::try_from(limit + 1).expect("a page has at most 1,000 items");
    let lent = database.pool.lend(database).await?;
    let parameters = [
        (&range.pk.as_bytes() as _, Type::BYTEA),
        (&from.as_bytes() as _, Type::BYTEA),
        (&until.as_ref().map(String::as_bytes) as _, Type::BYTEA),
        (&now.as_millisecond() as _, Type::INT8),
        (&most as _, Type::INT8),
    ];
    let found = lent.client.query_typed(&sql, &parameters);
    let found = database.within(found).await?;
    lent.give_back();

    let is_more = found.len() > limit;
    let mut items = Vec::with_capacity(found.len().min(limit));
    for row in found.iter().take(limit) {
        let key = Key::new(&range.pk, text(database, row, 0)?);
        let stored = Stored {
            version: column(database, row, 1)?,
            body: column(database, row, 2)?,
            expires_at_ms: column(database, row, 3)?,
        };
        items.push(stored.item(key)?);
    }
    let next = match items.last() {
        Some(last) if is_more => Some(last.key.sk.clone()),
        _ => None,
    };
    Ok(Page { items, next })
}

/// Both parts of `keys`, as a statement takes them.
pub(super) fn parts(keys: &[Key]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let parts = keys.iter();
    parts
        .map(|key| (key.pk.as_bytes(), key.sk.as_bytes()))
        .unzip()
}

/// The position of what a row was found for, counted by the server from 1.
pub(super) fn nth(database: &Database, row: &Row) -> Result<usize, Trouble> {
    let n: i64 = column(database, row, 0)?;
    Ok(usize::try_from(n - 1).expect("the server counts what it was given"))
}

/// A row of the table, as it is read.
pub(super) struct Stored<'a> {
    pub version: i64,
    pub body: &'a str,
    pub expires_at_ms: Option<i64>,
}

impl Stored<'_> {
    pub fn item(&self, key: Key) -> Result<Item, Trouble> {
        let version = parse_version(&key, self.version).map_err(Trouble::Lasting)?;
        let body = parse_body(&key, self.body).map_err(Trouble::Lasting)?;
        item(key, version, body, self.expires_at_ms).map_err(Trouble::Lasting)
    }
}

/// The version of the item at `key`, as it is stored.
pub(super) fn parse_version(key: &Key, version: i64) -> Result<u64, StoreError> {
    match u64::try_from(version) {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(StoreError::Corrupt(format!(
            "{key:?} has the version {version}"
        ))),
    }
}

/// The body of the item at `key`, as it is stored.
pub(super) fn parse_body(key: &Key, body: &str) -> Result<Value, StoreError> {
    match serde_json::from_str(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(StoreError::Corrupt(format!("{key:?} is not an object"))),
        Err(error) => Err(StoreError::Corrupt(format!("{key:?}: {error}"))),
    }
}

/// A value of a row.
pub(super) fn column<'a, T: FromSql<'a>>(
    database: &Database,
    row: &'a Row,
    index: usize,
) -> Result<T, Trouble> {
    row.try_get(index)
        .map_err(|error| trouble(&database.place, &error))
}

/// A part of a key.
pub(super) fn text(database: &Database, row: &Row, index: usize) -> Result<String, Trouble> {
    let bytes: Vec<u8> = column(database, row, index)?;
    String::from_utf8(bytes).map_err(|error| {
        Trouble::Lasting(StoreError::Corrupt(format!(
            "{}: a key is no text: {error}",
            database.place
        )))
    })
}
