//! The one server before all clients: the published repository from memory, with entity tags, a
//! delay before each answer, and a count.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::net::TcpListener;

const HELD: &str = "nothing panics while it is held";

/// What was asked for and answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Count {
    pub requests: usize,
    pub bytes: usize,
}

#[derive(Clone)]
pub struct Server {
    files: Arc<BTreeMap<String, (HeaderValue, Bytes)>>,
    delay_ms: Arc<AtomicU64>,
    count: Arc<Mutex<Count>>,
}

impl Server {
    /// Serves what is in `site`, and gives the base URL.
    pub async fn open(site: &Path) -> (Self, String) {
        let mut files = BTreeMap::new();
        read(site, "", &mut files);
        let server = Self {
            files: Arc::new(files),
            delay_ms: Arc::default(),
            count: Arc::default(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, url)
    }

    /// From now on every answer waits so long.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).expect("a short delay");
        self.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// What was counted since this was asked last.
    pub fn take(&self) -> Count {
        std::mem::take(&mut *self.count.lock().expect(HELD))
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let delay = server.delay_ms.load(Ordering::Relaxed);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let path = request.uri().path().trim_start_matches('/');
    let known = request.headers().get(IF_NONE_MATCH);
    let (status, etag, bytes) = match server.files.get(path) {
        None => (StatusCode::NOT_FOUND, None, Bytes::new()),
        Some((etag, _)) if known == Some(etag) => {
            (StatusCode::NOT_MODIFIED, Some(etag), Bytes::new())
        }
        Some((etag, bytes)) => (StatusCode::OK, Some(etag), bytes.clone()),
    };
    {
        let mut count = server.count.lock().expect(HELD);
        count.requests += 1;
        count.bytes += bytes.len();
    }
    let etag = etag.map(|etag| [(ETAG, etag.clone())]);
    (status, etag, bytes).into_response()
}

fn read(folder: &Path, below: &str, files: &mut BTreeMap<String, (HeaderValue, Bytes)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a plain name");
        let name = format!("{below}{name}");
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), files);
        } else {
            let bytes = std::fs::read(entry.path()).expect("a file");
            // No file changes while the bench runs.
            let etag = HeaderValue::from_str(&format!("\"{}\"", files.len())).expect("plain");
            files.insert(name, (etag, bytes.into()));
        }
    }
}
