//! Who may sign what, and what a change means.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use model::TrustedKeys;
use serde_json::json;
use tuf::PublicKey;
use tuf::ceremony::{Change, Meaning, Role, visible};
use tuf::key_file;
use tuf::repository::RoleKeys;

use super::{keys, read_change, read_text};
use crate::data::Folder;
use crate::now;
use crate::show::table;

/// What to show.
#[derive(Args, Clone)]
pub struct Options {
    /// A change's file; what is in force if none is named.
    change: Option<PathBuf>,
    /// Print a signed file that is in force, such as limits.json or recovery-kit.json.
    #[arg(long, value_name = "NAME", conflicts_with = "change")]
    file: Option<String>,
}

/// `posternctl root show`.
pub fn run(data: &Folder, options: &Options, json: bool) -> anyhow::Result<()> {
    if let Some(path) = &options.change {
        return tell(&read_change(path)?, json);
    }
    if let Some(name) = &options.file {
        let base = data.base()?;
        let text = base.files.get(name).with_context(|| {
            let names: Vec<&str> = base.files.keys().map(String::as_str).collect();
            format!("'{name}' is not signed; these are: {}", names.join(", "))
        })?;
        say!("{text}");
        return Ok(());
    }
    in_force(data, json)
}

/// What is in force.
fn in_force(data: &Folder, json: bool) -> anyhow::Result<()> {
    let offline = data.offline()?;
    let (root, targets) = (&offline.authority.root, &offline.authority.targets);
    let trust: TrustedKeys = serde_json::from_slice(&offline.files[TrustedKeys::PATH])?;
    let config = RoleKeys {
        keys: trust.config_keys.into_iter().map(PublicKey::from).collect(),
        threshold: 1,
    };
    let roles = [
        (Role::Root, &root.roles.root),
        (Role::Targets, &root.roles.targets),
        (Role::Snapshot, &root.roles.snapshot),
        (Role::Timestamp, &root.roles.timestamp),
        (Role::Catalogs, &targets.catalogs),
        (Role::Config, &config),
    ];
    let mut listed = Vec::new();
    for (role, named) in roles {
        let known = places(data, role)?;
        for key in &named.keys {
            let id = key.key_id();
            let place = known.iter().find(|(known, _)| *known == id);
            listed.push((
                role,
                named.threshold,
                id,
                place.map(|(_, place)| place.clone()),
            ));
        }
    }
    let warnings = offline.authority.warnings(now());
    let last = offline.roots.last().map_or(&[][..], Vec::as_slice);
    let sha256 = tuf::repository::Pin::of(1, last).sha256;
    if json {
        let keys = listed.iter().map(|(role, threshold, key, place)| {
            json!({"role": role, "threshold": threshold, "key": key, "secret": place})
        });
        let document = json!({
            "root": {"version": root.version, "expires": root.expires, "sha256": sha256},
            "targets": {"version": targets.version, "expires": targets.expires},
            "keys": keys.collect::<Vec<_>>(), "warnings": warnings,
        });
        say!("{document}");
        return Ok(());
    }
    say!(
        "root {} is valid until {:.0}; its SHA-256 is",
        root.version,
        root.expires
    );
    say!("  {sha256}");
    say!(
        "targets {} are valid until {:.0}\n",
        targets.version,
        targets.expires
    );
    let mut table = table(&["role", "must sign", "key", "its secret"]);
    for (role, threshold, key, place) in listed {
        let of = roles.iter().find(|(named, _)| *named == role);
        let count = of.map_or(0, |(_, keys)| keys.keys.len());
        let place = place.unwrap_or_else(|| "no".to_owned());
        table.add_row(vec![
            role.to_string(),
            format!("{threshold} of {count}"),
            short(&key),
            place,
        ]);
    }
    say!("{table}");
    for warning in warnings {
        say!("\nWARNING {warning}");
    }
    Ok(())
}

/// The ids of the keys of a role that are known here, and where their secrets are.
fn places(data: &Folder, role: Role) -> anyhow::Result<Vec<(String, String)>> {
    if !role.is_offline() {
        let keys = data.online_keys_of(role)?.into_iter();
        return Ok(keys.map(|(file, key)| (key.key_id(), file)).collect());
    }
    let secrets = keys::offline_files(data)?;
    let mut known = Vec::new();
    for name in data.names("keys/offline")? {
        // The public halves stay here: no passphrase is needed to know whose key is whose.
        let Some(stem) = name.strip_suffix(".pub") else {
            continue;
        };
        let key = keys::read_public(&data.path(&format!("keys/offline/{name}")))?;
        let secret = secrets
            .iter()
            .find(|file| file.file_stem().is_some_and(|of| of == stem));
        let place = match secret {
            None => format!("no: {stem}, at its holder"),
            Some(file) => {
                let how = match key_file::kind(&read_text(file)?)? {
                    key_file::Kind::Encrypted => "encrypted",
                    key_file::Kind::Plain => "NOT ENCRYPTED",
                };
                let name = file.strip_prefix(data.root()).unwrap_or(file);
                format!("{} ({how})", name.display())
            }
        };
        known.push((key.key_id(), place));
    }
    Ok(known)
}

/// Tells what a change means.
pub fn tell(change: &Change, json: bool) -> anyhow::Result<()> {
    let meaning = change.meaning(now())?;
    if json {
        say!("{}", serde_json::to_string(&meaning)?);
    } else {
        say!("{}", text(&meaning));
    }
    Ok(())
}

fn text(meaning: &Meaning) -> String {
    let mut lines = vec![
        format!(
            "A change of the network {}, from the root with the SHA-256",
            meaning.network
        ),
        format!("  {}", meaning.base_root),
        String::new(),
    ];
    for moved in &meaning.documents {
        lines.push(format!(
            "{} {} becomes {}; valid until {:.0} (was {:.0})",
            moved.document, moved.from, moved.to, moved.expires, moved.expires_before
        ));
    }
    for key in &meaning.keys {
        let sign = if key.comes { '+' } else { '-' };
        lines.push(format!(
            "{sign} {} {}: {}",
            key.role,
            short(&key.key),
            key.power
        ));
    }
    for role in &meaning.roles {
        let (threshold, keys) = (role.threshold, role.keys.len());
        let before = match role.threshold_before {
            same if same == threshold => String::new(),
            other => format!(" (it was {other})"),
        };
        let unchanged = if role.changed { "" } else { " (unchanged)" };
        let ids: Vec<String> = role.keys.iter().map(|key| short(key)).collect();
        lines.push(format!(
            "= {}{unchanged}: {threshold} of {keys} must sign{before}; {} may be lost: {}",
            role.role,
            role.spare,
            ids.join(", ")
        ));
    }
    for file in &meaning.files {
        lines.push(format!("~ {}: {}", file.path, file.what));
    }
    for warning in &meaning.warnings {
        lines.push(format!("! {warning}"));
    }
    lines.push(String::new());
    for quorum in &meaning.quorums {
        let keys: Vec<String> = quorum
            .keys
            .iter()
            .map(|key| {
                let has = if quorum.signed.contains(key) {
                    " has signed"
                } else {
                    ""
                };
                format!("{}{has}", short(key))
            })
            .collect();
        lines.push(format!("{quorum}: {}", keys.join(", ")));
    }
    let lines: Vec<String> = lines.iter().map(|line| visible(line)).collect();
    lines.join("\n")
}

/// As much of an id as people compare and 'root begin --remove' takes.
fn short(id: &str) -> String {
    id.chars().take(16).collect()
}
