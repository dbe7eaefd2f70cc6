//! What a publisher is given: the files of the offline keys, and the online keys that those name.

use std::collections::BTreeMap;

use model::Limits;
use tuf::key::SigningKey;
use tuf::repository::RoleKeys;
use tuf::{Authority, VerifyError};

use crate::Error;

/// What the offline keys have signed: files that this function only passes on.
#[derive(Clone, Debug)]
pub struct Offline {
    /// The whole chain of roots, from version 1.
    pub roots: Vec<Vec<u8>>,
    /// The version of `targets`.
    pub targets_version: u64,
    /// The signed top-level targets.
    pub targets: Vec<u8>,
    /// The files that they list, by target path: limits, trust, recovery kit.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The limits among those files.
    pub limits: Limits,
    /// Who may sign what, by the last root and the targets.
    pub authority: Authority,
}

impl Offline {
    /// Reads them. The last root must be well signed by its own keys, the targets by those that it names, and
    /// the files be those that the targets list: what clients would refuse is refused here.
    pub fn read(
        roots: Vec<Vec<u8>>,
        targets: Vec<u8>,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, VerifyError> {
        let last = roots
            .last()
            .ok_or_else(|| VerifyError::Missing("a root".to_owned()))?;
        let authority = Authority::read(last, &targets)?;
        if authority.root.version != roots.len() as u64 {
            return Err(VerifyError::Malformed(format!(
                "there are {} roots, and the last is {}",
                roots.len(),
                authority.root.version
            )));
        }
        let pins = files.iter();
        let pins = pins.map(|(path, bytes)| (path.clone(), tuf::repository::Pin::of(1, bytes)));
        if pins.collect::<BTreeMap<_, _>>() != authority.targets.files {
            return Err(VerifyError::Altered(
                "the files are not those that the targets list".to_owned(),
            ));
        }
        let limits = files
            .get(Limits::PATH)
            .ok_or_else(|| VerifyError::Missing(Limits::PATH.to_owned()))?;
        let limits = serde_json::from_slice(limits)
            .map_err(|error| VerifyError::Malformed(format!("{}: {error}", Limits::PATH)))?;
        Ok(Self {
            targets_version: authority.targets.version,
            roots,
            targets,
            files,
            limits,
            authority,
        })
    }

    /// Clients refuse what other keys than the named ones have signed, so that nothing is signed with
    /// those: what is served stays as it is until keys and files are of one ceremony.
    pub(super) fn check_keys(&self, keys: &OnlineKeys) -> Result<(), Error> {
        let named = [
            ("catalogs", &keys.catalogs, &self.authority.targets.catalogs),
            (
                "snapshot",
                &keys.snapshot,
                &self.authority.root.roles.snapshot,
            ),
            (
                "timestamp",
                &keys.timestamp,
                &self.authority.root.roles.timestamp,
            ),
        ];
        let is_named = |key: &SigningKey, role: &RoleKeys| role.keys.contains(&key.public());
        match named.iter().find(|(_, key, role)| !is_named(key, role)) {
            None => Ok(()),
            Some((role, key, _)) => Err(Error::Defect(format!(
                "the offline files name another key for {role} than {}, which this publisher holds: give it \
                 the keys and the files of one ceremony",
                key.key_id()
            ))),
        }
    }
}

/// The keys that only this function holds.
#[derive(Clone, Debug)]
pub struct OnlineKeys {
    /// Signs the delegated role `catalogs`.
    pub catalogs: SigningKey,
    /// Signs `snapshot`.
    pub snapshot: SigningKey,
    /// Signs `timestamp`.
    pub timestamp: SigningKey,
}
