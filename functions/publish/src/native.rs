//! HTTP to buckets outside Workers: the house's own client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

use crate::s3::Http;

/// How long a request to a bucket may take. What is slower lags, and the other mirrors do not wait.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The client.
#[derive(Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// One for all buckets of a program.
    pub fn new() -> Result<Self, String> {
        let client = api::http_client("postern-publish", TIMEOUT);
        Ok(Self(client.map_err(|error| error.to_string())?))
    }
}

/// The client as [`crate::settings::Publish`] asks for it.
pub fn http() -> Result<Arc<dyn Http>, String> {
    Ok(Arc::new(Client::new()?))
}

#[async_trait]
impl Http for Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let request = reqwest::Request::try_from(request).map_err(in_words)?;
        let answer = self.0.execute(request).await.map_err(in_words)?;
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        *response.body_mut() = answer.bytes().await.map_err(in_words)?;
        Ok(response)
    }
}

/// An error with its causes, but without the URL, which the message of whoever asked has already.
fn in_words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
