//! The client under test through our own cases of a TUF client, whose repositories python-tuf
//! makes: `tests/conformance/suite/`.

use std::path::Path;
use std::process::Command;

use emulator::{python, skipped};

#[test]
fn the_client_does_what_the_specification_asks() {
    let Some(python) = python().filter(|python| has(python)) else {
        let wanted = "Python's packages 'tuf' and 'cryptography', 'faketime', 'strace'";
        skipped("the TUF client suite", wanted);
        return;
    };

    let output = Command::new(python)
        .args(["-m", "unittest", "discover", "--start-directory"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("suite"))
        .env("TUF_CLIENT", env!("CARGO_BIN_EXE_tuf-conformance"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // A suite that ran nothing would pass, too.
    let ran = said.lines().find_map(|line| line.strip_prefix("Ran "));
    let ran = ran.and_then(|line| line.split_once(' ')).unwrap().0;
    assert!(ran.parse::<u32>().unwrap() >= 90, "{said}");
}

fn has(python: &Path) -> bool {
    let packages = Command::new(python)
        .args(["-c", "import tuf, cryptography"])
        .output();
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    packages.is_ok_and(|output| output.status.success()) && runs("faketime") && runs("strace")
}
