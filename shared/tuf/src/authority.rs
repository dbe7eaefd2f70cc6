//! Who may sign what: the root and the targets that are in force, read for the signing side.
//!
//! A publisher must not sign with a key that clients do not take, and whoever changes keys starts from
//! those that there are. What is read here was verified: the root by its own threshold, the targets
//! by the root's. Expiry is no error: what has expired is where its renewal starts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use sigstore_tuf::{Metadata, Targets, TrustedMetadataSet};

use crate::repository::{CATALOGS_ROLE, Pin, RoleKeys, RootRoles};
use crate::{PublicKey, VerifyError, crypto};

/// What a root says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootPart {
    /// Its version.
    pub version: u64,
    /// Until when it is valid.
    pub expires: Timestamp,
    /// The keys of the top-level roles.
    pub roles: RootRoles,
}

/// What the top-level targets say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetsPart {
    /// Their version.
    pub version: u64,
    /// Until when they are valid.
    pub expires: Timestamp,
    /// The keys of the delegated role `catalogs`.
    pub catalogs: RoleKeys,
    /// The files that they list, by target path. Their version says nothing.
    pub files: BTreeMap<String, Pin>,
}

/// A root and the targets that it lets in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    /// The root.
    pub root: RootPart,
    /// The targets.
    pub targets: TargetsPart,
}

impl Authority {
    /// Reads a root that its own keys have signed and targets that its targets keys have signed, each by
    /// their threshold.
    pub fn read(root: &[u8], targets: &[u8]) -> Result<Self, VerifyError> {
        crypto::install();
        let set = TrustedMetadataSet::from_root(root)?;
        let missing = || VerifyError::Malformed("the root names no keys for targets".to_owned());
        let of_targets = set.root().role("targets").ok_or_else(missing)?;
        Metadata::<Targets>::from_slice(targets)?.verify_threshold(
            &set.root().keys,
            of_targets,
            "targets",
        )?;
        Ok(Self {
            root: RootPart::parse(root)?,
            targets: TargetsPart::parse(targets)?,
        })
    }
}

/// Whether each of `roots`, the first of which is trusted, is signed by the one before and by itself, and
/// none is left out.
pub fn check_chain(roots: &[Vec<u8>]) -> Result<(), VerifyError> {
    crypto::install();
    let (first, rest) = roots
        .split_first()
        .ok_or_else(|| VerifyError::Missing("the first root".to_owned()))?;
    let mut set = TrustedMetadataSet::from_root(first)?;
    for root in rest {
        set.update_root(root)?;
    }
    Ok(())
}

impl RootPart {
    /// What the root says, whoever has signed it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        let Signed { signed } = json::<Signed<RootBody>>(bytes)?;
        let mut roles = signed.roles;
        let mut role = |name: &str| {
            let missing = || VerifyError::Malformed(format!("the root names no keys for {name}"));
            let binding = roles.remove(name).ok_or_else(missing)?;
            binding.keys(&signed.keys)
        };
        Ok(Self {
            version: signed.version,
            expires: signed.expires,
            roles: RootRoles {
                root: role("root")?,
                targets: role("targets")?,
                snapshot: role("snapshot")?,
                timestamp: role("timestamp")?,
            },
        })
    }
}

impl TargetsPart {
    /// What the targets say, whoever has signed them.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        let Signed { signed } = json::<Signed<TargetsBody>>(bytes)?;
        let missing =
            || VerifyError::Malformed(format!("the targets delegate nothing to {CATALOGS_ROLE}"));
        let delegations = signed.delegations;
        let mut delegated = delegations.roles.into_iter();
        let catalogs = delegated.find(|role| role.name == CATALOGS_ROLE);
        let pin = |(path, file): (String, FileEntry)| {
            let pin = Pin {
                version: 1,
                length: file.length,
                sha256: file.hashes.sha256,
            };
            (path, pin)
        };
        Ok(Self {
            version: signed.version,
            expires: signed.expires,
            catalogs: catalogs
                .ok_or_else(missing)?
                .binding
                .keys(&delegations.keys)?,
            files: signed.targets.into_iter().map(pin).collect(),
        })
    }
}

#[derive(Deserialize)]
struct Signed<T> {
    signed: T,
}

#[derive(Deserialize)]
struct RootBody {
    version: u64,
    expires: Timestamp,
    keys: BTreeMap<String, PublicKey>,
    roles: BTreeMap<String, Binding>,
}

#[derive(Deserialize)]
struct TargetsBody {
    version: u64,
    expires: Timestamp,
    targets: BTreeMap<String, FileEntry>,
    delegations: Delegations,
}

#[derive(Deserialize)]
struct Delegations {
    keys: BTreeMap<String, PublicKey>,
    roles: Vec<Delegated>,
}

#[derive(Deserialize)]
struct Delegated {
    name: String,
    #[serde(flatten)]
    binding: Binding,
}

#[derive(Deserialize)]
struct FileEntry {
    length: u64,
    hashes: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    sha256: String,
}

#[derive(Deserialize)]
struct Binding {
    keyids: Vec<String>,
    threshold: u32,
}

impl Binding {
    /// Its keys. One that stands under another id than its own is refused, as tough does.
    fn keys(self, all: &BTreeMap<String, PublicKey>) -> Result<RoleKeys, VerifyError> {
        let key = |id: &String| {
            let key = all.get(id).filter(|key| key.key_id() == *id);
            key.cloned()
                .ok_or_else(|| VerifyError::Malformed(format!("there is no key of the id {id}")))
        };
        Ok(RoleKeys {
            keys: self.keyids.iter().map(key).collect::<Result<_, _>>()?,
            threshold: self.threshold,
        })
    }
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, VerifyError> {
    serde_json::from_slice(bytes).map_err(|error| VerifyError::Malformed(error.to_string()))
}
