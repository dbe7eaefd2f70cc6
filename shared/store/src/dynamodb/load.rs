//! Putting items as they are, as one transaction.
//!
//! It is asked for as if nothing were there. Where something is, the condition fails and shows it: the
//! same item becomes a check that it stays, and the transaction is made again; another item ends it.

use jiff::Timestamp;

use super::Connection;
use super::commit::{OTHERS, hex};
use super::failure::Reason;
use super::item::Stored;
use super::plan::{Effect, Operation, Seen, load_operation};
use super::retry::Tries;
use super::send::{Outcome, Sender};
use crate::rules::is_same;
use crate::{CommitError, Item, StoreError};

/// Puts what of `items` is live, all or none. Their limits are checked.
pub(super) async fn load(
    connection: &Connection,
    now: Timestamp,
    items: &[Item],
) -> Result<(), CommitError> {
    let commit_id = hex(connection.draw());
    let mut sender = Sender::new(connection, &commit_id, Tries::begin(connection));
    let places: Vec<usize> = (0..items.len())
        .filter(|place| items[*place].is_live(now))
        .collect();
    let mut seen = vec![Seen::Unseen; items.len()];
    let mut has_looked = false;
    loop {
        let operations: Vec<Operation> = places
            .iter()
            .map(|place| load_operation(&items[*place], &seen[*place], now, &commit_id))
            .collect();
        let is_put = |operation: &Operation| matches!(operation.effect, Effect::Put(_));
        if !operations.iter().any(is_put) {
            return Ok(());
        }
        let Outcome::Cancelled(reasons) = sender.transact(&operations).await? else {
            return Ok(());
        };
        match conclude(items, &places, reasons, now, &mut seen)? {
            Some(busy) => sender.tries.pause(&busy).await?,
            // Of items that nobody else changes, this is seen once.
            None if !has_looked => {
                has_looked = true;
                sender.tries.go_on(OTHERS).await?;
            }
            None => sender.tries.pause(OTHERS).await?,
        }
    }
}

/// What a cancelled transaction means: the end, or why others are in the way, or that it is made again
/// with what was `seen`.
fn conclude(
    items: &[Item],
    places: &[usize],
    reasons: Vec<Reason>,
    now: Timestamp,
    seen: &mut [Seen],
) -> Result<Option<String>, CommitError> {
    let mut busy = None;
    for (place, reason) in places.iter().copied().zip(reasons) {
        match reason {
            Reason::Fine => {}
            Reason::Condition(None) => seen[place] = Seen::Nothing,
            Reason::Condition(Some(found)) => {
                let stored = Stored::read(found)?;
                let is_other = stored.is_live(now) && !is_same(&stored.item, &items[place]);
                // Which is the first is only known if none before it was left undecided.
                if is_other && busy.is_none() {
                    return Err(CommitError::Failed(place));
                }
                seen[place] = Seen::There(stored);
            }
            Reason::Busy(why) => busy = busy.or(Some(why)),
            Reason::Invalid(why) => return Err(StoreError::Misuse(why).into()),
        }
    }
    Ok(busy)
}
