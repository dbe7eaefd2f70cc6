//! Labels and label selectors (Hetzner's API documentation, "Labels" and "Label Selector").

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::Refusal;

pub(crate) type Labels = BTreeMap<String, String>;

/// The most characters of a key's name and of a value.
const MOST: usize = 63;

/// The labels in the field `labels` of a body, where it has some.
pub(crate) fn read(body: &Value) -> Result<Option<Labels>, Refusal> {
    let labels = match body.get("labels") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(labels)) => labels,
        Some(_) => return Err(Refusal::invalid("labels must be an object")),
    };
    let mut read = Labels::new();
    for (key, value) in labels {
        let value = value.as_str().unwrap_or("\0");
        let name = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
        if !is_word(name) || !(value.is_empty() || is_word(value)) {
            return Err(Refusal::invalid(format!("label '{key}' is not valid")));
        }
        read.insert(key.clone(), value.to_owned());
    }
    Ok(Some(read))
}

/// Whether the text has 1 to 63 of `[A-Za-z0-9._-]` with alphanumeric ends.
fn is_word(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    (1..=MOST).contains(&bytes.len())
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes
            .iter()
            .all(|byte| alphanumeric(byte) || b"._-".contains(byte))
}

/// A selector: all its parts must hold.
#[derive(Debug)]
pub(crate) struct Selector(Vec<Part>);

#[derive(Debug)]
enum Part {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let parts = split(text).into_iter().map(|part| parse_part(part.trim()));
        parts
            .collect::<Option<Vec<_>>>()
            .map(Self)
            .ok_or_else(|| Refusal::invalid(format!("label selector '{text}' cannot be read")))
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|part| match part {
            Part::Is(key, value) => labels.get(key) == Some(value),
            Part::IsNot(key, value) => labels.get(key) != Some(value),
            Part::Has(key) => labels.contains_key(key),
            Part::HasNot(key) => !labels.contains_key(key),
            Part::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Part::NotIn(key, values) => !labels.get(key).is_some_and(|v| values.contains(v)),
        })
    }
}

/// The parts between the commas that are in no brackets.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.collect()
}

fn parse_part(part: &str) -> Option<Part> {
    let word = |text: &str| {
        let text = text.trim();
        let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
        (text.is_empty() || is_word(name)).then(|| text.to_owned())
    };
    let key = |text: &str| word(text).filter(|key| !key.is_empty());
    if let Some((left, list)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values = list.split(',').map(word).collect::<Option<Vec<_>>>()?;
        let mut words = left.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(name), Some("in"), None) => Some(Part::In(key(name)?, values)),
            (Some(name), Some("notin"), None) => Some(Part::NotIn(key(name)?, values)),
            _ => None,
        };
    }
    if let Some((left, right)) = part.split_once("!=") {
        return Some(Part::IsNot(key(left)?, word(right)?));
    }
    if let Some((left, right)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Part::Is(key(left)?, word(right)?));
    }
    match part.strip_prefix('!') {
        Some(name) => Some(Part::HasNot(key(name)?)),
        None => Some(Part::Has(key(part)?)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_refused_as_documented() {
        let ok = json!({"labels": {"a.b/c-d": "x_1", "e": ""}});
        assert_eq!(read(&ok).unwrap().unwrap().len(), 2);
        let long = "a".repeat(64);
        for (key, value) in [
            ("-a", "x"),
            ("a", "x-"),
            ("a", "2026-11-01T00:00:00Z"),
            ("a", &long),
        ] {
            let body = json!({"labels": {key: value}});
            assert_eq!(
                read(&body).unwrap_err().code,
                "invalid_input",
                "{key}={value}"
            );
        }
    }

    #[test]
    fn selectors_hold_as_documented() {
        let labels: Labels = [("env", "prod"), ("team", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let matches = |text: &str| Selector::parse(text).unwrap().matches(&labels);
        for yes in [
            "env=prod",
            "env==prod",
            "env!=dev",
            "env",
            "!other",
            "env in (dev,prod)",
            "env notin (dev, test)",
            "env=prod,team",
            "env in (prod,x),!y",
            "team=",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "env=dev",
            "env!=prod",
            "other",
            "!env",
            "env in (dev)",
            "env notin (prod)",
            "env,other",
        ] {
            assert!(!matches(no), "{no}");
        }
        for wrong in ["", "=x", "env in prod", "env in (prod", "a b"] {
            assert!(Selector::parse(wrong).is_err(), "{wrong}");
        }
    }
}
