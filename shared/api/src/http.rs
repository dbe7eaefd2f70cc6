//! HTTP to somebody else's API (a bucket's, a provider's), as a port: a Worker has `fetch`, everything
//! else the house's own client, and tests answer in their own process.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};

/// What carries a request.
#[async_trait]
pub trait Http: fmt::Debug + Send + Sync + 'static {
    /// The whole answer, or in words why there is none. Whoever gets no answer does not know whether
    /// the request was carried out.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String>;
}

/// The house's own client.
#[cfg(feature = "http-client")]
#[derive(Debug)]
pub struct NativeHttp(reqwest::Client);

#[cfg(feature = "http-client")]
impl NativeHttp {
    /// One for a whole program; no answer may take longer than `timeout`.
    pub fn new(user_agent: &str, timeout: std::time::Duration) -> Result<Self, String> {
        let client = crate::http_client(user_agent, timeout);
        Ok(Self(client.map_err(|error| error.to_string())?))
    }

    /// The same for servers that `roots` vouch for and no other, certificates in PEM.
    pub fn trusting(
        user_agent: &str,
        timeout: std::time::Duration,
        roots: &str,
    ) -> Result<Self, String> {
        let client = crate::http_client::http_client_trusting(user_agent, timeout, roots);
        Ok(Self(client.map_err(|error| error.to_string())?))
    }
}

#[cfg(feature = "http-client")]
#[async_trait]
impl Http for NativeHttp {
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
#[cfg(feature = "http-client")]
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
