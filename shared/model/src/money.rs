//! Amounts of money.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// An ISO 4217 code: three capital letters, such as `EUR`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl FromStr for Currency {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let code: Option<[u8; 3]> = text.as_bytes().try_into().ok();
        let code = code.filter(|code| code.iter().all(u8::is_ascii_uppercase));
        code.map(Self).ok_or_else(|| {
            let why = format!("'{text}' must be three capital letters of ISO 4217, such as EUR");
            Invalid::new("currency", why)
        })
    }
}

impl TryFrom<String> for Currency {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.to_string()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// Millionths of a currency's unit: an hour of the smallest server is some 5,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Amount(pub u64);

/// Decimals of an [`Amount`].
const DECIMALS: usize = 6;

impl Amount {
    /// The sum, which stops at the largest there is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// So many times as much, which stops at the largest there is.
    #[must_use]
    pub fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl FromStr for Amount {
    type Err = Invalid;

    /// Reads a decimal number as providers write prices (`4.5100000000000000`). What lies beyond the
    /// millionth is rounded up: a cap must hold.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            let why = format!("'{text}' must be a decimal number without a sign, such as 4.51");
            Invalid::new("amount", why)
        };
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || text.ends_with('.') {
            return Err(invalid());
        }
        let (kept, beyond) = part.split_at(part.len().min(DECIMALS));
        let micros: u64 = format!("{whole}{kept:0<DECIMALS$}")
            .parse()
            .map_err(|_| invalid())?;
        let up = u64::from(beyond.bytes().any(|digit| digit != b'0'));
        Ok(Self(micros.checked_add(up).ok_or_else(invalid)?))
    }
}

impl fmt::Display for Amount {
    /// At least two decimals, and no more zeros than that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:06}", self.0 % 1_000_000);
        let part = part.trim_end_matches('0');
        write!(f, "{}.{part:0<2}", self.0 / 1_000_000)
    }
}

impl TryFrom<String> for Amount {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_as_providers_write_them_and_rounded_up() {
        let micros = |text: &str| text.parse::<Amount>().map(|amount| amount.0);
        assert_eq!(micros("4.5100000000000000"), Ok(4_510_000));
        assert_eq!(micros("0.0060000001"), Ok(6_001));
        assert_eq!(micros("3"), Ok(3_000_000));
        for wrong in ["", ".5", "1.", "-1", "1,5", "1e3", "99999999999999999999"] {
            assert!(micros(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_amount_is_written_as_it_is_read() {
        for text in ["0.00", "0.006", "4.51", "12.00"] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), text);
        }
    }
}
