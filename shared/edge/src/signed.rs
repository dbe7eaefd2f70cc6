//! The extractor that every route begins with: a request whose signature was checked.

use api::{Kind, Problem, signed};
use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, OriginalUri, Request};
use control::Moment;
use http::StatusCode;
use model::IdentityKey;
use serde::de::DeserializeOwned;

use crate::{Edge, Failure, MOST_BODY};

/// A request with a valid signature (RFC 9421): who signed it, when it came, and its body.
pub struct Signed {
    /// The key that signed. What it may do is for the use case to decide.
    pub signer: IdentityKey,
    /// The request's moment.
    pub moment: Moment,
    body: Bytes,
}

impl Signed {
    /// The body as JSON of the type `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Problem::new(
                Kind::MalformedRequest,
                format!("the body cannot be read: {error}"),
            )
            .into()
        })
    }
}

impl<S> FromRequest<S> for Signed
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let edge = Edge::from_ref(state);
        let moment = edge.clock.moment();
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let uri = request
            .extensions()
            .get::<OriginalUri>()
            .map_or_else(|| request.uri().clone(), |original| original.0.clone());
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Problem::new(
                        Kind::TooLarge,
                        format!("at most {MOST_BODY} bytes are taken"),
                    )
                } else {
                    Problem::new(Kind::MalformedRequest, rejection.body_text())
                }
            })?;
        let signer = signed::verify(&edge.network.id, &method, &uri, &headers, &body, moment.now)?;
        Ok(Self {
            signer,
            moment,
            body,
        })
    }
}
