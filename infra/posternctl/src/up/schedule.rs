//! The schedule of `up`: publish, again and again.

use std::sync::Arc;
use std::time::Duration;

use control::measures::Measured;
use control::publish::{Budget, Mirror, Publisher};
use edge::Edge;
use publish::Folder as Site;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::in_force::InForce;
use super::metrics::Gauges;
use crate::data::{Folder, Settings};

/// From one run to the next. A run in which nothing changed costs some reads.
const EVERY: Duration = Duration::from_secs(1);

/// What the last run left.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// How many gateways are in service.
    pub gateways: usize,
}

/// Publishes until it is stopped; what comes back tells how far it is.
pub fn start(
    data: &Folder,
    settings: &Settings,
    in_force: watch::Receiver<Arc<InForce>>,
    (edge, gauges): (Edge, Gauges),
    mut stopped: watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<watch::Receiver<Option<Published>>> {
    let mirrors: Vec<Arc<dyn Mirror>> = vec![Arc::new(Site::new("site", data.path("site"))?)];
    let front_doors: Vec<String> = settings
        .front_doors
        .iter()
        .map(|door| door.url.clone())
        .collect();
    let (tell, told) = watch::channel(None);
    tasks.spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
            let given = in_force.borrow().clone();
            let publisher = Publisher {
                context: edge.context(edge.clock.moment()),
                offline: &given.offline,
                keys: &given.keys,
                mirrors: &mirrors,
                front_doors: &front_doors,
                budget: Budget::UNLIMITED,
            };
            match publisher.run().await {
                Ok(report) => {
                    let now = edge.clock.moment().now;
                    gauges.note(now, &report.measures(now));
                    if report.published {
                        tracing::info!(version = report.version, "published");
                    }
                    tell.send_replace(Some(Published {
                        gateways: report.listed,
                    }));
                }
                // The next run tries again; the front doors serve on meanwhile.
                Err(error) => tracing::error!(%error, "publishing failed"),
            }
        }
    });
    Ok(told)
}
