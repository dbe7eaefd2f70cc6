//! What a release is packed with (`infra/scripts/pack.py`): the same bytes from the same input, and lists
//! that leave nothing out.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

/// Runs `pack.py`, or says what is missing for it.
fn pack(arguments: &[&str]) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // It reads TOML, as Python does since 3.11.
    let probe = Command::new("python3")
        .args(["-c", "import tomllib"])
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        emulator::skipped("packing a release", "no Python of 3.11 or newer");
        return false;
    }
    let mut command = Command::new("python3");
    command.arg("infra/scripts/pack.py").args(arguments);
    command
        .current_dir(root)
        .env("SOURCE_DATE_EPOCH", "1600000000");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    true
}

/// A folder of two programs and a text, written at this time.
fn programs(at: u64) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("postern-1");
    fs::create_dir(&folder).unwrap();
    for (name, mode) in [("postern", 0o755), ("README.md", 0o600), ("agent", 0o700)] {
        let path = folder.join(name);
        fs::write(&path, name.repeat(1000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let written = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(written).unwrap();
    }
    (home, folder)
}

#[test]
fn archives_of_the_same_files_are_the_same_bytes_whenever_and_wherever_they_are_made() {
    let (_first, one) = programs(1_700_000_000);
    let (_second, other) = programs(1_750_000_000);
    let mut made = Vec::new();
    for folder in [&one, &other] {
        let (tar, zip) = (folder.join("../a.tar.gz"), folder.join("../a.zip"));
        let program = folder.join("postern");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        if !pack(&["tar", &text(&tar), &text(folder)]) {
            return;
        }
        pack(&["zip", &text(&zip), &text(&program)]);
        made.push((fs::read(tar).unwrap(), fs::read(zip).unwrap()));
    }
    assert!(made[0] == made[1]);
}

#[test]
fn an_archive_unpacks_to_what_was_packed() {
    let (home, folder) = programs(1_700_000_000);
    let text = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    if !pack(&["tar", &text("a.tar.gz"), folder.to_str().unwrap()]) {
        return;
    }
    pack(&[
        "zip",
        &text("a.zip"),
        folder.join("postern").to_str().unwrap(),
    ]);
    let out = text("out");
    fs::create_dir(&out).unwrap();

    let unpacked = Command::new("tar")
        .args(["-xzf", &text("a.tar.gz"), "-C", &out])
        .status()
        .unwrap();
    assert!(unpacked.success());
    // Lambda unpacks with the modes that the archive says.
    let script = "import sys, zipfile
for entry in zipfile.ZipFile(sys.argv[1]).infolist():
    print(entry.filename, oct(entry.external_attr >> 16), entry.file_size)";
    let listed = Command::new("python3")
        .args(["-c", script, &text("a.zip")])
        .output()
        .unwrap();

    for name in ["postern", "README.md", "agent"] {
        let got = Path::new(&out).join("postern-1").join(name);
        assert_eq!(fs::read_to_string(&got).unwrap(), name.repeat(1000));
        let mode = fs::metadata(&got).unwrap().permissions().mode() & 0o777;
        let executable = name != "README.md";
        assert_eq!(mode & 0o111 != 0, executable, "{name}: {mode:o}");
    }
    assert_eq!(
        String::from_utf8_lossy(&listed.stdout).trim(),
        "bootstrap 0o100755 7000"
    );
}

#[test]
fn the_lists_name_each_library_that_programs_are_linked_with_its_hash_and_its_licence() {
    let home = tempfile::tempdir().unwrap();
    let (sbom, licences) = (home.path().join("sbom.json"), home.path().join("texts"));
    let (sbom_path, licences_path) = (sbom.to_str().unwrap(), licences.to_str().unwrap());
    if !pack(&["components", sbom_path, licences_path, "postern", "enroll"]) {
        return;
    }
    let document: Value = serde_json::from_slice(&fs::read(&sbom).unwrap()).unwrap();
    let components = document["components"].as_array().unwrap();
    let names: BTreeSet<_> = components
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();

    // Both programs' own, and what those stand on; nothing that only tests do, and nothing of ours.
    for linked in ["reqwest", "rustls", "ring", "axum", "aws-sdk-dynamodb"] {
        assert!(names.contains(linked), "{linked}");
    }
    for not in ["tough", "proptest", "postern", "client", "store"] {
        assert!(!names.contains(not), "{not}");
    }
    let texts = fs::read_to_string(&licences).unwrap();
    for one in components {
        let licence = one["licenses"][0]["expression"].as_str().unwrap();
        assert!(!licence.is_empty() && licence != "NOASSERTION", "{one}");
        assert_eq!(
            one["hashes"][0]["content"].as_str().map(str::len),
            Some(64),
            "{one}"
        );
        let line = format!(
            "{} {}",
            one["name"].as_str().unwrap(),
            one["version"].as_str().unwrap()
        );
        assert!(texts.contains(&line), "{line}");
    }
}
