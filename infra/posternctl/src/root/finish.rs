//! Putting a change in force.

use std::path::PathBuf;

use anyhow::Context;
use model::RecoveryKit;
use tuf::ceremony::{Base, Finished};
use tuf::repository::Pin;

use super::{doors, read_change, told};
use crate::data::{Folder, root_file, signed_file, targets_file};
use crate::now;

/// `posternctl root finish`. The root is written last: its name puts the whole in force at once, and a
/// finish that was interrupted is simply run again.
pub fn run(data: &Folder, changes: &[PathBuf], json: bool) -> anyhow::Result<()> {
    let (first, copies) = changes.split_first().context("no change was named")?;
    let mut change = read_change(first)?;
    for copy in copies {
        let merged = change.merge(&read_change(copy)?);
        told(merged).with_context(|| copy.display().to_string())?;
    }
    // Beside an 'up' that runs, but not beside another finish.
    let _lock = data.lock_offline()?;
    let base = data.base()?;
    let finished = told(change.finish(&base, now()))?;
    for (path, text) in &finished.files {
        let name = signed_file(path, &Pin::of(1, text.as_bytes()).sha256);
        data.write(&name, text.as_bytes())?;
    }
    // Before what puts it in force, so that an interrupted finish loses none: what the limits do not allow yet
    // is left out of catalogs.
    let doors_changed = follow(data, &base, &finished)?;
    if let Some((version, text)) = &finished.targets {
        data.write(&targets_file(*version), text.as_bytes())?;
    }
    if let Some((version, text)) = &finished.root {
        data.write(&root_file(*version), text.as_bytes())?;
    }
    let offline = data.offline()?;
    let authority = &offline.authority;
    // Where the functions are deployed, their keys need not be here.
    let lacks = [
        data.online_keys(authority).err(),
        data.config_key(&offline).err(),
    ];
    let lacks: Vec<String> = lacks.iter().flatten().map(ToString::to_string).collect();
    let ends = authority.warnings(now());
    let nothing = finished.root.is_none() && finished.targets.is_none();
    let (root, targets) = (authority.root.version, authority.targets.version);
    if json {
        let warnings = [lacks, ends].concat();
        let line = serde_json::json!({"root": root, "targets": targets, "was_in_force": nothing,
            "front_doors_changed": doors_changed, "warnings": warnings});
        say!("{line}");
        return Ok(());
    }
    if nothing {
        say!("It was in force already.");
    }
    say!("Root {root} and targets {targets} are in force. A running 'up' takes them up by itself.");
    say!(
        "Deployed functions get them, and the keys that changed, by the next 'posternctl deploy'; where you"
    );
    say!(
        "deploy by yourself, with 'posternctl settings publish' (and register, admin, reconcile), all of one"
    );
    say!("function in one deployment.");
    if doors_changed {
        say!(
            "The front doors are others: restart 'up', or deploy again, so that catalogs name them."
        );
    }
    for lack in lacks {
        say!("NOTE {lack}");
    }
    for end in ends {
        say!("WARNING {end}");
    }
    Ok(())
}

/// Lets `network.json` follow a recovery kit that names other doors; whether they are others. Where the change is
/// in force already, all doors of the kit are brought in that it lacks.
fn follow(data: &Folder, base: &Base, finished: &Finished) -> anyhow::Result<bool> {
    let kit: RecoveryKit = doors::read(&base.files, RecoveryKit::PATH)?;
    let before = kit.front_doors;
    let is_in_force = finished.root.is_none() && finished.targets.is_none();
    let after = match finished.files.get(RecoveryKit::PATH) {
        Some(_) => doors::read::<RecoveryKit>(&finished.files, RecoveryKit::PATH)?.front_doors,
        None if is_in_force => before.clone(),
        None => return Ok(false),
    };
    let mut settings = data.settings()?;
    let known: &[_] = if is_in_force { &[] } else { &before };
    let changed = doors::follow(&mut settings, known, &after);
    if changed {
        data.write_settings(&settings)?;
    }
    Ok(changed || before != after)
}
