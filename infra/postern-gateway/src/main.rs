//! `postern-gateway`: the agent of one gateway.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use api::BootstrapText;
use clap::Parser;
use gateway::Agent;
use tokio::signal::unix::{SignalKind, signal};

/// Registers this node as a gateway, sends its heartbeats and pulls its signed config.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The one-time bootstrap token; needed for the first start alone.
    #[arg(long, env = "POSTERN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The folder that holds the agent's keys and state.
    #[arg(
        long,
        env = "POSTERN_GATEWAY_DATA",
        default_value = "/var/lib/postern-gateway"
    )]
    data: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever a cause put into its text: a log's reader sees it whole.
            let line = error.split_whitespace().collect::<Vec<_>>().join(" ");
            eprintln!("postern-gateway: {line}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the agent until it is told to stop. An error is in words for the operator.
async fn run(arguments: Arguments) -> Result<(), String> {
    let token = match &arguments.token {
        Some(text) => Some(parse(text)?),
        None => None,
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "the program's clock, passed on from here"
    )]
    let clock = Arc::new(jiff::Timestamp::now);
    let agent = Agent::open(arguments.data, token.as_ref(), clock).map_err(|e| e.to_string())?;
    let mut terminate = signal(SignalKind::terminate())
        .map_err(|error| format!("the terminate signal cannot be awaited: {error}"))?;
    tokio::select! {
        ended = agent.run() => {
            let Err(error) = ended;
            Err(error.to_string())
        }
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn parse(token: &str) -> Result<BootstrapText, String> {
    BootstrapText::parse(token).map_err(|error| {
        format!(
            "{error}. Give the whole text that 'posternctl gateways add' printed, as --token or \
             POSTERN_TOKEN; if it is lost, make a new gateway"
        )
    })
}
