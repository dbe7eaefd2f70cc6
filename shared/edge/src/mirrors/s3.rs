//! A bucket as a mirror: of S3, or of what speaks as S3 does (R2, `MinIO`).
//!
//! Publishing asks for two promises beyond reading. A file that never changes is made only where none
//! stands (`If-None-Match: *`), and one that changes is replaced only over the bytes that were seen
//! (`If-Match` with their entity tag). A call is one request and nothing is tried again here: publishing
//! counts its calls, looks at what stands there where it must know, and its next run tries again.
//!
//! HTTP and the time are passed in, since a Worker has others (docs/adr/0010). Objects carry the cache rules
//! of their kind: a minute for the few that change, for good all others.

use std::sync::Arc;

use api::http::Http;
use async_trait::async_trait;
use aws_credential_types::Credentials;
use bytes::Bytes;
use control::publish::{Etag, Mirror, MirrorError, Object, Replaced};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, Method, Request, Response, StatusCode};
use jiff::Timestamp;

use crate::aws;

/// For the few objects that change. No purge is ever needed.
const CACHED_BRIEFLY: &str = "public, max-age=60";
/// For all others, which are named by version or hash: a year, the most that caches honour (RFC 2616,
/// section 14.21), and no asking again meanwhile (RFC 8246).
const CACHED_FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// A bucket and the right to it.
pub struct S3 {
    /// The mirror's name.
    pub name: String,
    /// The bucket's.
    pub bucket: String,
    /// The part of it that is served; empty for the whole.
    pub prefix: String,
    /// Its region; `auto` for R2.
    pub region: String,
    /// Where it is, if not at AWS: an R2 account's URL, or a stand-in on loopback.
    pub endpoint: Option<String>,
    /// The right to it.
    pub credentials: Credentials,
    /// What carries requests.
    pub http: Arc<dyn Http>,
    /// The time, which is part of every signature.
    pub now: fn() -> Timestamp,
}

impl S3 {
    /// The URL of the object at `path`. What a front door could not serve under the same name is
    /// refused, and so nothing needs to be escaped.
    fn url(&self, path: &str) -> Result<String, MirrorError> {
        let whole = match self.prefix.trim_matches('/') {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        };
        let is_plain = |part: &str| {
            let plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain)
        };
        if !whole.split('/').all(is_plain) {
            return Err(failed(&whole, "is not a plain relative path"));
        }
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://s3.{}.amazonaws.com", self.region),
        };
        Ok(format!("{endpoint}/{}/{whole}", self.bucket))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> Result<Response<Bytes>, MirrorError> {
        let mut request = Request::builder().method(method).uri(self.url(path)?);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(body);
        let mut request = request.map_err(|error| failed(path, &error.to_string()))?;
        let now = (self.now)();
        aws::sign(&mut request, "s3", &self.region, &self.credentials, now)
            .map_err(|why| failed(path, &format!("it cannot be signed: {why}")))?;
        let answer = self.http.send(request).await;
        answer.map_err(|why| failed(path, &why))
    }

    /// Writes an object under a condition.
    async fn put(
        &self,
        path: &str,
        bytes: &[u8],
        cached: &'static str,
        condition: (HeaderName, &str),
    ) -> Result<Result<Option<Etag>, Taken>, MirrorError> {
        let headers = [
            condition,
            (CACHE_CONTROL, cached),
            (CONTENT_TYPE, content_type(path)),
        ];
        let body = Bytes::copy_from_slice(bytes);
        let answer = self.send(Method::PUT, path, &headers, body).await?;
        let is_gone = || element(answer.body(), "Code").is_some_and(|code| code == "NoSuchKey");
        match answer.status() {
            status if status.is_success() => Ok(Ok(etag(&answer))),
            // A conflict is another write at the same time. Gone is what was to be replaced.
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(Err(Taken)),
            StatusCode::NOT_FOUND if is_gone() => Ok(Err(Taken)),
            _ => Err(refused(path, &answer)),
        }
    }
}

/// Something else stands there than was expected.
struct Taken;

#[async_trait]
impl Mirror for S3 {
    fn name(&self) -> &str {
        &self.name
    }

    async fn get(&self, path: &str) -> Result<Option<Object>, MirrorError> {
        let answer = self.send(Method::GET, path, &[], Bytes::new()).await?;
        match answer.status() {
            StatusCode::OK => {
                let etag = etag(&answer).ok_or_else(|| {
                    failed(
                        path,
                        "it has no entity tag, so that nothing can be replaced safely",
                    )
                })?;
                let bytes = answer.into_body();
                Ok(Some(Object { bytes, etag }))
            }
            // A bucket that is not there is no empty one.
            StatusCode::NOT_FOUND
                if element(answer.body(), "Code").is_none_or(|code| code == "NoSuchKey") =>
            {
                Ok(None)
            }
            _ => Err(refused(path, &answer)),
        }
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        let condition = (IF_NONE_MATCH, "*");
        match self.put(path, bytes, CACHED_FOR_GOOD, condition).await? {
            Ok(_) => Ok(()),
            Err(Taken) => Err(MirrorError::Taken(path.to_owned())),
        }
    }

    async fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        over: Option<&Etag>,
    ) -> Result<Replaced, MirrorError> {
        let condition = match over {
            None => (IF_NONE_MATCH, "*"),
            Some(Etag(etag)) => (IF_MATCH, etag.as_str()),
        };
        match self.put(path, bytes, CACHED_BRIEFLY, condition).await? {
            Ok(etag) => Ok(Replaced::Yes(etag)),
            Err(Taken) => Ok(Replaced::Conflict),
        }
    }
}

/// Front doors hand it on. Bundles are no text.
fn content_type(path: &str) -> &'static str {
    let json = std::path::Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "json");
    if json {
        "application/json"
    } else {
        "application/octet-stream"
    }
}

fn etag(answer: &Response<Bytes>) -> Option<Etag> {
    let etag = answer.headers().get(ETAG)?;
    Some(Etag(etag.to_str().ok()?.to_owned()))
}

fn failed(path: &str, why: &str) -> MirrorError {
    MirrorError::Unavailable(format!("{path}: {why}"))
}

/// What an answer says that names an error ("Error responses" of the S3 API reference).
fn refused(path: &str, answer: &Response<Bytes>) -> MirrorError {
    let status = answer.status().as_u16();
    let code = element(answer.body(), "Code").unwrap_or("no code");
    let message = element(answer.body(), "Message").unwrap_or("no message");
    let what_to_do = match code {
        "AccessDenied" => {
            ": it needs s3:GetObject and s3:PutObject on the objects, and s3:ListBucket on the bucket, \
             without which a file that is missing looks like one that is forbidden"
        }
        "NoSuchBucket" => ": make it, or correct its name, its region or its endpoint",
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed" => {
            ": look at the access key, the region and the clock"
        }
        _ => "",
    };
    failed(path, &format!("{status} {code}, {message}{what_to_do}"))
}

/// The text of the first element `name` of an error's document, which nests none of that name.
fn element<'a>(body: &'a Bytes, name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (found, _) = rest.split_once(&format!("</{name}>"))?;
    Some(found)
}
