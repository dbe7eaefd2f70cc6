//! The client for the official TUF client test suite (theupdateframework/tuf-conformance), with its
//! command line.
//!
//! It is thin on purpose: what is verified, in which order, what is fetched and what stands in for
//! a fetch is decided by [`tuf::Workflow`], and HTTP is [`client::Web`], both as in `postern`. What
//! is here is where files lie: [`place`] for the trusted metadata and the downloads, [`source`] for
//! the repository's URLs.
//!
//! Exit code 0 where everything succeeded, 1 where anything did not; what was verified before a
//! failure is kept.

mod place;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tuf::{Cache, Next, Start, Workflow};

use crate::place::Place;
use crate::source::Source;

#[derive(Parser)]
struct Args {
    /// Where trusted metadata is kept, under unversioned names.
    #[arg(long)]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is.
    #[arg(long, global = true)]
    metadata_url: Option<String>,
    /// A target path to download; may be repeated. A path may begin with a dash.
    #[arg(long, global = true, allow_hyphen_values = true)]
    target_name: Vec<String>,
    /// Where the repository's target files are.
    #[arg(long, global = true)]
    target_base_url: Option<String>,
    /// Where downloads are kept.
    #[arg(long, global = true)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trusts this root.
    Init { root: PathBuf },
    /// Brings the top-level metadata up to date.
    Refresh,
    /// The same, and then downloads the targets in their order, up to the first failure.
    Download,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            eprint!("{error}");
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let url = || args.metadata_url.as_deref().context("no --metadata-url");
    match args.command {
        Command::Init { root } => {
            let root = std::fs::read(&root).with_context(|| root.display().to_string())?;
            init(Place::new(args.metadata_dir, None), root)
        }
        Command::Refresh => {
            let source = Source::new(url()?, None)?;
            update(Place::new(args.metadata_dir, None), &source, &[]).await
        }
        Command::Download => {
            let targets = args.target_base_url.as_deref();
            let source = Source::new(url()?, Some(targets.context("no --target-base-url")?))?;
            let target_dir = args.target_dir.context("no --target-dir")?;
            anyhow::ensure!(!args.target_name.is_empty(), "no --target-name");
            let place = Place::new(args.metadata_dir, Some(target_dir));
            update(place, &source, &args.target_name).await
        }
    }
}

fn init(mut place: Place, root: Vec<u8>) -> anyhow::Result<()> {
    let trusted = Cache {
        root,
        ..Cache::default()
    };
    // A root that does not sign itself is no beginning.
    Workflow::new(Start::Cache(&trusted), &[], now())?;
    place.keep(&trusted, &[])
}

/// The client workflow, fed from the repository; each file is kept as soon as it is verified.
async fn update(mut place: Place, source: &Source, wanted: &[String]) -> anyhow::Result<()> {
    let known = place.load(wanted)?;
    let mut workflow = Workflow::for_all(Start::Cache(&known), wanted, now())?;
    while let Next::Fetch { name, most_bytes } = workflow.next() {
        let bytes = source.get(&name, most_bytes).await?;
        let supplied = workflow.supply(bytes.as_deref());
        place.keep(workflow.verified(), &workflow.fallen())?;
        supplied?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program's clock: the suite moves the system's"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
