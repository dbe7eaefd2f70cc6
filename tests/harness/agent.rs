//! The gateways' program, where nodes fetch it when they boot.

use axum::Router;
use axum::routing::get;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::programs::program;

/// Where the agent is served until the test ends, and its hash.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its URL.
    pub url: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Agent {
    /// Serves it on a free port of loopback.
    pub async fn serve() -> Self {
        let agent = tokio::fs::read(program("postern-gateway")).await;
        let agent = agent.expect("the agent is built");
        let sha256 = HEXLOWER.encode(&Sha256::digest(&agent));
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().route("/agent", get(async move || agent.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://{address}/agent"),
            sha256,
        }
    }

    /// It, as a fleet names it.
    pub fn setting(&self) -> Value {
        json!({"url": self.url, "sha256": self.sha256})
    }
}
