//! What must hold of a change, whoever hands it over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{IdentityKey, Limits, NetworkId, RecoveryKit, TrustedKeys};
use serde_json::Value;

use super::{CeremonyError, Change, Document, FILES, Quorum, Role, role};
use crate::authority::{RootPart, TargetsPart};
use crate::repository::{Pin, RoleKeys, unsigned_root, unsigned_targets};
use crate::{Authority, PublicKey, envelope};

/// A change as it was checked: what is before and what would be after.
pub(super) struct Checked {
    pub before: Authority,
    pub root: RootPart,
    pub targets: TargetsPart,
    config_before: Vec<IdentityKey>,
    config: Vec<IdentityKey>,
}

impl Change {
    pub(super) fn check(&self) -> Result<Checked, CeremonyError> {
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
        if self.targets.is_some() {
            // All of them are signed anew, also those that stay.
            check_files(&after)?;
        }
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

    /// What is new must be valid at `now`; what stays may have expired, since its renewal is another change.
    pub(super) fn check_expiry(
        &self,
        checked: &Checked,
        now: Timestamp,
    ) -> Result<(), CeremonyError> {
        let ends = [
            (Document::Root, checked.root.expires),
            (Document::Targets, checked.targets.expires),
        ];
        for (document, expires) in ends {
            if self.text(document).is_some() && expires <= now {
                return Err(CeremonyError::Late { document, expires });
            }
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
    pub fn holders(&self) -> BTreeMap<Role, RoleKeys> {
        role::holders(&self.root.roles, &self.targets.catalogs, &self.config)
    }

    pub fn holders_before(&self) -> BTreeMap<Role, RoleKeys> {
        let before = &self.before;
        role::holders(
            &before.root.roles,
            &before.targets.catalogs,
            &self.config_before,
        )
    }

    /// The keys whose signatures a document may carry.
    pub fn may_sign(&self, document: Document) -> Vec<PublicKey> {
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
    pub fn quorums(&self, change: &Change) -> Result<Vec<Quorum>, CeremonyError> {
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
pub(super) fn signers(text: &str, keys: &[PublicKey]) -> Result<Vec<String>, CeremonyError> {
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
pub(super) fn fit(
    files: &BTreeMap<String, String>,
    targets: &TargetsPart,
) -> Result<(), CeremonyError> {
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

/// Whether the files are those that clients know, of the schemas that they read, and say nothing that is
/// not shown.
fn check_files(files: &BTreeMap<String, String>) -> Result<(), CeremonyError> {
    if let Some(path) = files.keys().find(|path| !FILES.contains(&path.as_str())) {
        return Err(CeremonyError::Malformed(format!(
            "'{path}' is no file that the offline keys sign"
        )));
    }
    let limits: Limits = read_whole(files, Limits::PATH)?;
    let trust: TrustedKeys = read_whole(files, TrustedKeys::PATH)?;
    let kit: RecoveryKit = read_whole(files, RecoveryKit::PATH)?;
    let schemas = [
        (Limits::PATH, limits.schema, Limits::SCHEMA),
        (TrustedKeys::PATH, trust.schema, TrustedKeys::SCHEMA),
        (RecoveryKit::PATH, kit.schema, RecoveryKit::SCHEMA),
    ];
    for (path, found, wanted) in schemas {
        if found != wanted {
            return Err(CeremonyError::Malformed(format!(
                "the schema of {path} is '{found}', and clients read '{wanted}' alone"
            )));
        }
    }
    if kit.control_key != trust.control_key {
        return Err(CeremonyError::Malformed(format!(
            "{} and {} name different control keys: name one for both with --control-key",
            RecoveryKit::PATH,
            TrustedKeys::PATH
        )));
    }
    Ok(())
}

/// Reads a file that must be a JSON object and say just what its type holds: whatever else it said would be
/// signed with it.
fn read_whole<T: serde::de::DeserializeOwned + serde::Serialize>(
    files: &BTreeMap<String, String>,
    path: &str,
) -> Result<T, CeremonyError> {
    let malformed =
        |why: &dyn std::fmt::Display| CeremonyError::Malformed(format!("{path}: {why}"));
    let file: T = read(files, path)?;
    let said: Value = read(files, path)?;
    if !said.is_object() {
        return Err(malformed(&"it must be a JSON object"));
    }
    let held = serde_json::to_value(&file).map_err(|error| malformed(&error))?;
    if without_empty(said) != without_empty(held) {
        return Err(malformed(
            &"it says something that is not shown: a field that nobody reads, or a value in another form               than this program writes",
        ));
    }
    Ok(file)
}

/// Fields that say nothing when they are empty, and are left out then by who writes them.
const LEFT_OUT: [&str; 2] = ["control_key", "fallback"];

fn without_empty(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        Value::Object(fields) => {
            let is_empty = |value: &Value| value.is_null() || *value == Value::Array(Vec::new());
            let fields = fields.into_iter();
            let said = fields
                .filter(|(name, value)| !(LEFT_OUT.contains(&name.as_str()) && is_empty(value)));
            said.map(|(name, value)| (name, without_empty(value)))
                .collect()
        }
        other => other,
    }
}

pub(super) fn config_keys(
    files: &BTreeMap<String, String>,
) -> Result<Vec<IdentityKey>, CeremonyError> {
    Ok(read::<TrustedKeys>(files, TrustedKeys::PATH)?.config_keys)
}

pub(super) fn read<T: serde::de::DeserializeOwned>(
    files: &BTreeMap<String, String>,
    path: &str,
) -> Result<T, CeremonyError> {
    let text = files
        .get(path)
        .ok_or_else(|| CeremonyError::Malformed(format!("it lacks the file {path}")))?;
    serde_json::from_str(text).map_err(|error| CeremonyError::Malformed(format!("{path}: {error}")))
}
