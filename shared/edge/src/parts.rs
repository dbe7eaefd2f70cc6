//! What a request says besides who asks: its path's parameter, its query, its body.
//!
//! They are taken along unread, and read only after it was checked who asks: a stranger learns
//! nothing of their form, and what cannot be read is a problem as any other.

use std::fmt::Display;
use std::str::FromStr;

use api::{Kind, Problem};
use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::{FromRequest, OriginalUri, Path, Query, Request};
use http::{StatusCode, Uri};
use serde::de::DeserializeOwned;

use crate::{Failure, MOST_BODY};

pub(crate) struct Parts {
    /// As the caller sent it, before any router took a part of it.
    pub(crate) uri: Uri,
    /// The route's one parameter, or why it cannot be read.
    id: Result<String, String>,
    pub(crate) body: Bytes,
}

impl Parts {
    /// The parts of a request, if its body is not too large.
    pub(crate) async fn of<S: Send + Sync>(
        mut request: Request,
        state: &S,
    ) -> Result<Self, Problem> {
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
                        format!("at most {MOST_BODY} bytes are taken: send less at once"),
                    )
                } else {
                    malformed(rejection.body_text())
                }
            })?;
        Ok(Self { uri, id, body })
    }

    /// The one parameter of the route's path as the type `T`.
    pub(crate) fn id<T: FromStr<Err: Display>>(&self) -> Result<T, Failure> {
        match &self.id {
            Ok(id) => crate::parse(id),
            Err(why) => Err(malformed(format!("the path cannot be read: {why}")).into()),
        }
    }

    /// The query as the type `T`.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let query = Query::<T>::try_from_uri(&self.uri);
        let Query(query) = query.map_err(|rejection| {
            malformed(format!(
                "the query cannot be read: {}",
                rejection.body_text()
            ))
        })?;
        Ok(query)
    }

    /// Refuses a body that says anything: one that is not read must not seem to count.
    pub(crate) fn nothing(&self) -> Result<(), Failure> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}

        if self.body.is_empty() {
            return Ok(());
        }
        self.json().map(|Nothing {}| ())
    }

    /// The body as JSON of the type `T`.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let unreadable = |why: &dyn Display| malformed(format!("the body cannot be read: {why}"));
        // serde would read a list as the fields in their order, and no field of it is unknown.
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(unreadable(&"a JSON object is expected").into());
        }
        serde_json::from_slice(&self.body).map_err(|error| unreadable(&error).into())
    }
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::MalformedRequest, detail)
}
