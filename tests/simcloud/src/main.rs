//! Serves a cloud on loopback and prints its URL: `simcloud [PORT [FOLDER]]`. Its token is
//! `sim-token`. With a folder, it boots a machine for each server there.

use std::io;
use std::path::Path;

use simcloud::{Machines, Settings, SimCloud};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map(|port| port.parse());
    let port = port.transpose().map_err(io::Error::other)?.unwrap_or(0);
    let cloud = SimCloud::new(Settings::served());
    if let Some(folder) = arguments.next() {
        let machines = Machines::new(Path::new(&folder)).await;
        cloud.run_nodes(machines.map_err(io::Error::other)?);
    }
    let served = cloud.serve_on(port).await?;
    println!("{}", served.url);
    tokio::signal::ctrl_c().await
}
