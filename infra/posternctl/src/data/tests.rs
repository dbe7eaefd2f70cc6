//! What a damaged data folder says of itself.

use model::Limits;

use super::*;
use crate::init;

/// A network that was just made.
pub fn network() -> (tempfile::TempDir, Folder) {
    let folder = tempfile::tempdir().unwrap();
    let data = Folder::new(folder.path().join("network"));
    let ports = Ports {
        control: 1,
        doors: [2, 3, 4],
    };
    init::make(&data, &init::Options::local(1, 10, 1), ports, None).unwrap();
    (folder, data)
}

fn refusal<T>(of: anyhow::Result<T>) -> String {
    let Err(error) = of else {
        panic!("it is to be refused")
    };
    format!("{error:#}")
}

#[test]
fn older_targets_are_taken_only_where_signatures_do_not_fit() {
    let (_folder, data) = network();
    let (_other_folder, other) = network();
    // Signed by keys that the root does not name, as before the root of a ceremony is there.
    let others = other.read(&targets_file(1)).unwrap();
    data.write(&targets_file(2), &others).unwrap();
    assert_eq!(data.offline().unwrap().targets_version, 1);

    data.write(&targets_file(2), b"{\"signatures\":[").unwrap();

    let said = refusal(data.offline());
    assert!(said.contains("2.targets.json"), "{said}");
}

#[test]
fn a_file_that_is_missing_or_damaged_is_named() {
    for missing in [true, false] {
        let (_folder, data) = network();
        let offline = data.offline().unwrap();
        let limits = Pin::of(1, &offline.files[Limits::PATH]).sha256;
        let file = signed_file(Limits::PATH, &limits);
        if missing {
            fs::remove_file(data.path(&file)).unwrap();
        } else {
            data.write(&file, b"{}").unwrap();
        }

        let said = refusal(data.offline());

        assert!(said.contains(&file), "{said}");
    }
}

#[test]
fn a_gap_among_the_roots_is_no_older_network() {
    let (_folder, data) = network();
    let root = data.read(&root_file(1)).unwrap();
    data.write(&root_file(3), &root).unwrap();

    let said = refusal(data.offline());

    assert!(said.contains("2.root.json"), "{said}");
}

#[test]
fn the_secret_of_a_named_control_key_is_never_just_left_out() {
    let (_folder, data) = network();
    assert_eq!(data.control_keys().unwrap().public().len(), 1);

    fs::remove_file(data.path(CONTROL_KEYS)).unwrap();

    let said = refusal(data.control_keys());
    assert!(
        said.contains("lacks the secret of the control key"),
        "{said}"
    );
    assert!(data.control_keys_held().unwrap().is_empty());
}
