//! `posternctl`: what operators run. Thin: arguments in, calls to the libraries, texts out.

/// Prints a line, as `println!` does. A reader that has closed its end (`| head -1`) has seen
/// enough: that ends the program and is no failure.
macro_rules! say {
    ($($text:tt)*) => { $crate::print(format_args!($($text)*)) };
}

mod data;
mod init;
mod policy;
mod remote;
mod show;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up and operates a Postern network.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The network's data folder: keys, state and the signed repository.
    #[arg(
        long,
        global = true,
        env = "POSTERN_DATA",
        default_value = "postern-data"
    )]
    data: PathBuf,
    /// Print JSON for scripts instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a network: its offline and online keys, the first signed root, its settings.
    Init(init::Options),
    /// Run the whole network on this machine, making it first if it is not there.
    Up(up::Options),
    /// Make an invite, or list them.
    Invite(show::InviteOptions),
    /// List devices, or shut one out.
    Devices {
        #[command(subcommand)]
        action: Option<show::DeviceAction>,
    },
    /// List gateways, or make the record and the bootstrap token of a new one.
    Gateways {
        #[command(subcommand)]
        action: Option<show::GatewayAction>,
    },
    /// What was published last, and what holds publishing back.
    Catalog,
    /// Which devices may use which gateways and go where: apply a policy, show it, explain it.
    Policy {
        #[command(subcommand)]
        action: policy::Action,
    },
    /// Who changed what, newest first.
    Audit(show::AuditOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let json = arguments.json;
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if json {
                say!(
                    "{}",
                    serde_json::json!({"error": {"message": format!("{error:#}")}})
                );
            } else {
                eprintln!("posternctl: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        data,
        json,
        command,
    } = arguments;
    let data = data::Folder::new(data);
    match command {
        Command::Init(options) => init::run(&data, &options, json),
        Command::Up(options) => up::run(&data, &options, json).await,
        Command::Invite(options) => show::invite(&data, &options, json).await,
        Command::Devices { action } => show::devices(&data, action, json).await,
        Command::Gateways { action } => show::gateways(&data, action, json).await,
        Command::Catalog => show::catalog(&data, json).await,
        Command::Policy { action } => policy::run(&data, action, json).await,
        Command::Audit(options) => show::audit(&data, &options, json).await,
    }
}

/// What [`say!`] does.
fn print(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    if let Err(error) = writeln!(std::io::stdout(), "{line}") {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("posternctl: this could not be printed: {error}");
    }
}

/// The system's time: the programs' clock, passed on from here.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock that the others are passed"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Fresh random bytes.
fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
