//! Moving a state document of 10,000 and of 100,000 devices: time and peak memory of the real program, as its
//! own process. Fails where the peak grows with the document.
//!
//!     cargo bench -p tests --bench state
//!
//! On SQLite always; on what `POSTERN_STATE_STORES` names besides, as URLs with `{}` for a name of their own,
//! divided by spaces (`postgres://…/{}`). Such a database must be there and empty for each size.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use harness::programs::program;
use harness::{document, peak};
use tokio::process::Command;

/// How many devices the documents have.
const SIZES: [u32; 2] = [10_000, 100_000];
/// What the peak for the largest may be above that for the smallest, in KiB: caches that only the larger one
/// fills, and what an allocator keeps.
const MOST_GROWTH: u64 = 8 * 1024;

/// What was measured of one run.
struct Measured {
    time: Duration,
    peak: u64,
}

#[tokio::main]
async fn main() {
    // `cargo test --benches` starts this without the word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    println!("| store | devices | document | import | peak | export | peak |");
    println!("|---|---|---|---|---|---|---|");
    let mut grew = Vec::new();
    for store in stores(folder) {
        let mut peaks: Vec<(u64, u64)> = Vec::new();
        for devices in SIZES {
            let document = folder.join(format!("{devices}.json"));
            let bytes = write(&document, devices);
            let url = store.replace("{}", &format!("state{devices}"));
            let import = ["import", document.to_str().expect("text"), "--store", &url];
            let import = measured(folder, &import).await;
            let out = folder.join("out.json");
            let export = [
                "export",
                "--store",
                &url,
                "--out",
                out.to_str().expect("text"),
            ];
            let export = measured(folder, &export).await;
            let kind = store.split(':').next().unwrap_or_default();
            println!(
                "| {kind} | {devices} | {} MB | {:.1} s | {:.1} MiB | {:.1} s | {:.1} MiB |",
                bytes / 1_000_000,
                import.time.as_secs_f64(),
                mib(import.peak),
                export.time.as_secs_f64(),
                mib(export.peak)
            );
            peaks.push((import.peak, export.peak));
        }
        let (first, last) = (peaks[0], peaks[peaks.len() - 1]);
        if last.0 > first.0 + MOST_GROWTH || last.1 > first.1 + MOST_GROWTH {
            grew.push(format!("{store}: {peaks:?} KiB"));
        }
    }
    assert!(grew.is_empty(), "memory grows with the document: {grew:?}");
}

fn stores(folder: &Path) -> Vec<String> {
    let mut stores = vec![format!("sqlite:{}/{{}}.sqlite", folder.display())];
    if let Ok(more) = std::env::var("POSTERN_STATE_STORES") {
        stores.extend(more.split_whitespace().map(str::to_owned));
    }
    stores
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a figure for people, of some thousands"
)]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Writes a document of so many devices; its bytes.
fn write(path: &Path, devices: u32) -> u64 {
    let file = std::fs::File::create(path).expect("a file");
    let mut file = BufWriter::new(file);
    document::write(&mut file, devices).expect("there is room");
    file.flush().expect("there is room");
    std::fs::metadata(path).expect("it is there").len()
}

#[allow(
    clippy::disallowed_methods,
    reason = "a bench measures the time that passes"
)]
async fn measured(folder: &Path, arguments: &[&str]) -> Measured {
    let mut command = Command::new(program("posternctl"));
    command
        .arg("--data")
        .arg(folder.join("nothing"))
        .arg("state");
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let (status, peak) = peak::run(&mut command).await;
    assert!(status.success(), "{arguments:?}: {status}");
    Measured {
        time: begun.elapsed(),
        peak,
    }
}
