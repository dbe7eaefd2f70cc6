//! `postern`: the program of a person with a device.
//!
//! Thin: it reads its arguments, gives the library the system's clock, randomness and HTTP client,
//! and prints what comes back, for people or (`--json`) for programs. Exit codes: 0 done, 1 not
//! done (one line on standard error says what to do), 2 wrong usage.

mod args;
mod commands;
mod output;
mod texts;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let args = args::Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();

    let json = args.json;
    match commands::run(args).await {
        Ok(done) => output::done(&done, json),
        Err(error) => output::failed(&error, json),
    }
}
