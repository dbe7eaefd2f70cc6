//! The requests that came, as tests read them.

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A request.
#[derive(Clone, PartialEq, Debug)]
pub struct Logged {
    /// Which one it was, from 1.
    pub ordinal: u64,
    /// When it came.
    pub at: Timestamp,
    /// Its method.
    pub method: Method,
    /// Its path behind the version, with its query.
    pub path: String,
    /// Its body, without secrets; null is none.
    pub body: Value,
    /// What came of it; none where it never got there.
    pub status: Option<u16>,
    /// Whether the answer came back.
    pub is_answered: bool,
}

impl Logged {
    /// Whether it may have changed something.
    pub fn changes(&self) -> bool {
        self.method != Method::GET
    }
}

/// A body without what may hold a secret.
pub(crate) fn without_secrets(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(user_data) = body.get_mut("user_data") {
        *user_data = json!(format!(
            "<{} bytes>",
            user_data.as_str().unwrap_or("").len()
        ));
    }
    body
}
