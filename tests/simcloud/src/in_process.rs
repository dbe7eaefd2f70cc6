//! The cloud as an [`Http`] without sockets.

use api::http::Http;
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::gate::Cut;
use crate::{SimCloud, router};

/// Answers in the process that asks.
#[derive(Clone, Debug)]
pub struct InProcess {
    router: Router,
}

impl InProcess {
    pub(crate) fn new(cloud: &SimCloud) -> Self {
        Self {
            router: router(cloud),
        }
    }
}

#[async_trait]
impl Http for InProcess {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let answer = self.router.clone().oneshot(request.map(Body::from)).await;
        let (parts, body) = answer.expect("a router does not fail").into_parts();
        if parts.extensions.get::<Cut>().is_some() {
            return Err("the connection was closed before an answer came".to_owned());
        }
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}
