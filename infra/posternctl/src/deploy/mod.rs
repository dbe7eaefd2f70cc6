//! `posternctl deploy`: from an empty account to a running network, and back to nothing.
//!
//! A target is a module here: what it deploys, and its steps. What all of them promise is in this module
//! and in [`steps`] and [`secrets`]:
//!
//! - What will change is shown first, and nothing is changed before somebody has said yes. `--dry-run`
//!   ends there.
//! - A deployment is a row of steps. Each looks at what is there, in the cloud, before it does anything;
//!   there is no file of what was deployed. So the same command after any failure goes on where it
//!   stopped, and once more after the end changes nothing.
//! - The first error stops it, and says at which step and what to do.
//! - Secrets come from a file or from the environment, and go to where the functions read them. No
//!   message repeats one.
//! - `--destroy` removes all that was deployed, and looks whether anything is left.

mod aws;
mod cloudflare;
mod doors;
mod secrets;
mod steps;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::data::Folder;
use crate::profile::Place;

/// To where.
#[derive(Subcommand)]
pub enum Target {
    /// The control plane and a front door on AWS: one `CloudFormation` stack.
    Aws(aws::Options),
    /// The control plane as Cloudflare's Workers, with a bucket of R2 as a front door.
    Cloudflare(cloudflare::Options),
    /// A front door of nginx, Varnish, Caddy or anything else: write its configuration, and ask the door
    /// whether it serves the network.
    Doors(doors::Options),
}

/// What every target is told.
#[derive(Args)]
pub struct Common {
    /// Show what would be changed or removed, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Remove everything that was deployed, with all that it holds.
    #[arg(long)]
    destroy: bool,
    /// Do not ask: go on after showing what will be changed or removed.
    #[arg(long)]
    yes: bool,
    /// The folder of the release's archives, as 'infra/scripts/functions' fills it.
    #[arg(long, value_name = "FOLDER", default_value = "target/functions")]
    archives: PathBuf,
    /// A file of secrets that the data folder does not hold, such as a provider's token: a line
    /// NAME=value each, readable by its owner alone. What it does not name is taken from the environment.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
}

impl Common {
    /// Whether whoever sits there wants what was shown; always with `--yes`.
    fn is_wanted(&self, question: &str, json: bool) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if json || !std::io::stdin().is_terminal() {
            bail!("nobody can be asked here: look with --dry-run, then say --yes");
        }
        print!("\n{question} [y/N] ");
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// Deploys the network in `data`, or what is asked for instead.
pub async fn run(
    data: &Folder,
    place: impl FnOnce() -> anyhow::Result<Place>,
    target: &Target,
    json: bool,
) -> anyhow::Result<()> {
    match target {
        Target::Aws(options) => aws::run(data, options, json).await,
        Target::Cloudflare(options) => cloudflare::run(data, options, json).await,
        Target::Doors(options) => doors::run(data, place, options, json).await,
    }
}
