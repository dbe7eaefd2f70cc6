//! A way to a server that can be shut: whoever comes then finds the connection refused, as where a
//! server is down. And it may lose answers, as any network does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How many connections may wait to be taken: more than any test has callers.
const BACKLOG: u32 = 128;

/// A port of loopback that leads to a server, while it is open.
pub struct Tap {
    upstream: SocketAddr,
    address: SocketAddr,
    lost: f64,
    open: Option<JoinHandle<()>>,
    /// Holds the port while it is shut, so that no outgoing connection is given it.
    held: Option<TcpSocket>,
}

impl Tap {
    /// An open way to the server with this base URL.
    pub fn to(url: &str) -> Self {
        Self::losing(0.0, url)
    }

    /// The same, which loses this share (0 to 1) of what the server says: the connection is cut instead.
    pub fn losing(lost: f64, url: &str) -> Self {
        let upstream = url.strip_prefix("http://").and_then(|at| at.parse().ok());
        let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let listener = socket.listen(BACKLOG).expect("it is bound");
        let mut tap = Self {
            upstream: upstream.expect("a base URL on loopback"),
            address: listener.local_addr().expect("it is bound"),
            lost,
            open: None,
            held: None,
        };
        tap.open = Some(tokio::spawn(pass(listener, tap.upstream, lost)));
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
            self.held = Some(bind(self.address));
        }
    }

    /// Leads to the server again.
    pub fn open(&mut self) {
        let Some(socket) = self.held.take() else {
            return;
        };
        let listener = socket.listen(BACKLOG).expect("it is bound");
        self.open = Some(tokio::spawn(pass(listener, self.upstream, self.lost)));
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.abort();
        }
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("the system has sockets");
    // The port is free again while connections of before linger.
    socket.set_reuseaddr(true).expect("it is a socket");
    socket.bind(address).expect("the port is ours");
    socket
}

async fn pass(listener: TcpListener, upstream: SocketAddr, lost: f64) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((mut caller, _)) = listener.accept().await {
        connections.spawn(async move {
            // A server that is gone cuts the caller's connection, which says it.
            if let Ok(mut server) = TcpStream::connect(upstream).await {
                if lost > 0.0 {
                    lose(lost, &mut caller, &mut server).await;
                } else {
                    let _ended = tokio::io::copy_bidirectional(&mut caller, &mut server).await;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Passes on until either side hangs up or an answer is lost; then the connections end.
async fn lose(lost: f64, caller: &mut TcpStream, server: &mut TcpStream) {
    let (mut asks, mut hears) = caller.split();
    let (mut answers, mut listens) = server.split();
    let back = async {
        let mut said = vec![0; 64 * 1024];
        loop {
            let length = answers.read(&mut said).await?;
            if length == 0 || fastrand::f64() < lost {
                return Ok::<(), io::Error>(());
            }
            hears.write_all(&said[..length]).await?;
        }
    };
    tokio::select! {
        _ended = tokio::io::copy(&mut asks, &mut listens) => {}
        _ended = back => {}
    }
}
