//! What DynamoDB does to a caller now and then, and how its answers look.
//!
//! The forms are those of the DynamoDB API reference (JSON 1.0): an error is a 400 whose `__type`
//! ends with its name, a cancelled transaction has a reason for each of its operations.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

/// What a proxy does, and in which share of the requests (0 to 1).
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Whether operations on an item that a transaction is busy with are refused.
    pub conflicts: bool,
    /// The share that is throttled: as an error, as the reason of a cancelled transaction, or by
    /// leaving keys of a batch unread.
    pub throttled: f64,
    /// The share whose answer is lost: before it was done, after, while it is still being done, or
    /// behind a 500.
    pub lost: f64,
}

impl Faults {
    /// None: a proxy that only counts.
    pub const NONE: Self = Self {
        conflicts: false,
        throttled: 0.0,
        lost: 0.0,
    };
    /// Far more than a region's worst day.
    pub const HARSH: Self = Self {
        conflicts: true,
        throttled: 0.1,
        lost: 0.1,
    };
}

/// What is lost of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lost {
    /// The request: it is not done.
    Request,
    /// The answer: it is done.
    Answer,
    /// The connection, while it is being done.
    Meanwhile,
    /// The answer, behind a 500.
    Behind500,
}

impl Lost {
    pub(crate) const ALL: [Self; 4] = [
        Self::Request,
        Self::Answer,
        Self::Meanwhile,
        Self::Behind500,
    ];
}

/// The items that operations are busy with.
#[derive(Default, Debug)]
pub(crate) struct Busy {
    transactions: BTreeSet<String>,
    tokens: BTreeSet<String>,
    puts: BTreeMap<String, usize>,
}

/// What a write is about.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Touched {
    Put(String),
    Transaction { keys: Vec<String>, token: String },
}

impl Touched {
    /// What the request `body` of `operation` is about, if it is a write.
    pub(crate) fn of(operation: &str, body: &Value) -> Option<Self> {
        match operation {
            "PutItem" => Some(Self::Put(key(&body["TableName"], &body["Item"]))),
            "TransactWriteItems" => {
                let items = body["TransactItems"].as_array().into_iter().flatten();
                let writes = items.filter_map(|item| item.as_object()?.values().next());
                let keys = writes.map(|write| {
                    let item = [&write["Item"], &write["Key"]];
                    let found = item.into_iter().find(|item| item.is_object());
                    key(&write["TableName"], found.unwrap_or(&Value::Null))
                });
                let token = body["ClientRequestToken"].as_str().unwrap_or_default();
                Some(Self::Transaction {
                    keys: keys.collect(),
                    token: token.to_owned(),
                })
            }
            _ => None,
        }
    }
}

fn key(table: &Value, item: &Value) -> String {
    format!("{table} {} {}", item["pk"], item["sk"])
}

impl Busy {
    /// Takes what a write is about, or answers as DynamoDB does where others have it.
    pub(crate) fn take(&mut self, touched: &Touched) -> Result<(), (StatusCode, Bytes)> {
        match touched {
            Touched::Put(key) => {
                if self.transactions.contains(key) {
                    return Err(error("TransactionConflictException", ONGOING));
                }
                *self.puts.entry(key.clone()).or_default() += 1;
            }
            Touched::Transaction { keys, token } => {
                if self.tokens.contains(token) {
                    let why = "The transaction with the given request token is already in progress";
                    return Err(error("TransactionInProgressException", why));
                }
                let is_taken = |key| self.transactions.contains(key) || self.puts.contains_key(key);
                if keys.iter().any(is_taken) {
                    let codes = keys.iter().map(|key| is_taken(key).then_some(CONFLICT));
                    return Err(cancelled(codes));
                }
                self.transactions.extend(keys.iter().cloned());
                self.tokens.insert(token.clone());
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn give(&mut self, touched: &Touched) {
        match touched {
            Touched::Put(key) => {
                let left = self.puts.get(key).map_or(0, |count| count - 1);
                if left == 0 {
                    self.puts.remove(key);
                } else {
                    self.puts.insert(key.clone(), left);
                }
            }
            Touched::Transaction { keys, token } => {
                for key in keys {
                    self.transactions.remove(key);
                }
                self.tokens.remove(token);
            }
        }
    }
}

const ONGOING: &str = "Transaction is ongoing for the item";
const CONFLICT: (&str, &str) = ("TransactionConflict", ONGOING);
const SLOW_DOWN: (&str, &str) = (
    "ThrottlingError",
    "Throughput exceeds the current capacity of your table or index",
);

/// How a write of so many operations is throttled: `way` picks one of DynamoDB's ways.
pub(crate) fn throttled(touched: Option<&Touched>, way: usize) -> (StatusCode, Bytes) {
    match (touched, way % 3) {
        (Some(Touched::Transaction { keys, .. }), 0) => {
            let last = keys.len() - 1;
            cancelled((0..keys.len()).map(|place| (place == last).then_some(SLOW_DOWN)))
        }
        (_, 1) => error("ThrottlingException", "Rate exceeded"),
        _ => error(
            "ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded",
        ),
    }
}

/// The answer of an error.
pub(crate) fn error(name: &str, message: &str) -> (StatusCode, Bytes) {
    let body = json!({
        "__type": format!("com.amazonaws.dynamodb.v20120810#{name}"),
        "message": message,
    });
    (StatusCode::BAD_REQUEST, Bytes::from(body.to_string()))
}

/// The answer of a cancelled transaction: a code and a message, or none, for each operation.
fn cancelled<'a>(reasons: impl Iterator<Item = Option<(&'a str, &'a str)>>) -> (StatusCode, Bytes) {
    let mut codes = Vec::new();
    let mut list = Vec::new();
    for reason in reasons {
        codes.push(reason.map_or("None", |(code, _)| code));
        list.push(match reason {
            Some((code, message)) => json!({ "Code": code, "Message": message }),
            None => json!({ "Code": "None" }),
        });
    }
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            codes.join(", ")
        ),
        "CancellationReasons": list,
    });
    (StatusCode::BAD_REQUEST, Bytes::from(body.to_string()))
}

/// Leaves the second half of the keys of a batch unread: what is asked for, and what is to be added
/// to the answer. `None` where there is no half.
pub(crate) fn halved(body: &Value) -> Option<(Value, Value)> {
    let mut asked = body.clone();
    let (_, wanted) = asked["RequestItems"].as_object_mut()?.iter_mut().next()?;
    let keys = wanted["Keys"].as_array_mut()?;
    if keys.len() < 2 {
        return None;
    }
    let unread = keys.split_off(keys.len() / 2);

    let mut left = body["RequestItems"].clone();
    let (_, wanted) = left.as_object_mut()?.iter_mut().next()?;
    wanted["Keys"] = Value::Array(unread);
    Some((asked, left))
}
