//! What a next form is read from and written as, on a kind of its own.

use serde::Deserialize;
use serde_json::json;

use super::*;

/// As a release has it that reads the third form and still writes the second.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Example {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Body for Example {
    const KIND: &'static Kind = &Kind {
        name: "example",
        writes: 2,
        lifts: &[renamed, grew],
        place: Where::Scattered,
        rewrite: |item| Ok(body(&item.read::<Self>()?)),
    };
}

/// The second form says `name` where the first said `title`.
fn renamed(body: &mut Map<String, Value>) {
    if let Some(title) = body.remove("title") {
        body.insert("name".to_owned(), title);
    }
}

fn item(body: Value) -> Item {
    Item {
        key: Key::new("example", "one"),
        version: 1,
        body,
        expires_at: None,
    }
}

#[test]
fn every_form_is_read_as_the_newest() {
    for (body, note) in [
        (json!({"title": "a"}), None),
        (json!({"title": "a", "schema": 1}), None),
        (json!({"name": "a", "schema": 2}), None),
        (json!({"name": "a", "note": "n", "schema": 3}), Some("n")),
    ] {
        let read: Example = item(body).read().unwrap();

        let note = note.map(str::to_owned);
        let name = "a".to_owned();
        assert_eq!(read, Example { name, note });
    }
}

#[test]
fn a_reader_of_the_next_form_writes_the_present_one() {
    let old = item(json!({"title": "a"}));

    let written = Example::KIND.rewritten(&old).unwrap();

    assert_eq!(written, json!({"name": "a", "schema": 2}));
    assert_eq!((Example::KIND.writes, Example::KIND.known()), (2, 3));
}

#[test]
fn what_is_newer_is_refused_by_its_name() {
    let newer = item(json!({"label": "a", "schema": 4}));

    let refused = newer.read::<Example>().unwrap_err();

    let StoreError::Newer(why) = &refused else {
        panic!("{refused}");
    };
    assert!(why.contains("example/one has the form 4"), "{why}");
    assert!(why.contains("knows forms up to 3: install"), "{why}");
}

#[test]
fn what_is_no_form_is_corrupt() {
    for body in [
        json!({"name": "a", "schema": 0}),
        json!({"name": "a", "schema": "2"}),
        json!({"name": "a", "schema": -1}),
        json!({"schema": 2}),
        json!(["a"]),
    ] {
        let refused = item(body).read::<Example>().unwrap_err();
        assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
    }
}

#[test]
fn the_table_is_one_of_its_kinds() {
    let mut names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len(), "a name stands twice");
    for kind in ALL {
        assert!((1..=kind.known()).contains(&kind.writes), "{}", kind.name);
        // The background must find what it is to rewrite.
        let is_found = kind.writes == 1 || !kind.partitions().is_empty();
        assert!(is_found, "{} has items that nothing finds", kind.name);
        for partition in kind.partitions() {
            let sk = match kind.name {
                "mirror" => "mirror#name",
                "epochs" => "current",
                "import-cursor" => "cursor",
                name => name,
            };
            let found = of(&Key::new(partition, sk)).map(|kind| kind.name);
            assert_eq!(found, Some(kind.name));
        }
    }
}
