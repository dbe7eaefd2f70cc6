//! `postern-gateway`: the agent of one gateway.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use api::BootstrapText;
use clap::Parser;
use gateway::Agent;

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
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let token = arguments
        .token
        .as_deref()
        .map(BootstrapText::parse)
        .transpose()?;
    #[allow(
        clippy::disallowed_methods,
        reason = "the program's clock, passed on from here"
    )]
    let clock = Arc::new(jiff::Timestamp::now);
    let agent = Agent::open(arguments.data, token.as_ref(), clock)?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("the terminate signal cannot be awaited")?;
    tokio::select! {
        ended = agent.run() => {
            let Err(error) = ended;
            return Err(error.into());
        }
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
