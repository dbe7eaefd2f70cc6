//! The workflow in repositories that are not ours: delegations within delegations, and names
//! without versions. The official TUF conformance suite has such ones.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tuf::repository::Pin;
use tuf::{Next, SigningKey, Start, VerifyError, Workflow, envelope};

use crate::repo::{Files, ed25519, now};

const EXPIRES: &str = "2027-01-01T00:00:00Z";

#[test]
fn files_are_found_through_nested_delegations_in_order() {
    let files = repository(&BTreeMap::from([
        (
            "targets",
            role(
                &[("a", &["x/*"], false), ("b", &["x/*", "y/*"], false)],
                &["top"],
            ),
        ),
        ("a", role(&[("c", &["x/deep"], false)], &["x/a"])),
        ("c", role(&[], &["x/deep", "y/undelegated"])),
        ("b", role(&[], &["x/b", "x/deep", "y/b"])),
    ]));
    let fetched = run(&files, &["top", "x/deep", "x/b", "y/b"]).unwrap();
    let order = [
        "targets/top",
        "metadata/a.json",
        "metadata/c.json",
        "targets/x/deep",
    ];
    assert_eq!(fetched[5..9], order);
    assert_eq!(
        fetched[9..],
        ["metadata/b.json", "targets/x/b", "targets/y/b"]
    );
}

#[test]
fn a_path_that_was_not_delegated_is_not_found() {
    let files = repository(&BTreeMap::from([
        ("targets", role(&[("a", &["x/*"], false)], &[])),
        ("a", role(&[("c", &["*"], false)], &["secret", "x/y/z"])),
        ("c", role(&[], &["secret"])),
    ]));
    let fetched = run(&files, &["secret", "x/y/z"]).unwrap();
    assert!(
        fetched.iter().all(|name| !name.starts_with("targets/")),
        "{fetched:?}"
    );
}

#[test]
fn two_delegations_to_one_name_are_refused() {
    // Whoever may sign the first would sign for the paths of the second.
    let files = repository(&BTreeMap::from([
        (
            "targets",
            role(&[("a", &["x/*"], false), ("a", &["y/*"], false)], &["top"]),
        ),
        ("a", role(&[], &["y/file"])),
    ]));
    let error = run(&files, &["y/file"]).unwrap_err();
    assert_eq!(error.kind(), "malformed");
}

#[test]
fn a_terminating_delegation_ends_the_search() {
    let delegations = |terminating| {
        repository(&BTreeMap::from([
            (
                "targets",
                role(&[("a", &["x/*"], terminating), ("b", &["x/*"], false)], &[]),
            ),
            ("a", role(&[], &[])),
            ("b", role(&[], &["x/file"])),
        ]))
    };
    let found = |terminating| {
        let fetched = run(&delegations(terminating), &["x/file"]).unwrap();
        fetched.contains(&"targets/x/file".to_owned())
    };
    assert!(found(false));
    assert!(!found(true));
}

#[test]
fn delegations_in_a_circle_end() {
    let files = repository(&BTreeMap::from([
        ("targets", role(&[("a", &["*"], false)], &[])),
        ("a", role(&[("b", &["*"], false)], &[])),
        ("b", role(&[("a", &["*"], false)], &[])),
    ]));
    assert!(run(&files, &["file"]).is_ok());
}

#[test]
fn a_role_name_with_a_slash_is_quoted() {
    let files = repository(&BTreeMap::from([
        ("targets", role(&[("../a b", &["*"], false)], &[])),
        ("../a b", role(&[], &["file"])),
    ]));
    let fetched = run(&files, &["file"]).unwrap();
    assert!(
        fetched.contains(&"metadata/..%2Fa%20b.json".to_owned()),
        "{fetched:?}"
    );
}

/// A repository without consistent snapshots, all of it signed by one key a role.
fn repository(roles: &BTreeMap<&str, Value>) -> Files {
    let mut files = Files::new();
    let mut meta = serde_json::Map::new();
    for (name, body) in roles {
        let bytes = sign("targets", body.clone(), &ed25519(2));
        meta.insert(format!("{name}.json"), json!({"version": 1}));
        let quoted = name.replace('/', "%2F").replace(' ', "%20");
        files.insert(format!("metadata/{quoted}.json"), bytes);
        for path in body["targets"].as_object().unwrap().keys() {
            files.insert(format!("targets/{path}"), path.clone().into_bytes());
        }
    }
    let keys: BTreeMap<String, Value> = [1, 2, 3, 4]
        .map(|seed| (ed25519(seed).key_id(), json!(ed25519(seed).public())))
        .into();
    let binding = |seed| json!({"keyids": [ed25519(seed).key_id()], "threshold": 1});
    let root = json!({"consistent_snapshot": false, "keys": keys, "roles": {
        "root": binding(1), "targets": binding(2), "snapshot": binding(3), "timestamp": binding(4),
    }});
    let timestamp = json!({"meta": {"snapshot.json": {"version": 1}}});
    files.insert(
        "metadata/1.root.json".to_owned(),
        sign("root", root, &ed25519(1)),
    );
    files.insert(
        "metadata/snapshot.json".to_owned(),
        sign("snapshot", json!({"meta": meta}), &ed25519(3)),
    );
    files.insert(
        "metadata/timestamp.json".to_owned(),
        sign("timestamp", timestamp, &ed25519(4)),
    );
    files
}

/// Targets metadata that lists `targets` and delegates to (name, paths, terminating).
fn role(delegations: &[(&str, &[&str], bool)], targets: &[&str]) -> Value {
    let key = ed25519(2);
    let listed: BTreeMap<&str, Value> = targets
        .iter()
        .map(|path| {
            let pin = Pin::of(1, path.as_bytes());
            (
                *path,
                json!({"length": pin.length, "hashes": {"sha256": pin.sha256}}),
            )
        })
        .collect();
    let delegated: Vec<Value> = delegations
        .iter()
        .map(|(name, paths, terminating)| {
            json!({"name": name, "paths": paths, "terminating": terminating,
                   "keyids": [key.key_id()], "threshold": 1})
        })
        .collect();
    json!({"targets": listed,
           "delegations": {"keys": {key.key_id(): key.public()}, "roles": delegated}})
}

fn sign(role_type: &str, mut body: Value, key: &SigningKey) -> Vec<u8> {
    body["_type"] = json!(role_type);
    body["spec_version"] = json!("1.0.31");
    body["version"] = json!(1);
    body["expires"] = json!(EXPIRES);
    envelope::sign(&body, &[key]).unwrap()
}

/// The names that were asked for.
fn run(files: &Files, wanted: &[&str]) -> Result<Vec<String>, VerifyError> {
    let wanted: Vec<String> = wanted.iter().map(|path| (*path).to_owned()).collect();
    let pin = model::RootPin {
        version: 1,
        sha256: Pin::of(1, &files["metadata/1.root.json"]).sha256,
    };
    let mut workflow = Workflow::new(Start::Pin(&pin), &wanted, now())?;
    let mut names = Vec::new();
    while let Next::Fetch { name, .. } = workflow.next() {
        workflow.supply(files.get(&name).map(Vec::as_slice))?;
        names.push(name);
    }
    let (state, _) = workflow.finish()?;
    for path in wanted {
        assert!(state.file(&path).is_none_or(|content| content == path));
    }
    Ok(names)
}
