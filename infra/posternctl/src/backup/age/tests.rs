//! What is sealed opens, what was changed does not; and age itself reads and writes the same form.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::*;

/// Cheap: tests open many.
const CHEAP: u8 = 4;

fn drawn() -> Drawn {
    Drawn {
        file_key: [1; 16],
        salt: [2; 16],
        nonce: [3; 16],
    }
}

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::begin(Vec::new(), "correct horse", CHEAP, &drawn()).unwrap();
    // In pieces that do not fit the chunks.
    for piece in plain.chunks(1000) {
        sealer.write_all(piece).unwrap();
    }
    sealer.finish().unwrap()
}

fn open(sealed: &[u8], passphrase: &str) -> anyhow::Result<Vec<u8>> {
    let mut plain = Vec::new();
    Opener::begin(sealed, passphrase)?.read_to_end(&mut plain)?;
    Ok(plain)
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n / 7).to_le_bytes()[0]).collect()
}

#[test]
fn what_is_sealed_opens_whatever_its_length() {
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 77] {
        let plain = plain(length);

        let sealed = seal(&plain);

        assert_eq!(open(&sealed, "correct horse").unwrap(), plain, "{length}");
        let chunks = length.div_ceil(CHUNK).max(1);
        let header = sealed.len() - 16 - length - chunks * TAG;
        assert!(sealed[..header].ends_with(b"\n"), "{length}");
    }
}

#[test]
fn another_passphrase_opens_nothing() {
    let error = open(&seal(b"text"), "wrong").unwrap_err();
    assert!(
        error.to_string().contains("passphrase is another"),
        "{error}"
    );
}

#[test]
fn what_was_cut_off_does_not_open() {
    let sealed = seal(&plain(2 * CHUNK + 10));
    let ends = (0..400).chain((400..sealed.len()).step_by(997));
    // At the ends of chunks, too.
    let start = sealed.len() - (2 * CHUNK + 10 + 3 * TAG);
    let chunks = [0, 1, 2].map(|n| start + n * (CHUNK + TAG));
    for end in ends.chain(chunks) {
        let opened = open(&sealed[..end], "correct horse");
        assert!(opened.is_err(), "{end} of {} bytes", sealed.len());
    }
}

#[test]
fn what_was_altered_does_not_open() {
    let sealed = seal(&plain(CHUNK + 10));
    for at in (0..400).chain((400..sealed.len()).step_by(997)) {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert!(open(&altered, "correct horse").is_err(), "byte {at}");
    }
}

#[test]
fn chunks_that_changed_places_or_were_added_do_not_open() {
    let sealed = seal(&plain(3 * CHUNK));
    let start = sealed.len() - 3 * (CHUNK + TAG);
    let (header, chunks) = sealed.split_at(start);
    let chunks: Vec<&[u8]> = chunks.chunks(CHUNK + TAG).collect();
    for order in [
        vec![1, 0, 2],
        vec![0, 2],
        vec![0, 1, 2, 2],
        vec![0, 1, 1, 2],
    ] {
        let moved: Vec<u8> = order.iter().flat_map(|n| chunks[*n].to_vec()).collect();
        let opened = open(&[header, &moved].concat(), "correct horse");
        assert!(opened.is_err(), "{order:?}");
    }
}

#[test]
fn a_file_that_asks_for_too_much_work_is_refused() {
    let sealed = String::from_utf8_lossy(&seal(b"")).replacen(" 4\n", " 40\n", 1);
    let error = open(sealed.as_bytes(), "correct horse").unwrap_err();
    assert!(error.to_string().contains("2^40"), "{error}");
}

/// Written by age 1.1.1 (`age --passphrase`), with the passphrase `postern`.
#[test]
fn what_age_wrote_opens() {
    let file = include_bytes!("by-age.age");

    let plain = open(file, "postern").unwrap();

    assert_eq!(plain, b"written by age itself\n");
}

/// Where age is installed, it opens what we seal.
#[test]
fn age_opens_what_is_sealed_here() {
    // It asks a terminal for passphrases, which `script` makes for it.
    let found = ["age", "script"].map(|program| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    });
    if found != [true, true] {
        emulator::skipped("age opens our backups", "age and script");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sealed.age");
    let plain = plain(3 * CHUNK + 5);
    std::fs::write(&file, seal(&plain)).unwrap();
    let out = folder.path().join("opened");
    let command = format!("age --decrypt -o {} {}", out.display(), file.display());

    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"correct horse\n")
        .unwrap();
    assert!(child.wait().unwrap().success());

    assert_eq!(std::fs::read(&out).unwrap(), plain);
}
