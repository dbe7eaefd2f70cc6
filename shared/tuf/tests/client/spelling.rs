//! One signed thing spelt in another way: members twice, members that nobody knows, the envelope's
//! own. Whatever is accepted means what was signed.

use serde_json::Value;
use tuf::repository::{TIMESTAMP_PATH, root_path};

use crate::repo::{Repo, bundle_of, now};

/// The JSON text of an object with its members, and `extra` before or after them.
fn with(members: &serde_json::Map<String, Value>, extra: &str, first: bool) -> String {
    let own = serde_json::to_string(members).unwrap();
    let own = &own[1..own.len() - 1];
    if first {
        format!("{{{extra},{own}}}")
    } else {
        format!("{{{own},{extra}}}")
    }
}

#[test]
fn a_member_given_twice_never_changes_what_was_signed() {
    let mut repo = Repo::new();
    repo.new_root(&[]);
    let files = repo.bundle_files();
    let honest = repo.sync(&bundle_of(&files), now()).unwrap();
    for name in [root_path(2), TIMESTAMP_PATH.to_owned()] {
        let envelope: Value = serde_json::from_slice(&files[&name]).unwrap();
        let signed = envelope["signed"].as_object().unwrap();
        for member in signed.keys() {
            for value in ["99", "\"2099-01-01T00:00:00Z\"", "{}", "null"] {
                for first in [true, false] {
                    let twice = with(signed, &format!("\"{member}\":{value}"), first);
                    let signatures = &envelope["signatures"];
                    let file = format!("{{\"signatures\":{signatures},\"signed\":{twice}}}");
                    assert!(serde_json::from_str::<Value>(&file).is_ok(), "{file}");
                    let mut files = files.clone();
                    files.insert(name.clone(), file.into_bytes());
                    match repo.sync(&bundle_of(&files), now()) {
                        Ok(verified) => {
                            assert!(first, "{name}: {member} {value}");
                            assert_eq!(verified.catalog, honest.catalog);
                            let versions = |it: &tuf::Verified| {
                                let state = &it.state;
                                let expires = state.timestamp_expires();
                                (state.root_version(), state.timestamp_version(), expires)
                            };
                            assert_eq!(versions(&verified), versions(&honest));
                        }
                        Err(error) => assert!(
                            ["altered", "malformed"].contains(&error.kind()),
                            "{name}: {member} {value}: {error}"
                        ),
                    }
                }
            }
        }
    }
}

#[test]
fn a_second_signed_part_does_not_take_the_place_of_the_first() {
    let repo = Repo::new();
    let files = repo.bundle_files();
    let envelope: Value = serde_json::from_slice(&files[TIMESTAMP_PATH]).unwrap();
    let mut forged = envelope["signed"].clone();
    forged["version"] = 99.into();
    let (signed, signatures) = (&envelope["signed"], &envelope["signatures"]);
    for (one, other) in [(signed, &forged), (&forged, signed)] {
        let file = format!("{{\"signed\":{one},\"signatures\":{signatures},\"signed\":{other}}}");
        let mut files = files.clone();
        files.insert(TIMESTAMP_PATH.to_owned(), file.into_bytes());
        match repo.sync(&bundle_of(&files), now()) {
            Ok(verified) => assert_eq!(verified.state.timestamp_version(), 1),
            Err(error) => assert_eq!(error.kind(), "altered"),
        }
    }
}

#[test]
fn members_of_the_envelope_that_nobody_knows_do_not_matter() {
    let repo = Repo::new();
    let mut files = repo.bundle_files();
    let mut envelope: Value = serde_json::from_slice(&files[TIMESTAMP_PATH]).unwrap();
    envelope["future"] = serde_json::json!({"anything": [1, 2.5, null]});
    files.insert(
        TIMESTAMP_PATH.to_owned(),
        serde_json::to_vec(&envelope).unwrap(),
    );
    assert!(repo.sync(&bundle_of(&files), now()).is_ok());
    // Inside what is signed, they are signed like all else.
    envelope["signed"]["future"] = true.into();
    files.insert(
        TIMESTAMP_PATH.to_owned(),
        serde_json::to_vec(&envelope).unwrap(),
    );
    let error = repo.sync(&bundle_of(&files), now()).unwrap_err();
    assert_eq!(error.kind(), "altered");
}
