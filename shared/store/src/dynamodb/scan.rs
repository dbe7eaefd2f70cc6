//! Everything that the table holds, and the proof that it stood together.
//!
//! A `Scan` is no snapshot: each of its pages is as of its own moment, and commits fall between them. So
//! what is read is summed up (keys, versions and the commits that wrote them), and [`Scanned::confirm`]
//! scans twice more and compares the sums.
//!
//! Why that is enough. Each write gives its item a commit id that none had before. An item that was seen
//! twice with the same one has not been written in between; so all that the first scan gave stood
//! together at every moment between its end and the beginning of the second. What might be missing is
//! an item that was made behind the first scan's back and removed before the second came to it. The
//! commit that removed it either left something else written, which the third scan sees, or nothing: then
//! the table was as it was read, but for a removal that would have changed nothing else had it come
//! earlier (docs/adr/0110).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::Connection;
use super::failure::{Trouble, trouble};
use super::item::{Attributes, COMMIT_ID, PK, SK, Stored, VERSION, number};
use super::retry::Tries;
use crate::{Item, Key, Settled, Snapshot, StoreError};

/// How often everything is read again to confirm.
const MORE_SCANS: u32 = 2;
/// How many items are asked for at once when only their versions are: DynamoDB's page of 1 MB ends
/// sooner.
const MOST_VERSIONS: usize = 10_000;

/// A snapshot that is read by one scan.
pub(super) struct Scanned {
    connection: Arc<Connection>,
    now: Timestamp,
    settled: Settled,
    scan: Scan,
    sum: Sum,
}

impl Scanned {
    /// Reads nothing yet.
    pub fn begin(connection: Arc<Connection>, now: Timestamp, settled: Settled) -> Self {
        Self {
            connection,
            now,
            settled,
            scan: Scan::Begins,
            sum: Sum::default(),
        }
    }
}

#[async_trait]
impl Snapshot for Scanned {
    async fn next(&mut self, most: usize) -> Result<Vec<Item>, StoreError> {
        // A page may hold nothing that is live, and yet not be the last.
        while let Some(found) = self
            .scan
            .page(&self.connection, self.now, most, Columns::All)
            .await?
        {
            let mut items = Vec::with_capacity(found.len());
            for attributes in found {
                let Stored {
                    item, commit_id, ..
                } = Stored::read(attributes)?;
                if (self.settled)(&item.key) {
                    self.sum.add(&item.key, item.version, &commit_id);
                }
                items.push(item);
            }
            if !items.is_empty() {
                return Ok(items);
            }
        }
        Ok(Vec::new())
    }

    async fn confirm(self: Box<Self>) -> Result<(), StoreError> {
        if !matches!(self.scan, Scan::Ended) {
            return Err(StoreError::Misuse(
                "a snapshot is confirmed after its last item".to_owned(),
            ));
        }
        for _ in 0..MORE_SCANS {
            let mut scan = Scan::Begins;
            let mut sum = Sum::default();
            while let Some(found) = scan
                .page(&self.connection, self.now, MOST_VERSIONS, Columns::Versions)
                .await?
            {
                for attributes in found {
                    let (key, version, commit_id) = read_version(&attributes)?;
                    if (self.settled)(&key) {
                        sum.add(&key, version, &commit_id);
                    }
                }
            }
            if sum != self.sum {
                return Err(StoreError::Unavailable(format!(
                    "{}: others changed it while it was read, so what was read is of no one \
                     moment: try again when less is going on, or read a copy of the table that \
                     nobody writes to",
                    self.connection.place
                )));
            }
        }
        Ok(())
    }
}

/// How far a scan is.
enum Scan {
    Begins,
    /// Behind this key.
    GoesOn(Attributes),
    Ended,
}

/// What is asked for of each item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    All,
    /// What a [`Sum`] needs.
    Versions,
}

impl Scan {
    /// The next page, of at most `most` items that have not expired at `now`; `None` after the last. Each
    /// item is as of its last commit.
    async fn page(
        &mut self,
        connection: &Connection,
        now: Timestamp,
        most: usize,
        columns: Columns,
    ) -> Result<Option<Vec<Attributes>>, StoreError> {
        let start = match self {
            Self::Begins => None,
            Self::GoesOn(key) => Some(key.clone()),
            Self::Ended => return Ok(None),
        };
        let mut request = connection
            .client
            .scan()
            .table_name(&connection.table)
            .consistent_read(true)
            .filter_expression("attribute_not_exists(expires_at) OR expires_at > :now")
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .set_exclusive_start_key(start.map(|key| key.into_iter().collect()))
            .limit(i32::try_from(most).unwrap_or(i32::MAX));
        if columns == Columns::Versions {
            request = request.projection_expression(format!("{PK}, {SK}, {VERSION}, {COMMIT_ID}"));
        }

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
        *self = match answer.last_evaluated_key {
            Some(key) if !key.is_empty() => Self::GoesOn(key.into_iter().collect()),
            _ => Self::Ended,
        };
        let items = answer.items.unwrap_or_default().into_iter();
        Ok(Some(items.map(|item| item.into_iter().collect()).collect()))
    }
}

/// The key of an item, its version and the commit that wrote it last.
fn read_version(attributes: &Attributes) -> Result<(Key, u64, String), StoreError> {
    let text = |name| match attributes.get(name) {
        Some(AttributeValue::S(text)) => Some(text.clone()),
        _ => None,
    };
    let read = || {
        let key = Key::new(text(PK)?, text(SK)?);
        let version = match attributes.get(VERSION)? {
            AttributeValue::N(number) => number.parse().ok()?,
            _ => return None,
        };
        Some((key, version, text(COMMIT_ID)?))
    };
    read().ok_or_else(|| {
        let key = (text(PK), text(SK));
        StoreError::Corrupt(format!(
            "{key:?} is not of the form that this program writes"
        ))
    })
}

/// A sum over items that no order changes. Two tables that differ have the same one with a chance of
/// some 2⁻¹²⁸: commit ids are random, and nobody gains by choosing them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Sum {
    count: u64,
    first: u64,
    second: u64,
}

impl Sum {
    fn add(&mut self, key: &Key, version: u64, commit_id: &str) {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, key, version, commit_id).hash(&mut hasher);
            hasher.finish()
        };
        self.count += 1;
        self.first = self.first.wrapping_add(hash(1));
        self.second = self.second.wrapping_add(hash(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(items: &[(&str, u64, &str)]) -> Sum {
        let mut sum = Sum::default();
        for (sk, version, commit_id) in items {
            sum.add(&Key::new("p", *sk), *version, commit_id);
        }
        sum
    }

    #[test]
    fn a_sum_is_of_what_is_there_and_not_of_its_order() {
        let (a, b) = (("a", 1, "x"), ("b", 2, "y"));

        assert_eq!(sum(&[a, b]), sum(&[b, a]));

        for other in [
            vec![a],
            vec![a, b, b],
            vec![a, ("b", 3, "y")],
            vec![a, ("b", 2, "z")],
            vec![a, ("c", 2, "y")],
        ] {
            assert_ne!(sum(&other), sum(&[a, b]), "{other:?}");
        }
    }
}
