//! S3, and what speaks as S3 does: which bucket, with which right, over which HTTP.
//!
//! `object_store` signs the requests and reads the answers. HTTP is passed in ([`Http`]), since a Worker
//! has `fetch` and everything else the house's own client; the hashes it signs with are those
//! of `RustCrypto` ([`crypto`]), which run in both.

mod crypto;

use std::sync::Arc;

use api::http::Http;
use async_trait::async_trait;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ObjectStore, RetryConfig};

/// A bucket and the right to it.
pub struct S3 {
    /// The bucket's name.
    pub bucket: String,
    /// Its region; `auto` for R2.
    pub region: String,
    /// Where it is, if not at AWS: an R2 account's URL, or a stand-in on loopback.
    pub endpoint: Option<String>,
    /// The id of the access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The session token of a temporary one.
    pub session_token: Option<String>,
}

impl S3 {
    /// The bucket, reached by `http`.
    pub fn open(self, http: Arc<dyn Http>) -> Result<Arc<dyn ObjectStore>, String> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(self.bucket)
            .with_region(self.region)
            .with_access_key_id(self.access_key)
            .with_secret_access_key(self.secret_key)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_crypto_provider(Arc::new(crypto::RustCrypto))
            .with_http_connector(Connector(http))
            // The next run tries again; a Worker has no timer for it anyway.
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            });
        if let Some(token) = self.session_token {
            builder = builder.with_token(token);
        }
        if let Some(endpoint) = self.endpoint {
            builder = builder
                .with_allow_http(endpoint.starts_with("http://"))
                .with_endpoint(endpoint);
        }
        let objects = builder.build().map_err(|error| error.to_string())?;
        Ok(Arc::new(objects))
    }
}

#[derive(Debug)]
struct Connector(Arc<dyn Http>);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Arc<dyn Http>);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let sent = self.0.send(Request::from_parts(parts, body)).await;
        let answer = sent.map_err(|why| HttpError::new(HttpErrorKind::Request, Unanswered(why)))?;
        let body = |bytes| Full::new(bytes).map_err(|never| match never {});
        Ok(answer.map(|bytes| HttpResponseBody::new(body(bytes))))
    }
}

/// There was no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unanswered(String);
