//! Commits: one transaction of two round trips.
//!
//! 1. Locks for all its keys, in one order for everybody, and what stands at them. The locks are advisory
//!    ones, of the transaction, on a hash of the key: they hold for an item that is not there as for one
//!    that is, so that nothing which a commit has looked at changes before it is done. A check alone takes
//!    its lock shared.
//! 2. The changes, decided by the rules of all backends, and `COMMIT`.
//!
//! So commits that share no key run beside each other, and those that do, in a row: each sees what the one
//! before it left, none has to be tried again for another, and none waits in a circle. Every now and
//! then a commit removes some of what has long expired, as its last step: it never waits for a row there.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::Database;
use super::failure::{Trouble, is_unclear, trouble};
use super::read::{column, nth, parse_body, parse_version, parts};
use crate::rules::{bumped, holds, is_live, is_same, item, next_version};
use crate::{Change, CommitError, Item, Key, StoreError, Write};

/// How many commits go by from one sweep to the next.
const SWEEP_EVERY: u32 = 8;
/// How many rows a sweep removes: as many as the commits since the last one can have written, so it keeps up.
const MOST_SWEPT: i64 = 100 * SWEEP_EVERY as i64;
/// How long what has expired stays before it is swept: no caller's clock is a day behind another's.
const SWEEP_AFTER_MS: i64 = 24 * 60 * 60 * 1000;

const LOCK: &str = "
    SELECT CASE WHEN l.shared THEN pg_advisory_xact_lock_shared(l.id) ELSE pg_advisory_xact_lock(l.id) END
    FROM unnest($1::bigint[], $2::boolean[]) AS l (id, shared)";
/// As `read::GET`, but bodies only where they are needed.
const FIND: &str = "
    SELECT k.n, i.version, CASE WHEN k.whole THEN i.body END, i.expires_at_ms
    FROM unnest($1::bytea[], $2::bytea[], $3::boolean[]) WITH ORDINALITY AS k (pk, sk, whole, n)
    CROSS JOIN LATERAL (
        SELECT version, body, expires_at_ms FROM postern_items WHERE pk = k.pk AND sk = k.sk LIMIT 1
    ) AS i";
const PUT: &str = "
    INSERT INTO postern_items (pk, sk, version, body, expires_at_ms)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::text[], $5::bigint[])
    ON CONFLICT (pk, sk) DO UPDATE SET
    version = excluded.version, body = excluded.body, expires_at_ms = excluded.expires_at_ms";
const DELETE: &str = "
    DELETE FROM postern_items AS i USING unnest($1::bytea[], $2::bytea[]) AS k (pk, sk)
    WHERE i.pk = k.pk AND i.sk = k.sk";
const SWEEP: &str = "
    DELETE FROM postern_items WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM postern_items WHERE expires_at_ms <= $1
        ORDER BY expires_at_ms LIMIT $2 FOR UPDATE SKIP LOCKED
    ))";

/// Applies `writes`, whose limits are checked, or says why it does not.
pub(super) async fn commit(
    database: &Database,
    now: Timestamp,
    writes: &[Write],
) -> Result<Result<(), CommitError>, Trouble> {
    let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
    let asked = Asked {
        now,
        is_shared: writes
            .iter()
            .map(|write| write.change == Change::Check)
            .collect(),
        is_whole: writes
            .iter()
            .map(|write| matches!(write.change, Change::Bump { .. }))
            .collect(),
        keys,
    };
    transact(database, &asked, |found| plan(writes, found)).await
}

/// Puts `items`, whose limits are checked, as they are, or says which is in the way.
pub(super) async fn load(
    database: &Database,
    now: Timestamp,
    items: &[Item],
) -> Result<Result<(), CommitError>, Trouble> {
    let asked = Asked {
        now,
        is_shared: vec![false; items.len()],
        is_whole: vec![true; items.len()],
        keys: items.iter().map(|item| item.key.clone()).collect(),
    };
    transact(database, &asked, |found| plan_load(now, items, found)).await
}

/// What a transaction looks at.
struct Asked {
    now: Timestamp,
    keys: Vec<Key>,
    /// Of each key, whether it stays as it is.
    is_shared: Vec<bool>,
    /// Of each key, whether its body is needed.
    is_whole: Vec<bool>,
}

/// What stands at a key and has not expired.
struct Found {
    version: u64,
    /// Where it was asked for.
    body: Option<Value>,
    expires_at_ms: Option<i64>,
}

/// What a transaction changes.
#[derive(Default)]
struct Planned {
    puts: Vec<(Key, i64, String, Option<i64>)>,
    deletes: Vec<Key>,
}

/// What `writes` make of what was `found` in their places.
fn plan(writes: &[Write], found: Vec<Option<Found>>) -> Result<Planned, CommitError> {
    for (index, (write, found)) in writes.iter().zip(&found).enumerate() {
        if !holds(write.expect, found.as_ref().map(|found| found.version)) {
            return Err(CommitError::Failed(index));
        }
    }
    let mut planned = Planned::default();
    for (write, found) in writes.iter().zip(found) {
        let key = &write.key;
        let version = next_version(found.as_ref().map(|found| found.version));
        match &write.change {
            Change::Put { body, expires_at } => {
                let end = expires_at.map(Timestamp::as_millisecond);
                planned.put(key, version, body, end)?;
            }
            Change::Bump { field } => {
                let end = found.as_ref().and_then(|found| found.expires_at_ms);
                let body = bumped(key, found.and_then(|found| found.body), field)?;
                planned.put(key, version, &body, end)?;
            }
            Change::Delete => planned.deletes.push(key.clone()),
            Change::Check => {}
        }
    }
    Ok(planned)
}

/// What loading `items` makes of what was `found` in their places.
fn plan_load(
    now: Timestamp,
    items: &[Item],
    found: Vec<Option<Found>>,
) -> Result<Planned, CommitError> {
    let mut planned = Planned::default();
    for (index, (wanted, found)) in items.iter().zip(found).enumerate() {
        if !wanted.is_live(now) {
            continue;
        }
        let Some(found) = found else {
            let end = wanted.expires_at.map(Timestamp::as_millisecond);
            planned.put(&wanted.key, wanted.version, &wanted.body, end)?;
            continue;
        };
        let body = found.body.unwrap_or_default();
        let there = item(wanted.key.clone(), found.version, body, found.expires_at_ms)?;
        if !is_same(&there, wanted) {
            return Err(CommitError::Failed(index));
        }
    }
    Ok(planned)
}

impl Planned {
    fn put(
        &mut self,
        key: &Key,
        version: u64,
        body: &Value,
        expires_at_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        let Ok(version) = i64::try_from(version) else {
            return Err(StoreError::Corrupt(format!(
                "{key:?} has the last version there is"
            )));
        };
        self.puts
            .push((key.clone(), version, body.to_string(), expires_at_ms));
        Ok(())
    }
}

/// One transaction: locks and looks, decides, and changes.
async fn transact(
    database: &Database,
    asked: &Asked,
    plan: impl Fn(Vec<Option<Found>>) -> Result<Planned, CommitError> + Send,
) -> Result<Result<(), CommitError>, Trouble> {
    let lent = database.pool.lend(database).await?;
    let found = find(database, &lent.client, asked).await?;
    let outcome = match plan(found) {
        Ok(planned) => Ok(apply(database, &lent.client, asked.now, &planned).await?),
        Err(error) => {
            database
                .within(lent.client.batch_execute("ROLLBACK"))
                .await?;
            Err(error)
        }
    };
    lent.give_back();
    Ok(outcome)
}

/// The first round trip: begins, locks all keys, and finds what stands at them.
async fn find(
    database: &Database,
    client: &Client,
    asked: &Asked,
) -> Result<Vec<Option<Found>>, Trouble> {
    // A caller that is gone must not hold its locks, and none waits for them beyond its own patience.
    let most = database.retries.most_attempt_time.as_millis();
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
         SET LOCAL lock_timeout = {most};
         SET LOCAL idle_in_transaction_session_timeout = {most};"
    );
    let (ids, shared) = locks(asked);
    let locks = [
        (&ids as _, Type::INT8_ARRAY),
        (&shared as _, Type::BOOL_ARRAY),
    ];
    let (pks, sks) = parts(&asked.keys);
    let keys = [
        (&pks as _, Type::BYTEA_ARRAY),
        (&sks as _, Type::BYTEA_ARRAY),
        (&asked.is_whole as _, Type::BOOL_ARRAY),
    ];
    let found = database
        .within(async {
            // Sent together, for each is begun before the first is waited for.
            let (began, locked, found) = tokio::join!(
                biased;
                client.batch_execute(&begin),
                client.query_typed(LOCK, &locks),
                client.query_typed(FIND, &keys),
            );
            began?;
            locked?;
            found
        })
        .await?;

    let mut items = Vec::new();
    items.resize_with(asked.keys.len(), || None);
    for row in found {
        let nth = nth(database, &row)?;
        let key = &asked.keys[nth];
        let expires_at_ms = column(database, &row, 3)?;
        if !is_live(expires_at_ms, asked.now) {
            continue;
        }
        let version = column(database, &row, 1)?;
        let body: Option<&str> = column(database, &row, 2)?;
        let body = body.map(|body| parse_body(key, body)).transpose();
        items[nth] = Some(Found {
            version: parse_version(key, version).map_err(Trouble::Lasting)?,
            body: body.map_err(Trouble::Lasting)?,
            expires_at_ms,
        });
    }
    Ok(items)
}

/// The locks for all keys, each once, in the order of their numbers, and which of them are shared.
fn locks(asked: &Asked) -> (Vec<i64>, Vec<bool>) {
    let mut locks = BTreeMap::new();
    for (key, is_shared) in asked.keys.iter().zip(&asked.is_shared) {
        // Two keys of one number are locked together, which is all that it does.
        *locks.entry(lock(key)).or_insert(true) &= is_shared;
    }
    locks.into_iter().unzip()
}

/// The number of a key's lock. All programs on one database must agree on it: it is never changed.
fn lock(key: &Key) -> i64 {
    let mut hash = Sha256::new();
    // Its length keeps ("a", "bc") and ("ab", "c") apart.
    hash.update((key.pk.len() as u64).to_be_bytes());
    hash.update(&key.pk);
    hash.update(&key.sk);
    let hash: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The second round trip: changes what is planned, and commits. Once it is sent, an answer that does not
/// come leaves it open whether it was applied.
async fn apply(
    database: &Database,
    client: &Client,
    now: Timestamp,
    planned: &Planned,
) -> Result<(), Trouble> {
    if planned.puts.is_empty() && planned.deletes.is_empty() {
        return database.within(client.batch_execute("COMMIT")).await;
    }
    let is_turn = database.commits.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == 0;
    let changed = database
        .in_time(async {
            let (put, deleted, swept, committed) = tokio::join!(
                biased;
                put(client, planned),
                delete(client, planned),
                sweep(client, now, is_turn),
                client.batch_execute("COMMIT"),
            );
            // Where a step fails, the rest and the commit do.
            put.and(deleted).and(swept).map_err(|error| (error, true))?;
            committed.map_err(|error| (error, false))
        })
        .await;
    let unclear = |why: &str| {
        Trouble::Lasting(StoreError::Unavailable(format!(
            "{}: the commit may have been applied or not, try it again: {why}",
            database.place
        )))
    };
    let (error, is_step) = match changed {
        Some(Ok(())) => return Ok(()),
        None => return Err(unclear("no answer in time")),
        Some(Err(failed)) => failed,
    };
    // An answer that names an error of a step says that the commit behind it was none.
    if is_unclear(&error) && (!is_step || error.as_db_error().is_none()) {
        return Err(unclear(&crate::causes::chain(&error)));
    }
    Err(trouble(&database.place, &error))
}

async fn put(client: &Client, planned: &Planned) -> Result<(), Error> {
    if planned.puts.is_empty() {
        return Ok(());
    }
    let puts = planned.puts.iter();
    let (mut pks, mut sks, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bodies, mut ends) = (Vec::new(), Vec::new());
    for (key, version, body, end) in puts {
        pks.push(key.pk.as_bytes());
        sks.push(key.sk.as_bytes());
        versions.push(*version);
        bodies.push(body.as_str());
        ends.push(*end);
    }
    let rows = [
        (&pks as _, Type::BYTEA_ARRAY),
        (&sks as _, Type::BYTEA_ARRAY),
        (&versions as _, Type::INT8_ARRAY),
        (&bodies as _, Type::TEXT_ARRAY),
        (&ends as _, Type::INT8_ARRAY),
    ];
    client.query_typed(PUT, &rows).await.map(drop)
}

async fn delete(client: &Client, planned: &Planned) -> Result<(), Error> {
    if planned.deletes.is_empty() {
        return Ok(());
    }
    let (pks, sks) = parts(&planned.deletes);
    let keys = [
        (&pks as _, Type::BYTEA_ARRAY),
        (&sks as _, Type::BYTEA_ARRAY),
    ];
    client.query_typed(DELETE, &keys).await.map(drop)
}

/// Removes some of what has been expired for so long that nobody's clock can still differ.
async fn sweep(client: &Client, now: Timestamp, is_turn: bool) -> Result<(), Error> {
    if !is_turn {
        return Ok(());
    }
    let before = now.as_millisecond().saturating_sub(SWEEP_AFTER_MS);
    let limits = [(&before as _, Type::INT8), (&MOST_SWEPT as _, Type::INT8)];
    client.query_typed(SWEEP, &limits).await.map(drop)
}
