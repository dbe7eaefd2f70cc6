//! A front door on this machine: serves a folder as a CDN would.
//!
//! Files whose names hold a version or a hash never change and are cached for a year;
//! `timestamp.json` and the bundles are cached for a minute. Every answer has an `ETag`, and an
//! unchanged one is answered by 304.

use std::path::{Component, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The door to the folder `site`.
pub fn router(site: PathBuf) -> Router {
    Router::new().fallback(get(file)).with_state(site)
}

async fn file(State(site): State<PathBuf>, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    // The names in the repository need no escapes, and none may climb out of the folder.
    let plain = std::path::Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || path.split('/').any(|part| part.starts_with('.')) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let bytes = match tokio::fs::read(site.join(path)).await {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(path, %error, "a file cannot be served");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let etag = format!("\"{}\"", &HEXLOWER.encode(&Sha256::digest(&bytes))[..32]);
    let cache = if changes(path) {
        "public, max-age=60"
    } else {
        "public, max-age=31536000, immutable"
    };
    let media = if path.starts_with("bundles/") {
        "application/octet-stream"
    } else {
        "application/json"
    };
    let known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let about = [
        (ETAG, etag.as_str()),
        (CACHE_CONTROL, cache),
        (CONTENT_TYPE, media),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    (about, bytes).into_response()
}

fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | IsADirectory | NotADirectory)
}

fn changes(path: &str) -> bool {
    path == tuf::repository::TIMESTAMP_PATH
        || path == "bundles/trust"
        || path.starts_with("bundles/cohort/")
}
