//! HTTP, for the whole program.
//!
//! What all programs share of it (TLS, proxies, no redirects) is in [`api::http_client`]. Here,
//! bodies are read up to a cap, and nothing is decompressed, so an answer costs at most its cap in
//! memory.
//!
//! Trust does not come from here: what a door serves is verified by `tuf`, and what the control
//! plane answers is only ever about this device itself, and sealed where its key is known.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use api::http_client::{CONNECT, NoClient, http_client, http_client_at, plain_http_client};
use api::sealed;
use http::header::{CONTENT_TYPE, DATE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, Method, Request, StatusCode};
use jiff::Timestamp;
use model::ControlKey;
use reqwest::{Client, Response};
use url::Url;

use crate::Error;

/// How the program names itself.
const AGENT: &str = "postern";
/// The longest that any request may take. A front door's own limit
/// ([`Options`](crate::doors::Options)) is far below.
const LONGEST: Duration = Duration::from_mins(10);
/// How long one control endpoint may take for an answer.
const CONTROL: Duration = Duration::from_secs(20);
/// The most bytes of a control plane's answer; a real one has some 500.
const MOST_ANSWER: usize = 64 * 1024;
/// The same, sealed.
const MOST_SEALED: usize = sealed::most(MOST_ANSWER);

/// The program's HTTP client.
#[derive(Debug)]
pub struct Web {
    /// For `http:` alone, where that can do without root certificates.
    plain: Option<Client>,
    /// For all, made when it is first needed.
    full: OnceLock<Result<Client, NoClient>>,
}

/// What a front door answered.
#[derive(Debug)]
pub enum Fetched {
    /// 304: what the entity tag stood for is still so.
    NotModified {
        /// Its `Date`.
        date: Option<Timestamp>,
    },
    /// 200.
    Body {
        /// The body, whole.
        bytes: Vec<u8>,
        /// Its entity tag.
        etag: Option<String>,
        /// Its `Date`.
        date: Option<Timestamp>,
    },
}

/// Why there was no usable answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// A short stable word.
    pub kind: &'static str,
    /// What happened.
    pub why: String,
    /// The answer's HTTP status, if there was one that is not wanted.
    pub status: Option<u16>,
    /// When what was served expired, if that alone is wrong with it.
    pub expired: Option<Timestamp>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: &'static str, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
            status: None,
            expired: None,
        }
    }

    /// An answer whose status is not wanted.
    fn answered(status: StatusCode) -> Self {
        Self {
            status: Some(status.as_u16()),
            ..Self::new("http", format!("HTTP status {status}"))
        }
    }

    /// Whether no connection came about: another address may help.
    pub fn is_unconnected(&self) -> bool {
        matches!(
            self.kind,
            "refused" | "unreachable" | "dns" | "no-connection"
        )
    }
}

impl Web {
    /// The client. Called once by a program.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            plain: plain_http_client(AGENT, LONGEST).map_err(none)?,
            full: OnceLock::new(),
        })
    }

    /// Reads what it takes to reach these URLs, before anybody measures how long they take.
    pub fn make_ready<'a>(&self, urls: impl Iterator<Item = &'a str>) {
        for url in urls {
            // Whoever asks for the URL is told of a failure.
            let _client = self.client(url);
        }
    }

    /// The client that reaches `url`.
    fn client(&self, url: &str) -> Result<&Client, Failure> {
        if let Some(plain) = self.plain.as_ref().filter(|_| url.starts_with("http:")) {
            return Ok(plain);
        }
        let full = self.full.get_or_init(|| http_client(AGENT, LONGEST));
        full.as_ref()
            .map_err(|error| Failure::new("no-client", error.to_string()))
    }

    /// A client that reaches the host of `url` at `addresses`, whatever DNS says.
    fn at(url: &Url, addresses: &[IpAddr]) -> Result<Self, Error> {
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses: Vec<_> = addresses
            .iter()
            .map(|address| SocketAddr::new(*address, port))
            .collect();
        let host = url.host_str().unwrap_or_default();
        let client = http_client_at(AGENT, LONGEST, host, &addresses).map_err(none)?;
        Ok(Self {
            plain: None,
            full: OnceLock::from(Ok(client)),
        })
    }

    /// Fetches `url`, at most `most` bytes. With `fallback` addresses, a connection that fails is
    /// tried once more over them; the second value says so.
    pub async fn get(
        &self,
        url: &str,
        fallback: &[IpAddr],
        etag: Option<&str>,
        most: u64,
    ) -> (Result<Fetched, Failure>, bool) {
        let first = self.get_once(url, etag, most).await;
        let unconnected = matches!(&first, Err(failure) if failure.is_unconnected());
        if !unconnected || fallback.is_empty() {
            return (first, false);
        }
        let second = match Url::parse(url).map(|url| Self::at(&url, fallback)) {
            Ok(Ok(web)) => web.get_once(url, etag, most).await,
            // Without a second client the first failure stands.
            Ok(Err(_)) | Err(_) => return (first, false),
        };
        let result = match (first, second) {
            (Err(first), Err(second)) => Err(Failure::new(
                second.kind,
                format!("{}; over fallback addresses: {}", first.why, second.why),
            )),
            (_, second) => second,
        };
        (result, true)
    }

    async fn get_once(&self, url: &str, etag: Option<&str>, most: u64) -> Result<Fetched, Failure> {
        let mut request = self.client(url)?.get(url);
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await.map_err(|error| failure(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if etag.is_some() => {
                let date = date(response.headers());
                return Ok(Fetched::NotModified { date });
            }
            status => return Err(Failure::answered(status)),
        }
        let etag = response
            .headers()
            .get(ETAG)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let date = date(response.headers());
        let bytes = body(response, most).await?;
        Ok(Fetched::Body { bytes, etag, date })
    }

    /// Sends a request to a control endpoint in the plain, and gives status and body of the answer.
    pub async fn send(
        &self,
        url: &str,
        request: Request<Vec<u8>>,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        self.carry(url, request, MOST_ANSWER).await
    }

    /// Sends a request to the sealed route `url` of a control endpoint, and gives status and body of
    /// the answer that was sealed to it. Whatever else comes back is a failure.
    pub async fn send_sealed(
        &self,
        url: &str,
        request: &Request<Vec<u8>>,
        key: &ControlKey,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let refused = |error: &dyn std::fmt::Display| Failure::new("seal", error.to_string());
        // Drawn here, where no attempt can come by the randomness of another.
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| refused(&error))?;
        let sealed = sealed::seal(key, request, random).map_err(|error| refused(&error))?;
        let mut capsule = Request::new(sealed.capsule);
        *capsule.method_mut() = Method::POST;
        capsule.headers_mut().insert(CONTENT_TYPE, sealed::REQUEST);
        let (status, body) = self.carry(url, capsule, MOST_SEALED).await?;
        let answer = sealed.opener.believe(status, &body);
        let answer = answer.map_err(|error| Failure::new("unsealed", error.to_string()))?;
        Ok((answer.status(), answer.into_body()))
    }

    async fn carry(
        &self,
        url: &str,
        request: Request<Vec<u8>>,
        most: usize,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let (parts, content) = request.into_parts();
        let request = self.client(url)?.request(parts.method, url);
        let response = request
            .headers(parts.headers)
            .body(content)
            .timeout(CONTROL)
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let status = response.status();
        Ok((status, body(response, most as u64).await?))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` wants"
)]
fn none(error: NoClient) -> Error {
    Error::Internal(error.to_string())
}

/// What the server's clock says (RFC 9110, section 6.6.1). Nobody signed it: a hint.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let value = headers.get(DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(date.timestamp())
}

async fn body(mut response: Response, most: u64) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::new("too-large", format!("more than {most} bytes"));
    let announced = response.content_length().unwrap_or(0);
    if announced > most {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if (bytes.len() + chunk.len()) as u64 > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn failure(error: &reqwest::Error) -> Failure {
    let why = innermost(error);
    let refused = io_kind(error) == Some(std::io::ErrorKind::ConnectionRefused);
    if error.is_connect() {
        return if refused {
            Failure::new("refused", "connection refused")
        } else if error.is_timeout() {
            Failure::new(
                "unreachable",
                format!("no connection in {} ms", CONNECT.as_millis()),
            )
        } else if error.is_dns() {
            Failure::new("dns", format!("its name was not found: {why}"))
        } else {
            Failure::new("no-connection", format!("no connection: {why}"))
        };
    }
    if error.is_timeout() {
        return Failure::new("timeout", "no whole answer in time");
    }
    if error.is_builder() {
        return Failure::new("url", format!("not a URL to fetch: {why}"));
    }
    Failure::new("cut-off", format!("the answer was cut off: {why}"))
}

/// The kind of the I/O error behind an error, if there is one.
fn io_kind(error: &dyn std::error::Error) -> Option<std::io::ErrorKind> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        source = inner.source();
    }
    None
}

/// The innermost cause, which is the one that says something.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
