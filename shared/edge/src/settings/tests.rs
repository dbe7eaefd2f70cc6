use std::collections::BTreeMap;

use super::*;

const GOOD_NETWORK: &str = r#"{
    "id": "n-abcdefgh",
    "pools": {"outer": "100.64.0.0/11", "inner": "100.96.0.0/11", "ula": "fd00:1:2::/48"},
    "timing": {"heartbeat": 30, "missed_heartbeats": 3, "timestamp": 86400, "catalog": 604800,
               "lease_rest": 86400}
}"#;

fn good() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("POSTERN_NETWORK", GOOD_NETWORK),
        ("POSTERN_TABLE", "postern-test"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG"),
    ])
}

/// What every function reads.
struct Base {
    network: Network,
    table: Table,
}

impl Base {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let network = network(reader);
        let table = Table::read(reader, TABLE);
        Some(Self {
            network: network?,
            table: table?,
        })
    }
}

fn read(of: &BTreeMap<&'static str, &'static str>) -> Result<Base, String> {
    let source = |name: &str| Ok(of.get(name).map(|text| (*text).to_owned()));
    let mut reader = Reader::new(&source);
    let base = Base::read(&mut reader);
    match reader.finish() {
        Ok(()) => Ok(base.expect("what is not there has a fault")),
        Err(faults) => {
            assert!(base.is_none(), "a fault beside a value");
            Err(faults.to_string())
        }
    }
}

#[test]
fn complete_settings_are_read() {
    let mut of = good();
    of.insert("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000/");

    let base = read(&of).unwrap();

    assert_eq!(base.network.id.as_str(), "n-abcdefgh");
    assert_eq!(base.table.name, "postern-test");
    assert_eq!(base.table.access.session_token, None);
    let endpoint = base.table.access.endpoint.unwrap();
    assert_eq!(endpoint, "http://127.0.0.1:8000");
}

#[test]
fn a_stand_in_for_all_of_aws_gives_way_to_the_one_for_a_service() {
    let mut of = good();
    of.insert("AWS_ENDPOINT_URL", "http://127.0.0.1:4566");

    let for_all = read(&of).unwrap().table.access.endpoint;
    of.insert("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000");
    let own = read(&of).unwrap().table.access.endpoint;

    assert_eq!(for_all.as_deref(), Some("http://127.0.0.1:4566"));
    assert_eq!(own.as_deref(), Some("http://127.0.0.1:8000"));
}

#[test]
fn all_that_is_missing_is_listed_at_once_with_what_it_should_hold() {
    let error = read(&BTreeMap::from([("POSTERN_TABLE", "")]))
        .err()
        .unwrap();

    assert!(error.starts_with("5 of the function's settings are wrong:"));
    for setting in [NETWORK, TABLE, REGION, ACCESS_KEY, SECRET_KEY] {
        let told = format!(
            "{} is missing: it must hold {}.",
            setting.name, setting.holds
        );
        assert!(error.contains(&told), "{told} in {error}");
    }
}

#[test]
fn what_cannot_be_used_is_named_and_never_repeated() {
    let damaged = GOOD_NETWORK.replace("n-abcdefgh", "n-Hidden");
    let odd_timing = GOOD_NETWORK.replace("\"heartbeat\": 30", "\"heartbeat\": 4711");
    let cases = [
        ("POSTERN_NETWORK", "{\"id\": hidden"),
        ("POSTERN_NETWORK", &damaged),
        ("POSTERN_NETWORK", &odd_timing),
        ("POSTERN_TABLE", "hidden table"),
        ("AWS_REGION", "Frankfurt"),
        ("AWS_ACCESS_KEY_ID", "hidden key"),
        ("AWS_SECRET_ACCESS_KEY", "hidden\n"),
        ("AWS_SESSION_TOKEN", "hidden token"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://hidden.example"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "hidden"),
        ("AWS_ENDPOINT_URL", "http://hidden.example"),
    ];
    for (name, text) in cases {
        let source = |asked: &str| {
            let text = if asked == name {
                Some(text)
            } else {
                good().get(asked).copied()
            };
            Ok(text.map(str::to_owned))
        };
        let mut reader = Reader::new(&source);

        let base = Base::read(&mut reader);

        let error = reader.finish().expect_err(text).to_string();
        assert!(base.is_none());
        assert!(error.starts_with("1 of"), "{error}");
        assert!(
            error.contains(&format!("{name} cannot be used (")),
            "{error}"
        );
        for hidden in ["hidden", "Hidden", "4711", "Frankfurt"] {
            assert!(!error.contains(hidden), "{name}: {error}");
        }
    }
}

#[test]
fn a_setting_that_cannot_be_had_is_a_fault_of_its_own() {
    let source = |name: &str| match name {
        "POSTERN_TABLE" => Err("no such file".to_owned()),
        name => Ok(good().get(name).map(|text| (*text).to_owned())),
    };
    let mut reader = Reader::new(&source);

    let base = Base::read(&mut reader);

    let error = reader.finish().unwrap_err().to_string();
    assert!(base.is_none());
    assert!(error.contains("POSTERN_TABLE cannot be had (no such file): it must hold"));
}
