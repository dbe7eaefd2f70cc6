//! What is asked of metadata that names keys and roles, beyond that it is well signed.
//!
//! Thresholds count ids of keys. An id is any name that the delegator chose, so a role that lists
//! one key under two ids would be signed by its holder alone, with a threshold of two (TAP 12: a
//! key is used once for a threshold). And two delegations to one name could differ in their keys,
//! so that who may sign the first would sign for the paths of the second (specification, section
//! 4.5: a name is unique). Honest delegators do neither, and what does is refused as a whole.

use std::collections::{BTreeMap, BTreeSet};

use sigstore_tuf::{Key, Root, Targets};

use super::VerifyError;

/// Checks the keys of a root's roles.
pub(super) fn check_root(root: &Root) -> Result<(), VerifyError> {
    for (role, named) in &root.roles {
        check_keys(&root.keys, &named.keyids, role)?;
    }
    Ok(())
}

/// Checks the delegations of the targets role `name`.
pub(super) fn check_targets(name: &str, targets: &Targets) -> Result<(), VerifyError> {
    let Some(delegations) = &targets.delegations else {
        return Ok(());
    };
    let mut names = BTreeSet::new();
    for role in &delegations.roles {
        if !names.insert(&role.name) {
            return Err(VerifyError::Malformed(format!(
                "{name} delegates to '{}' twice",
                role.name
            )));
        }
        check_keys(&delegations.keys, &role.keyids, &role.name)?;
    }
    Ok(())
}

/// Refuses a key with two ids. One that cannot be read signs nothing, under whatever id.
pub(super) fn check_keys(
    keys: &BTreeMap<String, Key>,
    ids: &[String],
    role: &str,
) -> Result<(), VerifyError> {
    let mut seen = BTreeMap::new();
    for id in ids {
        let Some(key) = keys.get(id).and_then(|key| key.verification_key().ok()) else {
            continue;
        };
        if let Some(other) = seen.insert(same_for_all_spellings(key.as_bytes()), id)
            && other != id
        {
            return Err(VerifyError::Malformed(format!(
                "the role '{role}' has one key under two ids, {other} and {id}"
            )));
        }
    }
    Ok(())
}

/// Ed25519 has one spelling of a point. One on a NIST curve (SEC 1, section 2.3.3) is spelled with a
/// prefix, its x, and perhaps its y, which x gives but for the sign: who can sign with the one
/// can sign with the other.
fn same_for_all_spellings(key: &[u8]) -> Vec<u8> {
    match key {
        [0x04, point @ ..] if point.len() % 2 == 0 => point[..point.len() / 2].to_vec(),
        [0x02 | 0x03, x @ ..] if x.len() % 2 == 0 => x.to_vec(),
        other => other.to_vec(),
    }
}

#[cfg(test)]
mod tests;
