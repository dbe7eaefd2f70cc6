//! What a CDN sees that ends TLS: a way to a server that keeps every byte of every connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Why a lock is never poisoned.
const HELD: &str = "no test panics while it holds it";

/// A port of loopback that leads to a server, and remembers all that passed.
pub struct Recorder {
    address: SocketAddr,
    upstream: Arc<Mutex<Option<SocketAddr>>>,
    connections: Arc<Mutex<Vec<Shared>>>,
    server: JoinHandle<()>,
}

/// What passed on a connection.
#[derive(Clone, Default, Debug)]
pub struct Recorded {
    /// What the caller sent.
    pub asked: Vec<u8>,
    /// What the server sent.
    pub answered: Vec<u8>,
}

type Shared = Arc<Mutex<Recorded>>;

impl Recorder {
    /// A port that leads nowhere yet.
    pub async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let upstream = Arc::default();
        let connections = Arc::default();
        Self {
            address: listener.local_addr().expect("it is bound"),
            server: tokio::spawn(pass(
                listener,
                Arc::clone(&upstream),
                Arc::clone(&connections),
            )),
            upstream,
            connections,
        }
    }

    /// From now on it leads to the server with this base URL.
    pub fn lead_to(&self, url: &str) {
        let at = url.strip_prefix("http://").and_then(|at| at.parse().ok());
        let at: SocketAddr = at.expect("a base URL on loopback");
        *self.upstream.lock().expect(HELD) = Some(at);
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that passed, a connection each.
    pub fn recorded(&self) -> Vec<Recorded> {
        let connections = self.connections.lock().expect(HELD);
        let recorded = connections.iter();
        recorded
            .map(|one| one.lock().expect(HELD).clone())
            .collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass(
    listener: TcpListener,
    upstream: Arc<Mutex<Option<SocketAddr>>>,
    connections: Arc<Mutex<Vec<Shared>>>,
) {
    // They end with this task.
    let mut passing = JoinSet::new();
    while let Ok((caller, _)) = listener.accept().await {
        while passing.try_join_next().is_some() {}
        let Some(at) = *upstream.lock().expect(HELD) else {
            continue;
        };
        let recorded = Shared::default();
        connections.lock().expect(HELD).push(Arc::clone(&recorded));
        passing.spawn(async move {
            // A server that is gone cuts the caller's connection, which says it.
            let Ok(server) = TcpStream::connect(at).await else {
                return;
            };
            let (from_caller, to_caller) = caller.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::join!(
                copy(from_caller, to_server, |bytes| {
                    recorded.lock().expect(HELD).asked.extend(bytes);
                }),
                copy(from_server, to_caller, |bytes| {
                    recorded.lock().expect(HELD).answered.extend(bytes);
                })
            );
        });
    }
}

/// Copies until either side ends, and tells what passes before it goes on.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passes: impl Fn(&[u8]),
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        passes(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // The other side may have gone before: then there is nobody to tell that nothing follows.
    let _gone = to.shutdown().await;
}
