use proptest::prelude::*;

use super::*;

fn malformed(bytes: &[u8]) -> String {
    match Bundle::read(bytes) {
        Err(VerifyError::Malformed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_form_is_the_documented_one() {
    let bytes = Bundle::write(&[("a", b"xy"), ("b/c", b"")]);
    let expected = "postern-bundle/1 {\"parts\":[{\"name\":\"a\",\"length\":2},{\"name\":\"b/c\",\"length\":0}]}\nxy";
    assert_eq!(bytes, expected.as_bytes());
}

#[test]
fn lengths_must_add_up_exactly() {
    let bytes = Bundle::write(&[("a", b"xy")]);
    assert_eq!(
        malformed(&bytes[..bytes.len() - 1]),
        "bundle: it is cut short"
    );
    let longer = [&bytes[..], b"z"].concat();
    assert_eq!(malformed(&longer), "bundle: bytes follow its last part");
    let huge =
        b"postern-bundle/1 {\"parts\":[{\"name\":\"a\",\"length\":18446744073709551615}]}\nx";
    assert_eq!(malformed(huge), "bundle: it is cut short");
}

#[test]
fn two_parts_of_one_name_are_refused() {
    let bytes = Bundle::write(&[("a", b"x"), ("a", b"y")]);
    assert_eq!(malformed(&bytes), "bundle: two parts have one name");
}

#[test]
fn too_many_parts_and_an_endless_header_are_refused() {
    let names: Vec<String> = (0..=MOST_PARTS).map(|n| n.to_string()).collect();
    let parts: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b""[..])).collect();
    assert_eq!(
        malformed(&Bundle::write(&parts)),
        "bundle: more than 1,200 parts"
    );
    let endless = [
        MAGIC,
        &vec![b' '; MOST_HEADER_BYTES + 10],
        b"{\"parts\":[]}\n",
    ]
    .concat();
    assert_eq!(malformed(&endless), "bundle: its first line does not end");
}

#[test]
fn the_most_parts_with_the_longest_names_fit_the_header() {
    let name = |n: usize| format!("targets/catalogs/{n:064}.{n:032}.json");
    let names: Vec<String> = (0..MOST_PARTS).map(name).collect();
    let parts: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b"x"[..])).collect();
    assert!(Bundle::read(&Bundle::write(&parts)).is_ok());
}

#[test]
fn another_version_of_the_form_is_refused() {
    assert!(
        malformed(b"postern-bundle/2 {\"parts\":[]}\n").starts_with("bundle: it does not start")
    );
    assert!(malformed(b"").starts_with("bundle: it does not start"));
}

proptest! {
    #[test]
    fn what_was_written_is_read(parts in prop::collection::btree_map("[a-z/.0-9]{1,20}", prop::collection::vec(any::<u8>(), 0..50), 0..8)) {
        let list: Vec<(&str, &[u8])> = parts.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
        let bytes = Bundle::write(&list);
        let bundle = Bundle::read(&bytes).unwrap();
        prop_assert_eq!(bundle.names().count(), list.len());
        for (name, content) in list {
            prop_assert_eq!(bundle.get(name), Some(content));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(header in ".{0,60}", rest in prop::collection::vec(any::<u8>(), 0..60)) {
        let bytes = [MAGIC, header.as_bytes(), b"\n", &rest].concat();
        let _ = Bundle::read(&bytes);
        let _ = Bundle::read(&rest);
    }
}
