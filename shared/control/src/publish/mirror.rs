//! The publish port: what publishing asks of object storage.

use async_trait::async_trait;
use bytes::Bytes;

/// What a mirror calls the version of an object's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Etag(pub String);

/// An object as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its bytes.
    pub bytes: Bytes,
    /// Their version.
    pub etag: Etag,
}

/// Why a mirror did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It cannot be reached or is full: the next run tries again.
    #[error("{0}")]
    Unavailable(String),
    /// A file that never changes is there with other bytes: an operator must look.
    #[error("'{0}' is there with other bytes, and may never change")]
    Changed(String),
    /// A file that never changes is there already, and the mirror did not look at its bytes, which
    /// would be one more request: the publisher does, and counts it.
    #[error("'{0}' is there already")]
    Taken(String),
}

/// What came of a conditional replacement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replaced {
    /// The new bytes are served; their version, if the answer told it. One that is not told costs
    /// a call before the next replacement.
    Yes(Option<Etag>),
    /// Other bytes than expected are there; nothing was changed.
    Conflict,
}

/// A place that front doors serve the repository from: a folder or a bucket.
///
/// A call is one request, because publishing has a budget of them. Every call ends: an
/// implementation bounds its own patience and answers [`MirrorError::Unavailable`] when that is at
/// an end. A run waits for it once, asks that mirror nothing more, and has gone on with the others
/// meanwhile.
#[async_trait]
pub trait Mirror: Send + Sync {
    /// Its name, for logs and its state's item; never changes.
    fn name(&self) -> &str;

    /// The object at `path`, or `None`.
    async fn get(&self, path: &str) -> Result<Option<Object>, MirrorError>;

    /// Writes a file that never changes. That it is there with the same bytes is a success, for a
    /// mirror that can tell within the same request; others answer [`MirrorError::Taken`].
    async fn create(&self, path: &str, bytes: &[u8]) -> Result<(), MirrorError>;

    /// Replaces the object at `path` if its version is `over`, or if there is none and `over` is
    /// `None`; atomically, so that no reader sees a part.
    async fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        over: Option<&Etag>,
    ) -> Result<Replaced, MirrorError>;
}
