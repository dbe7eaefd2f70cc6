//! The signing side: where files lie, and how each role is written.
//!
//! Paths are relative to a front door's base URL. Snapshots are consistent (TUF specification,
//! section 6.2): all metadata but `timestamp.json` is named by its version, all target files by
//! their hash, so every file but the timestamp and the bundles can be cached for ever, and a
//! publisher that dies half-way leaves every mirror with a complete older repository.
//!
//! | role | keys | says |
//! |---|---|---|
//! | root | offline | which keys sign what |
//! | targets | offline | `limits.json`, `trust.json`, `recovery-kit.json`; delegates `catalogs/*` |
//! | catalogs | online | `catalogs/<cohort>.json` |
//! | snapshot | online | the versions of targets and catalogs |
//! | timestamp | online | the version of the snapshot, for a short time |
//!
//! No key serves two roles, and a threshold that the keys cannot reach is refused here, before it
//! locks everybody out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::CatalogName;
use serde_json::{Map, Value, json};

pub use crate::error::SignError;
use crate::{PublicKey, SigningKey, crypto, envelope};

/// The TUF specification that the metadata is written by.
const SPEC_VERSION: &str = "1.0.31";
/// The delegated role of online keys.
pub const CATALOGS_ROLE: &str = "catalogs";
/// What that role may sign.
const CATALOGS_PATHS: &str = "catalogs/*";

/// `metadata/timestamp.json`: the only metadata whose name does not change.
pub const TIMESTAMP_PATH: &str = "metadata/timestamp.json";

/// Where root `version` lies.
pub fn root_path(version: u64) -> String {
    format!("metadata/{version}.root.json")
}

/// Where targets `version` lies.
pub fn targets_path(version: u64) -> String {
    format!("metadata/{version}.targets.json")
}

/// Where the delegated role's metadata `version` lies.
pub fn catalogs_path(version: u64) -> String {
    format!("metadata/{version}.catalogs.json")
}

/// Where snapshot `version` lies.
pub fn snapshot_path(version: u64) -> String {
    format!("metadata/{version}.snapshot.json")
}

/// Every place where the target file `path` with this hash (lowercase hexadecimal) must be
/// published. The first is where python-tuf and this crate look, which put the hash before the file
/// name; tough puts it before the whole path. They differ where the path has a slash.
pub fn target_paths(path: &str, sha256_hex: &str) -> Vec<String> {
    let whole = format!("targets/{sha256_hex}.{path}");
    match path.rsplit_once('/') {
        Some((folder, name)) => vec![format!("targets/{folder}/{sha256_hex}.{name}"), whole],
        None => vec![whole],
    }
}

/// Where the bundle of a cohort lies, or the one for gateways, which holds no catalog.
pub fn bundle_path(cohort: Option<&CatalogName>) -> String {
    cohort.map_or_else(
        || "bundles/trust".to_owned(),
        |name| format!("bundles/cohort/{name}"),
    )
}

/// The keys of a role, and how many of them must sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleKeys {
    /// The keys; all distinct.
    pub keys: Vec<PublicKey>,
    /// Signatures needed, from 1 to the number of keys.
    pub threshold: u32,
}

/// The keys of all top-level roles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootRoles {
    /// Offline.
    pub root: RoleKeys,
    /// Offline.
    pub targets: RoleKeys,
    /// Online.
    pub snapshot: RoleKeys,
    /// Online.
    pub timestamp: RoleKeys,
}

/// How one metadata file names another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pin {
    /// Its version.
    pub version: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256, lowercase hexadecimal.
    pub sha256: String,
}

impl Pin {
    /// The pin of the file `bytes`, whose version is `version`.
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        Self {
            version,
            length: bytes.len() as u64,
            sha256: crypto::sha256_hex(bytes),
        }
    }

    fn to_json(&self) -> Value {
        json!({"version": self.version, "length": self.length, "hashes": {"sha256": self.sha256}})
    }
}

/// Signs root metadata. The signers may be fewer than the threshold: the other holders add theirs
/// with [`envelope::cosign`]. In a rotation the threshold of the root before must sign too.
pub fn sign_root(
    version: u64,
    expires: Timestamp,
    roles: &RootRoles,
    signers: &[&SigningKey],
) -> Result<Vec<u8>, SignError> {
    envelope::sign(&root_body(version, expires, roles)?, signers)
}

/// Root metadata that nobody has signed yet.
pub fn unsigned_root(
    version: u64,
    expires: Timestamp,
    roles: &RootRoles,
) -> Result<Vec<u8>, SignError> {
    envelope::unsigned(&root_body(version, expires, roles)?)
}

fn root_body(version: u64, expires: Timestamp, roles: &RootRoles) -> Result<Value, SignError> {
    let named = [
        ("root", &roles.root),
        ("targets", &roles.targets),
        ("snapshot", &roles.snapshot),
        ("timestamp", &roles.timestamp),
    ];
    let mut keys = Map::new();
    let mut bindings = Map::new();
    let mut owners: BTreeMap<String, &'static str> = BTreeMap::new();
    for (role, role_keys) in named {
        let ids = reachable(role, role_keys)?;
        for (id, key) in &ids {
            if let Some(first) = owners.insert(id.clone(), role) {
                return Err(SignError::SharedKey {
                    key_id: id.clone(),
                    first,
                    second: role,
                });
            }
            keys.insert(id.clone(), json!(key));
        }
        bindings.insert(role.to_owned(), binding(&ids, role_keys.threshold));
    }
    let body = json!({"consistent_snapshot": true, "keys": keys, "roles": bindings});
    role_body("root", version, expires, body)
}

/// Signs the top-level targets: `files` by target path, and the delegation of `catalogs/*`.
pub fn sign_targets(
    version: u64,
    expires: Timestamp,
    files: &BTreeMap<String, Vec<u8>>,
    catalogs: &RoleKeys,
    signers: &[&SigningKey],
) -> Result<Vec<u8>, SignError> {
    let ids = reachable(CATALOGS_ROLE, catalogs)?;
    for signer in signers {
        // Whoever holds the online key would hold the offline one.
        if ids.contains_key(&signer.key_id()) {
            return Err(SignError::SharedKey {
                key_id: signer.key_id(),
                first: "targets",
                second: CATALOGS_ROLE,
            });
        }
    }
    let body = targets_body(version, expires, &pins(files), catalogs)?;
    envelope::sign(&body, signers)
}

/// Top-level targets that nobody has signed yet, by the pins of their files.
pub fn unsigned_targets(
    version: u64,
    expires: Timestamp,
    files: &BTreeMap<String, Pin>,
    catalogs: &RoleKeys,
) -> Result<Vec<u8>, SignError> {
    envelope::unsigned(&targets_body(version, expires, files, catalogs)?)
}

fn targets_body(
    version: u64,
    expires: Timestamp,
    files: &BTreeMap<String, Pin>,
    catalogs: &RoleKeys,
) -> Result<Value, SignError> {
    let ids = reachable(CATALOGS_ROLE, catalogs)?;
    let mut delegated = binding(&ids, catalogs.threshold);
    delegated["name"] = json!(CATALOGS_ROLE);
    delegated["paths"] = json!([CATALOGS_PATHS]);
    delegated["terminating"] = json!(true);
    let body = json!({
        "targets": target_entries("targets", files)?,
        "delegations": {"keys": ids, "roles": [delegated]},
    });
    role_body("targets", version, expires, body)
}

/// Signs the delegated role: `files` by target path, all of them `catalogs/<name>`.
pub fn sign_catalogs(
    version: u64,
    expires: Timestamp,
    files: &BTreeMap<String, Vec<u8>>,
    signers: &[&SigningKey],
) -> Result<Vec<u8>, SignError> {
    sign_catalogs_of(version, expires, &pins(files), signers)
}

/// As [`sign_catalogs`], by the pins of the files: who signs again need not hold the bytes.
pub fn sign_catalogs_of(
    version: u64,
    expires: Timestamp,
    files: &BTreeMap<String, Pin>,
    signers: &[&SigningKey],
) -> Result<Vec<u8>, SignError> {
    for path in files.keys() {
        let delegated = path
            .strip_prefix("catalogs/")
            .is_some_and(|name| !name.contains('/'));
        if !delegated {
            return Err(SignError::Path {
                path: path.clone(),
                role: CATALOGS_ROLE,
            });
        }
    }
    let body = json!({"targets": target_entries(CATALOGS_ROLE, files)?});
    sign_role("targets", version, expires, body, signers)
}

/// Signs a snapshot of these two files.
pub fn sign_snapshot(
    version: u64,
    expires: Timestamp,
    targets: &Pin,
    catalogs: &Pin,
    signers: &[&SigningKey],
) -> Result<Vec<u8>, SignError> {
    let body = json!({"meta": {
        "targets.json": targets.to_json(),
        "catalogs.json": catalogs.to_json(),
    }});
    sign_role("snapshot", version, expires, body, signers)
}

/// Signs the timestamp of this snapshot.
pub fn sign_timestamp(
    version: u64,
    expires: Timestamp,
    snapshot: &Pin,
    signers: &[&SigningKey],
) -> Result<Vec<u8>, SignError> {
    let body = json!({"meta": {"snapshot.json": snapshot.to_json()}});
    sign_role("timestamp", version, expires, body, signers)
}

/// The distinct keys of a role by id, if its threshold can be reached.
fn reachable<'a>(
    role: &'static str,
    role_keys: &'a RoleKeys,
) -> Result<BTreeMap<String, &'a PublicKey>, SignError> {
    let ids: BTreeMap<_, _> = role_keys.keys.iter().map(|k| (k.key_id(), k)).collect();
    let reached = usize::try_from(role_keys.threshold).is_ok_and(|n| (1..=ids.len()).contains(&n));
    if !reached {
        return Err(SignError::Threshold {
            role: role.to_owned(),
            threshold: role_keys.threshold,
            keys: ids.len(),
        });
    }
    Ok(ids)
}

fn binding(ids: &BTreeMap<String, &PublicKey>, threshold: u32) -> Value {
    json!({"keyids": ids.keys().collect::<Vec<_>>(), "threshold": threshold})
}

/// The pins of target files, which have no version of their own.
fn pins(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Pin> {
    let pin = |(path, bytes): (&String, &Vec<u8>)| (path.clone(), Pin::of(1, bytes));
    files.iter().map(pin).collect()
}

fn target_entries(
    role: &'static str,
    files: &BTreeMap<String, Pin>,
) -> Result<Map<String, Value>, SignError> {
    let mut entries = Map::new();
    for (path, pin) in files {
        // Paths become URLs and file names: only plain ones are signed.
        let plain = |part: &str| {
            let of_alphabet = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(of_alphabet)
        };
        if !path.split('/').all(plain) {
            return Err(SignError::Path {
                path: path.clone(),
                role,
            });
        }
        let entry = json!({"length": pin.length, "hashes": {"sha256": pin.sha256}});
        entries.insert(path.clone(), entry);
    }
    Ok(entries)
}

fn sign_role(
    role_type: &str,
    version: u64,
    expires: Timestamp,
    body: Value,
    signers: &[&SigningKey],
) -> Result<Vec<u8>, SignError> {
    envelope::sign(&role_body(role_type, version, expires, body)?, signers)
}

fn role_body(
    role_type: &str,
    version: u64,
    expires: Timestamp,
    mut body: Value,
) -> Result<Value, SignError> {
    if version == 0 {
        return Err(SignError::VersionZero);
    }
    body["_type"] = json!(role_type);
    body["spec_version"] = json!(SPEC_VERSION);
    body["version"] = json!(version);
    // TUF's date-time has no fraction (specification, section 4.2.1), and tough refuses one.
    body["expires"] = json!(format!("{expires:.0}"));
    Ok(body)
}

#[cfg(test)]
mod tests;
