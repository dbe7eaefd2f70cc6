//! Clouds for tests: a DynamoDB, the emulator `dynoxide` as a process, with a proxy before it that does
//! what the emulator never does, throttle, refuse what overlaps, and lose answers; and the rest of AWS,
//! of which S3 is used, `MiniStack`; the same for a whole deployment, where roles hold, behind a [`Watch`]
//! that keeps what was called. A [`Postgres`], of Debian's package. And a program that is stopped at
//! any of its calls ([`stops`]).
//!
//! It knows nothing of the house, so that the tests of every crate can stand on it.
//! `infra/scripts/emulator` installs the emulators into `.tools/`.

mod faults;
mod postgres;
mod process;
mod proxy;
mod serve;
pub mod stops;
mod watch;

use std::path::{Path, PathBuf};

pub use faults::Faults;
pub use postgres::Postgres;
pub use process::{Aws, Emulator};
pub use proxy::Proxy;
pub use watch::{Call, Watch};

/// The interpreter that has the packages of the interoperability tests: `POSTERN_PYTHON`, or where
/// the test command puts it.
pub fn python() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let named = std::env::var_os("POSTERN_PYTHON").map(PathBuf::from);
    let installed = workspace.join(".tools/python/bin/python");
    named.or(Some(installed)).filter(|python| python.exists())
}

/// Says on the terminal, past the test runner's capture, that a test did not run and why. Fails
/// instead where `POSTERN_ALL_TESTS` is set, as the project's test command does.
pub fn skipped(test: &str, why: &str) {
    use std::io::Write;
    let all = std::env::var_os("POSTERN_ALL_TESTS").is_some_and(|value| !value.is_empty());
    assert!(!all, "{test} could not run: {why}");
    let line = format!("SKIPPED {test}: {why}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error is open");
}
