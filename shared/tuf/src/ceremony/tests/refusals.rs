//! What a ceremony refuses.

use super::*;
use crate::SignError;

#[test]
fn a_key_serves_one_role() {
    for (role, seed) in [
        (Role::Root, 11),
        (Role::Targets, 1),
        (Role::Snapshot, 22),
        (Role::Timestamp, 23),
        (Role::Catalogs, 24),
        (Role::Catalogs, 12),
        (Role::Config, 1),
        (Role::Config, 21),
    ] {
        let refused = begin(&edits([(role, replace(seed))]));
        let refused = refused.unwrap_err();
        let shared = matches!(refused, CeremonyError::Shared { .. });
        // A single offline key does not reach the threshold, which is as good a reason.
        let unreachable = matches!(refused, CeremonyError::Unreachable { .. });
        assert!(
            shared || (unreachable && role.is_offline()),
            "{role} {seed}: {refused}"
        );
        let added = begin(&edits([(role, add(seed))])).unwrap_err();
        assert!(
            matches!(added, CeremonyError::Shared { .. }),
            "{role} {seed}: {added}"
        );
    }
}

#[test]
fn thresholds_that_cannot_be_reached_are_refused() {
    let threshold = |threshold| RoleEdit {
        threshold: Some(threshold),
        ..RoleEdit::default()
    };
    for (role, wanted) in [
        (Role::Root, 4),
        (Role::Root, 0),
        (Role::Targets, 4),
        (Role::Config, 0),
    ] {
        let refused = begin(&edits([(role, threshold(wanted))])).unwrap_err();
        assert!(
            matches!(refused, CeremonyError::Unreachable { .. }),
            "{role}: {refused}"
        );
    }
    let two = RoleEdit {
        threshold: Some(2),
        ..add(32)
    };
    let refused = begin(&edits([(Role::Timestamp, two)])).unwrap_err();
    assert!(matches!(refused, CeremonyError::Alone { .. }), "{refused}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert_eq!(begin(&nothing()).unwrap_err(), CeremonyError::Nothing);
    let expired = Edits {
        expires: now(),
        ..edits([(Role::Root, add(4))])
    };
    assert_eq!(begin(&expired).unwrap_err(), CeremonyError::Expired);
    let unknown = begin(&edits([(Role::Root, swap(9, 4))])).unwrap_err();
    assert!(
        matches!(unknown, CeremonyError::NotThere { .. }),
        "{unknown}"
    );
    let there = begin(&edits([(Role::Root, add(1))])).unwrap_err();
    assert!(matches!(there, CeremonyError::There { .. }), "{there}");
    let all = RoleEdit {
        remove: vec![String::new()],
        ..RoleEdit::default()
    };
    assert!(begin(&edits([(Role::Root, all)])).is_err());
    let p256 = RoleEdit {
        add: vec![SigningKey::p256_from_bytes([1; 32]).unwrap().public()],
        ..RoleEdit::default()
    };
    let kind = begin(&edits([(Role::Config, p256)])).unwrap_err();
    assert_eq!(kind, CeremonyError::Kind { role: Role::Config });
    let elsewhere = base().files[Limits::PATH].replace(NETWORK, "n-otherone");
    let mut wanted = nothing();
    wanted.files.insert(Limits::PATH.to_owned(), elsewhere);
    assert!(matches!(
        begin(&wanted).unwrap_err(),
        CeremonyError::Malformed(_)
    ));
}

#[test]
fn only_keys_that_must_sign_do_and_each_once() {
    let change = signed(&edits([(Role::Root, swap(3, 4))]), &[1]);

    assert_eq!(
        sign(&change, 11).unwrap_err(),
        CeremonyError::NotNeeded(key(11).key_id())
    );
    assert_eq!(
        sign(&change, 99).unwrap_err(),
        CeremonyError::NotNeeded(key(99).key_id())
    );
    assert_eq!(
        sign(&change, 1).unwrap_err(),
        CeremonyError::SignedAlready(key(1).key_id())
    );
    let mut change = change;
    let wrong = change.add(
        Document::Root,
        &key(2).public(),
        &key(3).sign(b"something else"),
    );
    assert!(matches!(
        wrong.unwrap_err(),
        CeremonyError::Sign(SignError::NotItsSignature(_))
    ));
    assert!(
        change
            .add(Document::Targets, &key(2).public(), &[])
            .is_err()
    );
}

#[test]
fn a_change_of_what_is_no_longer_in_force_is_stale() {
    let one = signed(&edits([(Role::Timestamp, replace(32))]), &[1, 2]);
    let other = signed(&edits([(Role::Snapshot, replace(31))]), &[1, 2]);
    let next = after(&one, &base());

    assert_eq!(
        other.finish(&next, now()).unwrap_err(),
        CeremonyError::Stale
    );
    // Finishing twice is harmless.
    assert_eq!(one.finish(&next, now()).unwrap().root, None);
    // Also after the targets of another change, whose root is not there yet.
    let (_, half) = interrupted();
    assert_eq!(
        other.finish(&half, now()).unwrap_err(),
        CeremonyError::Stale
    );
}

#[test]
fn nothing_that_has_expired_is_put_in_force() {
    for (role, seeds, document) in [
        (Role::Timestamp, [1, 2], Document::Root),
        (Role::Catalogs, [11, 12], Document::Targets),
    ] {
        let change = signed(&edits([(role, replace(33))]), &seeds);

        let late = change.finish(&base(), in_a_year()).unwrap_err();

        let expires = in_a_year();
        assert_eq!(late, CeremonyError::Late { document, expires });
    }
}

#[test]
fn signed_files_say_nothing_that_is_not_shown() {
    let key = model::ControlKey::new(2, [7; 32]);
    let kit = |more: &str| {
        format!(
            "{{\"schema\":\"{}\",\"network\":\"{NETWORK}\",\"front_doors\":[{{\"url\":\"https://a.example\",\
             \"fallback\":[]}}],\"control\":[]{more}}}",
            RecoveryKit::SCHEMA
        )
    };
    let begun = |path: &str, text: String| {
        let mut wanted = nothing();
        wanted.files.insert(path.to_owned(), text);
        begin(&wanted)
    };
    let limits = base().files[Limits::PATH].clone();
    for (path, text, why) in [
        (
            RecoveryKit::PATH,
            kit(",\"hidden\":1"),
            "something that is not shown",
        ),
        (
            RecoveryKit::PATH,
            kit(",\"hidden\":[]"),
            "something that is not shown",
        ),
        (
            RecoveryKit::PATH,
            kit(&format!(",\"control_key\":\"{key}\"")),
            "different control keys",
        ),
        (
            Limits::PATH,
            limits.replace("postern-limits/1", "postern-limit/1"),
            "the schema of limits.json",
        ),
        (
            Limits::PATH,
            format!("[\"{}\",\"{NETWORK}\",[],[],[]]", Limits::SCHEMA),
            "must be a JSON object",
        ),
    ] {
        let refused = begun(path, text).unwrap_err().to_string();
        assert!(refused.contains(why), "{why}: {refused}");
    }
    // What is left out when it is empty may stand there empty.
    assert!(begun(RecoveryKit::PATH, kit(",\"control_key\":null")).is_ok());
}

/// Changes a text within a change's file, where it stands once in the part `field`.
fn alter(change: &Change, field: &str, from: &str, to: &str) -> String {
    let mut file: serde_json::Value = serde_json::from_str(&change.write()).unwrap();
    let text = file[field].as_str().unwrap();
    assert!(text.contains(from), "{text}");
    file[field] = text.replacen(from, to, 1).into();
    file.to_string()
}

#[test]
fn a_file_that_was_altered_after_a_signature_is_refused() {
    let change = signed(&edits([(Role::Root, swap(3, 4))]), &[1]);

    let later = alter(&change, "root", "\"expires\":\"2027", "\"expires\":\"2099");
    let refused = Change::read(&later).unwrap_err();
    assert!(
        matches!(
            refused,
            CeremonyError::Altered {
                document: Document::Root,
                ..
            }
        ),
        "{refused}"
    );
    // Before anybody signed it is another change, which shows what it means.
    let begun = begin(&edits([(Role::Root, swap(3, 4))])).unwrap();
    let later = alter(&begun, "root", "\"expires\":\"2027", "\"expires\":\"2099");
    assert!(Change::read(&later).is_ok());
}

#[test]
fn what_cannot_be_shown_or_is_no_next_version_is_refused() {
    let begun = begin(&edits([(Role::Root, swap(3, 4))])).unwrap();
    for (from, to) in [
        (
            "\"consistent_snapshot\":true",
            "\"consistent_snapshot\":false",
        ),
        ("\"_type\":\"root\"", "\"_type\":\"root\",\"x\":1"),
    ] {
        let refused = Change::read(&alter(&begun, "root", from, to)).unwrap_err();
        assert!(
            refused.to_string().contains("more than can be shown"),
            "{refused}"
        );
    }
    for version in ["\"version\":1", "\"version\":3"] {
        let gap = alter(&begun, "root", "\"version\":2", version);
        let refused = Change::read(&gap).unwrap_err();
        assert!(matches!(refused, CeremonyError::Gap { .. }), "{refused}");
    }
    // A second delegation beside that of the catalogs.
    let begun = begin(&edits([(Role::Catalogs, replace(33))])).unwrap();
    let more = "\"roles\":[{\"keyids\":[],\"name\":\"x\",\"paths\":[\"*\"],\"terminating\":false,\"threshold\":1},";
    let refused = Change::read(&alter(&begun, "targets", "\"roles\":[", more)).unwrap_err();
    assert!(
        refused.to_string().contains("more than can be shown"),
        "{refused}"
    );
}

#[test]
fn a_base_that_its_own_keys_have_not_signed_is_refused() {
    let begun = begin(&edits([(Role::Root, swap(3, 4))])).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&begun.write()).unwrap();
    let root = file["base"]["root"].as_str().unwrap();
    file["base"]["root"] = root
        .replacen("\"threshold\":2", "\"threshold\":1", 1)
        .into();

    let refused = Change::read(&file.to_string()).unwrap_err();

    assert!(matches!(refused, CeremonyError::Verify(_)), "{refused}");
}
