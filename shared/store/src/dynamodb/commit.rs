//! A commit: one conditional `PutItem`, or one `TransactWriteItems`.
//!
//! **Exactly once.** An attempt whose outcome is unclear (no answer, a cut one, a 5xx) is made
//! again, and a lost answer must not become a second change.
//!
//! - A transaction carries a client request token. DynamoDB does what comes with one token once
//!   within ten minutes, and answers each repetition as it answered the first; attempts end long
//!   before. The token is made from randomness that is passed in, never left to the SDK, whose
//!   generator begins with the same seed in every fresh WASM program.
//! - A write alone costs half as much as a `PutItem`, which has no token. It is one only where its
//!   own condition tells a repetition from a first attempt: a put of a whole item under
//!   [`Expect::Absent`] or [`Expect::Version`]. Where the repetition fails its condition and finds
//!   the id of this very commit on the item, it was applied. Where it finds another's id, it may
//!   have been applied and overwritten since: nobody can know, and the caller is told so
//!   ([`StoreError::Unavailable`]). What is left is a repetition after others have deleted the item
//!   that the first attempt made: it is made again, as it would be by a caller who tries again.
//! - All else alone is a transaction of one. A bump or a put under [`Expect::Any`] or
//!   [`Expect::Present`] would hold a second time; and a delete leaves nothing that could carry an
//!   id: repeated, it fails although it was done, or removes what another has put there since.
//! - A check alone changes nothing and is a read.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use jiff::Timestamp;

use super::Connection;
use super::failure::{Reason, Trouble, reason, trouble};
use super::item::{Attributes, Stored};
use super::plan::{Effect, Operation, Seen, Verdict, judge, operation};
use super::retry::Tries;
use crate::rules::holds;
use crate::{Change, CommitError, Expect, StoreError, Write};

/// How a request ended that DynamoDB has answered.
enum Outcome {
    Applied,
    /// Nothing was changed: a reason for each operation.
    Cancelled(Vec<Reason>),
}

/// Applies `writes`, whose limits are checked.
pub(super) async fn commit(
    connection: &Connection,
    now: Timestamp,
    writes: &[Write],
) -> Result<(), CommitError> {
    let mut tries = Tries::begin(connection);
    if let [write] = writes
        && write.change == Change::Check
    {
        return check(connection, &mut tries, now, write).await;
    }

    let commit_id = hex(connection.draw());
    let mut seen = vec![Seen::Unseen; writes.len()];
    for plan in 0_u32.. {
        let mut places = Vec::new();
        let mut operations = Vec::new();
        for (place, write) in writes.iter().enumerate() {
            if let Some(operation) = operation(write, &seen[place], now, &commit_id)? {
                places.push(place);
                operations.push(operation);
            }
        }
        if operations.is_empty() {
            break;
        }

        // Another plan is another request, which must not come with the same token.
        let token = format!("{commit_id}{plan:04}");
        let outcome = match (writes, operations.as_slice()) {
            ([write], [operation]) if tells_repetition(write) => {
                put_alone(connection, &mut tries, operation, &commit_id).await?
            }
            _ => transact(connection, &mut tries, &operations, &token).await?,
        };
        let Outcome::Cancelled(reasons) = outcome else {
            break;
        };
        let why = conclude(writes, &places, reasons, now, &mut seen)?;
        tries.pause(&why).await?;
    }
    Ok(())
}

/// Whether a repetition of `write` is told from a first attempt by its own condition.
fn tells_repetition(write: &Write) -> bool {
    match write.change {
        Change::Put { .. } => matches!(write.expect, Expect::Absent | Expect::Version(_)),
        Change::Bump { .. } => write.expect == Expect::Absent,
        Change::Delete | Change::Check => false,
    }
}

/// A check alone: a read.
async fn check(
    connection: &Connection,
    tries: &mut Tries<'_>,
    now: Timestamp,
    write: &Write,
) -> Result<(), CommitError> {
    let found = super::read::get(connection, tries, vec![write.key.clone()]).await?;
    let live = found.values().find(|stored| stored.is_live(now));
    if !holds(write.expect, live.map(|stored| stored.item.version)) {
        return Err(CommitError::Failed(0));
    }
    Ok(())
}

/// What a cancelled request means for the commit: its end, or why it is made again with what was
/// `seen`.
fn conclude(
    writes: &[Write],
    places: &[usize],
    reasons: Vec<Reason>,
    now: Timestamp,
    seen: &mut [Seen],
) -> Result<String, CommitError> {
    let mut busy = None;
    let mut impossible = None;
    for (place, reason) in places.iter().copied().zip(reasons) {
        match reason {
            Reason::Fine => {}
            Reason::Condition(found) => {
                seen[place] = match found {
                    Some(attributes) => Seen::There(Stored::read(attributes)?),
                    None => Seen::Nothing,
                };
                match judge(&writes[place], &seen[place], now) {
                    // Which is the first is only known if none before it was left undecided.
                    Verdict::Failed if busy.is_none() => return Err(CommitError::Failed(place)),
                    Verdict::Failed | Verdict::Again => {}
                    Verdict::Impossible(error) => impossible = impossible.or(Some(error)),
                }
            }
            Reason::Busy(why) => busy = busy.or(Some(why)),
            Reason::Invalid(why) => {
                impossible = impossible.or(Some(StoreError::Misuse(why)));
            }
        }
    }
    match (busy, impossible) {
        (Some(why), _) => Ok(why),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Ok("others changed the same items again and again".to_owned()),
    }
}

/// Sends a transaction until its outcome is known.
async fn transact(
    connection: &Connection,
    tries: &mut Tries<'_>,
    operations: &[Operation],
    token: &str,
) -> Result<Outcome, StoreError> {
    let request = connection
        .client
        .transact_write_items()
        .client_request_token(token)
        .set_transact_items(Some(
            operations
                .iter()
                .map(|operation| connection.transact_item(operation))
                .collect::<Result<_, _>>()?,
        ));
    loop {
        let error = match request.clone().send().await {
            Ok(_) => return Ok(Outcome::Applied),
            Err(error) => error,
        };
        if let SdkError::ServiceError(answer) = &error
            && let TransactWriteItemsError::TransactionCanceledException(cancelled) = answer.err()
            && let Some(reasons) = &cancelled.cancellation_reasons
        {
            return Ok(Outcome::Cancelled(reasons.iter().map(of_sdk).collect()));
        }
        match trouble(&connection.place, &error) {
            Trouble::Passing { why, .. } => tries.pause(&why).await?,
            Trouble::Lasting(error) => return Err(error),
        }
    }
}

/// Sends a put whose condition tells a repetition, until its outcome is known.
async fn put_alone(
    connection: &Connection,
    tries: &mut Tries<'_>,
    operation: &Operation,
    commit_id: &str,
) -> Result<Outcome, StoreError> {
    let Effect::Put(item) = &operation.effect else {
        return Err(StoreError::Misuse(
            "a write alone was planned as no put".to_owned(),
        ));
    };
    let request = connection
        .client
        .put_item()
        .table_name(&connection.table)
        .set_item(Some(item.clone().into_iter().collect()))
        .set_condition_expression(operation.condition.clone())
        .set_expression_attribute_values(given(&operation.values))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);

    let mut is_unclear = false;
    loop {
        let error = match request.clone().send().await {
            Ok(_) => return Ok(Outcome::Applied),
            Err(error) => error,
        };
        if let SdkError::ServiceError(answer) = &error
            && let PutItemError::ConditionalCheckFailedException(failed) = answer.err()
        {
            let found = failed.item.clone().map(|item| item.into_iter().collect());
            return concluded_alone(connection, found, commit_id, is_unclear);
        }
        match trouble(&connection.place, &error) {
            Trouble::Passing {
                why,
                is_unclear: it,
            } => {
                is_unclear |= it;
                tries.pause(&why).await?;
            }
            Trouble::Lasting(error) => return Err(error),
        }
    }
}

/// What the failed condition of a put alone means, with `found` in the item's place.
fn concluded_alone(
    connection: &Connection,
    found: Option<Attributes>,
    commit_id: &str,
    is_unclear: bool,
) -> Result<Outcome, StoreError> {
    let is_ours = match found.clone().map(Stored::read).transpose()? {
        Some(stored) => stored.commit_id == commit_id,
        None => false,
    };
    if is_ours {
        return Ok(Outcome::Applied);
    }
    if is_unclear {
        return Err(StoreError::Unavailable(format!(
            "{}: an answer was lost, and others have changed the item since: the commit may have \
             been applied or not",
            connection.place
        )));
    }
    Ok(Outcome::Cancelled(vec![Reason::Condition(found)]))
}

impl Connection {
    /// `operation` as a part of a transaction.
    fn transact_item(&self, operation: &Operation) -> Result<TransactWriteItem, StoreError> {
        let table = &self.table;
        let condition = operation.condition.clone();
        let names = given(&operation.names);
        let values = given(&operation.values);
        let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
        let builder = TransactWriteItem::builder();
        let item = match &operation.effect {
            Effect::Put(item) => Put::builder()
                .table_name(table)
                .set_item(given(item))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(all_old)
                .build()
                .map(|put| builder.put(put)),
            Effect::Update(key, update) => Update::builder()
                .table_name(table)
                .set_key(given(key))
                .update_expression(update)
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(all_old)
                .build()
                .map(|update| builder.update(update)),
            Effect::Delete(key) => Delete::builder()
                .table_name(table)
                .set_key(given(key))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(all_old)
                .build()
                .map(|delete| builder.delete(delete)),
            Effect::Check(key) => ConditionCheck::builder()
                .table_name(table)
                .set_key(given(key))
                .set_condition_expression(condition)
                .set_expression_attribute_names(names)
                .set_expression_attribute_values(values)
                .return_values_on_condition_check_failure(all_old)
                .build()
                .map(|check| builder.condition_check(check)),
        };
        let item = item.map_err(|error| StoreError::Misuse(error.to_string()))?;
        Ok(item.build())
    }
}

fn of_sdk(found: &CancellationReason) -> Reason {
    let item = found.item.clone().map(|item| item.into_iter().collect());
    reason(found.code(), found.message.clone(), item)
}

/// `map` as the SDK takes it: none rather than an empty one, which DynamoDB refuses.
fn given<T: Clone, M: FromIterator<(String, T)>>(
    map: &std::collections::BTreeMap<String, T>,
) -> Option<M> {
    (!map.is_empty()).then(|| {
        map.iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    })
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}
