//! `posternctl root`: the keys that trust starts from.
//!
//! What a change means, whether it holds and what is signed is decided in [`tuf::ceremony`]; here are
//! the files, the terminal and the commands that sign. A change begins and ends where the network's
//! folder is; in between its file goes to the holders of keys, whose machines need this program, their
//! key and nothing else (docs/runbooks/key-ceremony.md).

mod begin;
mod doors;
mod finish;
mod keys;
pub mod passphrase;
mod show;
mod sign;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Subcommand;
use tuf::ceremony::{CeremonyError, Change, visible};

use crate::data::Folder;

pub use keys::{key_text, said_of_offline_keys};

/// What to do.
#[derive(Subcommand, Clone)]
pub enum Action {
    /// Show who may sign what and until when; or what a change means, before it is signed.
    Show(show::Options),
    /// Make an offline key in a file, and its public half beside it.
    Key {
        /// The file to write, as /media/one/root-4.pem.
        file: PathBuf,
        #[command(flatten)]
        passphrase: passphrase::Source,
    },
    /// Encrypt key files that are not.
    Encrypt {
        /// The files; those of keys/offline if none is named.
        files: Vec<PathBuf>,
        #[command(flatten)]
        passphrase: passphrase::Source,
    },
    /// Give an encrypted key file another passphrase: each holder one of their own.
    Passphrase {
        /// The key's file.
        file: PathBuf,
        /// A file whose first line is the new passphrase. Without it, it is asked for at a terminal.
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        passphrase: passphrase::Source,
    },
    /// Begin a change of keys, thresholds, expiry or signed files. It is in force once it is finished.
    Begin(begin::Options),
    /// Sign a change with one key. It needs the change's file and the key, and no network.
    Sign(sign::Options),
    /// Put a change in force that enough keys have signed. A running 'up' takes it up by itself.
    Finish {
        /// The change's file, or copies of it that were signed by several holders.
        #[arg(required = true)]
        changes: Vec<PathBuf>,
    },
}

/// `posternctl root`.
pub fn run(data: &Folder, action: &Action, json: bool) -> anyhow::Result<()> {
    match action {
        Action::Show(options) => show::run(data, options, json),
        Action::Key { file, passphrase } => keys::make(file, passphrase, json),
        Action::Encrypt { files, passphrase } => keys::encrypt(data, files, passphrase, json),
        Action::Passphrase {
            file,
            new_passphrase_file,
            passphrase,
        } => keys::encrypt_again(file, passphrase, new_passphrase_file.as_deref(), json),
        Action::Begin(options) => begin::run(data, options, json),
        Action::Sign(options) => sign::run(options, json),
        Action::Finish { changes } => finish::run(data, changes, json),
    }
}

fn read_change(path: &Path) -> anyhow::Result<Change> {
    let text = read_text(path)?;
    told(Change::read(&text)).with_context(|| path.display().to_string())
}

/// A refusal as it can be printed: it may quote the change's file, which is a stranger's.
fn told<T>(result: Result<T, CeremonyError>) -> anyhow::Result<T> {
    result.map_err(|error| anyhow!(visible(&error.to_string())))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests;
