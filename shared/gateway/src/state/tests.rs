use super::*;
use crate::fixture::{state, token};

#[test]
fn a_first_start_without_a_token_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();

    let error = state(folder.path(), None).err().unwrap();

    assert!(error.to_string().contains("--token"), "{error}");
}

#[test]
fn the_keys_are_made_once_and_only_the_owner_can_read_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let first = State::open(folder.path(), Some(&token("g-aaaa")), || [1; 32]).unwrap();

    let again = State::open(folder.path(), Some(&token("g-aaaa")), || [2; 32]).unwrap();

    assert_eq!(first.identity, again.identity);
    assert_eq!(first.tunnel, again.tunnel);
    let file = fs::metadata(folder.path().join(FILE)).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    state(folder.path(), Some(&token("g-aaaa"))).unwrap();
    let path = folder.path().join(FILE);
    let whole = fs::read_to_string(&path).unwrap();
    let newer = whole.replace(SCHEMA, "postern-gateway-state/2");
    for damaged in [&whole[..whole.len() / 2], "", "{}", &newer] {
        fs::write(&path, damaged).unwrap();

        let error = state(folder.path(), Some(&token("g-aaaa"))).err().unwrap();

        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
}

#[test]
fn the_file_of_another_gateway_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    state(folder.path(), Some(&token("g-aaaa"))).unwrap();

    let error = state(folder.path(), Some(&token("g-bbbb"))).err().unwrap();

    assert!(matches!(error, StateError::OtherGateway(_, of) if of.as_str() == "g-aaaa"));
}

#[test]
fn stopped_at_any_call_a_save_leaves_the_old_state_or_the_new_one() {
    const PLACE: &str = "POSTERN_TEST_SAVE";
    let version = |folder: &Path, version: u64| {
        let mut state = state(folder, None).unwrap();
        state.version = version;
        state.save(folder).unwrap();
    };
    if let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) {
        // This is the program that is stopped.
        version(&place, 2);
        return;
    }
    if !emulator::stops::can_stop() {
        emulator::skipped("a stopped save of the gateway's state", "no strace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    state(folder.path(), Some(&token("g-aaaa"))).unwrap();

    let kills = emulator::stops::stop_everywhere(
        "state::tests::stopped_at_any_call_a_save_leaves_the_old_state_or_the_new_one",
        (PLACE, folder.path()),
        || version(folder.path(), 1),
        |what| {
            let left = state(folder.path(), None).expect(what);
            assert!([1, 2].contains(&left.version), "{what}");
        },
    );

    // Written, synced, renamed, and its folder synced.
    assert!(kills >= 4, "{kills}");
}
