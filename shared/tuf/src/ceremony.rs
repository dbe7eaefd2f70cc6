//! The key ceremony: how the offline keys change who may sign what, in steps, on machines that have
//! no network and one key each.
//!
//! A [`Change`] is one file that goes from hand to hand. It holds what is in force (so that everybody
//! can see what would change), the new root, the new targets or both, and the signatures so far. Nothing
//! in it is believed: whoever opens it checks that
//!
//! - what it starts from is well signed, and the new versions are the next ones;
//! - the new root and targets say nothing but what [`Change::meaning`] shows: they are made again from
//!   that and must come out the same; the files that targets list say what their types hold, and no more;
//! - no key has two roles, every threshold can be reached, and what one function signs alone has a
//!   threshold of one;
//! - every signature that it carries is good. One that is not means that the file was altered after
//!   somebody signed it.
//!
//! A new root must be signed by the threshold of the root before and by its own (TUF specification,
//! section 5.3.4); new targets by that of the new root. [`Change::finish`] checks the whole again by the
//! rules of clients, against what is in force then.

mod check;
mod edit;
mod error;
mod meaning;
mod role;
mod visible;

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{Limits, NetworkId, RecoveryKit, TrustedKeys};
use serde::{Deserialize, Serialize};
use sigstore_tuf::TrustedMetadataSet;

pub use edit::{Edits, RoleEdit};
pub use error::CeremonyError;
pub use meaning::{FileChange, KeyChange, Meaning, Moved, NOTICE, Quorum, RoleAfter, warning};
pub use role::{Document, Role};
pub use visible::visible;

use crate::{Authority, PublicKey, crypto, envelope};
use check::fit;

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

    /// What is to be put in force at `now` where `in_force` is: all thresholds are reached, nothing new
    /// has expired, and clients will follow. Where the change is in force already, there is nothing left
    /// to do; where its targets are and its root is not, since a finish was interrupted, it goes on.
    pub fn finish(&self, in_force: &Base, now: Timestamp) -> Result<Finished, CeremonyError> {
        let checked = self.check()?;
        let root = self.root.as_ref().unwrap_or(&self.base.root);
        let targets = self.targets.as_ref().unwrap_or(&self.base.targets);
        let targets_are_there = says_the_same(&in_force.targets, targets)?;
        if targets_are_there && says_the_same(&in_force.root, root)? {
            return Ok(Finished {
                root: None,
                targets: None,
                files: BTreeMap::new(),
            });
        }
        let starts_here = says_the_same(&in_force.root, &self.base.root)?
            && (targets_are_there || says_the_same(&in_force.targets, &self.base.targets)?);
        if !starts_here {
            return Err(CeremonyError::Stale);
        }
        self.check_expiry(&checked, now)?;
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
        // What is in force is not written again, unless the new root asks for signatures that it lacks.
        let keep = targets_are_there
            && Authority::read(root.as_bytes(), in_force.targets.as_bytes()).is_ok();
        let new_targets = self.targets.clone().filter(|_| !keep);
        Ok(Finished {
            root: self.root.clone().map(|text| (checked.root.version, text)),
            targets: new_targets.map(|text| (checked.targets.version, text)),
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
}

/// Whether two documents say the same, whoever has signed each: copies of one change may be merged in any
/// order.
fn says_the_same(one: &str, other: &str) -> Result<bool, CeremonyError> {
    let same = one == other
        || envelope::signed_bytes(one.as_bytes())? == envelope::signed_bytes(other.as_bytes())?;
    Ok(same)
}

fn utf8(bytes: Vec<u8>) -> Result<String, CeremonyError> {
    String::from_utf8(bytes).map_err(|error| CeremonyError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
