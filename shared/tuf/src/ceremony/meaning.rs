//! What a change means, for people to read before they sign: which keys come and go and what each can
//! do, whether thresholds can still be reached, what else changes, and who must still sign.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use model::NetworkId;
use serde::Serialize;
use serde_json::Value;

use super::check::{Checked, signers};
use super::{CeremonyError, Change, Document, Role};
use crate::Authority;
use crate::repository::RoleKeys;

/// How long before the expiry of what offline keys have signed everybody is warned: a ceremony takes
/// weeks to arrange where the holders travel.
pub const NOTICE: SignedDuration = SignedDuration::from_hours(60 * 24);

/// What a change means.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Meaning {
    /// The network.
    pub network: NetworkId,
    /// SHA-256 of the root in force that it starts from.
    pub base_root: String,
    /// What is written anew.
    pub documents: Vec<Moved>,
    /// Keys that come and go.
    pub keys: Vec<KeyChange>,
    /// All roles as they are afterwards, also those that stay: whoever signs vouches for each, and a change
    /// of something else than what is in force is seen by them.
    pub roles: Vec<RoleAfter>,
    /// What else changes, by file.
    pub files: Vec<FileChange>,
    /// Who must sign, and who has.
    pub quorums: Vec<Quorum>,
    /// What to think about before signing.
    pub warnings: Vec<String>,
}

/// A document and its successor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Moved {
    /// Which.
    pub document: Document,
    /// The version in force.
    pub from: u64,
    /// The new version.
    pub to: u64,
    /// Until when the one in force is valid.
    pub expires_before: Timestamp,
    /// Until when the new one is.
    pub expires: Timestamp,
}

/// A key that comes or goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KeyChange {
    /// The role.
    pub role: Role,
    /// The key's id.
    pub key: String,
    /// Whether it comes; else it goes.
    pub comes: bool,
    /// How many of the role's keys it takes, and for what.
    pub power: String,
}

/// A role after the change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RoleAfter {
    /// The role.
    pub role: Role,
    /// The ids of its keys.
    pub keys: Vec<String>,
    /// How many must sign.
    pub threshold: u32,
    /// How many had to.
    pub threshold_before: u32,
    /// Whether it has other keys or another threshold than before.
    pub changed: bool,
    /// How many of its keys may be lost.
    pub spare: usize,
}

/// A difference in a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FileChange {
    /// The file.
    pub path: String,
    /// What is other in it, such as `cohorts: + "beta"`.
    pub what: String,
}

/// Keys of which so many must sign a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Quorum {
    /// Which document.
    pub document: Document,
    /// Its version.
    pub version: u64,
    /// Whose keys, in words.
    pub of: &'static str,
    /// Their ids.
    pub keys: Vec<String>,
    /// How many must sign.
    pub threshold: u32,
    /// The ids of those that have.
    pub signed: Vec<String>,
}

impl Quorum {
    pub(super) fn of(
        document: Document,
        version: u64,
        of: &'static str,
        keys: &RoleKeys,
        text: &str,
    ) -> Result<Self, CeremonyError> {
        Ok(Self {
            document,
            version,
            of,
            keys: ids(keys),
            threshold: keys.threshold,
            signed: signers(text, &keys.keys)?,
        })
    }

    /// How many must still sign.
    pub fn missing(&self) -> usize {
        usize::try_from(self.threshold)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.signed.len())
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (document, version, of) = (self.document, self.version, self.of);
        let (signed, threshold) = (self.signed.len(), self.threshold);
        write!(
            f,
            "{document} {version}: {signed} of {threshold} signatures of {of}"
        )
    }
}

impl Change {
    /// What it means, at `now`.
    pub fn meaning(&self, now: Timestamp) -> Result<Meaning, CeremonyError> {
        let checked = self.check()?;
        let (before, after) = (checked.holders_before(), checked.holders());
        let mut keys = Vec::new();
        let mut roles = Vec::new();
        for role in Role::ALL {
            let (old, new) = (&before[&role], &after[&role]);
            keys.extend(moved_keys(role, old, new));
            roles.push(RoleAfter {
                role,
                keys: ids(new),
                threshold: new.threshold,
                threshold_before: old.threshold,
                changed: old != new,
                spare: new.keys.len().saturating_sub(size(new.threshold)),
            });
        }
        let mut files = Vec::new();
        for (path, text) in &self.files {
            let old = self.base.files.get(path).map_or("", String::as_str);
            let whats = differences(old, text).into_iter();
            files.extend(whats.map(|what| FileChange {
                path: path.clone(),
                what,
            }));
        }
        Ok(Meaning {
            network: self.network.clone(),
            base_root: self.base_root(),
            documents: moved(self, &checked),
            warnings: warnings(self, &checked, &before, &after, now),
            quorums: checked.quorums(self)?,
            keys,
            roles,
            files,
        })
    }
}

fn moved(change: &Change, checked: &Checked) -> Vec<Moved> {
    let (root, targets) = (&checked.before.root, &checked.before.targets);
    let mut documents = Vec::new();
    if change.root.is_some() {
        documents.push(Moved {
            document: Document::Root,
            from: root.version,
            to: checked.root.version,
            expires_before: root.expires,
            expires: checked.root.expires,
        });
    }
    if change.targets.is_some() {
        documents.push(Moved {
            document: Document::Targets,
            from: targets.version,
            to: checked.targets.version,
            expires_before: targets.expires,
            expires: checked.targets.expires,
        });
    }
    documents
}

fn moved_keys(role: Role, old: &RoleKeys, new: &RoleKeys) -> Vec<KeyChange> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (
        ids(old).into_iter().collect(),
        ids(new).into_iter().collect(),
    );
    let change = |key: &String, comes: bool| {
        let threshold = if comes { new.threshold } else { old.threshold };
        let (can, takes) = if comes {
            ("can", "takes")
        } else {
            ("could", "took")
        };
        let with = match threshold {
            1 => "alone".to_owned(),
            more => format!("{takes} {more} keys"),
        };
        KeyChange {
            role,
            key: key.clone(),
            comes,
            power: format!("{can} ({with}) {}", role.power()),
        }
    };
    let goes = before.difference(&after).map(|key| change(key, false));
    let comes = after.difference(&before).map(|key| change(key, true));
    goes.chain(comes).collect()
}

fn warnings(
    change: &Change,
    checked: &Checked,
    before: &BTreeMap<Role, RoleKeys>,
    after: &BTreeMap<Role, RoleKeys>,
    now: Timestamp,
) -> Vec<String> {
    let mut said = Vec::new();
    for role in [Role::Root, Role::Targets] {
        let (old, new) = (&before[&role], &after[&role]);
        if new.keys.len() == size(new.threshold) {
            said.push(format!(
                "{role}: all {} keys must sign from then on. If one is lost, nobody can sign it again",
                new.keys.len()
            ));
        }
        if new.threshold < old.threshold {
            let (new, old) = (new.threshold, old.threshold);
            said.push(format!(
                "{role}: {new} signatures are enough from then on, {old} were before"
            ));
        }
    }
    let (old, new) = (&before[&Role::Root], &after[&Role::Root]);
    let stay = old.keys.iter().filter(|key| new.keys.contains(key)).count();
    if change.root.is_some() && stay < size(old.threshold) {
        said.push(format!(
            "{stay} of the root keys in force stay, and {} of them must sign this: keys that go must sign \
             before they are destroyed",
            old.threshold
        ));
    }
    if before[&Role::Timestamp] != after[&Role::Timestamp]
        || before[&Role::Snapshot] != after[&Role::Snapshot]
    {
        said.push(
            "clients forget the versions of timestamp and snapshot that they have seen (TUF, 5.3.11), \
             which ends what a thief of those keys did. 'publish' needs the new keys together with \
             the new root"
                .to_owned(),
        );
    }
    let ends = [
        (change.root.is_some(), Document::Root, checked.root.expires),
        (
            change.targets.is_some(),
            Document::Targets,
            checked.targets.expires,
        ),
    ];
    for (_, document, expires) in ends.into_iter().filter(|(written, ..)| *written) {
        said.extend(warning(document, expires, now));
    }
    said
}

/// What to say about the expiry of a document, if it is time to.
pub fn warning(document: Document, expires: Timestamp, now: Timestamp) -> Option<String> {
    let left = expires.duration_since(now);
    if left > NOTICE {
        return None;
    }
    if left <= SignedDuration::ZERO {
        return Some(format!(
            "the {document} expired at {expires:.0}: no client takes news until it is renewed \
             ('posternctl root begin --renew {document}')"
        ));
    }
    let days = left.as_hours() / 24;
    Some(format!(
        "the {document} expires in {days} days, at {expires:.0}: renew it \
         ('posternctl root begin --renew {document}')"
    ))
}

impl Authority {
    /// What to say about its expiry at `now`.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let ends = [
            (Document::Root, self.root.expires),
            (Document::Targets, self.targets.expires),
        ];
        let said = ends.into_iter();
        said.filter_map(|(document, expires)| warning(document, expires, now))
            .collect()
    }
}

/// The differences between two files of JSON, field by field, and item by item in lists.
fn differences(old: &str, new: &str) -> Vec<String> {
    let read = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let (Value::Object(old), Value::Object(new)) = (read(old), read(new)) else {
        return vec!["is another".to_owned()];
    };
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut said = Vec::new();
    for field in fields {
        match (old.get(field), new.get(field)) {
            (before, after) if before == after => {}
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                let goes = before.iter().filter(|item| !after.contains(item));
                said.extend(goes.map(|item| format!("{field}: - {item}")));
                let comes = after.iter().filter(|item| !before.contains(item));
                said.extend(comes.map(|item| format!("{field}: + {item}")));
                let same =
                    |one: &[Value], other: &[Value]| one.iter().all(|item| other.contains(item));
                if same(before, after) && same(after, before) {
                    said.push(format!("{field}: in another order"));
                }
            }
            (before, after) => {
                let text = |value: Option<&Value>| {
                    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
                };
                said.push(format!("{field}: {} becomes {}", text(before), text(after)));
            }
        }
    }
    if said.is_empty() {
        said.push("is written another way, and says the same".to_owned());
    }
    said
}

fn ids(keys: &RoleKeys) -> Vec<String> {
    keys.keys.iter().map(crate::PublicKey::key_id).collect()
}

fn size(threshold: u32) -> usize {
    usize::try_from(threshold).unwrap_or(usize::MAX)
}
