//! The cloud on loopback, for programs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt;

use crate::gate::Cut;
use crate::{SimCloud, router};

/// How long the clock of the actions rests where nothing is under way: as long as what begins then
/// may end late.
const REST: SignedDuration = SignedDuration::from_millis(50);

/// A cloud that is served until this is dropped.
#[derive(Debug)]
pub struct Served {
    /// The base URL of its API.
    pub url: String,
    tasks: Vec<JoinHandle<()>>,
}

impl Served {
    pub(crate) async fn start(cloud: SimCloud, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address: SocketAddr = listener.local_addr()?;
        Ok(Self {
            url: format!("http://{address}/v1"),
            tasks: vec![
                tokio::spawn(accept(listener, cloud.clone())),
                tokio::spawn(keep_time(cloud)),
            ],
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, cloud: SimCloud) {
    let mut connections = JoinSet::new();
    loop {
        // An error is of one connection: the caller's.
        if let Ok((stream, _)) = listener.accept().await {
            let cloud = cloud.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| answer(cloud.clone(), request));
                // An error is a connection that was cut: by the other side, or as it was to be.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(cloud: SimCloud, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let answer = router(&cloud).oneshot(request.map(Body::new)).await;
    let answer = answer.expect("a router does not fail");
    if answer.extensions().get::<Cut>().is_some() {
        return Err(io::Error::other("cut"));
    }
    Ok(answer)
}

/// Ends actions when they are due, though nobody asks: machines start then.
async fn keep_time(cloud: SimCloud) {
    loop {
        let now = cloud.now();
        let due = cloud.state().next_due().map(|action| action.due);
        let rest = due.map_or(REST, |due| due.duration_since(now)).min(REST);
        let rest = rest.max(SignedDuration::from_millis(1));
        tokio::time::sleep(rest.unsigned_abs()).await;
    }
}
