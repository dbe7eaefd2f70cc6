//! The contents of a bucket of R2, by its S3 interface: Cloudflare removes no bucket that holds anything.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use api::http_client::http_client;
use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use roxmltree::Document;
use serde::Deserialize;

use super::MIRROR;
use crate::now;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// R2 has one region, which it also knows by this name ("S3 API compatibility"); stand-ins know no other.
const REGION: &str = "us-east-1";
/// What stays as it is in a key that stands in a path (RFC 3986, section 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The right to the contents of the network's buckets.
pub struct Contents {
    http: reqwest::Client,
    endpoint: String,
    credentials: Credentials,
}

#[derive(Deserialize)]
struct Key {
    access_key_id: String,
    secret_access_key: String,
}

impl Contents {
    /// The right that the text of `POSTERN_MIRROR_KEYS` gives, in the account `account`; none where it names no
    /// key of R2's.
    pub fn by_keys(keys: &str, account: &str) -> anyhow::Result<Option<Self>> {
        let keys: BTreeMap<String, Key> =
            serde_json::from_str(keys).context("POSTERN_MIRROR_KEYS cannot be read")?;
        let Some(key) = keys.get(MIRROR) else {
            return Ok(None);
        };
        let other = std::env::var("AWS_ENDPOINT_URL_S3").ok();
        let endpoint = other
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| format!("https://{account}.r2.cloudflarestorage.com"));
        if !api::contact::is_private(&endpoint) {
            bail!("AWS_ENDPOINT_URL_S3 is not https");
        }
        let (id, secret) = (&key.access_key_id, &key.secret_access_key);
        Ok(Some(Self {
            http: http_client("posternctl", TIMEOUT)?,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            credentials: Credentials::new(id, secret, None, None, "secrets"),
        }))
    }

    /// Removes all that `bucket` holds, and gives how many objects that were.
    pub async fn empty(&self, bucket: &str) -> anyhow::Result<usize> {
        let mut count = 0;
        loop {
            let listed = self
                .send(Method::GET, &format!("/{bucket}?list-type=2"))
                .await?;
            let text = String::from_utf8_lossy(&listed).into_owned();
            let keys = keys(&text)?;
            if keys.is_empty() {
                return Ok(count);
            }
            for key in keys {
                let key = utf8_percent_encode(&key, PLAIN);
                self.send(Method::DELETE, &format!("/{bucket}/{key}"))
                    .await?;
                count += 1;
            }
        }
    }

    async fn send(&self, method: Method, path: &str) -> anyhow::Result<Bytes> {
        let request = Request::builder().method(&method);
        let request = request.uri(format!("{}{path}", self.endpoint));
        let mut request = request.body(Bytes::new())?;
        edge::aws::sign(&mut request, "s3", REGION, &self.credentials, now())
            .map_err(|why| anyhow::anyhow!("a request to R2 cannot be signed: {why}"))?;
        let answer = self
            .http
            .execute(request.try_into()?)
            .await
            .context("R2 does not answer")?;
        let status = answer.status();
        if !status.is_success() && status != StatusCode::NOT_FOUND {
            bail!(
                "R2 answers {status} to {method} {path}: the key in POSTERN_MIRROR_KEYS must be good for reading \
                 and writing this bucket"
            );
        }
        answer.bytes().await.context("R2's answer broke off")
    }
}

/// The keys in a page of a list.
fn keys(list: &str) -> anyhow::Result<Vec<String>> {
    let document = Document::parse(list).context("R2's list cannot be read")?;
    let all = document.descendants();
    let named = all.filter(|node| node.tag_name().name() == "Key");
    Ok(named
        .filter_map(|node| node.text().map(str::to_owned))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::keys;

    #[test]
    fn a_page_names_its_objects() {
        let list = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Contents><Key>a/b.json\
                    </Key><Size>3</Size></Contents><Contents><Key>c</Key></Contents></ListBucketResult>";

        assert_eq!(keys(list).unwrap(), ["a/b.json", "c"]);
        assert!(keys("nothing").is_err());
    }
}
