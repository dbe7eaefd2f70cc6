//! Cloudflare: the Workers as their wrangler configurations describe them, in `workerd`; wrangler's own dry run
//! of each; and `posternctl deploy cloudflare`, which drives the real wrangler against an imitation of
//! Cloudflare's API.
//!
//! What only an account can show is not shown here: that Cloudflare takes what the imitation takes.

mod deploy;
mod workers;

use std::path::{Path, PathBuf};
use std::process::Output;

use harness::skipped;

/// wrangler with the Node that it wants; `None`, which is said, where they are not installed.
fn wrangler(test: &str) -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/wrangler");
    if !program.exists() {
        skipped(test, "no wrangler, infra/scripts/wasm installs it");
        return None;
    }
    Some(program.canonicalize().unwrap())
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}
