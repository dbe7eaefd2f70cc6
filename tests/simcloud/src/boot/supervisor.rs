//! Runs the services of a machine, as systemd would: those that are enabled, and those that its
//! first boot started.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::task::JoinSet;

use super::root::Root;
use super::unit::{Restart, Unit, variables};

/// Runs them until the power is cut.
pub(super) async fn run(root: &Root) -> io::Result<()> {
    let mut services = JoinSet::new();
    for name in wanted(root)? {
        let root = root.clone();
        services.spawn(async move {
            if let Err(why) = serve(&root, &name).await {
                root.say(&format!("{name}: {why}"));
            }
        });
    }
    while services.join_next().await.is_some() {}
    std::future::pending().await
}

fn wanted(root: &Root) -> io::Result<BTreeSet<String>> {
    let mut wanted = BTreeSet::new();
    let enabled = root.path("/etc/systemd/system/multi-user.target.wants");
    if enabled.exists() {
        for entry in fs::read_dir(enabled)? {
            wanted.insert(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    let started = root.path("/run/simcloud/start");
    if started.exists() {
        wanted.extend(fs::read_to_string(&started)?.lines().map(str::to_owned));
        // What was started and not enabled does not come back.
        fs::remove_file(started)?;
    }
    Ok(wanted)
}

async fn serve(root: &Root, name: &str) -> Result<(), String> {
    let text = fs::read_to_string(root.path(&format!("/etc/systemd/system/{name}")));
    let unit = Unit::parse(&text.map_err(|error| error.to_string())?)?;
    loop {
        let ended = once(root, &unit).await.map_err(|error| error.to_string())?;
        let again = match unit.restart {
            Restart::Never => false,
            Restart::OnFailure => !ended.success(),
            Restart::Always => true,
        };
        root.say(&format!("{name} ended with {ended}"));
        if !again {
            return Ok(());
        }
        tokio::time::sleep(unit.restart_after).await;
    }
}

async fn once(root: &Root, unit: &Unit) -> io::Result<ExitStatus> {
    let words: Vec<&str> = unit.command.iter().map(String::as_str).collect();
    let mut command = root.command(unit.working_directory.as_deref(), &words);
    for pair in &unit.environment {
        if let Some((key, value)) = pair.split_once('=') {
            command.env(key, value);
        }
    }
    for (path, may_be_missing) in &unit.environment_files {
        match fs::read_to_string(root.path(path)) {
            Ok(text) => {
                command.envs(variables(&text));
            }
            Err(_) if *may_be_missing => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(name) = &unit.state_directory {
        let path = format!("/var/lib/{name}");
        fs::create_dir_all(root.path(&path))?;
        command.env("STATE_DIRECTORY", path);
    }
    let console = root.open_console()?;
    command.stdout(console.try_clone()?).stderr(console);
    command.stdin(Stdio::null()).status().await
}
