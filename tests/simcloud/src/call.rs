//! A request on its way to what answers it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::Refusal;
use crate::pages::Query;
use crate::state::{State, Twist};

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Call {
    pub parts: BTreeMap<String, String>,
    pub query: Query,
    pub body: Value,
    pub twist: Twist,
}

/// Status and body of an answer.
pub(crate) type Answer = Result<(u16, Value), Refusal>;

/// What answers a route.
pub(crate) type Handler = fn(&mut State, &Call) -> Answer;

impl Call {
    /// The id in the path.
    pub fn id(&self) -> Result<u64, Refusal> {
        self.number("id")
    }

    pub fn number(&self, part: &str) -> Result<u64, Refusal> {
        let text = self.parts.get(part).map_or("", String::as_str);
        let number = text.parse();
        number.map_err(|_| Refusal::not_found("resource", text))
    }

    /// A field that must be a text.
    pub fn text(&self, field: &str) -> Result<&str, Refusal> {
        let text = self.body[field].as_str().filter(|text| !text.is_empty());
        text.ok_or_else(|| Refusal::invalid(format!("invalid input in field '{field}'")))
    }

    /// A field that is a name or a number.
    pub fn name_or_id(&self, field: &str) -> Result<String, Refusal> {
        match &self.body[field] {
            Value::Number(number) => Ok(number.to_string()),
            _ => self.text(field).map(str::to_owned),
        }
    }

    /// A field that is true or false, or left out.
    pub fn flag(&self, field: &str, default: bool) -> Result<bool, Refusal> {
        flag(&self.body[field], default)
            .ok_or_else(|| Refusal::invalid(format!("invalid input in field '{field}'")))
    }
}

/// A value that is true or false, or left out.
pub(crate) fn flag(value: &Value, default: bool) -> Option<bool> {
    if value.is_null() {
        Some(default)
    } else {
        value.as_bool()
    }
}
