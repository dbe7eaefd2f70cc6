//! Refusals, as Hetzner writes them.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

/// An answer that says no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The code for programs.
    pub code: &'static str,
    /// The words for people.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "invalid_input", message)
    }

    pub(crate) fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(404, "not_found", format!("{what} with ID '{id}' not found"))
    }

    pub(crate) fn locked(what: &str) -> Self {
        Self::new(
            423,
            "locked",
            format!("{what} is locked: an action is running"),
        )
    }

    pub(crate) fn taken(what: &str, name: &str) -> Self {
        let message = format!("{what} name '{name}' is already used");
        Self::new(409, "uniqueness_error", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("a status");
        let body = json!({"error": {"code": self.code, "message": self.message, "details": null}});
        (status, axum::Json(body)).into_response()
    }
}
