//! `posternctl`: what operators run. Thin: arguments in, calls to the libraries, texts out.

/// Prints a line, as `println!` does. A reader that has closed its end (`| head -1`) has seen
/// enough: that ends the program and is no failure.
macro_rules! say {
    ($($text:tt)*) => { $crate::print(format_args!($($text)*)) };
}

mod accounts;
mod admins;
mod backup;
mod cleaning;
mod control_keys;
mod costs;
mod data;
mod deploy;
mod fleet;
mod init;
mod plan;
mod policy;
mod profile;
mod remote;
mod root;
mod rounds;
mod settings;
mod show;
mod signed;
mod state;
mod stores;
mod up;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sets up and operates a Postern network.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The data folder of a network on this machine: keys, state, the signed repository, and the
    /// profile of its operator. 'postern-data' if it is not given.
    #[arg(long, global = true, env = "POSTERN_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The profile of who operates: a key, a session, and where the network is. If it is not
    /// given, the one in the data folder, else the one in the platform's config folder.
    #[arg(long, global = true, env = "POSTERN_PROFILE", value_name = "FILE")]
    profile: Option<PathBuf>,
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
    /// Print what a deployed function must be told, with its secrets.
    Settings {
        /// Which function.
        function: settings::Function,
        /// On what it runs.
        #[arg(long, default_value = "lambda")]
        runtime: settings::Runtime,
    },
    /// List what devices and gateways seal their requests to, make one more, or forget one.
    ControlKeys {
        #[command(subcommand)]
        action: Option<control_keys::ControlKeysAction>,
    },
    /// Run the whole network on this machine, making it first if it is not there.
    Up(up::Options),
    /// Make a database ready for deployed functions, which make nothing there themselves: the table of
    /// DynamoDB, or the tables of PostgreSQL in this release's form.
    Prepare {
        #[arg(
            long,
            value_name = "URL",
            env = "POSTERN_STORE",
            hide_env_values = true,
            help = format!("Which: {}", stores::NAMES)
        )]
        store: stores::StoreUrl,
    },
    /// What a network of some size costs a month on a cloud, from measured calls and list prices.
    Costs(costs::Options),
    /// Deploy the network to a cloud, change what is deployed, or remove it. It can be run again after any
    /// failure.
    Deploy {
        #[command(subcommand)]
        target: deploy::Target,
    },
    /// Become the first owner with the code that 'init' printed.
    Setup(admins::SetupOptions),
    /// Log in with the profile's key. Other commands do so by themselves.
    Login,
    /// End the session.
    Logout,
    /// Whose session it is, and what they may do.
    Whoami,
    /// List admins, or add, change and remove them.
    Admins {
        #[command(subcommand)]
        action: Option<admins::AdminAction>,
    },
    /// Make or show a profile.
    Profile {
        #[command(subcommand)]
        action: admins::ProfileAction,
    },
    /// Print what somebody needs to make a profile of this network.
    Contact,
    /// Make an invite, list them, or withdraw one.
    Invite(show::InviteOptions),
    /// List devices, shut one out, or ask it for new keys.
    Devices {
        #[command(subcommand)]
        action: Option<show::DeviceAction>,
    },
    /// List gateways, make the record and the bootstrap token of a new one, or change one.
    Gateways {
        #[command(subcommand)]
        action: Option<show::GatewayAction>,
    },
    /// What was published last, what holds publishing back, and what expires soon.
    #[command(visible_alias = "status")]
    Catalog,
    /// The keys that trust starts from: show them, change them in a ceremony, sign.
    Root {
        #[command(subcommand)]
        action: root::Action,
    },
    /// Which devices may use which gateways and go where: apply a policy, show it, explain it.
    Policy {
        #[command(subcommand)]
        action: policy::Action,
    },
    /// The fleet that is wanted: apply a file, or show what is in force. Neither rents anything.
    Fleet {
        #[command(subcommand)]
        action: fleet::FleetAction,
    },
    /// Show what leads from the nodes that are there to the fleet, step by step, with its costs.
    Plan(plan::PlanOptions),
    /// Carry out a plan, and go on until nothing is under way. It can be stopped and resumed at any time.
    Reconcile(rounds::ReconcileOptions),
    /// Try a provider: rent one node, wait until it serves, remove it, and prove that nothing is left.
    Smoke(rounds::SmokeOptions),
    /// Remove what a provider bills for and nobody needs, from its own list.
    Cleanup(cleaning::CleanupOptions),
    /// Providers: what may be done there, whether they answer, what they list as the network's.
    Providers {
        #[command(subcommand)]
        action: Option<fleet::ProviderAction>,
    },
    /// The whole state as one document: write it, check it, import it into another database.
    State {
        #[command(subcommand)]
        action: state::StateAction,
    },
    /// Who changed what, newest first.
    Audit(show::AuditOptions),
    /// Write everything that a store holds into an encrypted file, while the network runs; or check one.
    Backup(backup::BackupOptions),
    /// Put a backup into an empty store, whatever kind it is.
    Restore(backup::RestoreOptions),
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
                let problem = error.downcast_ref::<api::Problem>();
                let kind = problem.and_then(|p| p.type_.strip_prefix(api::problem::TYPE_PREFIX));
                let error = serde_json::json!({"message": format!("{error:#}"), "kind": kind});
                say!("{}", serde_json::json!({"error": error}));
            } else {
                eprintln!("posternctl: {error:#}");
            }
            if error.is::<state::LeftOut>() {
                return ExitCode::from(state::LeftOut::EXIT);
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments {
        data,
        profile,
        json,
        command,
    } = arguments;
    let folder = data.as_deref().unwrap_or(Path::new(data::DEFAULT));
    let folder = data::Folder::new(folder.to_owned());
    // Only what asks a control plane needs a profile.
    let place = || profile::Place::find(profile.clone(), data.as_deref());
    match command {
        Command::Init(options) => init::run(&folder, &options, json),
        Command::Settings { function, runtime } => settings::run(&folder, function, runtime, json),
        Command::ControlKeys { action } => control_keys::run(&folder, action.as_ref(), json),
        Command::Up(options) => up::run(&folder, &options, json).await,
        Command::Prepare { store } => stores::prepare(&folder, &store, json).await,
        Command::Deploy { target } => deploy::run(&folder, place, &target, json).await,
        Command::Setup(options) => admins::setup(&place()?, &options, json).await,
        Command::Login => admins::login(&place()?, json).await,
        Command::Logout => admins::logout(&place()?, json).await,
        Command::Whoami => admins::whoami(&place()?, json).await,
        Command::Admins { action } => admins::admins(&place()?, action, json).await,
        Command::Profile { action } => admins::profile(&place()?, action, json),
        Command::Costs(options) => costs::run(&options, json),
        Command::Contact => admins::contact(&place()?, json).await,
        Command::Invite(options) => show::invite(&place()?, &options, json).await,
        Command::Devices { action } => show::devices(&place()?, action, json).await,
        Command::Gateways { action } => show::gateways(&place()?, action, json).await,
        Command::Root { action } => root::run(&folder, &action, json),
        Command::Catalog => show::catalog(&place()?, json).await,
        Command::Policy { action } => policy::run(&place()?, action, json).await,
        Command::Fleet { action } => fleet::run(&place()?, action, json).await,
        Command::Plan(options) => plan::run(&place()?, &options, json).await,
        Command::Reconcile(options) => rounds::reconcile(&place()?, &options, json).await,
        Command::Smoke(options) => rounds::smoke(&place()?, &options, json).await,
        Command::Cleanup(options) => cleaning::run(&folder, place, &options, json).await,
        Command::Providers { action } => fleet::providers(&place()?, action, json).await,
        Command::State { action } => state::run(&folder, action, json).await,
        Command::Audit(options) => show::audit(&place()?, &options, json).await,
        Command::Backup(options) => backup::backup(&folder, &options, json).await,
        Command::Restore(options) => backup::restore(&folder, &options, json).await,
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
