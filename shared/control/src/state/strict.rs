//! JSON values that say nothing twice.
//!
//! Parsers differ in which of two members of one name they believe, so that two programs may read one
//! document in two ways. Here the second one is a flaw. The value is read to its end all the same, so that
//! the records behind it can be.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a value, and names the first member that stands twice in one of its objects.
pub struct Strict<'a> {
    /// The flaw, once there is one.
    pub flaw: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        Ok(number.map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(Strict { flaw: self.flaw })? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Strict { flaw: self.flaw })?;
            if members.contains_key(&name) {
                self.flaw
                    .get_or_insert_with(|| format!("'{name}' stands twice in one object"));
                continue;
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// The names of members of `given` that `understood`, which was read from it and written again, has not: as
/// paths, `a.b`. What says nothing (null, false, zero, empty) may be left out of what is written.
pub fn unknown(given: &Value, understood: &Value) -> Vec<String> {
    let mut names = Vec::new();
    compare(given, understood, "", &mut names);
    names
}

fn compare(given: &Value, understood: &Value, path: &str, names: &mut Vec<String>) {
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => {
            for (name, value) in given {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                match understood.get(name) {
                    Some(other) => compare(value, other, &path, names),
                    None if says_nothing(value) => {}
                    None => names.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(understood)) => {
            for (value, other) in given.iter().zip(understood) {
                compare(value, other, path, names);
            }
        }
        _ => {}
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> (Value, Option<String>) {
        let mut flaw = None;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Strict { flaw: &mut flaw }
            .deserialize(&mut deserializer)
            .unwrap();
        (value, flaw)
    }

    #[test]
    fn a_member_that_stands_twice_is_a_flaw_at_any_depth() {
        assert_eq!(read(r#"{"a":[1,-2,0.5,null,true,"x"]}"#).1, None);
        let (value, flaw) = read(r#"{"a":1,"b":[{"c":1,"c":2}],"d":3}"#);
        assert_eq!(flaw.unwrap(), "'c' stands twice in one object");
        assert_eq!(value, json!({"a": 1, "b": [{"c": 1}], "d": 3}));
    }

    #[test]
    fn what_was_not_understood_is_named_by_its_path() {
        let given = json!({"a": {"b": 1, "c": 2}, "d": [{"e": 1}], "tags": []});
        let understood = json!({"a": {"b": 1}, "d": [{}]});
        assert_eq!(unknown(&given, &understood), ["a.c", "d.e"]);
    }
}
