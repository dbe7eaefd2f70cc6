//! The cloud on loopback, for programs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
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
    let router = router(&cloud);
    let mut connections = JoinSet::new();
    loop {
        // An error is of one connection: the caller's.
        if let Ok((stream, _)) = listener.accept().await {
            let router = router.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| answer(router.clone(), request));
                // An error is a connection that was cut: by the other side, or as it was to be.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response<Body>, io::Error> {
    let answer = router.oneshot(request.map(Body::new)).await;
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
        let begun = cloud.begun.notified();
        let Some(due) = due else {
            begun.await;
            continue;
        };
        // A virtual clock may stand before it: then this looks again as long after.
        let rest = due.duration_since(now).max(SignedDuration::from_millis(1));
        tokio::select! {
            () = tokio::time::sleep(rest.unsigned_abs()) => {}
            () = begun => {}
        }
    }
}
