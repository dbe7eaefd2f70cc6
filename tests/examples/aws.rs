//! A stand-in for AWS on this machine, to rehearse a deployment on (docs/deploy.md):
//!
//!     cargo run --locked -p tests --example aws -- aws.env
//!
//! The file is for the shell that deploys. All that the stand-in holds is gone when it ends.

use std::path::PathBuf;

use harness::Amazon;

#[tokio::main]
async fn main() {
    let Some(file) = std::env::args_os().nth(1).map(PathBuf::from) else {
        stop("name the file to write for the shell that deploys, as aws.env");
    };
    let Some(amazon) = Amazon::start("a rehearsal").await else {
        stop("install the stand-in first: bash infra/scripts/emulator");
    };
    if let Err(error) = std::fs::write(&file, amazon.for_shells()) {
        stop(&format!("{}: {error}", file.display()));
    }
    println!("A stand-in for AWS runs. In the shell that deploys:\n");
    println!(". {}\n", file.display());
    println!("Ctrl-C ends it, and all that was deployed to it is gone then.");
    let stopped = tokio::signal::ctrl_c().await;
    drop(amazon);
    if let Err(error) = std::fs::remove_file(&file).and(stopped) {
        stop(&format!("{}: {error}", file.display()));
    }
}

fn stop(why: &str) -> ! {
    eprintln!("aws: {why}");
    std::process::exit(1)
}
