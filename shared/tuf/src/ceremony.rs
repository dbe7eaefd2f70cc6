//! The key ceremony: how the offline keys change who may sign what, in steps, on machines that have
//! no network and one key each.
//!
//! A [`Change`] is one file that goes from hand to hand. It holds what is in force (so that everybody
//! can see what would change), the new root, the new targets or both, and the signatures so far. Nothing
//! in it is believed: whoever opens it checks that
//!
//! - what it starts from is well signed, and the new versions are the next ones;
//! - the new files say nothing but what [`Change::meaning`] shows: they are made again from that and
//!   must come out the same;
//! - no key has two roles, every threshold can be reached, and what one function signs alone has a
//!   threshold of one;
//! - every signature that it carries is good. One that is not means that the file was altered after
//!   somebody signed it.
//!
//! A new root must be signed by the threshold of the root before and by its own (TUF specification,
//! section 5.3.4); new targets by that of the new root. [`Change::finish`] checks the whole again by the
//! rules of clients, against what is in force then.

mod edit;
mod error;
mod meaning;
mod role;

use std::collections::BTreeMap;

use model::{IdentityKey, Limits, NetworkId, RecoveryKit, TrustedKeys};
use serde::{Deserialize, Serialize};
use sigstore_tuf::TrustedMetadataSet;

pub use edit::{Edits, RoleEdit};
pub use error::CeremonyError;
pub use meaning::{FileChange, KeyChange, Meaning, Moved, NOTICE, Quorum, RoleAfter, warning};
pub use role::{Document, Role};

use crate::authority::{RootPart, TargetsPart};
use crate::repository::{Pin, RoleKeys, unsigned_root, unsigned_targets};
use crate::{Authority, PublicKey, crypto, envelope};

/// The schema of a change's file.
const SCHEMA: &str = "postern-change/1";
/// The target files that the offline keys sign.
const FILES: [&str; 3] = [Limits::PATH, TrustedKeys::PATH, RecoveryKit::PATH];

/// What is in force: signed files as texts, since they are JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The last root.
    pub root: String,
    /// The last targets.
    pub targets: String,
    /// The files that those list, by target path.
    pub files: BTreeMap<String, String>,
}

impl Base {
    /// Who may sign what by it. Both must be well signed, and the files those that are listed.
    pub fn authority(&self) -> Result<Authority, CeremonyError> {
        let authority = Authority::read(self.root.as_bytes(), self.targets.as_bytes())?;
        fit(&self.files, &authority.targets)?;
        Ok(authority)
    }
}

/// A change on its way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    schema: String,
    network: NetworkId,
    base: Base,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    targets: Option<String>,
    /// The files of the new targets that are others than before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    files: BTreeMap<String, String>,
}

/// What a finished change puts in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// The new root and its version.
    pub root: Option<(u64, String)>,
    /// The new targets and their version.
    pub targets: Option<(u64, String)>,
    /// The files that are new, by target path.
    pub files: BTreeMap<String, String>,
}

/// Bytes that a key shall sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToSign {
    /// Of which document.
    pub document: Document,
    /// Its version.
    pub version: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A change as it was checked: what is before and what would be after.
struct Checked {
    before: Authority,
    root: RootPart,
    targets: TargetsPart,
    config_before: Vec<IdentityKey>,
    config: Vec<IdentityKey>,
}

impl Change {
    /// Reads and checks a change's file.
    pub fn read(text: &str) -> Result<Self, CeremonyError> {
        let change: Self = serde_json::from_str(text)
            .map_err(|error| CeremonyError::Malformed(error.to_string()))?;
        if change.schema != SCHEMA {
            return Err(CeremonyError::Malformed(format!(
                "its schema is '{}', this program reads '{SCHEMA}'",
                change.schema
            )));
        }
        change.check()?;
        Ok(change)
    }

    /// Its file.
    pub fn write(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts are always JSON")
    }

    /// The network that it belongs to.
    pub fn network(&self) -> &NetworkId {
        &self.network
    }

    /// SHA-256 of the root that it starts from, lowercase hexadecimal: what holders of keys compare.
    pub fn base_root(&self) -> String {
        crypto::sha256_hex(self.base.root.as_bytes())
    }

    /// What `key` would sign. A key that the change does not need is refused, and one that has signed.
    pub fn to_sign(&self, key: &PublicKey) -> Result<Vec<ToSign>, CeremonyError> {
        let id = key.key_id();
        let quorums = self.check()?.quorums(self)?;
        let asked: Vec<&Quorum> = quorums
            .iter()
            .filter(|quorum| quorum.keys.contains(&id))
            .collect();
        if asked.is_empty() {
            return Err(CeremonyError::NotNeeded(id));
        }
        let mut wanted = Vec::new();
        for document in [Document::Root, Document::Targets] {
            let mut of = asked.iter().filter(|quorum| quorum.document == document);
            let open = of.find(|quorum| !quorum.signed.contains(&id));
            if let (Some(quorum), Some(text)) = (open, self.text(document)) {
                wanted.push(ToSign {
                    document,
                    version: quorum.version,
                    bytes: envelope::signed_bytes(text.as_bytes())?,
                });
            }
        }
        if wanted.is_empty() {
            return Err(CeremonyError::SignedAlready(id));
        }
        Ok(wanted)
    }

    /// Adds what `key` has signed of [`Change::to_sign`].
    pub fn add(
        &mut self,
        document: Document,
        key: &PublicKey,
        signature: &[u8],
    ) -> Result<(), CeremonyError> {
        let wanted = self.to_sign(key)?;
        if !wanted.iter().any(|wanted| wanted.document == document) {
            return Err(CeremonyError::NotNeeded(key.key_id()));
        }
        let text = self.text(document).unwrap_or_default();
        let signed = envelope::attach(text.as_bytes(), key, signature)?;
        *self.text_mut(document) = Some(utf8(signed)?);
        Ok(())
    }

    /// Takes the signatures of another copy, which must be of the same change.
    pub fn merge(&mut self, other: &Self) -> Result<(), CeremonyError> {
        let same = self.base == other.base && self.files == other.files;
        if !same || self.network != other.network {
            return Err(CeremonyError::Another);
        }
        for document in [Document::Root, Document::Targets] {
            let (mine, theirs) = match (self.text(document), other.text(document)) {
                (None, None) => continue,
                (Some(mine), Some(theirs)) => (mine.to_owned(), theirs),
                _ => return Err(CeremonyError::Another),
            };
            if envelope::signed_bytes(mine.as_bytes())?
                != envelope::signed_bytes(theirs.as_bytes())?
            {
                return Err(CeremonyError::Another);
            }
            let known = envelope::signatures(mine.as_bytes())?;
            let keys = self.check()?.may_sign(document);
            let mut merged = mine.into_bytes();
            for (id, signature) in envelope::signatures(theirs.as_bytes())? {
                let key = keys.iter().find(|key| key.key_id() == id);
                if let Some(key) = key.filter(|_| known.iter().all(|(known, _)| *known != id)) {
                    merged = envelope::attach(&merged, key, &signature)?;
                }
            }
            *self.text_mut(document) = Some(utf8(merged)?);
        }
        Ok(())
    }

    /// What is to be put in force where `in_force` is: all thresholds are reached, and clients will
    /// follow. Where the change is in force already, there is nothing left to do.
    pub fn finish(&self, in_force: &Base) -> Result<Finished, CeremonyError> {
        let checked = self.check()?;
        let root = self.root.as_ref().unwrap_or(&self.base.root);
        let targets = self.targets.as_ref().unwrap_or(&self.base.targets);
        if (&in_force.root, &in_force.targets) == (root, targets) {
            return Ok(Finished {
                root: None,
                targets: None,
                files: BTreeMap::new(),
            });
        }
        if (&in_force.root, &in_force.targets) != (&self.base.root, &self.base.targets) {
            return Err(CeremonyError::Stale);
        }
        let open: Vec<Quorum> = checked.quorums(self)?;
        let open: Vec<Quorum> = open.into_iter().filter(|q| q.missing() > 0).collect();
        if !open.is_empty() {
            return Err(CeremonyError::Unsigned(open));
        }
        // By the rules of clients, whatever was checked above.
        crypto::install();
        if self.root.is_some() {
            TrustedMetadataSet::from_root(self.base.root.as_bytes())
                .and_then(|mut set| set.update_root(root.as_bytes()))
                .map_err(crate::VerifyError::from)?;
        }
        Authority::read(root.as_bytes(), targets.as_bytes())?;
        Ok(Finished {
            root: self.root.clone().map(|text| (checked.root.version, text)),
            targets: self
                .targets
                .clone()
                .map(|text| (checked.targets.version, text)),
            files: self.files.clone(),
        })
    }

    fn text(&self, document: Document) -> Option<&str> {
        match document {
            Document::Root => self.root.as_deref(),
            Document::Targets => self.targets.as_deref(),
        }
    }

    fn text_mut(&mut self, document: Document) -> &mut Option<String> {
        match document {
            Document::Root => &mut self.root,
            Document::Targets => &mut self.targets,
        }
    }

    /// The files as they are after it.
    fn files_after(&self) -> BTreeMap<String, String> {
        let mut files = self.base.files.clone();
        files.extend(self.files.clone());
        files
    }

    fn check(&self) -> Result<Checked, CeremonyError> {
        let before = self.base.authority()?;
        let root = match &self.root {
            Some(text) => RootPart::parse(text.as_bytes())?,
            None => before.root.clone(),
        };
        let targets = match &self.targets {
            Some(text) => TargetsPart::parse(text.as_bytes())?,
            None => before.targets.clone(),
        };
        let after = self.files_after();
        fit(&after, &targets)?;
        check_network(&self.network, &after)?;
        let checked = Checked {
            config_before: config_keys(&self.base.files)?,
            config: config_keys(&after)?,
            before,
            root,
            targets,
        };
        self.check_versions(&checked)?;
        self.check_written(&checked)?;
        role::check(&checked.holders())?;
        self.check_signatures(&checked)?;
        Ok(checked)
    }

    fn check_versions(&self, checked: &Checked) -> Result<(), CeremonyError> {
        let before = &checked.before;
        let next = [
            (Document::Root, before.root.version, checked.root.version),
            (
                Document::Targets,
                before.targets.version,
                checked.targets.version,
            ),
        ];
        for (document, last, found) in next {
            let step = u64::from(self.text(document).is_some());
            if last.checked_add(step) != Some(found) {
                return Err(CeremonyError::Gap {
                    document,
                    last,
                    found,
                });
            }
        }
        if self.root.is_none() && self.targets.is_none() {
            return Err(CeremonyError::Nothing);
        }
        // Targets of before must still be those of their keys.
        let of_targets = &checked.root.roles.targets;
        let signed = signers(&self.base.targets, &of_targets.keys)?.len() as u64;
        if self.targets.is_none() && signed < u64::from(of_targets.threshold) {
            return Err(CeremonyError::Malformed(
                "its targets keys are others, and it has no targets that they sign".to_owned(),
            ));
        }
        Ok(())
    }

    /// The new documents are just what would be written of what was read in them.
    fn check_written(&self, checked: &Checked) -> Result<(), CeremonyError> {
        let (root, targets) = (&checked.root, &checked.targets);
        let again = [
            (
                Document::Root,
                unsigned_root(root.version, root.expires, &root.roles)?,
            ),
            (
                Document::Targets,
                unsigned_targets(
                    targets.version,
                    targets.expires,
                    &targets.files,
                    &targets.catalogs,
                )?,
            ),
        ];
        for (document, again) in again {
            let Some(text) = self.text(document) else {
                continue;
            };
            if envelope::signed_bytes(text.as_bytes())? != envelope::signed_bytes(&again)? {
                return Err(CeremonyError::Malformed(format!(
                    "its {document} says more than can be shown"
                )));
            }
        }
        Ok(())
    }

    fn check_signatures(&self, checked: &Checked) -> Result<(), CeremonyError> {
        for document in [Document::Root, Document::Targets] {
            let Some(text) = self.text(document) else {
                continue;
            };
            let keys = checked.may_sign(document);
            let good = signers(text, &keys)?;
            for (id, _) in envelope::signatures(text.as_bytes())? {
                if !good.contains(&id) {
                    return Err(CeremonyError::Altered { document, key: id });
                }
            }
        }
        Ok(())
    }
}

impl Checked {
    /// Who holds what after it.
    fn holders(&self) -> BTreeMap<Role, RoleKeys> {
        role::holders(&self.root.roles, &self.targets.catalogs, &self.config)
    }

    fn holders_before(&self) -> BTreeMap<Role, RoleKeys> {
        let before = &self.before;
        role::holders(
            &before.root.roles,
            &before.targets.catalogs,
            &self.config_before,
        )
    }

    /// The keys whose signatures a document may carry.
    fn may_sign(&self, document: Document) -> Vec<PublicKey> {
        match document {
            Document::Root => {
                let mut keys = self.before.root.roles.root.keys.clone();
                keys.extend(self.root.roles.root.keys.iter().cloned());
                keys
            }
            Document::Targets => self.root.roles.targets.keys.clone(),
        }
    }

    /// Who must sign, and who has.
    fn quorums(&self, change: &Change) -> Result<Vec<Quorum>, CeremonyError> {
        let mut quorums = Vec::new();
        if let Some(text) = &change.root {
            let (old, new) = (&self.before.root.roles.root, &self.root.roles.root);
            let number = self.root.version;
            quorums.push(Quorum::of(
                Document::Root,
                number,
                "the root keys in force",
                old,
                text,
            )?);
            if old != new {
                quorums.push(Quorum::of(
                    Document::Root,
                    number,
                    "the new root keys",
                    new,
                    text,
                )?);
            }
        }
        if let Some(text) = &change.targets {
            let keys = &self.root.roles.targets;
            let of = if *keys == self.before.root.roles.targets {
                "the targets keys in force"
            } else {
                "the new targets keys"
            };
            let number = self.targets.version;
            quorums.push(Quorum::of(Document::Targets, number, of, keys, text)?);
        }
        Ok(quorums)
    }
}

/// The ids of those of `keys` whose good signature the text carries, each once.
fn signers(text: &str, keys: &[PublicKey]) -> Result<Vec<String>, CeremonyError> {
    let bytes = envelope::signed_bytes(text.as_bytes())?;
    let mut good: Vec<String> = Vec::new();
    for (id, signature) in envelope::signatures(text.as_bytes())? {
        let key = keys.iter().find(|key| key.key_id() == id);
        if key.is_some_and(|key| key.verifies(&bytes, &signature)) && !good.contains(&id) {
            good.push(id);
        }
    }
    Ok(good)
}

/// Whether the files are just those that the targets list.
fn fit(files: &BTreeMap<String, String>, targets: &TargetsPart) -> Result<(), CeremonyError> {
    let pins: BTreeMap<String, Pin> = files
        .iter()
        .map(|(path, text)| (path.clone(), Pin::of(1, text.as_bytes())))
        .collect();
    if pins == targets.files {
        return Ok(());
    }
    Err(CeremonyError::Malformed(
        "its files are not those that its targets list".to_owned(),
    ))
}

/// Whether all files belong to the network, and can be read.
fn check_network(
    network: &NetworkId,
    files: &BTreeMap<String, String>,
) -> Result<(), CeremonyError> {
    let found = [
        read::<Limits>(files, Limits::PATH)?.network,
        read::<TrustedKeys>(files, TrustedKeys::PATH)?.network,
        read::<RecoveryKit>(files, RecoveryKit::PATH)?.network,
    ];
    match FILES.iter().zip(found).find(|(_, found)| found != network) {
        None => Ok(()),
        Some((path, found)) => Err(CeremonyError::Malformed(format!(
            "its {path} belongs to the network {found}, not to {network}"
        ))),
    }
}

fn config_keys(files: &BTreeMap<String, String>) -> Result<Vec<IdentityKey>, CeremonyError> {
    Ok(read::<TrustedKeys>(files, TrustedKeys::PATH)?.config_keys)
}

fn read<T: serde::de::DeserializeOwned>(
    files: &BTreeMap<String, String>,
    path: &str,
) -> Result<T, CeremonyError> {
    let text = files
        .get(path)
        .ok_or_else(|| CeremonyError::Malformed(format!("it lacks the file {path}")))?;
    serde_json::from_str(text).map_err(|error| CeremonyError::Malformed(format!("{path}: {error}")))
}

fn utf8(bytes: Vec<u8>) -> Result<String, CeremonyError> {
    String::from_utf8(bytes).map_err(|error| CeremonyError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
