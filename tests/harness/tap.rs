//! A way to a server that can be shut: whoever comes then finds the connection refused, as where a
//! server is down.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A port of loopback that leads to a server, while it is open.
pub struct Tap {
    upstream: SocketAddr,
    address: SocketAddr,
    open: Option<JoinHandle<()>>,
}

impl Tap {
    /// An open way to the server with this base URL.
    pub fn to(url: &str) -> Self {
        let upstream = url.strip_prefix("http://").and_then(|at| at.parse().ok());
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mut tap = Self {
            upstream: upstream.expect("a base URL on loopback"),
            address: listener.local_addr().expect("it is bound"),
            open: None,
        };
        tap.open = Some(tokio::spawn(pass(listener, tap.upstream)));
        tap
    }

    /// Its base URL, which stays.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts all connections; new ones are refused.
    pub async fn shut(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            // Its sockets are closed when it is gone.
            let _cancelled = open.await;
        }
    }

    /// Leads to the server again.
    pub fn open(&mut self) {
        self.open = Some(tokio::spawn(pass(listen(self.address), self.upstream)));
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.abort();
        }
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("the system has sockets");
    // The port is free again while connections of before linger.
    socket.set_reuseaddr(true).expect("it is a socket");
    socket.bind(address).expect("the port is ours");
    socket.listen(64).expect("it is bound")
}

async fn pass(listener: TcpListener, upstream: SocketAddr) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((mut caller, _)) = listener.accept().await {
        connections.spawn(async move {
            // A server that is gone cuts the caller's connection, which says it.
            if let Ok(mut server) = TcpStream::connect(upstream).await {
                let _ended = tokio::io::copy_bidirectional(&mut caller, &mut server).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
