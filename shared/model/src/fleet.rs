//! The fleet: which pools of gateways an operator wants, where, and for how much at most.
//!
//! Node providers rent by the hour, so the document says what may be spent and how much may change
//! at once before it says anything else. `rules::planning` makes the steps from the actual to this;
//! `docs/fleet.md` is the page for operators.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    Amount, CohortName, Currency, ImageName, Invalid, PoolName, ProviderName, RegionName, Role,
    SizeName,
};

/// The most pools of a fleet: a page that a person can still check.
pub const MOST_POOLS: usize = 100;
/// The most gateways of one pool.
pub const MOST_COUNT: u32 = 10_000;
/// The most changes of one plan. All intents of a plan are one commit: at most four writes a change,
/// and four that guard them all, are the store's hundred.
pub const MOST_CHANGES: u32 = 24;
/// The most regions, sizes or cohorts of a pool.
const MOST_CHOICES: usize = 20;
/// A week: the longest that a node drains, or may be silent before it is replaced.
const MOST_SECONDS: u32 = 7 * 24 * 3600;
/// The pool of the nodes that smoke runs make.
pub const SMOKE_POOL: &str = "smoke";

/// What an operator wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// [`Fleet::SCHEMA`].
    pub schema: String,
    /// The currency of all amounts; a provider with another one cannot be used.
    pub currency: Currency,
    /// The spend cap: the most that all servers and addresses together may cost a month.
    pub most_per_month: Amount,
    /// How many gateways one plan may make, drain or remove, 1 to [`MOST_CHANGES`].
    pub most_changes: u32,
    /// The gateways' program, by the architecture that it was built for (`x86`, `arm`).
    pub agent: BTreeMap<String, Agent>,
    /// For how long a gateway that leaves still serves the devices that it has, in seconds.
    #[serde(default = "Fleet::default_drain")]
    pub drain_seconds: u32,
    /// For how long a gateway may be unhealthy before it is replaced, in seconds.
    #[serde(default = "Fleet::default_unhealthy")]
    pub unhealthy_seconds: u32,
    /// The pools. A name that stands twice is an error, not the end of the first pool.
    #[serde(deserialize_with = "each_once")]
    pub pools: BTreeMap<PoolName, Pool>,
}

/// A program that a node fetches when it boots.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Where it is fetched.
    pub url: String,
    /// SHA-256 of its bytes, lowercase hexadecimal: nothing else is started.
    pub sha256: String,
}

/// Gateways of a kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// What they do.
    pub role: Role,
    /// Who rents them out.
    pub provider: ProviderName,
    /// Where they stand: the first choice, and what to take if it cannot be had, in order.
    pub regions: Vec<RegionName>,
    /// How large they are, likewise.
    pub sizes: Vec<SizeName>,
    /// What they boot from.
    pub image: ImageName,
    /// How many there are.
    pub count: u32,
    /// The cohorts whose catalogs may list them.
    pub cohorts: Vec<CohortName>,
    /// The UDP port of their tunnels.
    #[serde(default = "Pool::default_port")]
    pub port: u16,
    /// The most that their servers and addresses may cost a month, if the pool has a cap of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_per_month: Option<Amount>,
}

impl Pool {
    /// WireGuard's own.
    const fn default_port() -> u16 {
        51_820
    }
}

impl Fleet {
    /// The schema that this code writes and reads.
    pub const SCHEMA: &str = "postern-fleet/1";

    /// An hour: devices that sync daily at least twice an hour have found another by then.
    /// For how long a gateway that leaves still serves its devices, in seconds, where nothing is said.
    pub const DRAIN_SECONDS: u32 = 3600;

    const fn default_drain() -> u32 {
        Self::DRAIN_SECONDS
    }

    /// Half an hour: longer than a reboot or a provider's short outage.
    const fn default_unhealthy() -> u32 {
        1800
    }

    /// The providers that its pools name.
    pub fn providers(&self) -> BTreeSet<&ProviderName> {
        self.pools.values().map(|pool| &pool.provider).collect()
    }

    /// Refuses what cannot be meant, and says what to do.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.schema != Self::SCHEMA {
            return refuse(format!(
                "its schema is '{}': write '{}'",
                self.schema,
                Self::SCHEMA
            ));
        }
        if !(1..=MOST_CHANGES).contains(&self.most_changes) {
            return refuse(format!(
                "'most_changes' is {}: write 1 to {MOST_CHANGES}; a larger change is several plans",
                self.most_changes
            ));
        }
        for (name, seconds) in [
            ("drain_seconds", self.drain_seconds),
            ("unhealthy_seconds", self.unhealthy_seconds),
        ] {
            if seconds > MOST_SECONDS {
                return refuse(format!(
                    "'{name}' is {seconds}: write at most {MOST_SECONDS}, a week"
                ));
            }
        }
        if self.pools.len() > MOST_POOLS {
            return refuse(format!(
                "it has {} pools: merge some, at most {MOST_POOLS} are taken",
                self.pools.len()
            ));
        }
        if self.agent.is_empty() && !self.pools.is_empty() {
            return refuse("'agent' names no program: nodes would boot and do nothing".to_owned());
        }
        for (architecture, agent) in &self.agent {
            agent.check(architecture)?;
        }
        for (name, pool) in &self.pools {
            pool.check(name)?;
        }
        Ok(())
    }
}

impl Agent {
    fn check(&self, architecture: &str) -> Result<(), Invalid> {
        // It stands between quotes in a script that root runs.
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!&()*+,;=%".contains(&byte);
        let over_tls = self.url.starts_with("https://");
        let loopback = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
        let near = loopback.iter().any(|start| self.url.starts_with(start));
        if !(over_tls || near) || !self.url.bytes().all(plain) || self.url.len() > 1000 {
            return refuse(format!(
                "the agent of '{architecture}': 'url' must be an https URL of at most 1,000 \
                 characters, with all that is not plain in it as %XX"
            ));
        }
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hexadecimal) {
            return refuse(format!(
                "the agent of '{architecture}': 'sha256' must be 64 digits of lowercase \
                 hexadecimal, as sha256sum prints them"
            ));
        }
        Ok(())
    }
}

impl Pool {
    fn check(&self, name: &PoolName) -> Result<(), Invalid> {
        if name.as_str() == SMOKE_POOL {
            return refuse(format!(
                "a pool is called '{SMOKE_POOL}', as the nodes of smoke runs are: choose another \
                 name"
            ));
        }
        choices(name, "regions", &self.regions)?;
        choices(name, "sizes", &self.sizes)?;
        choices(name, "cohorts", &self.cohorts)?;
        if self.count > MOST_COUNT {
            return refuse(format!(
                "pool '{name}' has 'count' {}: at most {MOST_COUNT} are taken",
                self.count
            ));
        }
        if self.port == 0 {
            return refuse(format!("pool '{name}': 'port' must be from 1 to 65535"));
        }
        Ok(())
    }
}

/// At least one of each, and none twice.
fn choices<T: Ord + fmt::Display>(pool: &PoolName, what: &str, all: &[T]) -> Result<(), Invalid> {
    if all.is_empty() || all.len() > MOST_CHOICES {
        return refuse(format!(
            "pool '{pool}': '{what}' must name 1 to {MOST_CHOICES}, the first choice first"
        ));
    }
    let mut seen = BTreeSet::new();
    match all.iter().find(|one| !seen.insert(*one)) {
        Some(twice) => refuse(format!("pool '{pool}': '{what}' names '{twice}' twice")),
        None => Ok(()),
    }
}

fn refuse<T>(why: String) -> Result<T, Invalid> {
    Err(Invalid::new("fleet", why))
}

/// A map whose keys stand once: JSON lets a copied entry silently replace the one before it.
fn each_once<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    V: Deserialize<'de>,
{
    struct Once<K, V>(PhantomData<(K, V)>);

    impl<'de, K, V> Visitor<'de> for Once<K, V>
    where
        K: Deserialize<'de> + Ord + fmt::Display,
        V: Deserialize<'de>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = entries.next_entry::<K, V>()? {
                if map.contains_key(&key) {
                    return Err(A::Error::custom(format!("'{key}' stands twice")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Once(PhantomData))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({
            "schema": "postern-fleet/1",
            "currency": "EUR",
            "most_per_month": "60.00",
            "most_changes": 10,
            "agent": {"x86": {"url": "https://example.org/agent", "sha256": "ab".repeat(32)}},
            "pools": {
                "ingress": {
                    "role": "ingress",
                    "provider": "hetzner",
                    "regions": ["fsn1", "nbg1"],
                    "sizes": ["cx23"],
                    "image": "debian-12",
                    "count": 3,
                    "cohorts": ["default"]
                }
            }
        })
    }

    fn check(document: Value) -> Result<Fleet, String> {
        let fleet: Fleet = serde_json::from_value(document).map_err(|error| error.to_string())?;
        fleet.check().map_err(|error| error.to_string())?;
        Ok(fleet)
    }

    #[test]
    fn a_fleet_is_read_with_its_defaults() {
        let fleet = check(document()).unwrap();
        let pool = fleet.pools.values().next().unwrap();
        assert_eq!((fleet.drain_seconds, pool.port), (3600, 51_820));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_do() {
        let change = |pointer: &str, value: Value| {
            let mut document = document();
            *document.pointer_mut(pointer).unwrap() = value;
            check(document).unwrap_err()
        };
        let cases = [
            (
                "/schema",
                json!("postern-fleet/2"),
                "write 'postern-fleet/1'",
            ),
            ("/most_changes", json!(25), "write 1 to 24"),
            ("/most_changes", json!(0), "write 1 to 24"),
            ("/most_per_month", json!("-1"), "without a sign"),
            ("/agent/x86/url", json!("http://example.org/a"), "https URL"),
            (
                "/agent/x86/url",
                json!("https://example.org/'$(x)"),
                "https URL",
            ),
            ("/agent/x86/sha256", json!("AB"), "64 digits"),
            ("/pools/ingress/regions", json!([]), "1 to 20"),
            ("/pools/ingress/sizes", json!(["a", "a"]), "'a' twice"),
            ("/pools/ingress/role", json!("relay"), "unknown variant"),
            ("/agent", json!({}), "names no program"),
        ];
        for (pointer, value, said) in cases {
            let error = change(pointer, value);
            assert!(error.contains(said), "{pointer}: {error}");
        }
    }

    #[test]
    fn a_pool_that_stands_twice_and_an_unknown_field_are_refused() {
        let pool = document()["pools"]["ingress"].to_string();
        let text = document().to_string();
        let twice = text.replace(
            &format!("\"ingress\":{pool}"),
            &format!("\"ingress\":{pool},\"ingress\":{pool}"),
        );
        assert_ne!(text, twice);
        let error = serde_json::from_str::<Fleet>(&twice).unwrap_err();
        assert!(
            error.to_string().contains("'ingress' stands twice"),
            "{error}"
        );

        let mut unknown = document();
        unknown["pools"]["ingress"]["size"] = json!("cx23");
        assert!(check(unknown).unwrap_err().contains("unknown field `size`"));
    }
}
