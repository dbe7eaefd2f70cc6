//! What a ceremony puts in force while `up` runs: new offline files and new online keys are taken up
//! by themselves, by the functions as well as by publishing. Until files and keys fit together, all
//! goes on with those of before.

use std::sync::Arc;
use std::time::Duration;

use control::publish::{Offline, OnlineKeys};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tuf::key::SigningKey;

use crate::data::Folder;

/// From one look at the folder to the next: two lists of names.
const EVERY: Duration = Duration::from_secs(1);

/// What the offline keys have signed, and the online keys that it names.
pub struct InForce {
    /// The files.
    pub offline: Offline,
    /// What `publish` signs with.
    pub keys: OnlineKeys,
    /// What `register` signs with.
    pub config_key: Arc<SigningKey>,
}

impl InForce {
    fn read(data: &Folder) -> anyhow::Result<Self> {
        let offline = data.offline()?;
        Ok(Self {
            keys: data.online_keys(&offline.authority)?,
            config_key: data.config_key(&offline)?,
            offline,
        })
    }
}

/// What is in force now, and whatever takes its place, until it is stopped.
pub fn watch(
    data: &Folder,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<watch::Receiver<Arc<InForce>>> {
    let mut seen = names(data)?;
    let (tell, told) = watch::channel(Arc::new(InForce::read(data)?));
    let (data, mut stopped) = (data.clone(), stopped.clone());
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complained = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
            let now = match names(&data) {
                Ok(now) if now == seen => continue,
                Ok(now) => now,
                Err(error) => {
                    tracing::error!("the folder cannot be looked at: {error:#}");
                    continue;
                }
            };
            match InForce::read(&data) {
                Ok(in_force) => {
                    seen = now;
                    let authority = &in_force.offline.authority;
                    tracing::info!(
                        root = authority.root.version,
                        targets = authority.targets.version,
                        "the offline files and keys were read anew"
                    );
                    tell.send_replace(Arc::new(in_force));
                }
                // Tried again until it does; a file may not be whole yet. Said once.
                Err(error) => {
                    if complained.as_ref() != Some(&now) {
                        tracing::error!("new offline files or keys are not taken up: {error:#}");
                    }
                    complained = Some(now);
                }
            }
        }
    });
    Ok(told)
}

/// Files are added and never replaced, so that their names tell.
fn names(data: &Folder) -> anyhow::Result<[Vec<String>; 2]> {
    Ok([data.names("offline")?, data.names("keys/online")?])
}
