//! Catalogs: the signed lists of gateways that a cohort may use.
//!
//! A catalog is a header and slices. A reader takes what it understands: entries and slices that
//! are malformed or of a kind it does not know are skipped and reported, never fatal, so that an
//! old client outlives a new field. [`Catalog::from_json`] does that; it is only given bytes whose
//! signature was verified.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CatalogName, GatewayId, Invalid, NetworkId, Role, TunnelKey};

/// The schema that this code writes, and the only one that it reads.
pub const SCHEMA: &str = "postern-catalog/1";

/// A list of gateways for some devices.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Catalog {
    /// [`SCHEMA`].
    pub schema: String,
    /// The network that it belongs to: one from another network is refused.
    pub network: NetworkId,
    /// Whose it is: one under another name is refused.
    pub name: CatalogName,
    /// The version of the repository at which its contents last changed.
    pub version: u64,
    /// When its contents last changed.
    pub changed_at: Timestamp,
    /// Front doors (base URLs) that serve the repository now, within the signed limits.
    pub front_doors: Vec<String>,
    /// Its parts.
    pub slices: Vec<Slice>,
}

/// A part of a catalog's gateways.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Slice {
    /// Everybody who holds the catalog can read it.
    Open {
        /// Its gateways, ordered by id.
        gateways: Vec<CatalogGateway>,
    },
    /// Only who holds a key of it can read it: `tuf::slices` seals and opens.
    Sealed(SealedSlice),
}

/// A slice whose gateways are sealed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SealedSlice {
    /// Which of the catalog's slices it is, from 0.
    pub slice: u16,
    /// How many slices the catalog has.
    pub slices: u16,
    /// The key of its contents, sealed again for each epoch whose keys open it, the newest first.
    pub keys: Vec<WrappedKey>,
    /// Its gateways as [`gateways_from_json`] reads them, sealed.
    #[serde(with = "crate::base64")]
    pub sealed: Vec<u8>,
}

/// The key of a slice's contents, sealed with one epoch's key of that slice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The epoch.
    pub epoch: u64,
    /// The key, sealed.
    #[serde(with = "crate::base64")]
    pub key: Vec<u8>,
}

/// What a device must know of a gateway.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CatalogGateway {
    /// Its id.
    pub id: GatewayId,
    /// What it does.
    pub role: Role,
    /// Where it stands.
    pub region: String,
    /// Where its tunnels are reached (UDP).
    pub endpoint: SocketAddr,
    /// The key of its WireGuard interface.
    pub tunnel_key: TunnelKey,
    /// How busy it is, in quarters of its capacity from 0 (idle) to 4 (full). Coarse, so that a
    /// catalog does not change with every heartbeat.
    pub load: u8,
}

impl Catalog {
    /// All gateways that this reader can see: sealed slices must be opened before.
    pub fn gateways(&self) -> impl Iterator<Item = &CatalogGateway> {
        self.slices.iter().flat_map(|slice| match slice {
            Slice::Open { gateways } => gateways.as_slice(),
            Slice::Sealed(_) => &[],
        })
    }

    /// Reads a verified catalog. What it does not understand is left out and named in the second
    /// value; only a header that it cannot read, or of another schema, is an error.
    pub fn from_json(text: &str) -> Result<(Self, Vec<String>), Invalid> {
        // The whole at once is the common case, and several times faster than entry by entry.
        if let Ok(catalog) = serde_json::from_str::<Self>(text) {
            catalog.check_schema()?;
            return Ok((catalog, Vec::new()));
        }
        lenient(text)
    }

    fn check_schema(&self) -> Result<(), Invalid> {
        if self.schema != SCHEMA {
            return Err(Invalid::new(
                "catalog",
                format!(
                    "its schema is '{}', this program reads '{SCHEMA}': update it",
                    self.schema
                ),
            ));
        }
        Ok(())
    }
}

/// Reads a catalog part by part.
fn lenient(text: &str) -> Result<(Catalog, Vec<String>), Invalid> {
    let refuse = |error: serde_json::Error| Invalid::new("catalog", error.to_string());
    let mut document: Value = serde_json::from_str(text).map_err(refuse)?;
    let Some(Value::Array(slices)) = document.get_mut("slices").map(Value::take) else {
        return Err(Invalid::new("catalog", "it has no list 'slices'"));
    };
    document["slices"] = Value::Array(Vec::new());
    let mut catalog: Catalog = serde_json::from_value(document).map_err(refuse)?;
    catalog.check_schema()?;

    let mut skipped = Vec::new();
    for (number, mut slice) in slices.into_iter().enumerate() {
        let kind = slice["kind"]
            .as_str()
            .unwrap_or("without a kind")
            .to_owned();
        let read = match (kind.as_str(), slice.get_mut("gateways").map(Value::take)) {
            ("open", Some(Value::Array(entries))) => Some(Slice::Open {
                gateways: entries_of(number, entries, &mut skipped),
            }),
            ("sealed", _) => serde_json::from_value(slice).map(Slice::Sealed).ok(),
            _ => None,
        };
        match read {
            Some(slice) => catalog.slices.push(slice),
            None => skipped.push(format!(
                "slice {number}: not readable by this program ({kind})"
            )),
        }
    }
    Ok((catalog, skipped))
}

/// Reads the gateways of the slice `number` from what was sealed in it: a JSON list, and what may follow
/// it are spaces. What it does not understand is left out and named in `skipped`.
pub fn gateways_from_json(
    number: usize,
    bytes: &[u8],
    skipped: &mut Vec<String>,
) -> Vec<CatalogGateway> {
    // As text at once: each string by itself would be looked through as well.
    let text = std::str::from_utf8(bytes);
    if let Some(gateways) = text.ok().and_then(|text| serde_json::from_str(text).ok()) {
        return gateways;
    }
    match serde_json::from_slice(bytes) {
        Ok(entries) => entries_of(number, entries, skipped),
        Err(error) => {
            skipped.push(format!("slice {number}: no list of gateways: {error}"));
            Vec::new()
        }
    }
}

fn entries_of(
    number: usize,
    entries: Vec<Value>,
    skipped: &mut Vec<String>,
) -> Vec<CatalogGateway> {
    let mut gateways = Vec::with_capacity(entries.len());
    for (position, entry) in entries.into_iter().enumerate() {
        match serde_json::from_value(entry) {
            Ok(gateway) => gateways.push(gateway),
            Err(error) => skipped.push(format!("slice {number}, entry {position}: {error}")),
        }
    }
    gateways
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let entry = |id: &str| {
            json!({"id": id, "role": "ingress", "region": "r", "endpoint": "192.0.2.1:51820",
                   "tunnel_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "load": 0})
        };
        json!({"schema": SCHEMA, "network": "n-abcdefgh", "name": "default", "version": 3,
               "changed_at": "2026-11-22T00:00:00Z", "front_doors": [],
               "slices": [{"kind": "open", "gateways": [entry("g-aaaa"), entry("g-bbbb")]}]})
    }

    fn read(document: &Value) -> Result<(Catalog, Vec<String>), Invalid> {
        Catalog::from_json(&document.to_string())
    }

    #[test]
    fn a_malformed_entry_is_skipped_and_named_and_the_others_stay() {
        let mut document = document();
        document["slices"][0]["gateways"][0]["endpoint"] = json!("nowhere");
        let (catalog, skipped) = read(&document).unwrap();
        assert_eq!(catalog.gateways().count(), 1);
        assert!(skipped[0].starts_with("slice 0, entry 0: "), "{skipped:?}");
    }

    #[test]
    fn a_slice_and_a_field_of_the_future_are_not_fatal() {
        let mut document = document();
        document["colour"] = json!("green");
        document["slices"]
            .as_array_mut()
            .unwrap()
            .push(json!({"kind": "folded", "box": "…"}));
        let (catalog, skipped) = read(&document).unwrap();
        assert_eq!(catalog.gateways().count(), 2);
        assert_eq!(skipped, ["slice 1: not readable by this program (folded)"]);
    }

    #[test]
    fn a_sealed_slice_is_kept_as_it_is_and_a_malformed_one_is_skipped() {
        let mut document = document();
        let sealed = json!({"kind": "sealed", "slice": 1, "slices": 2, "sealed": "AAAA",
                            "keys": [{"epoch": 7, "key": "BBBB"}], "colour": "green"});
        let mut malformed = sealed.clone();
        malformed["slice"] = json!(-1);
        document["slices"] = json!([sealed, malformed]);

        let (catalog, skipped) = read(&document).unwrap();

        assert_eq!(skipped, ["slice 1: not readable by this program (sealed)"]);
        let [Slice::Sealed(slice)] = catalog.slices.as_slice() else {
            panic!("one sealed slice: {catalog:?}");
        };
        assert_eq!((slice.slice, slice.slices, slice.keys[0].epoch), (1, 2, 7));
        assert_eq!(catalog.gateways().count(), 0);
    }

    #[test]
    fn another_schema_is_refused_with_what_to_do() {
        let mut document = document();
        document["schema"] = json!("postern-catalog/2");
        assert!(read(&document).unwrap_err().why.ends_with("update it"));
    }
}
