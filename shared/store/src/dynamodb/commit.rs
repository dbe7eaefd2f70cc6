//! A commit: what it asks for, and what the answers mean for it.
//!
//! Its writes become operations ([`super::plan`]), which are one request ([`super::send`]). Where a
//! condition fails although the expectation holds, a guess was wrong: the commit is planned again for
//! what was found.

use jiff::Timestamp;

use super::Connection;
use super::failure::Reason;
use super::item::Stored;
use super::plan::{Seen, Verdict, judge, operation};
use super::retry::Tries;
use super::send::{Outcome, Sender};
use crate::rules::holds;
use crate::{Change, CommitError, StoreError, Write};

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
    let mut sender = Sender::new(connection, &commit_id, tries);
    let mut seen = vec![Seen::Unseen; writes.len()];
    let mut has_guessed = false;
    loop {
        let mut places = Vec::new();
        let mut operations = Vec::new();
        for (place, write) in writes.iter().enumerate() {
            if let Some(operation) = operation(write, &seen[place], now, &commit_id)? {
                places.push(place);
                operations.push(operation);
            }
        }
        let outcome = match (writes, operations.as_slice()) {
            (_, []) => Outcome::Applied,
            ([write], [operation]) => sender.send_alone(write, operation).await?,
            _ => sender.transact(&operations).await?,
        };
        let Outcome::Cancelled(reasons) = outcome else {
            return Ok(());
        };
        match conclude(writes, &places, reasons, now, &mut seen)? {
            // Of an item that nobody else changes, this is seen once.
            Again::Guessed if !has_guessed => {
                has_guessed = true;
                sender.tries.go_on(OTHERS).await?;
            }
            Again::Guessed => sender.tries.pause(OTHERS).await?,
            Again::Busy(why) => sender.tries.pause(&why).await?,
        }
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

/// Why a cancelled request is made again.
enum Again {
    /// A guess was wrong, and what stands there was seen.
    Guessed,
    /// Others are in the way, in words.
    Busy(String),
}

pub(super) const OTHERS: &str = "others changed the same items again and again";

/// What a cancelled request means for the commit: its end, or why it is made again with what was
/// `seen`.
fn conclude(
    writes: &[Write],
    places: &[usize],
    reasons: Vec<Reason>,
    now: Timestamp,
    seen: &mut [Seen],
) -> Result<Again, CommitError> {
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
        (Some(why), _) => Ok(Again::Busy(why)),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Ok(Again::Guessed),
    }
}

pub(super) fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}
