//! The repository's URLs.

use anyhow::bail;
use client::Web;
use client::web::Fetched;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a target path must not have as it is in a URL's path: all but slashes and what RFC 3986,
/// section 3.3, lets stand in a segment.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A repository: metadata at one URL, target files at another.
pub struct Source {
    web: Web,
    metadata: String,
    targets: Option<String>,
}

impl Source {
    /// One at these URLs, with a slash at their end or without.
    pub fn new(metadata: &str, targets: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            web: Web::new()?,
            metadata: metadata.trim_end_matches('/').to_owned(),
            targets: targets.map(|url| url.trim_end_matches('/').to_owned()),
        })
    }

    /// The file that a workflow asks for; `None` where the repository has none.
    pub async fn get(&self, name: &str, most: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let url = if let Some(name) = name.strip_prefix("metadata/") {
            format!("{}/{name}", self.metadata)
        } else if let (Some(path), Some(targets)) = (name.strip_prefix("targets/"), &self.targets) {
            format!("{targets}/{}", utf8_percent_encode(path, PATH))
        } else {
            bail!("nothing is known of '{name}'");
        };
        match self.web.get(&url, &[], None, most).await.0 {
            Ok(Fetched::Body { bytes, .. }) => Ok(Some(bytes)),
            Ok(Fetched::NotModified { .. }) => bail!("{url}: 304, which was not asked for"),
            // A bucket that shows no list says 403 of what it does not have.
            Err(failure) if matches!(failure.status, Some(403 | 404)) => Ok(None),
            Err(failure) => bail!("{url}: {}", failure.why),
        }
    }
}
