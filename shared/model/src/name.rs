//! Names that operators choose: cohorts, pools, tags, rules; the names of catalogs made of them; and
//! those that providers give to what they rent.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// What may stand between the letters and digits of a name.
const DASHES: &[char] = &['-'];
/// The same, of names that providers give.
const DASHES_AND_DOTS: &[char] = &['-', '.'];

fn check(what: &'static str, text: &str, between: &[char]) -> Result<(), Invalid> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || between.contains(&c);
    let fits = (1..=32).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with(between)
        && !text.ends_with(between);
    if !fits {
        let between: Vec<String> = between.iter().map(|c| format!("'{c}'")).collect();
        return Err(Invalid::new(
            what,
            format!(
                "'{text}' must be 1 to 32 of a-z, 0-9 and {}, with a letter or digit at the ends",
                between.join(" and ")
            ),
        ));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        name!($(#[$doc])* $name, $what, DASHES);
    };
    ($(#[$doc:meta])* $name:ident, $what:literal, $between:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                check($what, text, $between)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A rollout ring of devices: 1 to 32 of `a-z 0-9 -`, starting and ending with a letter or
    /// digit.
    CohortName, "cohort"
);
name!(
    /// A pool of gateways that policies name: of the same form.
    PoolName, "pool"
);
name!(
    /// A mark on devices that policies name: of the same form.
    Tag, "tag"
);
name!(
    /// A rule of a policy: of the same form.
    RuleName, "rule name"
);
name!(
    /// A cloud that rents nodes (`hetzner`): of the same form.
    ProviderName, "provider"
);
name!(
    /// A provider's name of a place where nodes stand (`fsn1`): of the same form.
    RegionName, "region"
);
name!(
    /// A provider's name of how large a node is (`cx23`): of the same form.
    SizeName, "size"
);
name!(
    /// A provider's name of what a node boots from (`debian-12`, `ubuntu-24.04`, or an image's
    /// number): of the same form, with dots.
    ImageName, "image", DASHES_AND_DOTS
);

/// The name of a catalog: a cohort, and those of a device's tags that the policy tells apart, as
/// `default` or `default.staff`. It names the files `catalogs/<name>.json` and
/// `bundles/cohort/<name>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CatalogName {
    cohort: CohortName,
    tags: BTreeSet<Tag>,
}

impl CatalogName {
    /// The catalog of the devices of `cohort` that have just these of the tags that matter.
    pub fn new(cohort: CohortName, tags: BTreeSet<Tag>) -> Self {
        Self { cohort, tags }
    }

    /// Whose catalog it is.
    pub fn cohort(&self) -> &CohortName {
        &self.cohort
    }

    /// The tags that its devices have.
    pub fn tags(&self) -> &BTreeSet<Tag> {
        &self.tags
    }

    /// The target path of this catalog in the signed repository.
    pub fn path(&self) -> String {
        format!("catalogs/{self}.json")
    }
}

impl From<CohortName> for CatalogName {
    fn from(cohort: CohortName) -> Self {
        Self::new(cohort, BTreeSet::new())
    }
}

impl FromStr for CatalogName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = text.split('.');
        let cohort = parts.next().unwrap_or_default().parse()?;
        let tags: BTreeSet<Tag> = parts.map(str::parse).collect::<Result<_, _>>()?;
        let name = Self { cohort, tags };
        if name.to_string() != text {
            return Err(Invalid::new(
                "catalog name",
                format!("'{text}' must name each tag once, in order, as '{name}'"),
            ));
        }
        Ok(name)
    }
}

impl TryFrom<String> for CatalogName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<CatalogName> for String {
    fn from(name: CatalogName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for CatalogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cohort.as_str())?;
        self.tags.iter().try_for_each(|tag| write!(f, ".{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        assert!("default".parse::<CohortName>().is_ok());
        for bad in ["", "-a", "a-", "a/b", "..", "A", "a.b"] {
            assert!(bad.parse::<CohortName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_catalog_has_one_name() {
        let name: CatalogName = "default.press.staff".parse().unwrap();
        assert_eq!(name.cohort().as_str(), "default");
        assert_eq!(name.to_string(), "default.press.staff");
        assert!("default.staff.press".parse::<CatalogName>().is_err());
        assert!("default.staff.staff".parse::<CatalogName>().is_err());
        assert!("default.".parse::<CatalogName>().is_err());
    }
}
