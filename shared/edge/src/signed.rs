//! The extractor that every route begins with: a request whose signature was checked.
//!
//! It is a route's only one besides the state. Path, query and body are read from it afterwards, so
//! that a stranger learns nothing of their form, and what cannot be read is a problem as any other.

use std::fmt::Display;
use std::str::FromStr;

use api::{Kind, Problem, signed};
use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, OriginalUri, Path, Query, Request};
use control::Moment;
use http::{StatusCode, Uri};
use model::IdentityKey;
use serde::de::DeserializeOwned;

use crate::{Edge, Failure, MOST_BODY};

/// A request with a valid signature (RFC 9421): who signed it, when it came, and its body.
pub struct Signed {
    /// The key that signed. What it may do is for the use case to decide.
    pub signer: IdentityKey,
    /// The request's moment.
    pub moment: Moment,
    uri: Uri,
    /// The route's one parameter, or why it cannot be read.
    id: Result<String, String>,
    body: Bytes,
}

impl Signed {
    /// The one parameter of the route's path as the type `T`.
    pub fn id<T: FromStr<Err: Display>>(&self) -> Result<T, Failure> {
        match &self.id {
            Ok(id) => crate::parse(id),
            Err(why) => Err(malformed(format!("the path cannot be read: {why}")).into()),
        }
    }

    /// The query as the type `T`.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let query = Query::<T>::try_from_uri(&self.uri);
        let Query(query) = query.map_err(|rejection| malformed(rejection.body_text()))?;
        Ok(query)
    }

    /// The body as JSON of the type `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| malformed(format!("the body cannot be read: {error}")).into())
    }
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::MalformedRequest, detail)
}

impl<S> FromRequest<S> for Signed
where
    Edge: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Failure;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Failure> {
        let edge = Edge::from_ref(state);
        let moment = edge.clock.moment();
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let uri = request
            .extensions()
            .get::<OriginalUri>()
            .map_or_else(|| request.uri().clone(), |original| original.0.clone());
        let id = request.extract_parts::<Path<String>>().await;
        let id = id.map_or_else(|rejection| Err(rejection.body_text()), |Path(id)| Ok(id));
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Problem::new(
                        Kind::TooLarge,
                        format!("at most {MOST_BODY} bytes are taken"),
                    )
                } else {
                    malformed(rejection.body_text())
                }
            })?;
        let signer = signed::verify(&edge.network.id, &method, &uri, &headers, &body, moment.now)?;
        Ok(Self {
            signer,
            moment,
            uri,
            id,
            body,
        })
    }
}
