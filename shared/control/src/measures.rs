//! What is measured of a network, for those who watch it and for their alarms.
//!
//! A report of a run tells it ([`Measured`]); how it is told to whom is the runtime's: lines of a log on the
//! clouds (`edge::measures`), a page for Prometheus on one's own machine. Names and units stay: alarms are
//! written against them (docs/observability.md).

use jiff::Timestamp;

use crate::{fleet, publish};

/// What a run of publishing, or something beside it, has to complain of.
pub const WARNINGS: &str = "Warnings";

/// In what something is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// How many.
    Count,
    /// Seconds.
    Seconds,
    /// Of a hundred.
    Percent,
}

/// Something that was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Measure {
    /// What: words with capitals, as `CloudWatch`'s own are.
    pub name: &'static str,
    /// In what.
    pub unit: Unit,
    /// How much.
    pub value: f64,
    /// At which mirror or provider, if it is about one.
    pub at: Option<String>,
}

impl Measure {
    /// Something of the whole network.
    pub fn new(name: &'static str, unit: Unit, value: f64) -> Self {
        Self {
            name,
            unit,
            value,
            at: None,
        }
    }

    /// How many of something there are.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn count(name: &'static str, count: usize) -> Self {
        Self::new(name, Unit::Count, count as f64)
    }

    /// The same, of one mirror or provider.
    #[must_use]
    pub fn at(self, place: impl Into<String>) -> Self {
        Self {
            at: Some(place.into()),
            ..self
        }
    }
}

/// A report that tells what was measured.
pub trait Measured {
    /// What was measured in a run that ended at `now`.
    fn measures(&self, now: Timestamp) -> Vec<Measure>;
}

impl<T: Measured> Measured for Vec<T> {
    fn measures(&self, now: Timestamp) -> Vec<Measure> {
        self.iter().flat_map(|one| one.measures(now)).collect()
    }
}

impl Measured for publish::Report {
    fn measures(&self, now: Timestamp) -> Vec<Measure> {
        let mut measures = vec![
            Measure::count("GatewaysInService", self.listed),
            Measure::count("GatewaysUnhealthy", self.unhealthy),
            Measure::new(
                "GatewaysUnhealthyShare",
                Unit::Percent,
                share(self.unhealthy, self.listed + self.unhealthy),
            ),
            Measure::count("MirrorsLagging", self.lagging.len()),
            Measure::count(WARNINGS, self.warnings.len()),
        ];
        if let Some(at) = self.published_at {
            let age = now.duration_since(at).as_secs_f64();
            measures.push(Measure::new("CatalogAge", Unit::Seconds, age));
        }
        for (mirror, _) in &self.lagging {
            measures.push(Measure::count("MirrorLagging", 1).at(mirror));
        }
        measures
    }
}

impl Measured for fleet::Report {
    fn measures(&self, _: Timestamp) -> Vec<Measure> {
        if self.busy {
            return Vec::new();
        }
        let mut measures = vec![
            Measure::count("NodesUnderWay", self.under_way),
            Measure::count("FleetTroubles", self.troubles.len()),
        ];
        if let Some(spend) = &self.spend {
            let (month, cap) = (spend.month.0, spend.most_per_month.0);
            #[allow(clippy::cast_precision_loss, reason = "money is shown with cents")]
            let units = |amount: u64| amount as f64 / 1e6;
            measures.push(Measure::new("SpendPerMonth", Unit::Count, units(month)));
            let of_cap = if cap == 0 {
                100.0
            } else {
                100.0 * units(month) / units(cap)
            };
            measures.push(Measure::new("SpendOfCap", Unit::Percent, of_cap));
        }
        measures
    }
}

/// So many of all in percent; none of none is nothing.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn share(some: usize, all: usize) -> f64 {
    if all == 0 {
        return 0.0;
    }
    100.0 * some as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use model::Amount;

    use super::*;

    fn value(measures: &[Measure], name: &str) -> Option<f64> {
        let found = measures.iter().find(|measure| measure.name == name);
        found.map(|measure| measure.value)
    }

    #[test]
    fn a_run_tells_what_it_spends_of_its_cap_and_says_nothing_where_another_works() {
        let now = Timestamp::UNIX_EPOCH;
        let spend = fleet::Spend {
            month: Amount(15_000_000),
            most_per_month: Amount(60_000_000),
        };
        let report = fleet::Report {
            spend: Some(spend),
            ..fleet::Report::default()
        };
        let busy = fleet::Report {
            busy: true,
            ..report.clone()
        };

        assert_eq!(value(&report.measures(now), "SpendOfCap"), Some(25.0));
        assert_eq!(value(&report.measures(now), "SpendPerMonth"), Some(15.0));
        assert_eq!(busy.measures(now), []);
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert!(share(0, 0).abs() < f64::EPSILON);
        assert!((share(1, 4) - 25.0).abs() < f64::EPSILON);
    }
}
