//! A bucket as a mirror, over the crate `object_store`: S3 and what speaks as S3 does (R2, `MinIO`), or
//! memory.
//!
//! Publishing asks for two promises beyond reading. A file that never changes is made only where none
//! stands (`If-None-Match: *`), and one that changes is replaced only over the bytes that were seen
//! (`If-Match` with their entity tag). A call is one request and nothing is tried again here: publishing
//! counts its calls, looks at what stands there where it must know, and its next run tries again.
//!
//! Objects carry the cache rules of their kind: a minute for the few that change, for good all others.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use control::publish::{Etag, Mirror, MirrorError, Object, Replaced};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};

/// For the few objects that change. No purge is ever needed.
const CACHED_BRIEFLY: &str = "public, max-age=60";
/// For all others, which are named by version or hash: a year, the most that caches honour (RFC 2616,
/// section 14.21), and no asking again meanwhile (RFC 8246).
const CACHED_FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// A bucket, or the part of one below a prefix.
pub struct Bucket {
    name: String,
    prefix: String,
    objects: Arc<dyn ObjectStore>,
}

impl Bucket {
    /// The mirror `name` below `prefix` (empty for the whole bucket) of `objects`.
    pub fn new(
        name: impl Into<String>,
        prefix: impl Into<String>,
        objects: Arc<dyn ObjectStore>,
    ) -> Self {
        Self {
            name: name.into(),
            prefix: prefix.into(),
            objects,
        }
    }

    fn place(&self, path: &str) -> Result<Path, MirrorError> {
        let whole = match self.prefix.trim_matches('/') {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        };
        // It refuses what a front door could not serve under the same name: empty parts, `..`.
        Path::parse(&whole)
            .ok()
            .filter(|place| place.as_ref() == whole)
            .ok_or_else(|| {
                MirrorError::Unavailable(format!("'{whole}' is not a plain relative path"))
            })
    }

    async fn put(
        &self,
        path: &str,
        bytes: &[u8],
        cached: &'static str,
        mode: PutMode,
    ) -> Result<Result<Option<Etag>, Taken>, MirrorError> {
        let options = PutOptions {
            mode,
            attributes: Attributes::from_iter([
                (Attribute::CacheControl, cached),
                (Attribute::ContentType, content_type(path)),
            ]),
            ..PutOptions::default()
        };
        let body = Bytes::copy_from_slice(bytes);
        let place = self.place(path)?;
        match self.objects.put_opts(&place, body.into(), options).await {
            Ok(put) => Ok(Ok(put.e_tag.map(Etag))),
            // Not found: what was to be replaced is gone.
            Err(
                Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. },
            ) => Ok(Err(Taken)),
            Err(error) => Err(failed(path, &error)),
        }
    }
}

/// Something else stands there than was expected.
struct Taken;

#[async_trait]
impl Mirror for Bucket {
    fn name(&self) -> &str {
        &self.name
    }

    async fn get(&self, path: &str) -> Result<Option<Object>, MirrorError> {
        let found = match self.objects.get(&self.place(path)?).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(path, &error)),
        };
        let etag = found.meta.e_tag.clone().ok_or_else(|| {
            let why =
                format!("{path}: it has no entity tag, so that nothing can be replaced safely");
            MirrorError::Unavailable(why)
        })?;
        let bytes = found.bytes().await;
        Ok(Some(Object {
            bytes: bytes.map_err(|error| failed(path, &error))?,
            etag: Etag(etag),
        }))
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        let made = self
            .put(path, bytes, CACHED_FOR_GOOD, PutMode::Create)
            .await?;
        match made {
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
        let mode = match over {
            None => PutMode::Create,
            Some(Etag(etag)) => PutMode::Update(UpdateVersion {
                e_tag: Some(etag.clone()),
                version: None,
            }),
        };
        match self.put(path, bytes, CACHED_BRIEFLY, mode).await? {
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

/// An error with its causes: the crate's own text often says only that something failed.
fn failed(path: &str, error: &Error) -> MirrorError {
    let mut why = format!("{path}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !why.contains(&text) {
            why = format!("{why}: {text}");
        }
        cause = error.source();
    }
    MirrorError::Unavailable(why)
}
