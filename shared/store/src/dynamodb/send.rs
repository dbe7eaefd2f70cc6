//! Sending a commit's operations until DynamoDB has said what became of them: as one
//! `TransactWriteItems`, or as one `PutItem` or `UpdateItem`.
//!
//! **Exactly once.** An attempt whose outcome is unclear (no answer, a cut one, a 5xx) is made
//! again, and a lost answer must not become a second change.
//!
//! - A transaction carries a client request token. DynamoDB does what comes with one token once
//!   within ten minutes, and answers each repetition as it answered the first; attempts end long
//!   before. The token is made from randomness that is passed in, never left to the SDK, whose
//!   generator begins with the same seed in every fresh WASM program. A new token is taken only when
//!   a failed condition has shown that what came with the last one was not done.
//! - A write alone costs half as much without a transaction, and has no token. So it goes only where
//!   its own guard tells a repetition from a first attempt: a put or a bump under
//!   [`Expect::Absent`] or [`Expect::Version`]. Where the repetition fails its condition, the item
//!   tells: the commit that began it and the one that wrote it last are on it ([`was_applied`]).
//!   Only where others have written it since, so that the id that would tell is gone, nobody can
//!   know, and the caller is told just that ([`StoreError::Unavailable`]).
//! - All else alone is a transaction of one. A bump or a put under [`Expect::Any`] or
//!   [`Expect::Present`] would hold a second time; and a delete leaves nothing that could carry an
//!   id: repeated, it fails although it was done, or removes what another has put there since.
//!
//! What is left: a write alone whose item others *delete* between two attempts. If its answer was
//! lost it says that it failed, and under `Absent` it is made again. Its first change is gone by then
//! in both cases, so it never counts twice.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};

use super::Connection;
use super::failure::{Reason, Trouble, reason, trouble};
use super::item::{Attributes, Stored};
use super::plan::{Effect, Operation};
use super::retry::Tries;
use crate::{Change, Expect, StoreError, Write};

/// How a request ended that DynamoDB has answered.
pub(super) enum Outcome {
    Applied,
    /// Nothing was changed: a reason for each operation.
    Cancelled(Vec<Reason>),
}

/// Sends one commit's requests.
pub(super) struct Sender<'a> {
    connection: &'a Connection,
    commit_id: &'a str,
    transactions: u32,
    pub tries: Tries<'a>,
}

impl<'a> Sender<'a> {
    /// A sender for the commit of this id: 32 characters that no other commit has.
    pub fn new(connection: &'a Connection, commit_id: &'a str, tries: Tries<'a>) -> Self {
        Self {
            connection,
            commit_id,
            transactions: 0,
            tries,
        }
    }

    /// Sends a transaction until its outcome is known.
    pub async fn transact(&mut self, operations: &[Operation]) -> Result<Outcome, StoreError> {
        // At most 36 characters. Another plan is another request, which needs a token of its own.
        let token = format!("{}{:04}", self.commit_id, self.transactions);
        self.transactions += 1;
        let items = operations
            .iter()
            .map(|operation| self.transact_item(operation))
            .collect::<Result<_, _>>()?;
        let request = self
            .connection
            .client
            .transact_write_items()
            .client_request_token(token)
            .set_transact_items(Some(items));
        loop {
            let Err(error) = request.clone().send().await else {
                return Ok(Outcome::Applied);
            };
            let why = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    let reasons = cancelled
                        .cancellation_reasons()
                        .iter()
                        .map(of_sdk)
                        .collect();
                    match self.known(reasons)? {
                        Ok(outcome) => return Ok(outcome),
                        Err(why) => why,
                    }
                }
                _ => match trouble(&self.connection.place, &error) {
                    Trouble::Passing { why, .. } => why,
                    Trouble::Lasting(error) => return Err(error),
                },
            };
            self.tries.pause(&why).await?;
        }
    }

    /// The outcome of a cancelled transaction; or why it is not known yet, and the same is to be
    /// asked again: others are in the way, and nothing says that no earlier attempt was applied.
    fn known(&self, reasons: Vec<Reason>) -> Result<Result<Outcome, String>, StoreError> {
        let mut is_known = false;
        let mut busy = "cancelled for no reason that was given".to_owned();
        for reason in &reasons {
            match reason {
                Reason::Fine => {}
                Reason::Busy(why) => busy.clone_from(why),
                Reason::Invalid(_) | Reason::Condition(None) => is_known = true,
                Reason::Condition(Some(found)) => {
                    is_known = true;
                    if Stored::read(found.clone())?.commit_id == self.commit_id {
                        return Ok(Err("an earlier attempt is being applied".to_owned()));
                    }
                }
            }
        }
        Ok(if is_known {
            Ok(Outcome::Cancelled(reasons))
        } else {
            Err(busy)
        })
    }

    /// Sends the operation of a commit that has no other write, until its outcome is known.
    pub async fn send_alone(
        &mut self,
        write: &Write,
        operation: &Operation,
    ) -> Result<Outcome, StoreError> {
        let Some(request) = self.alone(write, operation) else {
            return self.transact(std::slice::from_ref(operation)).await;
        };
        let mut is_unclear = false;
        loop {
            match request.attempt(self.connection).await {
                Attempt::Applied => return Ok(Outcome::Applied),
                Attempt::Condition(found) => {
                    let stored = found.clone().map(Stored::read).transpose()?;
                    return match was_applied(self.commit_id, write.expect, stored.as_ref()) {
                        Some(true) => Ok(Outcome::Applied),
                        None if is_unclear => Err(StoreError::Unavailable(format!(
                            "{}: an answer was lost and others have changed the item since: the \
                             commit may have been applied or not",
                            self.connection.place
                        ))),
                        Some(false) | None => {
                            Ok(Outcome::Cancelled(vec![Reason::Condition(found)]))
                        }
                    };
                }
                Attempt::Trouble(Trouble::Passing {
                    why,
                    is_unclear: it,
                }) => {
                    is_unclear |= it;
                    self.tries.pause(&why).await?;
                }
                Attempt::Trouble(Trouble::Lasting(error)) => return Err(error),
            }
        }
    }

    /// The request of `operation` outside of a transaction, if a repetition of `write` can be told
    /// from a first attempt.
    fn alone(&self, write: &Write, operation: &Operation) -> Option<Alone> {
        if !matches!(write.expect, Expect::Absent | Expect::Version(_)) {
            return None;
        }
        let condition = operation.condition.clone();
        let names = given(&operation.names);
        let values = given(&operation.values);
        let client = &self.connection.client;
        let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
        match (&write.change, &operation.effect) {
            (Change::Put { .. } | Change::Bump { .. }, Effect::Put(item)) => {
                let request = client.put_item().set_item(given(item));
                Some(Alone::Put(
                    request
                        .table_name(&self.connection.table)
                        .set_condition_expression(condition)
                        .set_expression_attribute_names(names)
                        .set_expression_attribute_values(values)
                        .return_values_on_condition_check_failure(all_old),
                ))
            }
            (Change::Put { .. } | Change::Bump { .. }, Effect::Update(key, update)) => {
                let request = client.update_item().set_key(given(key));
                Some(Alone::Update(
                    request
                        .table_name(&self.connection.table)
                        .update_expression(update)
                        .set_condition_expression(condition)
                        .set_expression_attribute_names(names)
                        .set_expression_attribute_values(values)
                        .return_values_on_condition_check_failure(all_old),
                ))
            }
            _ => None,
        }
    }

    /// `operation` as a part of a transaction.
    fn transact_item(&self, operation: &Operation) -> Result<TransactWriteItem, StoreError> {
        // The four have the same fields, and no type in common.
        macro_rules! part {
            ($part:ty) => {
                <$part>::builder()
                    .table_name(&self.connection.table)
                    .set_condition_expression(operation.condition.clone())
                    .set_expression_attribute_names(given(&operation.names))
                    .set_expression_attribute_values(given(&operation.values))
                    .return_values_on_condition_check_failure(
                        ReturnValuesOnConditionCheckFailure::AllOld,
                    )
            };
        }
        let item = TransactWriteItem::builder();
        let item = match &operation.effect {
            Effect::Put(attributes) => {
                let part = part!(Put).set_item(given(attributes)).build();
                part.map(|part| item.put(part))
            }
            Effect::Update(key, update) => {
                let part = part!(Update).set_key(given(key)).update_expression(update);
                part.build().map(|part| item.update(part))
            }
            Effect::Delete(key) => {
                let part = part!(Delete).set_key(given(key)).build();
                part.map(|part| item.delete(part))
            }
            Effect::Check(key) => {
                let part = part!(ConditionCheck).set_key(given(key)).build();
                part.map(|part| item.condition_check(part))
            }
        };
        let item = item.map_err(|error| StoreError::Misuse(error.to_string()))?;
        Ok(item.build())
    }
}

/// Whether the commit `commit_id`, a write alone that expects `expect`, was applied before its
/// condition failed with `found` in the item's place. `None` where that cannot be told.
fn was_applied(commit_id: &str, expect: Expect, found: Option<&Stored>) -> Option<bool> {
    // What was applied and then deleted is as if it had come after.
    let Some(found) = found else {
        return Some(false);
    };
    if expect == Expect::Absent {
        return Some(found.born_by == commit_id);
    }
    if found.commit_id == commit_id {
        return Some(true);
    }
    // It would have made the version after the one that it expects, and nobody has gone further.
    let is_behind = match expect {
        Expect::Version(0) => true,
        Expect::Version(version) => found.item.version <= version.saturating_add(1),
        Expect::Absent | Expect::Present | Expect::Any => false,
    };
    is_behind.then_some(false)
}

/// A request outside of a transaction.
enum Alone {
    Put(PutItemFluentBuilder),
    Update(UpdateItemFluentBuilder),
}

/// How an attempt at one ended.
enum Attempt {
    Applied,
    /// Its condition failed, with this in the item's place.
    Condition(Option<Attributes>),
    Trouble(Trouble),
}

impl Alone {
    async fn attempt(&self, connection: &Connection) -> Attempt {
        let place = &connection.place;
        match self {
            Self::Put(request) => match request.clone().send().await {
                Ok(_) => Attempt::Applied,
                Err(error) => match error.as_service_error() {
                    Some(PutItemError::ConditionalCheckFailedException(failed)) => failed.into(),
                    _ => Attempt::Trouble(trouble(place, &error)),
                },
            },
            Self::Update(request) => match request.clone().send().await {
                Ok(_) => Attempt::Applied,
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(failed)) => failed.into(),
                    _ => Attempt::Trouble(trouble(place, &error)),
                },
            },
        }
    }
}

impl From<&ConditionalCheckFailedException> for Attempt {
    fn from(failed: &ConditionalCheckFailedException) -> Self {
        let found = failed.item.clone().map(|item| item.into_iter().collect());
        Self::Condition(found)
    }
}

fn of_sdk(found: &CancellationReason) -> Reason {
    let item = found.item.clone().map(|item| item.into_iter().collect());
    reason(found.code(), found.message.clone(), item)
}

/// `map` as the SDK takes it: none rather than an empty one, which DynamoDB refuses.
fn given<T: Clone, M: FromIterator<(String, T)>>(map: &BTreeMap<String, T>) -> Option<M> {
    let entries = map.iter();
    (!map.is_empty()).then(|| {
        entries
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Item, Key};

    const OURS: &str = "ours";

    fn found(version: u64, born_by: &str, commit_id: &str) -> Stored {
        Stored {
            item: Item {
                key: Key::new("p", "s"),
                version,
                body: json!({}),
                expires_at: None,
            },
            commit_id: commit_id.to_owned(),
            born_by: born_by.to_owned(),
        }
    }

    #[test]
    fn an_item_tells_for_ever_who_began_it() {
        for (version, born_by, expected) in [(1, OURS, true), (9, OURS, true), (1, "x", false)] {
            let found = found(version, born_by, "x");
            let told = was_applied(OURS, Expect::Absent, Some(&found));
            assert_eq!(told, Some(expected), "{found:?}");
        }
    }

    #[test]
    fn a_version_tells_until_others_have_gone_further() {
        for (version, commit_id, expected) in [
            (2, "x", Some(false)),
            (4, OURS, Some(true)),
            (4, "x", Some(false)),
            (5, "x", None),
        ] {
            let found = found(version, "x", commit_id);
            let told = was_applied(OURS, Expect::Version(3), Some(&found));
            assert_eq!(told, expected, "{found:?}");
        }
        let never = was_applied(OURS, Expect::Version(0), Some(&found(9, "x", "x")));
        assert_eq!(never, Some(false));
    }

    #[test]
    fn what_was_deleted_since_counts_as_not_applied() {
        assert_eq!(was_applied(OURS, Expect::Version(3), None), Some(false));
    }
}
