//! Buckets: archives go into one, and all must be empty before they can be removed.

use anyhow::Context;
use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderName, Method, StatusCode};

use roxmltree::{Document, Node};
use sha2::{Digest, Sha256};

use super::archives::Archive;
use super::client::{Client, Refused, Service, element};

const S3: Service = Service("s3");
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");

/// Uploads what is not there yet of the archives, each under its hash, and gives how many that were.
pub async fn upload(aws: &Client, bucket: &str, archives: &[Archive]) -> anyhow::Result<usize> {
    let mut new = 0;
    for archive in archives {
        let path = format!("/{bucket}/archives/{}.zip", archive.sha256);
        let there = aws.send(S3, "s3:GetObject", Method::HEAD, &path, &[], Bytes::new());
        match there.await {
            Ok(_) => continue,
            Err(error) if is(&error, StatusCode::NOT_FOUND) => {}
            Err(error) => return Err(error),
        }
        let hash = data_encoding::HEXLOWER.decode(archive.sha256.as_bytes())?;
        let headers = [
            (CONTENT_TYPE, "application/zip"),
            (CHECKSUM, &BASE64.encode(&hash)),
            (IF_NONE_MATCH, "*"),
        ];
        let body = Bytes::copy_from_slice(&archive.bytes);
        let put = aws.send(S3, "s3:PutObject", Method::PUT, &path, &headers, body);
        match put.await {
            Ok(_) => new += 1,
            // Another run was quicker: what has this name is these bytes.
            Err(error) if is(&error, StatusCode::PRECONDITION_FAILED) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(new)
}

/// Deletes everything in a bucket, if it is there, and gives how many objects that were.
pub async fn empty(aws: &Client, bucket: &str) -> anyhow::Result<usize> {
    let mut gone = 0;
    loop {
        let path = format!("/{bucket}?list-type=2");
        let listed = aws.send(S3, "s3:ListBucket", Method::GET, &path, &[], Bytes::new());
        let listed = match listed.await {
            Ok(listed) => listed,
            Err(error) if is(&error, StatusCode::NOT_FOUND) => return Ok(gone),
            Err(error) => return Err(error),
        };
        let text = std::str::from_utf8(&listed.body).context("a list that is no text")?;
        let document = Document::parse(text)?;
        let keys: Vec<&str> = document
            .descendants()
            .filter(|node| node.tag_name().name() == "Key")
            .filter_map(|node: Node<'_, '_>| node.text())
            .collect();
        if keys.is_empty() {
            return Ok(gone);
        }
        delete(aws, bucket, &keys).await?;
        gone += keys.len();
    }
}

/// Deletes at most 1,000 objects ("Deleting multiple objects"), as many as a list has.
async fn delete(aws: &Client, bucket: &str, keys: &[&str]) -> anyhow::Result<()> {
    let objects = keys.iter().map(|key| {
        let key = key.replace('&', "&amp;").replace('<', "&lt;");
        format!("<Object><Key>{key}</Key></Object>")
    });
    let objects: String = objects.collect();
    let body = format!("<Delete><Quiet>true</Quiet>{objects}</Delete>");
    let headers = [
        (CONTENT_TYPE, "application/xml"),
        (CHECKSUM, &BASE64.encode(&Sha256::digest(&body))),
    ];
    let path = format!("/{bucket}?delete=");
    let deleted = aws.send(
        S3,
        "s3:DeleteObject",
        Method::POST,
        &path,
        &headers,
        body.into(),
    );
    let deleted = deleted.await?;
    let text = String::from_utf8_lossy(&deleted.body);
    if text.is_empty() {
        return Ok(());
    }
    let document = Document::parse(&text)?;
    if let Some(why) = element(&document, "Message") {
        anyhow::bail!("an object of {bucket} could not be deleted: {why}");
    }
    Ok(())
}

fn is(error: &anyhow::Error, status: StatusCode) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.status == status)
}
