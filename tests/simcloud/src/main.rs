//! Serves a cloud on loopback and prints its URL: `simcloud [PORT]`. Its token is `sim-token`.

use simcloud::{Settings, SimCloud};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).map(|port| port.parse());
    let port = port.transpose().map_err(std::io::Error::other)?;
    let cloud = SimCloud::new(Settings::served());
    let served = cloud.serve_on(port.unwrap_or(0)).await?;
    println!("{}", served.url);
    tokio::signal::ctrl_c().await
}
