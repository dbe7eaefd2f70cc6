//! What everything has cost: nothing that was ever rented leaves it.

use jiff::{SignedDuration, Timestamp};

use crate::settings::Price;

/// The hours of the month that Hetzner's monthly cap is for: some 30 days.
const MONTH_HOURS: u64 = 720;

/// A server or an address that was rented.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rent {
    /// Its id.
    pub id: u64,
    /// `server` or `primary_ip`.
    pub kind: &'static str,
    /// The name that it was given.
    pub name: String,
    /// Since when it is paid for.
    pub from: Timestamp,
    /// Until when it was; none is still.
    pub until: Option<Timestamp>,
    /// What it costs.
    pub price: Price,
}

impl Rent {
    /// What it has cost until `now`, in millionths: each hour that has begun, a month's price at
    /// most for a month.
    pub fn cost(&self, now: Timestamp) -> u64 {
        let span = self.until.unwrap_or(now).duration_since(self.from);
        let hour = SignedDuration::from_hours(1).as_secs();
        let hours = (span.max(SignedDuration::from_secs(1)).as_secs() + hour - 1) / hour;
        let hours = u64::try_from(hours).expect("it is not negative").max(1);
        let months = self.price.month * (hours / MONTH_HOURS);
        months + (self.price.hour * (hours % MONTH_HOURS)).min(self.price.month)
    }
}

/// The rents of an account, in the order in which they began.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bill {
    /// All of them.
    pub rents: Vec<Rent>,
}

impl Bill {
    /// What all of it has cost until `now`, in millionths.
    pub fn total(&self, now: Timestamp) -> u64 {
        self.rents.iter().map(|rent| rent.cost(now)).sum()
    }

    /// What is paid for still.
    pub fn running(&self) -> impl Iterator<Item = &Rent> {
        self.rents.iter().filter(|rent| rent.until.is_none())
    }

    /// The rents of what had this name.
    pub fn of(&self, kind: &str, name: &str) -> Vec<&Rent> {
        let rents = self.rents.iter();
        rents
            .filter(|rent| rent.kind == kind && rent.name == name)
            .collect()
    }

    pub(crate) fn begin(
        &mut self,
        kind: &'static str,
        id: u64,
        name: &str,
        price: Price,
        from: Timestamp,
    ) {
        self.rents.push(Rent {
            id,
            kind,
            name: name.to_owned(),
            from,
            until: None,
            price,
        });
    }

    pub(crate) fn end(&mut self, id: u64, at: Timestamp) {
        for rent in &mut self.rents {
            if rent.id == id && rent.until.is_none() {
                rent.until = Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_have_begun_are_paid_for_until_the_month_is() {
        let from: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let rent = Rent {
            id: 1,
            kind: "server",
            name: "a".to_owned(),
            from,
            until: None,
            price: Price {
                hour: 10,
                month: 5_000,
            },
        };
        let after = |seconds| rent.cost(from + SignedDuration::from_secs(seconds));
        assert_eq!(after(0), 10);
        assert_eq!(after(3600), 10);
        assert_eq!(after(3601), 20);
        assert_eq!(after(719 * 3600), 5_000);
        assert_eq!(after(721 * 3600), 5_010);
    }
}
