//! State documents by the real program: the fixture's defects, an import that is killed, memory that does not
//! grow, and a network that goes on after its state was moved.

mod program;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use harness::{Up, document, peak, postern, postern_refused, posternctl};
use program::{Ran, state, state_with};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A record was left out.
const LEFT_OUT: Option<i32> = Some(3);

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/fixtures/state-1.json")
}

fn sqlite(folder: &Path, name: &str) -> String {
    format!("sqlite:{}", folder.join(name).display())
}

/// A document of so many devices, in a file.
fn document(folder: &Path, devices: u32) -> PathBuf {
    let path = folder.join(format!("{devices}.json"));
    let file = std::fs::File::create(&path).unwrap();
    let mut file = std::io::BufWriter::new(file);
    document::write(&mut file, devices).unwrap();
    std::io::Write::flush(&mut file).unwrap();
    path
}

async fn exported(folder: &Path, store: &str) -> String {
    let out = folder.join("exported.json");
    let ran = state(
        folder,
        &["export", "--store", store, "--out", out.to_str().unwrap()],
    )
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    std::fs::read_to_string(out).unwrap()
}

#[tokio::test]
async fn what_cannot_be_taken_is_reported_and_in_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, fixture) = (folder.path(), fixture());
    let fixture = fixture.to_str().unwrap();

    let checked = state_with(folder, &["--json"], &["check", fixture]).await;
    let first = sqlite(folder, "first");
    let strict = state(folder, &["import", fixture, "--store", &first, "--strict"]).await;
    let imported = state(folder, &["import", fixture, "--store", &first]).await;
    let again = state(folder, &["import", fixture, "--store", &first]).await;

    assert_eq!(checked.code, LEFT_OUT, "{checked:?}");
    let findings = checked
        .documents()
        .into_iter()
        .filter(|line| line["finding"]["level"] == "rejected");
    assert_eq!(findings.count(), 16, "{}", checked.stdout);
    assert_eq!(strict.code, Some(1), "{strict:?}");
    assert!(strict.stderr.contains("nothing was imported"), "{strict:?}");
    assert_eq!(imported.code, LEFT_OUT, "{imported:?}");
    assert!(imported.stdout.contains("29 devices"), "{imported:?}");
    assert!(
        again.stdout.contains("all of it was there already"),
        "{again:?}"
    );
    // What was exported from it has no defect, and is a fixed point.
    let text = exported(folder, &first).await;
    let file = folder.join("clean.json");
    std::fs::write(&file, &text).unwrap();
    let second = sqlite(folder, "second");
    let clean = state(
        folder,
        &[
            "import",
            file.to_str().unwrap(),
            "--store",
            &second,
            "--strict",
        ],
    )
    .await;
    assert_eq!(clean.code, Some(0), "{clean:?}");
    assert!(exported(folder, &second).await == text);
    // Another document does not go there.
    let other = state(folder, &["import", fixture, "--store", &second]).await;
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("another document"), "{other:?}");
}

#[tokio::test]
async fn an_import_that_is_killed_is_gone_on_with_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = document(folder, 3000);
    let file = file.to_str().unwrap();
    let whole = sqlite(folder, "whole");
    let ran = state(folder, &["import", file, "--store", &whole]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = exported(folder, &whole).await;

    let killed = sqlite(folder, "killed");
    for mark in ["(2", "(5", "(9"] {
        killed_at(folder, &["import", file, "--store", &killed], mark).await;
    }
    let last = state(folder, &["import", file, "--store", &killed]).await;

    assert_eq!(last.code, Some(0), "{last:?}");
    assert!(
        last.stdout
            .contains("an import that was stopped was gone on with"),
        "{last:?}"
    );
    assert!(exported(folder, &killed).await == expected);
}

/// Kills the program without a word once it says that it has imported so many tenths.
async fn killed_at(folder: &Path, arguments: &[&str], mark: &str) {
    let mut child = program::command(folder, &[], arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.starts_with("importing:") && line.contains(mark) {
            child.kill().await.unwrap();
            return;
        }
    }
    panic!("it never said {mark}");
}

#[tokio::test]
async fn memory_does_not_grow_with_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut peaks = Vec::new();
    for devices in [500, 8000] {
        let file = document(folder, devices);
        let store = sqlite(folder, &format!("of-{devices}"));
        let mut import = program::command(
            folder,
            &[],
            &["import", file.to_str().unwrap(), "--store", &store],
        );
        import.stdout(Stdio::null()).stderr(Stdio::null());
        let (imported, importing) = peak::run(&mut import).await;
        let mut export = program::command(folder, &[], &["export", "--store", &store]);
        export.stdout(Stdio::null()).stderr(Stdio::null());
        let (exported, exporting) = peak::run(&mut export).await;
        assert!(imported.success() && exported.success());
        peaks.push((importing, exporting));
    }

    println!("KiB at most, importing and exporting 500 and 8000 devices: {peaks:?}");
    // Two caches of SQLite that are filled, and room for the allocator; the document has 8 MB.
    let most = 7 * 1024;
    assert!(
        peaks[0].0 > 0 && peaks[1].0 < peaks[0].0 + most,
        "importing: {peaks:?}"
    );
    assert!(
        peaks[0].1 > 0 && peaks[1].1 < peaks[0].1 + most,
        "exporting: {peaks:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_goes_on_after_its_state_was_moved_by_a_document() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let device = |name: &str| folder.path().join(name);
    posternctl(
        &data,
        &["init", "--port=0", "--heartbeat=1", "--gateways=2"],
    )
    .await;
    let up = Up::start(&data, &[]).await;
    postern(&device("first"), &["enroll", &up.invite]).await;
    let second = postern(&device("second"), &["enroll", &up.invite]).await;
    let second = second["device"].as_str().unwrap().to_owned();
    posternctl(&data, &["devices", "revoke", &second]).await;
    let invite = up.invite.clone();
    up.stop().await;

    let document = folder.path().join("state.json");
    let written = document.to_str().unwrap();
    let exported = program::run(&data, &[], &["export", "--out", written]).await;
    assert_eq!(exported.code, Some(0), "{exported:?}");
    std::fs::rename(data.join("state.sqlite"), folder.path().join("old.sqlite")).unwrap();
    let imported = program::run(&data, &[], &["import", written, "--strict"]).await;
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let up = Up::start(&data, &[]).await;

    harness::until("the device syncs and is given keys", async || {
        let report = postern(&device("first"), &["sync"]).await;
        (report["gateways"] == 2).then_some(())
    })
    .await;
    postern(&device("first"), &["rotate"]).await;
    postern_refused(&device("second"), &["rotate"]).await;
    postern(&device("third"), &["enroll", &invite]).await;
    let listed = posternctl(&data, &["devices"]).await;
    let leases: std::collections::BTreeSet<u64> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["lease"].as_u64().unwrap())
        .collect();
    assert_eq!(leases.len(), 3, "{listed}");
    up.stop().await;
}

impl Ran {
    /// The lines of standard output, each of which is JSON.
    fn documents(&self) -> Vec<serde_json::Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
