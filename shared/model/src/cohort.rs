//! Cohorts: the rollout rings of devices.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A cohort's name: 1 to 32 of `a-z 0-9 -`, starting and ending with a letter or digit. It names
/// the files `catalogs/<cohort>.json` and `bundles/cohort/<cohort>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CohortName(String);

impl CohortName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The target path of this cohort's catalog in the signed repository.
    pub fn catalog_path(&self) -> String {
        format!("catalogs/{}.json", self.0)
    }
}

impl FromStr for CohortName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=32).contains(&text.len())
            && text.chars().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !fits {
            return Err(Invalid::new(
                "cohort",
                format!("'{text}' must be 1 to 32 of a-z, 0-9 and '-', with no '-' at the ends"),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for CohortName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<CohortName> for String {
    fn from(name: CohortName) -> Self {
        name.0
    }
}

impl fmt::Display for CohortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
