//! What is measured, as lines of a log on the clouds.
//!
//! The lines are in `CloudWatch`'s embedded metric format ("Specification: Embedded metric format"): on Lambda
//! they become metrics by themselves. A Worker's console gets the same lines, for whatever reads its log.

use std::collections::BTreeMap;

use control::measures::{Measure, Unit};
use jiff::Timestamp;
use model::NetworkId;
use serde_json::{Map, Value, json};

/// The metrics' namespace.
const NAMESPACE: &str = "Postern";

/// A line for what was measured of the whole network, and one for each mirror or provider. Metrics go by
/// `function`, who measured, as alarms do on Lambda, or else by the network: by one of them, because each
/// combination is a metric that is paid for.
pub fn lines(
    network: &NetworkId,
    function: Option<&str>,
    now: Timestamp,
    measures: &[Measure],
) -> Vec<String> {
    let mut by_place: BTreeMap<Option<&str>, Vec<&Measure>> = BTreeMap::new();
    for measure in measures {
        by_place
            .entry(measure.at.as_deref())
            .or_default()
            .push(measure);
    }
    let network = network.to_string();
    let who = function.map_or(("Network", &*network), |name| ("FunctionName", name));
    let lines = by_place.into_iter().map(|(place, measures)| {
        let place = place.map(|place| ("Place", place));
        let by: Vec<_> = [who].into_iter().chain(place).collect();
        line(&by, now, &measures).to_string()
    });
    lines.collect()
}

/// One line, of metrics by these dimensions.
fn line(by: &[(&str, &str)], now: Timestamp, measures: &[&Measure]) -> Value {
    let dimensions: Vec<_> = by.iter().map(|(name, _)| name).collect();
    let metrics: Vec<_> = measures
        .iter()
        .map(|measure| json!({"Name": measure.name, "Unit": unit(measure.unit)}))
        .collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [
                {"Namespace": NAMESPACE, "Dimensions": [dimensions], "Metrics": metrics},
            ],
        }),
    );
    for (name, value) in by {
        line.insert((*name).to_owned(), json!(value));
    }
    for measure in measures {
        line.insert(measure.name.to_owned(), json!(measure.value));
    }
    Value::Object(line)
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "Count",
        Unit::Seconds => "Seconds",
        Unit::Percent => "Percent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_metrics_of_cloudwatch_one_for_each_place() {
        let network = NetworkId::from_random([7; 5]);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let measures = [
            Measure::count("MirrorLagging", 1).at("bucket"),
            Measure::new("CatalogAge", Unit::Seconds, 12.5),
            Measure::count("GatewaysInService", 3),
        ];

        let lines = lines(&network, Some("postern-publish"), now, &measures);

        let read = |line: &String| serde_json::from_str::<Value>(line).unwrap();
        let [whole, mirror] = &lines.iter().map(read).collect::<Vec<_>>()[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(
            whole,
            &json!({
                "_aws": {
                    "Timestamp": 1_800_000_000_000_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "Postern",
                        "Dimensions": [["FunctionName"]],
                        "Metrics": [
                            {"Name": "CatalogAge", "Unit": "Seconds"},
                            {"Name": "GatewaysInService", "Unit": "Count"},
                        ],
                    }],
                },
                "FunctionName": "postern-publish",
                "CatalogAge": 12.5,
                "GatewaysInService": 3.0,
            })
        );
        assert_eq!(mirror["Place"], "bucket");
        assert_eq!(mirror["MirrorLagging"], 1.0);
        let metric = &mirror["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(metric["Dimensions"], json!([["FunctionName", "Place"]]));
        let elsewhere = super::lines(&network, None, now, &measures[1..]);
        assert_eq!(read(&elsewhere[0])["Network"], json!(network));
    }
}
