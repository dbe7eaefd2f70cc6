//! Key files of people: made, encrypted, read.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tuf::PublicKey;
use tuf::key::SigningKey;
use tuf::key_file::{self, Fresh, Kind};

use super::{passphrase, read_text};
use crate::data::{self, Folder};
use crate::random;

/// A key's file, encrypted if there is a passphrase.
pub fn key_text(key: &SigningKey, passphrase: Option<&str>) -> anyhow::Result<String> {
    let fresh = Fresh {
        salt: random()?,
        iv: random()?,
    };
    let passphrase = passphrase.map(|passphrase| (passphrase, fresh));
    Ok(key_file::write(key, passphrase)?)
}

/// Makes an Ed25519 key in `file`.
pub fn make(file: &Path, options: &passphrase::Source, json: bool) -> anyhow::Result<()> {
    let public_file = file.with_extension("pub");
    let is_public = file.extension().and_then(|end| end.to_str());
    if is_public.is_some_and(|end| end.eq_ignore_ascii_case("pub")) {
        bail!(
            "{}: '.pub' is the end of the public half's name. Name the secret's file, as {}",
            file.display(),
            file.with_extension("pem").display()
        );
    }
    for path in [file, &public_file] {
        if path.exists() {
            bail!("{} is there already: name another file", path.display());
        }
    }
    let passphrase = passphrase::new(options)?;
    let key = SigningKey::ed25519_from_seed(random()?);
    data::replace(file, key_text(&key, passphrase.as_deref())?.as_bytes())?;
    let public = key_file::write_public(&key.public())?;
    data::replace(&public_file, public.as_bytes())?;
    if json {
        let line = serde_json::json!({"key": key.key_id(), "file": file, "public": public_file,
            "encrypted": passphrase.is_some()});
        say!("{line}");
        return Ok(());
    }
    say!("The key {} is in {}.", key.key_id(), file.display());
    if passphrase.is_none() {
        say!(
            "It is NOT encrypted: 'posternctl root encrypt {}'.",
            file.display()
        );
    }
    say!(
        "Its public half, for 'posternctl root begin --add': {}",
        public_file.display()
    );
    Ok(())
}

/// Encrypts those of `files` that are not.
pub fn encrypt(
    data: &Folder,
    files: &[PathBuf],
    options: &passphrase::Source,
    json: bool,
) -> anyhow::Result<()> {
    let files = if files.is_empty() {
        offline_files(data)?
    } else {
        files.to_vec()
    };
    let mut plain = Vec::new();
    for file in files {
        let text = read_text(&file)?;
        let kind = key_file::kind(&text).with_context(|| file.display().to_string())?;
        if kind == Kind::Plain {
            let key = key_file::read(&text, None).with_context(|| file.display().to_string())?;
            plain.push((file, key));
        }
    }
    if !plain.is_empty() {
        let passphrase = passphrase::new(options)?.context(
            "there is no passphrase: name it with --passphrase-file or POSTERN_PASSPHRASE",
        )?;
        for (file, key) in &plain {
            data::replace(file, key_text(key, Some(&passphrase))?.as_bytes())?;
        }
    }
    if json {
        let files: Vec<&PathBuf> = plain.iter().map(|(file, _)| file).collect();
        say!("{}", serde_json::json!({"encrypted": files}));
        return Ok(());
    }
    for (file, _) in &plain {
        say!("{} is encrypted now.", file.display());
    }
    if plain.is_empty() {
        say!("There was nothing to encrypt.");
    } else {
        say!(
            "What stood there before may still be read from the medium: keys that mattered are better"
        );
        say!("replaced ('posternctl root begin').");
    }
    Ok(())
}

/// Gives the encrypted `file` another passphrase.
pub fn encrypt_again(
    file: &Path,
    options: &passphrase::Source,
    new: Option<&Path>,
    json: bool,
) -> anyhow::Result<()> {
    let text = read_text(file)?;
    if key_file::kind(&text).with_context(|| file.display().to_string())? == Kind::Plain {
        bail!(
            "{} is not encrypted: 'posternctl root encrypt' does that",
            file.display()
        );
    }
    let key = read(file, options)?;
    let new = match new {
        Some(new) => Some(passphrase::in_file(new)?),
        None if std::io::stdin().is_terminal() => passphrase::ask_twice("The new passphrase: ")?,
        None => None,
    };
    let new = new.context("there is no new passphrase: name it with --new-passphrase-file")?;
    data::replace(file, key_text(&key, Some(&new))?.as_bytes())?;
    if json {
        say!("{}", serde_json::json!({"key": key.key_id(), "file": file}));
        return Ok(());
    }
    say!(
        "The key {} in {} has another passphrase now.",
        key.key_id(),
        file.display()
    );
    say!("Who has a copy of the file as it was, and the passphrase of before, can still read it.");
    Ok(())
}

/// The secret key of a file.
pub fn read(file: &Path, options: &passphrase::Source) -> anyhow::Result<SigningKey> {
    let text = read_text(file)?;
    let name = file.display().to_string();
    let passphrase = match key_file::kind(&text).with_context(|| name.clone())? {
        Kind::Plain => None,
        Kind::Encrypted => Some(passphrase::of_file(options, &name)?),
    };
    key_file::read(&text, passphrase.as_deref()).context(name)
}

/// The public key of a file in PEM.
pub fn read_public(file: &Path) -> anyhow::Result<PublicKey> {
    let text = read_text(file)?;
    key_file::read_public(&text).with_context(|| {
        format!(
            "{}: give the public half ('.pub', or what 'openssl pkey -pubout' prints)",
            file.display()
        )
    })
}

/// The offline keys that lie in the data folder.
pub fn offline_files(data: &Folder) -> anyhow::Result<Vec<PathBuf>> {
    let names = data.names("keys/offline")?.into_iter();
    let is_key = |path: &PathBuf| {
        // In JSON they were before they were in PEM.
        let end = path.extension().and_then(|end| end.to_str());
        matches!(end, Some("pem" | "json"))
    };
    Ok(names
        .map(|name| data.path(&format!("keys/offline/{name}")))
        .filter(is_key)
        .collect())
}

/// What is to be said of the offline keys that lie in the data folder, if any does.
pub fn said_of_offline_keys(data: &Folder) -> anyhow::Result<String> {
    let files = offline_files(data)?;
    let mut plain = 0;
    for file in &files {
        let kind = key_file::kind(&read_text(file)?);
        plain += usize::from(kind.is_ok_and(|kind| kind == Kind::Plain));
    }
    let folder = data.path("keys/offline");
    let folder = folder.display();
    let count = files.len();
    Ok(match (count, plain) {
        (0, _) => String::new(),
        (_, 0) => format!(
            "Its {count} offline keys are in {folder}, encrypted: move each to its holder, off this machine."
        ),
        _ => format!(
            "Its {count} offline keys are in {folder}, and {plain} of them are NOT ENCRYPTED: whoever reads \
             them\nowns the network. To try it out that will do; else encrypt them ('posternctl root encrypt') \
             and\nmove each to its holder, off this machine (docs/runbooks/key-ceremony.md)."
        ),
    })
}
