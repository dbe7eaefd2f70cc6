//! Port ranges, written as `443` or `8000-8100`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Ports from one to another, both included, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct PortRange {
    from: u16,
    to: u16,
}

impl PortRange {
    /// Just this port; 0, which no packet is sent to, counts as 1.
    pub fn one(port: u16) -> Self {
        let port = port.max(1);
        Self {
            from: port,
            to: port,
        }
    }

    /// The first port.
    pub fn from(self) -> u16 {
        self.from
    }

    /// The last port.
    pub fn to(self) -> u16 {
        self.to
    }

    /// Whether `port` is in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.from..=self.to).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let range = from.parse().ok().zip(to.parse().ok());
        match range.map(|(from, to)| Self { from, to }) {
            Some(range) if range.from >= 1 && range.from <= range.to => Ok(range),
            _ => Err(Invalid::new(
                "port range",
                format!("'{text}' must be a port, as 443, or two, as 8000-8100, from 1 to 65535"),
            )),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            return write!(f, "{}", self.from);
        }
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// What a person may write: `443` as well as `"443"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl TryFrom<Written> for PortRange {
    type Error = Invalid;

    fn try_from(written: Written) -> Result<Self, Invalid> {
        match written {
            Written::Number(port) => port.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}
