//! The extractor of routes that ask for a signature: a request whose signature was checked.

use api::signed;
use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, OriginalUri, Request};
use control::Moment;
use model::IdentityKey;
use serde::de::DeserializeOwned;

use crate::{Edge, Failure};

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
        crate::json(&self.body)
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
        let body = crate::body(request, state).await?;
        let signer = signed::verify(&edge.network.id, &method, &uri, &headers, &body, moment.now)?;
        Ok(Self {
            signer,
            moment,
            body,
        })
    }
}
