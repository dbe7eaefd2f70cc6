//! Beginning a change: from what is in force and what is wanted to files that wait for signatures.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::{ControlKey, IdentityKey, RecoveryKit, TrustedKeys};

use super::check::{read, signers};
use super::{Base, CeremonyError, Change, Document, Role, SCHEMA, role, utf8};
use crate::repository::{Pin, RoleKeys, RootRoles, unsigned_root, unsigned_targets};
use crate::{Authority, PublicKey};

/// What shall change at one role.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoleEdit {
    /// Keys that come. At `config` the first of all keys is the one that `register` signs with.
    pub add: Vec<PublicKey>,
    /// Keys that go, each by the beginning of its id.
    pub remove: Vec<String>,
    /// Whether all keys of before go.
    pub replace: bool,
    /// The new threshold.
    pub threshold: Option<u32>,
}

/// What shall change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edits {
    /// By role.
    pub roles: BTreeMap<Role, RoleEdit>,
    /// Files that take the place of others, by target path.
    pub files: BTreeMap<String, String>,
    /// What devices and gateways shall seal their requests to: it is named in the recovery kit and in
    /// `trust.json`.
    pub control_key: Option<ControlKey>,
    /// What is written anew though nothing else changes in it.
    pub renew: BTreeSet<Document>,
    /// Until when what is written anew is valid.
    pub expires: Timestamp,
}

impl Change {
    /// Begins a change of what is in force. Nobody has signed it yet.
    pub fn begin(base: Base, edits: &Edits, now: Timestamp) -> Result<Self, CeremonyError> {
        if edits.expires <= now {
            return Err(CeremonyError::Expired);
        }
        let before = base.authority()?;
        let trust: TrustedKeys = read(&base.files, TrustedKeys::PATH)?;
        let network = trust.network.clone();
        let holders = role::holders(
            &before.root.roles,
            &before.targets.catalogs,
            &trust.config_keys,
        );
        let mut after = holders.clone();
        for (role, edit) in &edits.roles {
            let keys = after.entry(*role).or_insert_with(|| holders[role].clone());
            apply(*role, edit, keys)?;
        }
        role::check(&after)?;
        let files = new_files(&base, trust, &after[&Role::Config], edits)?;
        let root = new_root(&before, &after, edits)?;
        let targets = new_targets(&base, &before, &after, &files, edits)?;
        let change = Self {
            schema: SCHEMA.to_owned(),
            network,
            base,
            root,
            targets,
            files,
        };
        change.check()?;
        Ok(change)
    }
}

fn apply(role: Role, edit: &RoleEdit, keys: &mut RoleKeys) -> Result<(), CeremonyError> {
    for prefix in &edit.remove {
        let key = prefix.clone();
        let mut found = (0..keys.keys.len())
            .filter(|place| !key.is_empty() && keys.keys[*place].key_id().starts_with(&key));
        match (found.next(), found.next()) {
            (Some(place), None) => drop(keys.keys.remove(place)),
            (None, _) => return Err(CeremonyError::NotThere { role, key }),
            _ => return Err(CeremonyError::Ambiguous { role, key }),
        }
    }
    if edit.replace {
        keys.keys.clear();
    }
    keys.keys.extend(edit.add.iter().cloned());
    keys.threshold = edit.threshold.unwrap_or(keys.threshold);
    Ok(())
}

/// The files that are others than before.
fn new_files(
    base: &Base,
    mut trust: TrustedKeys,
    config: &RoleKeys,
    edits: &Edits,
) -> Result<BTreeMap<String, String>, CeremonyError> {
    let mut files = BTreeMap::new();
    for (path, text) in &edits.files {
        match base.files.get(path) {
            None => {
                return Err(CeremonyError::Malformed(format!(
                    "'{path}' is no file that the offline keys sign"
                )));
            }
            Some(before) if before == text => {}
            Some(_) => drop(files.insert(path.clone(), text.clone())),
        }
    }
    let keys = config.keys.iter().map(|key| match key {
        PublicKey::Ed25519(bytes) => Ok(IdentityKey::from_bytes(*bytes)),
        PublicKey::EcdsaP256(_) => Err(CeremonyError::Kind { role: Role::Config }),
    });
    let keys: Vec<IdentityKey> = keys.collect::<Result<_, _>>()?;
    let control_key = edits.control_key.or(trust.control_key);
    if (&keys, control_key) != (&trust.config_keys, trust.control_key) {
        trust.config_keys = keys;
        trust.control_key = control_key;
        files.insert(TrustedKeys::PATH.to_owned(), text(&trust)?);
    }
    if edits.control_key.is_some() {
        let given = if files.contains_key(RecoveryKit::PATH) {
            &files
        } else {
            &base.files
        };
        let mut kit: RecoveryKit = read(given, RecoveryKit::PATH)?;
        if kit.control_key != control_key {
            kit.control_key = control_key;
            files.insert(RecoveryKit::PATH.to_owned(), text(&kit)?);
        }
    }
    Ok(files)
}

fn text(file: &impl serde::Serialize) -> Result<String, CeremonyError> {
    serde_json::to_string(file).map_err(|error| CeremonyError::Malformed(error.to_string()))
}

fn new_root(
    before: &Authority,
    after: &BTreeMap<Role, RoleKeys>,
    edits: &Edits,
) -> Result<Option<String>, CeremonyError> {
    let roles = RootRoles {
        root: after[&Role::Root].clone(),
        targets: after[&Role::Targets].clone(),
        snapshot: after[&Role::Snapshot].clone(),
        timestamp: after[&Role::Timestamp].clone(),
    };
    if roles == before.root.roles && !edits.renew.contains(&Document::Root) {
        return Ok(None);
    }
    let version = next(Document::Root, before.root.version)?;
    utf8(unsigned_root(version, edits.expires, &roles)?).map(Some)
}

fn new_targets(
    base: &Base,
    before: &Authority,
    after: &BTreeMap<Role, RoleKeys>,
    files: &BTreeMap<String, String>,
    edits: &Edits,
) -> Result<Option<String>, CeremonyError> {
    let catalogs = &after[&Role::Catalogs];
    let of_targets = &after[&Role::Targets];
    // With other targets keys, what is in force may be signed by too few of them.
    let signed = signers(&base.targets, &of_targets.keys)?.len() as u64;
    let holds = signed >= u64::from(of_targets.threshold);
    let same = *catalogs == before.targets.catalogs && files.is_empty();
    if same && holds && !edits.renew.contains(&Document::Targets) {
        return Ok(None);
    }
    let mut pins = before.targets.files.clone();
    let changed = files.iter();
    pins.extend(changed.map(|(path, text)| (path.clone(), Pin::of(1, text.as_bytes()))));
    let version = next(Document::Targets, before.targets.version)?;
    utf8(unsigned_targets(version, edits.expires, &pins, catalogs)?).map(Some)
}

fn next(document: Document, last: u64) -> Result<u64, CeremonyError> {
    last.checked_add(1).ok_or(CeremonyError::Gap {
        document,
        last,
        found: last,
    })
}
