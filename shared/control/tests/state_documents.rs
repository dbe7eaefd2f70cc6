//! Documents: what is taken, what is not and why, and that nothing is believed that cannot be read whole.

mod common;

use std::collections::BTreeSet;

use common::documents::{check, check_by, fixture};
use control::state::{Level, Rules, StateError};
use serde_json::{Value, json};

/// The fixture, changed.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    // What it says twice on purpose is gone then.
    let mut document: Value = serde_json::from_slice(&fixture()).unwrap();
    change(&mut document);
    document.to_string().into_bytes()
}

/// A network of nothing but these sections.
fn small(sections: &Value) -> Vec<u8> {
    let mut document = json!({
        "version": "postern-state/1",
        "network": {
            "id": "n-smallone",
            "pools": {"outer": "10.0.0.0/24", "inner": "10.0.1.0/24", "ula": "fd00:1:2::/48"},
        },
    });
    for (name, section) in sections.as_object().unwrap() {
        document[name] = section.clone();
    }
    document.to_string().into_bytes()
}

fn refused(bytes: &[u8]) -> String {
    match check(bytes) {
        Err(StateError::Document(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn every_defect_of_the_fixture_is_named_and_all_else_is_taken() {
    let checked = check(&fixture()).unwrap();

    let rejected = checked.told.at(Level::Rejected);
    let expected = [
        ("devices", "'cohort' stands twice in one object"),
        ("devices", "it is there already, on line "),
        ("devices", "holds or held its WireGuard key "),
        ("devices", "has its address, the index "),
        ("devices", "its invite i-"),
        (
            "devices",
            "'slot' is 40, and its invite has 40 uses, from 0",
        ),
        (
            "devices",
            "it is revoked, and 'revoked_at' does not say when",
        ),
        ("leases", "it is there already, on line "),
        ("leases", "the index lies outside what devices get"),
        ("leases", "the device d-"),
        ("leases", "the device d-"),
        ("gateways", "it is active, and has no keys"),
        ("invites", "'uses' must be from 1 to 10000"),
        ("admins", "the id of this key is a-"),
        ("policies", "policy"),
        ("audit", "as year"),
    ];
    let mut left = rejected.clone();
    for (section, reason) in expected {
        let at = left.iter().position(|found| {
            found.starts_with(&format!("rejected: {section} ")) && found.contains(reason)
        });
        let at = at.unwrap_or_else(|| panic!("{section}: {reason}: not among {left:#?}"));
        left.remove(at);
    }
    assert!(left.is_empty(), "{left:#?}");
    assert!(
        rejected.iter().all(|found| found.contains("(line ")),
        "{rejected:#?}"
    );
    let taken: Vec<(&str, u64)> = checked
        .settled
        .taken
        .iter()
        .map(|(s, n)| (*s, *n))
        .collect();
    assert_eq!(
        taken,
        [
            ("admins", 3),
            ("audit", 72),
            ("devices", 29),
            ("fleet", 2),
            ("gateways", 6),
            ("invites", 4),
            ("leases", 27),
            ("policies", 2)
        ]
    );
    let notes = checked.told.at(Level::Note);
    let is_said = |text: &str| notes.iter().any(|note| note.contains(text));
    assert!(
        is_said("'nickname' is not known to this program"),
        "{notes:#?}"
    );
    assert!(is_said("no lease says so"), "{notes:#?}");
    assert!(is_said("its device is revoked: it ends when"), "{notes:#?}");
    assert_eq!(checked.document.network.seen.catalog, 412);
}

#[test]
fn cohorts_outside_the_signed_limits_are_rejected() {
    let cohorts = BTreeSet::from(["default".parse().unwrap()]);
    let rules = Rules {
        cohorts: Some(cohorts),
    };

    let checked = check_by(&fixture(), &rules).unwrap();

    let rejected = checked.told.at(Level::Rejected);
    let early = rejected
        .iter()
        .filter(|found| found.contains("no cohort 'early'"));
    assert!(early.count() > 5, "{rejected:#?}");
    // The fleet that is wanted is among them, so that nothing may be imported.
    assert!(checked.settled.counts.fatal > 0);
}

#[test]
fn a_document_of_another_version_or_form_is_refused_as_a_whole() {
    let other = |text: &str| changed(|document| document["version"] = json!(text));
    assert!(refused(&other("postern-state/2")).contains("'postern-state/2'"));
    let none = changed(|document| drop(document.as_object_mut().unwrap().remove("version")));
    assert!(refused(&none).contains("no 'version'"));
    let none = changed(|document| drop(document.as_object_mut().unwrap().remove("network")));
    assert!(refused(&none).contains("no section 'network'"));
    let bad = changed(|document| document["network"]["pools"]["inner"] = json!("10.0.0.0/12"));
    assert!(refused(&bad).contains("address pools"));
    let bad = changed(|document| document["devices"] = json!({}));
    assert!(refused(&bad).contains("an array, as 'devices' is"));
    assert!(refused(b"[]").contains("an object of the form"));
    assert!(refused(b"").contains("cannot be read on"));
}

#[test]
fn a_name_that_stands_twice_at_the_top_or_in_the_settings_is_refused() {
    let text = String::from_utf8(fixture()).unwrap();
    let twice = text.replacen("\"admins\": [", "\"admins\": [],\n \"admins\": [", 1);
    assert!(refused(twice.as_bytes()).contains("'admins' stands twice"));
    let twice = text.replacen("\"root\": 2,", "\"root\": 2, \"root\": 1,", 1);
    assert!(refused(twice.as_bytes()).contains("'root' stands twice"));
}

#[test]
fn a_document_that_ends_anywhere_is_never_taken_for_a_whole_one() {
    let whole = fixture();
    let end = whole.trim_ascii_end().len();
    for length in (0..end).step_by(97).chain(end - 40..end) {
        assert!(
            check(&whole[..length]).is_err(),
            "{length} of {end} bytes were taken"
        );
    }
    let mut more = whole.clone();
    more.extend_from_slice(b"{}");
    assert!(check(&more).is_err(), "something follows the document");
}

#[test]
fn a_record_that_is_too_long_to_be_held_ends_the_reading() {
    let note = "x".repeat(1_000_000);
    let document = small(&json!({"invites": [{"note": note}]}));

    let error = check(&document).err().unwrap().to_string();

    assert!(error.contains("a record has more than"), "{error}");
}

#[test]
fn an_older_policy_or_fleet_never_takes_the_place_of_one_that_cannot_be_read() {
    let fatal = |bytes: &[u8]| {
        let checked = check(bytes).unwrap();
        checked.document.counts.fatal + checked.settled.counts.fatal > 0
    };
    assert!(!fatal(&changed(|_| {})));
    let last = changed(|document| document["policies"][2]["policy"]["ingress"] = json!("all"));
    assert!(fatal(&last));
    let last = changed(|document| document["policies"][2]["policy"]["schema"] = json!("other"));
    assert!(fatal(&last));
    let unreadable = changed(|document| document["policies"][0]["version"] = json!("one"));
    assert!(fatal(&unreadable));
    let last = changed(|document| document["fleet"][1]["fleet"]["most_changes"] = json!(0));
    assert!(fatal(&last));
    let twice = changed(|document| {
        let last = document["fleet"][1].clone();
        document["fleet"].as_array_mut().unwrap().push(last);
    });
    assert!(fatal(&twice));
}

#[test]
fn sections_that_are_not_known_are_reported_and_left_out() {
    let more = changed(|document| document["bookmarks"] = json!([{"id": 1}]));

    let notes = check(&more).unwrap().told.at(Level::Note);

    let said = notes
        .iter()
        .any(|note| note.contains("bookmarks") && note.contains("section"));
    assert!(said, "{notes:#?}");
}
