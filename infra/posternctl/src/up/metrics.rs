//! What is measured, as a page for Prometheus ("Exposition formats", text): what the last runs said
//! ([`control::measures`]), and how many logins were refused since the start.
//!
//! It has an address of its own and no others' requests: it tells how large the network is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use api::admins::{CHALLENGES, SESSIONS, SETUP};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use control::measures::{Measure, Unit};
use http::StatusCode;
use jiff::Timestamp;

use crate::now;

/// The text format's media type.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What was measured last, by name and place.
#[derive(Clone, Default)]
pub struct Gauges(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    noted: BTreeMap<(&'static str, Option<String>), Noted>,
    refused_logins: u64,
}

struct Noted {
    unit: Unit,
    value: f64,
    at: Timestamp,
}

impl Gauges {
    /// Keeps what a run measured. What an earlier run said of places and this one does not is over.
    pub fn note(&self, at: Timestamp, measures: &[Measure]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A mirror that lags no more is not said any more.
        kept.noted.retain(|(name, _), _| *name != "MirrorLagging");
        for measure in measures {
            let noted = Noted {
                unit: measure.unit,
                value: measure.value,
                at,
            };
            kept.noted.insert((measure.name, measure.at.clone()), noted);
        }
    }

    /// Counts an answer of the control plane.
    pub fn answered(&self, path: &str, status: StatusCode) {
        if status.is_client_error() && [CHALLENGES, SESSIONS, SETUP].contains(&path) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.refused_logins += 1;
        }
    }

    fn page(&self, now: Timestamp) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = String::new();
        let mut last = "";
        for ((name, place), noted) in &kept.noted {
            let metric = metric(name, noted.unit);
            let mut value = noted.value;
            if noted.unit == Unit::Seconds {
                // An age goes on while nobody measures it.
                value += now.duration_since(noted.at).as_secs_f64();
            }
            if last != *name {
                line(&mut page, format_args!("# TYPE {metric} gauge"));
                last = name;
            }
            let label = place.as_ref().map_or_else(String::new, |place| {
                let place = place
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                format!("{{place=\"{place}\"}}")
            });
            line(&mut page, format_args!("{metric}{label} {value}"));
        }
        line(
            &mut page,
            format_args!("# TYPE postern_refused_logins_total counter"),
        );
        line(
            &mut page,
            format_args!("postern_refused_logins_total {}", kept.refused_logins),
        );
        page
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a text takes whatever is written");
}

/// `CatalogAge` in seconds is `postern_catalog_age_seconds`.
fn metric(name: &str, unit: Unit) -> String {
    let mut metric = "postern".to_owned();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            metric.push('_');
        }
        metric.push(letter.to_ascii_lowercase());
    }
    metric.push_str(match unit {
        Unit::Count => "",
        Unit::Seconds => "_seconds",
        Unit::Percent => "_percent",
    });
    metric
}

/// Serves the page at `/metrics`.
pub fn router(gauges: Gauges) -> Router {
    let page = move || async move { ([(CONTENT_TYPE, TEXT)], gauges.page(now())) };
    Router::new().route("/metrics", get(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_what_was_measured_last_and_ages_that_go_on() {
        let gauges = Gauges::default();
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let measures = |age: f64| {
            vec![
                Measure::new("CatalogAge", Unit::Seconds, age),
                Measure::count("LeakedResources", 2).at("a \"b\""),
                Measure::count("MirrorLagging", 1).at("bucket"),
            ]
        };
        gauges.note(at, &measures(5.0));
        gauges.note(at, &measures(7.0)[..2]);
        gauges.answered(SESSIONS, StatusCode::UNAUTHORIZED);
        gauges.answered(SESSIONS, StatusCode::OK);
        gauges.answered("/v1/enroll", StatusCode::FORBIDDEN);

        let page = gauges.page(Timestamp::from_second(1_800_000_010).unwrap());

        assert_eq!(
            page,
            "# TYPE postern_catalog_age_seconds gauge\n\
             postern_catalog_age_seconds 17\n\
             # TYPE postern_leaked_resources gauge\n\
             postern_leaked_resources{place=\"a \\\"b\\\"\"} 2\n\
             # TYPE postern_refused_logins_total counter\n\
             postern_refused_logins_total 1\n"
        );
    }
}
