use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use super::*;
use crate::SystemClock;

#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Http for Nowhere {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Bytes>, String> {
        Err("nowhere".to_owned())
    }
}

fn read(told: &[(&str, &str)]) -> Result<Accounts, String> {
    let told: BTreeMap<_, _> = told.iter().copied().collect();
    let source = |name: &str| Ok(told.get(name).map(|text| (*text).to_owned()));
    let mut reader = Reader::new(&source);
    let accounts = Accounts::from_settings(&mut reader, || Ok(Arc::new(Nowhere)));
    reader.finish().map_err(|faults| faults.to_string())?;
    Ok(accounts.expect("what is not there has a fault"))
}

#[test]
fn a_token_alone_is_hetzner_for_real_money() {
    let accounts = read(&[("POSTERN_HETZNER_TOKEN", "s3cret")]).unwrap();

    assert!(accounts.against().live && !accounts.is_empty());
    assert_eq!(accounts.against().base_url, hetzner::BASE_URL);
    assert!(!format!("{accounts:?}").contains("s3cret"));
}

#[test]
fn a_stand_in_is_not_live() {
    let told = [
        ("POSTERN_HETZNER_TOKEN", "s3cret"),
        (
            "POSTERN_PROVIDERS",
            r#"[{"kind":"hetzner","url":"http://127.0.0.1:1/v1"}]"#,
        ),
    ];

    let against = read(&told).unwrap().against();

    assert!(!against.live);
    assert_eq!(against.base_url, "http://127.0.0.1:1/v1");
}

#[test]
fn what_is_not_on_this_machine_is_live_whoever_names_it() {
    for (url, live) in [
        (hetzner::BASE_URL, true),
        ("https://10.0.0.1/v1", true),
        ("http://localhost:1/v1", false),
        ("http://[::1]:1/v1", false),
    ] {
        let providers = format!(r#"[{{"kind":"hetzner","url":"{url}"}}]"#);
        let told = [
            ("POSTERN_HETZNER_TOKEN", "s3cret"),
            ("POSTERN_PROVIDERS", providers.as_str()),
        ];

        assert_eq!(read(&told).unwrap().against().live, live, "{url}");
    }
}

#[test]
fn what_cannot_be_used_is_refused_without_the_token() {
    let clear = r#"[{"kind":"hetzner","url":"http://hetzner.example"}]"#;
    let user = r#"[{"kind":"hetzner","url":"https://me:s3cret@hetzner.example/v1"}]"#;
    let twice = r#"[{"kind":"hetzner"},{"kind":"hetzner"}]"#;
    for (providers, calls, says) in [
        (clear, "50", "is not https"),
        (user, "50", "holds a user"),
        (twice, "50", "each provider once"),
        ("[]", "50", "each provider once"),
        (r#"[{"kind":"pigeons"}]"#, "50", "POSTERN_PROVIDERS"),
        (r#"[{"kind":"hetzner"}]"#, "39", "no number from 40 on"),
    ] {
        let told = [
            ("POSTERN_HETZNER_TOKEN", "s3cret"),
            ("POSTERN_PROVIDERS", providers),
            ("POSTERN_CALLS", calls),
        ];
        let why = read(&told).unwrap_err();
        assert!(why.contains(says), "{providers}: {why}");
        assert!(!why.contains("s3cret"), "{why}");
    }
    let none = read(&[]).unwrap_err();
    assert!(none.contains("POSTERN_HETZNER_TOKEN is missing"), "{none}");
}

#[tokio::test]
async fn a_run_s_calls_are_counted_recorded_and_no_other_s() {
    let told = [("POSTERN_HETZNER_TOKEN", "s3cret"), ("POSTERN_CALLS", "40")];
    let accounts = read(&told).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let first = accounts.open(&clock);

    let asked = first.providers[0].server("x").await;

    assert!(asked.is_err());
    assert_eq!(first.calls().len(), 1);
    assert_eq!((first.meter.spent(), first.meter.spare()), (1, 35));
    let second = accounts.open(&clock);
    assert_eq!((second.calls().len(), second.meter.spent()), (0, 0));
}
