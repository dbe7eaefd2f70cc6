//! `posternctl backup` and `posternctl restore`: everything that a store holds, as one encrypted file, and
//! back into any store (docs/runbooks/backup.md).

mod age;
mod file;
mod restore;
mod take;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use control::restore::Told;
use jiff::Timestamp;

use crate::data::Folder;
use crate::root::passphrase::{self, Source};
use crate::stores::StoreUrl;
use crate::{now, random};
use restore::{Checked, Done};

/// What to back up, and where to.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BackupOptions {
    #[command(subcommand)]
    action: Option<BackupAction>,
    /// The file to write; none may be there.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The store is a copy as of this time (2026-11-29T20:00:00Z), such as a table that was recovered to a
    /// point in time: what is restored from the backup goes past all that came after it.
    #[arg(long, value_name = "TIME")]
    as_of: Option<Timestamp>,
    #[command(flatten)]
    place: Place,
}

#[derive(Subcommand)]
enum BackupAction {
    /// Read a whole backup, and say what it holds if every byte of it is right.
    Check {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        passphrase: Source,
    },
}

/// Which store, and the passphrase of the backup.
#[derive(Args)]
struct Place {
    /// Which store.
    #[arg(
        long,
        value_name = "URL",
        env = "POSTERN_STORE",
        hide_env_values = true,
        help = "The store: sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or dynamodb:TABLE [default: that \
                of the data folder]"
    )]
    store: Option<StoreUrl>,
    #[command(flatten)]
    passphrase: Source,
}

/// What to restore, and where to.
#[derive(Args)]
pub struct RestoreOptions {
    /// The backup.
    file: PathBuf,
    /// Put everything as it was: only where nothing has worked on the network since the backup, as when it
    /// is moved to another database. Without it, what could be used twice is ended and counts go on.
    #[arg(long)]
    as_it_was: bool,
    #[command(flatten)]
    place: Place,
}

/// Takes a backup, or checks one.
pub async fn backup(data: &Folder, options: &BackupOptions, json: bool) -> anyhow::Result<()> {
    if let Some(BackupAction::Check { file, passphrase }) = &options.action {
        let passphrase = passphrase_of(file, passphrase)?;
        let checked = restore::check(file, &passphrase)?;
        say_checked(file, &checked, json);
        return Ok(());
    }
    let Some(out) = &options.out else {
        bail!("name the file to write with --out FILE");
    };
    if out.exists() {
        bail!("{} is there already: choose another name", out.display());
    }
    let taken_at = options.as_of.unwrap_or_else(now);
    if taken_at > now() {
        bail!("--as-of {taken_at} has not come yet");
    }
    let settings = data.settings()?;
    let passphrase = passphrase::chosen(&options.place.passphrase, "the backup")?;
    let store = store_of(data, &options.place)?;
    let archive = store.open_to_read(data).await?;
    let shown = store.shown(data);
    let header = file::Header::new(settings.network.id, taken_at, shown.clone());
    let secret = (passphrase.as_str(), age::WORK);
    let totals = take::take(archive.as_ref(), &header, out, secret).await?;
    if json {
        let line = serde_json::json!({
            "file": out, "network": header.network, "taken_at": header.taken_at,
            "store": shown, "items": totals.items, "sha256": totals.sha256,
        });
        say!("{line}");
        return Ok(());
    }
    say!(
        "{} items of {shown} are in {}.",
        totals.items,
        out.display()
    );
    say!("Try it: posternctl backup check {}", out.display());
    say!(
        "It holds no keys: the data folder {} needs a copy of its own.",
        data.root().display()
    );
    Ok(())
}

/// The passphrase of a backup, asked for only where there is one.
fn passphrase_of(file: &Path, source: &Source) -> anyhow::Result<String> {
    let name = file.display().to_string();
    std::fs::metadata(file).with_context(|| format!("the backup {name}"))?;
    passphrase::of_file(source, &name)
}

/// Restores a backup.
pub async fn restore(data: &Folder, options: &RestoreOptions, json: bool) -> anyhow::Result<()> {
    let file = options.file.as_path();
    let passphrase = passphrase_of(file, &options.place.passphrase)?;
    let checked = restore::check(file, &passphrase)?;
    let settings = data.settings().context(
        "a restore needs the network's data folder, which holds its keys (docs/runbooks/backup.md)",
    )?;
    let network = &settings.network;
    if network.id != checked.header.network {
        bail!(
            "{} is a backup of the network {}, and {} is the data folder of {}: name the right one with --data",
            file.display(),
            checked.header.network,
            data.root().display(),
            network.id
        );
    }
    let store = store_of(data, &options.place)?;
    // No 'up' works on it meanwhile; it may go on with another one.
    let _lock = store.is_of(data)?.then(|| data.lock()).transpose()?;
    let archive = store.open(data).await?;
    let context = control::Context {
        store: archive.as_ref(),
        network,
        moment: control::Moment::new(now(), random()?),
    };
    let backup = (file, passphrase.as_str(), &checked);
    let done = restore::restore(&context, archive.as_ref(), backup, options.as_it_was).await?;
    if json {
        let line = serde_json::json!({
            "file": file, "store": store.shown(data), "restored": done.marker,
            "items": done.items, "was_done": done.already, "changed": done.told,
        });
        say!("{line}");
        return Ok(());
    }
    say_done(file, &store.shown(data), &done);
    Ok(())
}

fn store_of(data: &Folder, place: &Place) -> anyhow::Result<StoreUrl> {
    let url = match &place.store {
        Some(url) => url.clone(),
        None => StoreUrl::of(data)?,
    };
    if url.is_memory() {
        bail!("memory: ends with this command: name a store that outlives it with --store");
    }
    Ok(url)
}

fn say_checked(file: &Path, checked: &Checked, json: bool) {
    let Checked { header, totals } = checked;
    if json {
        let line = serde_json::json!({
            "file": file, "network": header.network, "taken_at": header.taken_at, "by": header.by,
            "store": header.store,
            "items": totals.items, "sha256": totals.sha256,
        });
        say!("{line}");
        return;
    }
    say!("{} is whole.", file.display());
    say!("  network   {}", header.network);
    say!("  taken at  {:.0}", header.taken_at);
    say!("  items     {}", totals.items);
    if let Some(store) = &header.store {
        say!("  of        {store}");
    }
    say!("  by        {}", header.by);
}

fn say_done(file: &Path, store: &str, done: &Done) {
    let taken_at = done.marker.taken_at;
    if let (true, Some(at)) = (done.already, done.marker.done_at) {
        say!(
            "{} was restored into {store} at {at:.0}: nothing was done.",
            file.display()
        );
        return;
    }
    say!("{} items are in {store}, as of {taken_at:.0}.", done.items);
    if done.marker.as_it_was {
        say!("They are as they were.");
        return;
    }
    say!("\nWhat happened since then is forgotten. What to do now:\n");
    for line in to_do(&done.told) {
        say!("- {line}");
    }
}

/// What the operator must look after.
fn to_do(told: &Told) -> Vec<String> {
    let mut lines = vec![
        format!(
            "Devices that were revoked since are active again ({} are active): revoke them first of all \
             ('posternctl devices revoke ID'). What enrolled or changed its keys since must enroll anew.",
            told.active_devices
        ),
        format!(
            "Admins who were removed or got another role since are as they were. Look at each: {}.",
            list(
                &told.admins,
                "there is none: the setup code makes the first owner"
            )
        ),
    ];
    if !told.invites.is_empty() {
        lines.push(format!(
            "Invites that were open are withdrawn, for nobody knows how often they were used: {}. Make new \
             ones ('posternctl invite').",
            told.invites.join(", ")
        ));
    }
    if !told.unregistered.is_empty() {
        let ids: Vec<String> = told.unregistered.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "Gateways that had not registered cannot do so any more: {}. Make new ones, and remove what was \
             rented for these. Gateways that registered or changed their keys since are refused: make new \
             ones for them, too.",
            ids.join(", ")
        ));
    }
    if !told.providers.is_empty() || told.had_accepted_fleet || told.nodes > 0 {
        lines.push(format!(
            "Nothing is rented or removed until an owner approves again. Providers: {}. Look at a plan \
             first ('posternctl plan'): {} nodes are on record, and what was made since is not.",
            list(&told.providers, "none was allowed anything"),
            told.nodes
        ));
    }
    lines.push(format!(
        "The policy has the version {} now, so that gateways pull their rosters anew. If it was changed \
         since, apply it again ('posternctl policy apply').",
        told.policy_version
    ));
    lines.push(
        "If catalogs are sealed, a new epoch begins with the next publication. Everybody must log in again."
            .to_owned(),
    );
    lines
}

fn list(texts: &[String], none: &str) -> String {
    if texts.is_empty() {
        none.to_owned()
    } else {
        texts.join(", ")
    }
}
