//! The functions `reconcile` and `cleanup` in `up`: their routes, and their schedule where a provider is
//! set up. That is told by the environment, by the names that deployed functions know, so that no token
//! is in the data folder.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cleanup::CleanUp;
use control::fleet::{Boot, BootstrapKey};
use control::measures::Measured;
use control::publish::Offline;
use edge::Edge;
use edge::accounts::{HETZNER_TOKEN, Shelf};
use edge::mirrors::Folder as Place;
use reconcile::Reconcile;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::metrics::Gauges;
use crate::data::{Folder, Settings};

/// Seconds from one run of `reconcile` to the next. One asks a provider for ten things or so, and Hetzner
/// answers 3,600 an hour.
pub const EVERY: u32 = 30;
/// After how many runs of `reconcile` there is one of `cleanup`.
const CLEANUP_AFTER: u32 = 20;

/// What this machine does about rented nodes.
pub struct Rented {
    reconcile: Arc<Reconcile>,
    cleanup: Arc<CleanUp>,
    is_set_up: bool,
}

impl Rented {
    /// What the environment and the data folder say.
    pub fn open(data: &Folder, settings: &Settings, offline: &Offline) -> anyhow::Result<Self> {
        let accounts = crate::accounts::of_environment()?;
        let is_set_up = !accounts.is_empty();
        let boot = Boot {
            key: BootstrapKey::parse(&data.bootstrap_key()?)?,
            contact: data.first_contact(settings)?,
            limits: offline.limits.clone(),
        };
        let place = Place::new("evidence", data.path("evidence"))?;
        let shelf = Shelf::new(Arc::new(place));
        Ok(Self {
            reconcile: Arc::new(Reconcile::new(accounts, boot, shelf.clone())),
            cleanup: Arc::new(CleanUp::new(crate::accounts::of_environment()?, shelf)),
            is_set_up,
        })
    }

    /// The routes of both.
    pub fn routes(&self, edge: &Edge) -> Router {
        let cleanup = cleanup::routes(edge.clone(), &self.cleanup);
        reconcile::routes(edge.clone(), &self.reconcile).merge(cleanup)
    }

    /// What is said of it at the start.
    pub fn said(&self) -> String {
        if self.is_set_up {
            return "Nodes are rented as the fleet says ('posternctl fleet').".to_owned();
        }
        format!(
            "No provider is set up: with {} in its environment, 'up' rents nodes as the fleet says.",
            HETZNER_TOKEN.name
        )
    }

    /// Runs both again and again until it is stopped, where a provider is set up, as `present` says.
    pub fn start(
        &self,
        edge: &Edge,
        present: watch::Receiver<Arc<Self>>,
        every: u32,
        gauges: &Gauges,
        stopped: &watch::Receiver<bool>,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) {
        if !self.is_set_up {
            return;
        }
        let (edge, gauges, mut stopped) = (edge.clone(), gauges.clone(), stopped.clone());
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(every.into()));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut count = 0_u32;
            let mut said = Vec::new();
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                }
                let Self {
                    reconcile, cleanup, ..
                } = &*present.borrow().clone();
                // The next run goes on where one failed.
                match reconcile.heal(&edge).await {
                    Ok(done) => {
                        let now = edge.clock.moment().now;
                        gauges.note(now, &done.measures(now));
                        let troubles = done.report.troubles;
                        // What stands in the way for hours is said once.
                        for trouble in troubles.iter().filter(|trouble| !said.contains(*trouble)) {
                            tracing::warn!("reconcile: {trouble}");
                        }
                        said = troubles;
                    }
                    Err(error) => tracing::error!(%error, "reconcile failed"),
                }
                if count.is_multiple_of(CLEANUP_AFTER) {
                    match cleanup.sweep(&edge).await {
                        Ok(all) => {
                            let now = edge.clock.moment().now;
                            gauges.note(now, &all.measures(now));
                            let all = all.0.iter();
                            for trouble in all.flat_map(|done| &done.cleaned.troubles) {
                                tracing::warn!("cleanup: {trouble}");
                            }
                        }
                        Err(error) => tracing::error!(%error, "cleanup failed"),
                    }
                }
                count = count.wrapping_add(1);
            }
        });
    }
}
