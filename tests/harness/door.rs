//! A front door that serves a site as a CDN would, with entity tags, and fails as it is told.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Site;

/// Why a lock is never poisoned.
const HELD: &str = "no test panics while it holds it";

/// How a door fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Not at all.
    None,
    /// Nothing listens.
    Stopped,
    /// One byte of every bundle is another.
    Altered,
    /// It serves this older copy of the repository.
    Older(PathBuf),
    /// It takes the request and never answers.
    Silent,
}

/// A front door at a fixed address.
pub struct Door {
    site: Site,
    port: u16,
    fault: Arc<Mutex<Fault>>,
    answers: Arc<Mutex<Vec<Answered>>>,
    heard: Arc<Mutex<String>>,
    server: Option<JoinHandle<()>>,
}

/// What a door answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The path that was asked for.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// How many bytes the body had.
    pub bytes: usize,
}

impl Door {
    /// A door at a free port that will serve `site`.
    pub async fn open(site: Site) -> Self {
        let listener = listen(0).await;
        let port = listener.local_addr().expect("it is bound").port();
        let mut door = Self {
            site,
            port,
            fault: Arc::new(Mutex::new(Fault::None)),
            answers: Arc::default(),
            heard: Arc::default(),
            server: None,
        };
        door.serve(listener);
        door
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it answered since this was asked last.
    pub fn take_answers(&self) -> Vec<Answered> {
        let mut answers = self.answers.lock().expect(HELD);
        std::mem::take(&mut answers)
    }

    /// The heads of all requests since this was asked last, a header a line.
    pub fn take_heard(&self) -> String {
        let mut heard = self.heard.lock().expect(HELD);
        std::mem::take(&mut heard)
    }

    /// From now on it fails so.
    pub async fn set(&mut self, fault: Fault) {
        if fault == Fault::Stopped {
            if let Some(server) = self.server.take() {
                server.abort();
                // The listener is gone once the task is.
                assert!(server.await.is_err_and(|error| error.is_cancelled()));
            }
        } else if self.server.is_none() {
            let listener = listen(self.port).await;
            self.serve(listener);
        }
        *self.fault.lock().expect(HELD) = fault;
    }

    fn serve(&mut self, listener: TcpListener) {
        let state = Served {
            site: self.site.clone(),
            fault: self.fault.clone(),
            answers: self.answers.clone(),
            heard: self.heard.clone(),
        };
        let router = Router::new().fallback(answer).with_state(state);
        self.server = Some(tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the door serves");
        }));
    }
}

async fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("the port is free")
}

#[derive(Clone)]
struct Served {
    site: Site,
    fault: Arc<Mutex<Fault>>,
    answers: Arc<Mutex<Vec<Answered>>>,
    heard: Arc<Mutex<String>>,
}

async fn answer(State(served): State<Served>, request: Request<Body>) -> Response {
    let head = format!(
        "{} {}\n{:#?}\n",
        request.method(),
        request.uri(),
        request.headers()
    );
    served.heard.lock().expect(HELD).push_str(&head);
    let fault = served.fault.lock().expect(HELD).clone();
    let site = match &fault {
        Fault::Older(copy) => &Site::Folder(copy.clone()),
        _ => &served.site,
    };
    if fault == Fault::Silent {
        std::future::pending::<()>().await;
    }
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let file = site.get(&path).await;
    let (status, etag, bytes) = match file {
        None => (StatusCode::NOT_FOUND, None, Vec::new()),
        Some(mut bytes) => {
            if fault == Fault::Altered {
                alter(&mut bytes);
            }
            let etag = entity_tag(&bytes);
            if request.headers().get(IF_NONE_MATCH) == Some(&etag) {
                (StatusCode::NOT_MODIFIED, Some(etag), Vec::new())
            } else {
                (StatusCode::OK, Some(etag), bytes)
            }
        }
    };
    served.answers.lock().expect(HELD).push(Answered {
        path,
        status: status.as_u16(),
        bytes: bytes.len(),
    });
    let headers: HeaderMap = etag.into_iter().map(|etag| (ETAG, etag)).collect();
    (status, headers, bytes).into_response()
}

/// A tag that is another for every other content. A door of a test needs no more than that.
fn entity_tag(bytes: &[u8]) -> HeaderValue {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    HeaderValue::from_str(&tag).expect("hexadecimal is plain")
}

/// Changes one digit of the timestamp's year of expiry: the file is as well-formed as before.
fn alter(bytes: &mut [u8]) {
    let role = br#""_type":"timestamp""#;
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|at| at == what);
    let Some(role) = find(bytes, role) else {
        return;
    };
    let expires = br#""expires":"20"#;
    let year = find(&bytes[role..], expires).expect("a timestamp expires") + role + expires.len();
    bytes[year + 1] = if bytes[year + 1] == b'9' { b'8' } else { b'9' };
}
