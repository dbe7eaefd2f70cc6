//! The adapter of Hetzner over `simcloud`: the suite of all providers.

mod common;

use std::sync::Arc;

use common::Sim;
use simcloud::{Settings, SimCloud};

/// A stage in this process.
fn in_process() -> Sim {
    let cloud = SimCloud::new(Settings::default());
    let http = Arc::new(cloud.http());
    Sim::new(cloud, http, "http://sim/v1")
}

providers::conformance!(in_process);
