//! The upkeep of `up`: items of older forms are written anew ([`control::migration`]), as the schedule of
//! `publish` does it for deployed functions.

use std::time::Duration;

use control::calls::Meter;
use control::migration::{self, Left, Migrated, Run};
use edge::Edge;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// From one run to the next while there is something to do.
const AT_WORK: Duration = Duration::from_secs(2);
/// The same while there is nothing: a run is one read then.
const AT_REST: Duration = Duration::from_mins(10);
/// Calls to the store of one run: some thousand items, so that requests get their turn in between.
const CALLS: u32 = 100;

/// Does it until it is stopped.
pub fn start(
    edge: Edge,
    mut stopped: watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) {
    tasks.spawn(async move {
        loop {
            let run = migration::run(&Run {
                store: edge.store.as_ref(),
                meter: &Meter::new(CALLS),
                now: edge.clock.moment().now,
                is_late: &|| false,
            })
            .await;
            let pause = match run {
                Ok(done) => {
                    tell(&done);
                    if done.left == Left::More {
                        AT_WORK
                    } else {
                        AT_REST
                    }
                }
                // The next run goes on where this one failed.
                Err(error) => {
                    tracing::error!(%error, "writing items of older forms anew failed");
                    AT_REST
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
        }
    });
}

fn tell(done: &Migrated) {
    if done.rewritten > 0 {
        let Migrated {
            rewritten, lost, ..
        } = done;
        tracing::info!(rewritten, lost, "items of older forms were written anew");
    }
    for why in &done.unreadable {
        tracing::warn!("an item cannot be written anew: {why}");
    }
}
