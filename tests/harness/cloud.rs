//! The stand-in for a provider, on loopback, with machines that boot.

use std::path::Path;
use std::sync::Arc;

use simcloud::{Machines, Served, Settings, SimCloud};

use crate::skipped;

/// A cloud whose servers are real machines with their disks in `folder`, and its API; `None`, which is said
/// of `test`, where this machine can boot none.
pub async fn with_machines(test: &str, folder: &Path) -> Option<(SimCloud, Served)> {
    let machines = match Machines::new(folder).await {
        Ok(machines) => machines,
        Err(why) => {
            skipped(test, &why.to_string());
            return None;
        }
    };
    let cloud = SimCloud::new(Settings::served());
    cloud.run_nodes(machines as Arc<_>);
    let served = cloud.serve().await.expect("loopback has free ports");
    Some((cloud, served))
}
