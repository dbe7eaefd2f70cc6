//! Signing a change with one key: an Ed25519 file, or a command that asks a token or a cloud's KMS.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tuf::PublicKey;
use tuf::ceremony::{Change, ToSign};
use tuf::key::SigningKey;

use super::{keys, passphrase, read_change, show};
use crate::data;

/// The variable in which a signing command finds the SHA-256 of what it gets, in hexadecimal.
const SHA256: &str = "POSTERN_SHA256";

/// With what to sign.
#[derive(Args, Clone)]
pub struct Options {
    /// The change's file; the signature is added to it.
    change: PathBuf,
    /// The key's file.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    key: Option<PathBuf>,
    /// A command that signs, by ECDSA on P-256 with SHA-256: it gets the bytes on its standard input (and
    /// their SHA-256 in `POSTERN_SHA256`) and writes the signature in DER, as
    /// 'openssl dgst -sha256 -sign key.pem' does. A shell runs it.
    #[arg(long, value_name = "COMMAND", requires = "public")]
    command: Option<String>,
    /// The public key of the command, in PEM.
    #[arg(long, value_name = "FILE", requires = "command")]
    public: Option<PathBuf>,
    /// SHA-256 of the root that must be in force, as another holder reads it out.
    #[arg(long, value_name = "SHA256")]
    base_root: Option<String>,
    /// Where to write the signed change, if not over the file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Do not ask at the terminal.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    passphrase: passphrase::Source,
}

enum Signer {
    File(Box<SigningKey>),
    Command { command: String, public: PublicKey },
}

impl Signer {
    fn public(&self) -> PublicKey {
        match self {
            Self::File(key) => key.public(),
            Self::Command { public, .. } => public.clone(),
        }
    }

    fn sign(&self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::File(key) => Ok(key.sign(bytes)),
            Self::Command { command, .. } => by_command(command, bytes),
        }
    }
}

/// `posternctl root sign`.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    let mut change = read_change(&options.change)?;
    if let Some(expected) = &options.base_root
        && *expected != change.base_root()
    {
        bail!(
            "this change starts from the root {}, not from {expected}: do not sign it before you know why",
            change.base_root()
        );
    }
    if !json {
        show::tell(&change, false)?;
    } else if !options.yes {
        bail!(
            "with --json nothing is shown before it is signed: read the change ('root show'), then say --yes"
        );
    }
    let signer = signer(options)?;
    let public = signer.public();
    let wanted = change.to_sign(&public)?;
    agree(options, &wanted, &public)?;
    for wanted in &wanted {
        let signature = signer.sign(&wanted.bytes)?;
        change.add(wanted.document, &public, &signature)?;
    }
    let out = options.out.as_ref().unwrap_or(&options.change);
    data::replace(out, change.write().as_bytes())?;
    if json {
        return show::tell(&change, true);
    }
    say!(
        "{} has signed; it is in {}.",
        public.key_id(),
        out.display()
    );
    say_open(&change)
}

fn signer(options: &Options) -> anyhow::Result<Signer> {
    match (&options.key, &options.command, &options.public) {
        (Some(file), _, _) => {
            let key = keys::read(file, &options.passphrase)?;
            Ok(Signer::File(Box::new(key)))
        }
        (None, Some(command), Some(public)) => Ok(Signer::Command {
            command: command.clone(),
            public: keys::read_public(public)?,
        }),
        _ => bail!("name a key with --key, or --command and --public"),
    }
}

/// Whoever signs says so, having read what it means.
fn agree(options: &Options, wanted: &[ToSign], key: &PublicKey) -> anyhow::Result<()> {
    if options.yes {
        return Ok(());
    }
    let what: Vec<String> = wanted
        .iter()
        .map(|wanted| format!("{} {}", wanted.document, wanted.version))
        .collect();
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask at: read the change ('root show'), then say --yes");
    }
    eprint!(
        "Sign {} with {}? Type 'yes': ",
        what.join(" and "),
        key.key_id()
    );
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("nothing was signed");
    }
    Ok(())
}

fn by_command(command: &str, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env(SHA256, HEXLOWER.encode(&Sha256::digest(bytes)))
        // It is for the key files of this program, and no business of another.
        .env_remove(passphrase::VARIABLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("'{command}' does not start"))?;
    let mut stdin = child.stdin.take().context("its input is piped")?;
    // One that goes by the hash alone may close its input unread.
    match stdin.write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => drop(stdin),
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("'{command}' ended with {}", output.status);
    }
    Ok(output.stdout)
}

fn say_open(change: &Change) -> anyhow::Result<()> {
    let quorums = change.meaning(crate::now())?.quorums;
    let open: Vec<String> = quorums
        .iter()
        .filter(|quorum| quorum.missing() > 0)
        .map(ToString::to_string)
        .collect();
    if open.is_empty() {
        say!("Nothing is missing: 'posternctl root finish' where the network's folder is.");
    } else {
        say!("Still missing: {}", open.join("; "));
    }
    Ok(())
}
