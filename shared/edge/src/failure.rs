//! How an error becomes an answer: the only place that turns errors into HTTP.

use api::{Kind, Problem};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use store::StoreError;

/// An error on its way out. [`crate::finish`] adds the request's id and writes the body.
#[derive(Debug)]
pub struct Failure(pub Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<control::Error> for Failure {
    fn from(error: control::Error) -> Self {
        Self(match error {
            control::Error::Refused {
                kind,
                detail,
                version,
            } => {
                let mut problem = Problem::new(kind, detail);
                problem.version = version;
                problem
            }
            control::Error::Contended => Problem::new(Kind::Contended, "try again in a moment"),
            control::Error::Store(StoreError::Unavailable(why)) => {
                tracing::error!(why, "the store is unavailable");
                Problem::new(
                    Kind::StoreUnavailable,
                    "nothing was lost: try again in a moment",
                )
            }
            control::Error::Store(StoreError::Misconfigured(why)) => {
                tracing::error!(why, "the store is not set up for this");
                Problem::new(
                    Kind::StoreMisconfigured,
                    "trying again does not help: the operator must act",
                )
            }
            control::Error::Store(StoreError::Newer(why)) => {
                tracing::error!(why, "a newer release has written this");
                Problem::new(
                    Kind::BeingUpdated,
                    "nothing was changed: try again in a minute; if that does not help, tell the operator",
                )
            }
            // What follows is for the operator's log, not for whoever asked.
            error @ (control::Error::Store(_) | control::Error::Defect(_)) => {
                tracing::error!(%error, "a request failed");
                Problem::new(Kind::Internal, "tell the operator the request's id")
            }
        })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(error: StoreError) -> Problem {
        Failure::from(control::Error::Store(error)).0
    }

    #[test]
    fn only_what_passes_asks_to_try_again() {
        let passing = problem(StoreError::Unavailable("down".to_owned()));
        let newer = problem(StoreError::Newer("device#x".to_owned()));
        let lasting = problem(StoreError::Misconfigured("no table".to_owned()));

        assert!(passing.is(Kind::StoreUnavailable) && passing.retry_after().is_some());
        assert!(newer.is(Kind::BeingUpdated) && newer.retry_after().is_some());
        assert!(lasting.is(Kind::StoreMisconfigured) && lasting.retry_after().is_none());
        for (problem, inside) in [(lasting, "table"), (newer, "device")] {
            assert!(!problem.detail.contains(inside), "that is for the log");
        }
    }
}
