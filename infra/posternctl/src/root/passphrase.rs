//! Passphrases of key files: from a file, from the environment, or from who sits at the terminal.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::read_text;

/// The variable that may hold it. It is no option: other users of a machine see those.
pub const VARIABLE: &str = "POSTERN_PASSPHRASE";

/// Where the passphrase is.
#[derive(Args, Clone, Default)]
pub struct Source {
    /// A file whose first line is the passphrase. Without it, the variable
    /// `POSTERN_PASSPHRASE`; without that, it is asked for at a terminal.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// The passphrase, if a file or the environment tells it. Nobody is asked.
pub fn told(options: &Source) -> anyhow::Result<Option<String>> {
    let passphrase = match (&options.passphrase_file, std::env::var(VARIABLE)) {
        (Some(file), _) => return in_file(file).map(Some),
        (None, Ok(passphrase)) => passphrase,
        (None, Err(std::env::VarError::NotPresent)) => return Ok(None),
        (None, Err(error)) => return Err(error).context(VARIABLE),
    };
    not_empty(passphrase).map(Some)
}

/// The passphrase that is the first line of `file`.
pub fn in_file(file: &Path) -> anyhow::Result<String> {
    let text = read_text(file)?;
    not_empty(text.lines().next().unwrap_or_default().to_owned())
}

fn not_empty(passphrase: String) -> anyhow::Result<String> {
    if passphrase.is_empty() {
        bail!("the passphrase is empty");
    }
    Ok(passphrase)
}

/// A passphrase for new files: told, or chosen at a terminal, where nothing is a choice, too.
pub fn new(options: &Source) -> anyhow::Result<Option<String>> {
    let told = told(options)?;
    if told.is_some() || !std::io::stdin().is_terminal() {
        return Ok(told);
    }
    ask_twice("A passphrase for the offline keys (nothing leaves them unencrypted): ")
}

/// A passphrase for a new file that must have one: told, or chosen at a terminal.
pub fn chosen(options: &Source, what: &str) -> anyhow::Result<String> {
    let chosen = match told(options)? {
        None if std::io::stdin().is_terminal() => ask_twice(&format!("A passphrase for {what}: "))?,
        told => told,
    };
    chosen.with_context(|| {
        format!("{what} needs a passphrase: name it with --passphrase-file or {VARIABLE}")
    })
}

/// What is typed twice; none where that is nothing.
pub fn ask_twice(question: &str) -> anyhow::Result<Option<String>> {
    let first = rpassword::prompt_password(question)?;
    if first.is_empty() {
        return Ok(None);
    }
    if rpassword::prompt_password("The same again: ")? != first {
        bail!("these were two passphrases: nothing was written");
    }
    Ok(Some(first))
}

/// The passphrase of a file that is encrypted.
pub fn of_file(options: &Source, what: &str) -> anyhow::Result<String> {
    if let Some(passphrase) = told(options)? {
        return Ok(passphrase);
    }
    if !std::io::stdin().is_terminal() {
        bail!("{what} is encrypted: name its passphrase with --passphrase-file or {VARIABLE}");
    }
    Ok(rpassword::prompt_password(format!(
        "The passphrase of {what}: "
    ))?)
}
