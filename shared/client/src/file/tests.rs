use std::os::unix::fs::PermissionsExt as _;

use model::Role;

use super::*;
use crate::fixture::{NOW, Repository};
use crate::reissue::issued;
use crate::select::{Request, select};
use crate::tunnel;

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below").join("device.json");
    (folder, path)
}

async fn open(path: &Path) -> Locked {
    Locked::open(path, crate::fixture::PATIENCE).await.unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_device_survives_its_file_which_is_its_owners_alone() {
    let (_folder, path) = place();
    let device = Repository::default().synced_device();
    let file = open(&path).await;
    file.save(&device).unwrap();

    let read = file.load().unwrap().unwrap();

    assert_eq!(read.identity, device.identity);
    assert_eq!(read.trusted, device.trusted);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_save_leaves_nothing_but_the_file_its_memory_and_its_lock() {
    let (_folder, path) = place();
    let file = open(&path).await;
    let device = Repository::default().device(&[]);
    file.save(&device).unwrap();
    file.save(&device).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["device.json", "device.json.lock", "device.json.memory"]
    );
}

#[tokio::test]
async fn a_save_that_fails_leaves_the_old_file() {
    let (_folder, path) = place();
    let file = open(&path).await;
    file.save(&Repository::default().device(&[])).unwrap();
    let before = std::fs::read(&path).unwrap();
    // A folder cannot be replaced by a file: the rename fails after everything was written.
    let taken = path.with_file_name("taken");
    std::fs::create_dir(&taken).unwrap();
    let device = Repository::default().synced_device();
    open(&taken).await.save(&device).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // The device, its memory, the taken place, and the lock of each.
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        5
    );
}

#[tokio::test]
async fn what_a_killed_command_left_with_its_secrets_goes_when_the_next_one_opens_the_file() {
    let (folder, path) = place();
    let configs = folder.path().join("tunnels");
    std::fs::create_dir(&configs).unwrap();
    let config = configs.join("postern-outer.conf");
    let device = issued_to(with_history(), &config);
    open(&path).await.save(&device).unwrap();
    let left = [&path, &memory_of(&path), &config].map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        path.with_file_name(format!(".{name}.a1B2c3.tmp"))
    });
    for left in &left {
        std::fs::copy(&path, left).unwrap();
    }

    assert_eq!(open(&path).await.read().unwrap(), device);

    assert!(left.iter().all(|left| !left.exists()));
}

/// The device when its outer config was written to `file`.
fn issued_to(mut device: Device, file: &Path) -> Device {
    select(&mut device, &Request::default(), NOW).unwrap();
    let configs = tunnel::configs(&device, NOW).unwrap();
    issued(&mut device, &configs, Role::Ingress, Some(file.to_owned()));
    device
}

fn with_history() -> Device {
    let mut device = Repository::default().synced_device();
    let door = "https://door.example".to_owned();
    let memory = device.doors.entry(door).or_default();
    memory.history.succeeded(NOW, 30);
    device.contacts.failures = 2;
    device
}

#[tokio::test]
async fn a_save_of_what_the_device_can_do_without_leaves_the_device_file_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let (_folder, path) = place();
    open(&path).await.save(&with_history()).unwrap();
    let inode = || std::fs::metadata(&path).unwrap().ino();
    let before = inode();
    let file = open(&path).await;
    let mut device = file.read().unwrap();

    device.contacts.failures = 3;
    file.save(&device).unwrap();
    assert_eq!(inode(), before);
    device.preferences.regions = vec!["another".to_owned()];
    file.save(&device).unwrap();

    assert_ne!(inode(), before);
    drop(file);
    let read = open(&path).await.read().unwrap();
    assert_eq!(read, device);
    assert_eq!(mode(&memory_of(&path)), 0o600);
}

#[tokio::test]
async fn a_device_is_whole_without_its_memory_and_takes_none_that_is_not_its_own() {
    let (_folder, path) = place();
    let file = open(&path).await;
    let device = with_history();
    file.save(&device).unwrap();
    let (alone, memory) = device.split();
    let mut another = memory.clone();
    another.device = "d-23456723456723456723456723".parse().unwrap();
    let mut newer = memory;
    newer.schema = "postern-memory/2".to_owned();
    let texts = [
        json(&another).unwrap(),
        json(&newer).unwrap(),
        b"{".to_vec(),
        Vec::new(),
    ];

    for text in texts {
        std::fs::write(memory_of(&path), text).unwrap();
        assert_eq!(file.read().unwrap(), alone);
    }
    std::fs::remove_file(memory_of(&path)).unwrap();
    assert_eq!(file.read().unwrap(), alone);
    file.save(&device).unwrap();
    assert_eq!(file.read().unwrap(), device);
}

#[tokio::test]
async fn a_file_from_before_memories_keeps_what_it_remembers() {
    let (_folder, path) = place();
    let file = open(&path).await;
    let device = with_history();
    std::fs::write(&path, serde_json::to_vec(&device).unwrap()).unwrap();

    let read = file.read().unwrap();
    assert_eq!(read, device);
    file.save(&read).unwrap();

    assert_eq!(file.read().unwrap(), device);
    let alone: Device = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(alone.doors.is_empty(), "it stands in one place");
}

#[tokio::test(start_paused = true)]
async fn a_second_command_waits_for_the_first() {
    let (_folder, path) = place();
    let first = open(&path).await;

    let error = Locked::open(&path, Duration::from_secs(3))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "locked");

    let waiting = Locked::open(&path, Duration::from_secs(3));
    let (second, ()) = tokio::join!(waiting, async { drop(first) });
    assert!(second.is_ok());
}

#[tokio::test]
async fn a_damaged_file_is_named_kept_and_shows_no_secret() {
    let (_folder, path) = place();
    let file = open(&path).await;
    let device = Repository::default().device(&[]);
    file.save(&device).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let secret = serde_json::to_string(&device.identity).unwrap();
    let longer = secret.replace("=\"", "AAAA\"");
    for damaged in [
        &whole[..whole.len() / 2],
        &whole.replace(&secret, &longer),
        "",
    ] {
        std::fs::write(&path, damaged).unwrap();
        let error = file.load().unwrap_err();
        assert_eq!(error.kind(), "damaged");
        let message = error.to_string();
        assert!(!message.contains(secret.trim_matches('"')), "{message}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
    }
}

#[tokio::test]
async fn a_file_of_a_newer_schema_asks_for_a_newer_program() {
    let (_folder, path) = place();
    let file = open(&path).await;
    std::fs::write(&path, r#"{"schema": "postern-device/2", "keys": []}"#).unwrap();
    let error = file.load().unwrap_err();
    assert_eq!(error.kind(), "newer-schema");
    assert!(error.to_string().ends_with("update this program"));
}

#[test]
fn no_file_says_to_enroll() {
    let (_folder, path) = place();
    let error = read(&path).unwrap_err();
    assert!(error.to_string().contains("postern enroll"));
}

#[tokio::test]
async fn stopped_at_any_call_a_save_leaves_the_old_device_or_the_new_one() {
    const PLACE: &str = "POSTERN_TEST_SAVE";
    let saved = |folder: &Path| folder.join("device.json");
    let new = |folder: &Path| folder.join("new.json");
    if let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) {
        // This is the program that is stopped.
        let device = read(&new(&place)).unwrap();
        open(&saved(&place)).await.save(&device).unwrap();
        return;
    }
    if !emulator::stops::can_stop() {
        emulator::skipped("a stopped save of the device file", "no strace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (old, mut newer) = (
        Repository::default().synced_device(),
        Repository::default().synced_device(),
    );
    newer.preferences.regions = vec!["another".to_owned()];
    api::files::replace(&new(folder.path()), &serde_json::to_vec(&newer).unwrap()).unwrap();
    let regions = |device: &Device| device.preferences.regions.clone();

    let kills = emulator::stops::stop_everywhere(
        "file::tests::stopped_at_any_call_a_save_leaves_the_old_device_or_the_new_one",
        (PLACE, folder.path()),
        || api::files::replace(&saved(folder.path()), &serde_json::to_vec(&old).unwrap()).unwrap(),
        |what| {
            let left = read(&saved(folder.path())).expect(what);
            assert_eq!(left.trusted, old.trusted, "{what}");
            assert!(
                [regions(&old), regions(&newer)].contains(&regions(&left)),
                "{what}"
            );
        },
    );

    // Written, synced, renamed, and its folder synced.
    assert!(kills >= 4, "{kills}");
}
