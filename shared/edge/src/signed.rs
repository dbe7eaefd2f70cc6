//! The extractor of routes that ask for a signature: a request whose signature was checked.
//!
//! It is a route's only one besides the state. Path, query and body are read from it afterwards, so
//! that a stranger learns nothing of their form, and what cannot be read is a problem as any other.

use std::fmt::Display;
use std::str::FromStr;

use api::signed;
use axum::extract::{FromRef, FromRequest, Request};
use control::Moment;
use model::IdentityKey;
use serde::de::DeserializeOwned;

use crate::parts::Parts;
use crate::{Edge, Failure};

/// A request with a valid signature (RFC 9421): who signed it, when it came, and what it says.
pub struct Signed {
    /// The key that signed. What it may do is for the use case to decide.
    pub signer: IdentityKey,
    /// The request's moment.
    pub moment: Moment,
    parts: Parts,
}

impl Signed {
    /// The one parameter of the route's path as the type `T`.
    pub fn id<T: FromStr<Err: Display>>(&self) -> Result<T, Failure> {
        self.parts.id()
    }

    /// The query as the type `T`.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.parts.query()
    }

    /// Refuses a body other than none or `{}`.
    pub fn nothing(&self) -> Result<(), Failure> {
        self.parts.nothing()
    }

    /// The body as JSON of the type `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.parts.json()
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
        let parts = Parts::of(request, state).await?;
        let (network, now) = (&edge.network.id, moment.now);
        let signer = signed::verify(network, &method, &parts.uri, &headers, &parts.body, now)?;
        Ok(Self {
            signer,
            moment,
            parts,
        })
    }
}
