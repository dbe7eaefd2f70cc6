//! Beginning a change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use jiff::SignedDuration;
use model::{ControlKey, Limits, RecoveryKit};
use tuf::ceremony::{Change, Document, Edits, Role, RoleEdit};
use tuf::key::SigningKey;

use super::{doors, keys, read_text, show};
use crate::data::{self, Folder};
use crate::{now, random};

/// What shall change. Roles are root, targets, snapshot, timestamp, catalogs and config.
#[derive(Args, Clone)]
pub struct Options {
    /// The change's file.
    #[arg(long, default_value = "change.json", value_name = "FILE")]
    out: PathBuf,
    /// A key that comes: its public half in PEM (repeatable).
    #[arg(long, value_name = "ROLE=FILE", value_parser = pair::<PathBuf>)]
    add: Vec<(Role, PathBuf)>,
    /// A key that goes, by its public half or the beginning of its id (repeatable).
    #[arg(long, value_name = "ROLE=KEY", value_parser = pair::<String>)]
    remove: Vec<(Role, String)>,
    /// How many of a role's keys must sign (repeatable).
    #[arg(long, value_name = "ROLE=N", value_parser = pair::<u32>)]
    threshold: Vec<(Role, u32)>,
    /// An online role whose keys all go for a new one, which is made in keys/online (repeatable).
    #[arg(long, value_name = "ROLE", value_parser = online)]
    rotate: Vec<Role>,
    /// An online role that gets one more key, which is made in keys/online (repeatable).
    #[arg(long, value_name = "ROLE", value_parser = online)]
    new: Vec<Role>,
    /// New limits of what online keys may list ('root show --file limits.json' prints those in force).
    #[arg(long, value_name = "FILE")]
    limits: Option<PathBuf>,
    /// A new recovery kit ('root show --file recovery-kit.json').
    #[arg(long, value_name = "FILE")]
    kit: Option<PathBuf>,
    /// A front door that comes: its URL. Its host comes into the limits, it into the recovery kit, and into
    /// network.json when the change is finished (repeatable).
    #[arg(long, value_name = "URL", conflicts_with_all = ["limits", "kit"])]
    add_door: Vec<String>,
    /// A front door that goes (repeatable).
    #[arg(long, value_name = "URL", conflicts_with_all = ["limits", "kit"])]
    remove_door: Vec<String>,
    /// What devices and gateways shall seal their requests to, as 'control-keys' lists it. The functions
    /// 'enroll' and 'register' must have its secret before.
    #[arg(long, value_name = "KEY")]
    control_key: Option<ControlKey>,
    /// What shall be signed anew for its expiry alone: root or targets (repeatable).
    #[arg(long, value_name = "DOCUMENT", value_parser = document)]
    renew: Vec<Document>,
    /// For how many days what is signed anew is valid.
    #[arg(long, default_value_t = 365)]
    days: u32,
}

/// `posternctl root begin`.
pub fn run(data: &Folder, options: &Options, json: bool) -> anyhow::Result<()> {
    if options.out.exists() {
        bail!(
            "{} is there already: name another file with --out",
            options.out.display()
        );
    }
    if let Some(key) = options.control_key
        && !data.control_keys_held()?.public().contains(&key)
    {
        bail!(
            "keys/online holds no secret of the control key {key}: whatever is sealed to it would be lost. \
             Name one that 'posternctl control-keys' lists"
        );
    }
    let base = data.base()?;
    let mut edits = edits(options)?;
    if !options.add_door.is_empty() || !options.remove_door.is_empty() {
        let settings = data.settings()?;
        let changed = doors::change(
            &base.files,
            &settings,
            &options.add_door,
            &options.remove_door,
        );
        edits.files.extend(changed?);
    }
    let mut made: Vec<(Role, SigningKey)> = Vec::new();
    for (roles, replace) in [(&options.rotate, true), (&options.new, false)] {
        for role in roles {
            let key = SigningKey::ed25519_from_seed(random()?);
            let edit = edits.roles.entry(*role).or_default();
            edit.add.push(key.public());
            edit.replace |= replace;
            made.push((*role, key));
        }
    }
    let change = Change::begin(base, &edits, now())?;
    // No secret is lost that a change names: the keys first.
    for (role, key) in &made {
        data.write_online_key(*role, key)?;
    }
    for (role, file) in &options.add {
        if role.is_offline() {
            keep_public(data, file)?;
        }
    }
    data::replace(&options.out, change.write().as_bytes())?;
    show::tell(&change, json)?;
    if !json {
        say!("It is in {}. Each holder:", options.out.display());
        say!(
            "  posternctl root sign {} --key FILE",
            options.out.display()
        );
        say!("and then, here:");
        say!("  posternctl root finish {}", options.out.display());
    }
    Ok(())
}

fn edits(options: &Options) -> anyhow::Result<Edits> {
    let mut roles: BTreeMap<Role, RoleEdit> = BTreeMap::new();
    for (role, file) in &options.add {
        let key = keys::read_public(file)?;
        roles.entry(*role).or_default().add.push(key);
    }
    for (role, key) in &options.remove {
        let id = if is_public_file(Path::new(key)) {
            keys::read_public(Path::new(key))?.key_id()
        } else {
            key.clone()
        };
        roles.entry(*role).or_default().remove.push(id);
    }
    for (role, threshold) in &options.threshold {
        roles.entry(*role).or_default().threshold = Some(*threshold);
    }
    let mut files = BTreeMap::new();
    let given = [
        (Limits::PATH, &options.limits),
        (RecoveryKit::PATH, &options.kit),
    ];
    for (path, file) in given {
        if let Some(file) = file {
            files.insert(path.to_owned(), signed_text(file)?);
        }
    }
    let life = SignedDuration::from_hours(24 * i64::from(options.days));
    let expires = now().checked_add(life);
    Ok(Edits {
        roles,
        files,
        control_key: options.control_key,
        renew: options.renew.iter().copied().collect::<BTreeSet<_>>(),
        expires: expires.context("that is too far in the future: choose fewer days")?,
    })
}

fn is_public_file(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "pub")
}

/// Keeps the public half of a key that comes: its name tells later whose key it is.
fn keep_public(data: &Folder, file: &Path) -> anyhow::Result<()> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return Ok(());
    };
    let kept = format!("keys/offline/{name}");
    if is_public_file(file) && !data.path(&kept).exists() {
        data.write(&kept, read_text(file)?.as_bytes())?;
    }
    Ok(())
}

/// A file as it is signed: without the line's end that editors add.
fn signed_text(file: &Path) -> anyhow::Result<String> {
    Ok(read_text(file)?.trim_end().to_owned())
}

fn pair<T: std::str::FromStr>(text: &str) -> Result<(Role, T), String>
where
    T::Err: std::fmt::Display,
{
    let (role, rest) = text
        .split_once('=')
        .ok_or("it must be a role, '=' and what is meant, as root=FILE")?;
    let role: Role = role.parse().map_err(|error| format!("{error}"))?;
    let rest = rest.parse().map_err(|error| format!("'{rest}': {error}"))?;
    Ok((role, rest))
}

fn online(text: &str) -> Result<Role, String> {
    let role: Role = text.parse().map_err(|error| format!("{error}"))?;
    if role.is_offline() {
        return Err(format!(
            "{role} keys are made where their holders are ('posternctl root key'), and come with --add"
        ));
    }
    Ok(role)
}

fn document(text: &str) -> Result<Document, String> {
    match text {
        "root" => Ok(Document::Root),
        "targets" => Ok(Document::Targets),
        _ => Err("it must be 'root' or 'targets'".to_owned()),
    }
}
