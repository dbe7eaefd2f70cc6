//! Bins: targets roles by the hash of a path, all with the same keys (TAP 15, `succinct_roles`).
//!
//! The library does not know them. What verifies a bin is the library all the same (form, `_type`,
//! version of the specification, signatures); what this module adds is which bin a path falls into,
//! and the checks against the snapshot and the clock that the library makes for other roles. A named
//! role below a bin is refused: the library does not know who delegates to it.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sigstore_tuf::metadata::{Role as _, RoleKeys};
use sigstore_tuf::{MetaFile, Metadata, Targets};

use super::delegators::check_keys;
use super::pins::fits_pin;
use super::{VerifyError, Workflow};

/// The most bits of a hash that choose a bin (TAP 15).
const MOST_BITS: u32 = 32;

/// How a targets role delegates to bins.
pub(super) struct Bins {
    bits: u32,
    prefix: String,
    keys: RoleKeys,
}

impl Bins {
    /// Those that `targets` delegates to; none, if it delegates to none or to named roles.
    pub(super) fn of(targets: &Targets) -> Result<Option<Self>, VerifyError> {
        #[derive(Deserialize)]
        struct Form {
            bit_length: u32,
            name_prefix: String,
        }

        let Some(delegations) = &targets.delegations else {
            return Ok(None);
        };
        let Some(value) = delegations.extra.get("succinct_roles") else {
            return Ok(None);
        };
        let malformed = |why: String| VerifyError::Malformed(format!("succinct_roles: {why}"));
        if !delegations.roles.is_empty() {
            return Err(malformed("beside named roles".to_owned()));
        }
        let form = Form::deserialize(value).map_err(|error| malformed(error.to_string()))?;
        let keys = RoleKeys::deserialize(value).map_err(|error| malformed(error.to_string()))?;
        if !(1..=MOST_BITS).contains(&form.bit_length) {
            return Err(malformed(format!("bit_length is {}", form.bit_length)));
        }
        check_keys(&delegations.keys, &keys.keyids, &form.name_prefix)?;
        Ok(Some(Self {
            bits: form.bit_length,
            prefix: form.name_prefix,
            keys,
        }))
    }

    /// The bin of a target path: the first bits of its SHA-256, in as many hexadecimal digits as the
    /// last bin's number needs.
    pub(super) fn name(&self, path: &str) -> String {
        let hash = Sha256::digest(path.as_bytes());
        let digits = self.bits.div_ceil(4) as usize;
        let mut number: [u8; 4] = [hash[0], hash[1], hash[2], hash[3]];
        number = (u32::from_be_bytes(number) >> (MOST_BITS - self.bits)).to_be_bytes();
        let number = HEXLOWER.encode(&number);
        format!("{}-{}", self.prefix, &number[number.len() - digits..])
    }
}

impl Workflow {
    /// The bins that a role delegates to.
    pub(super) fn bins_of(&self, delegator: &str) -> Result<Option<Bins>, VerifyError> {
        let targets = self.targets_role(delegator)?;
        targets.map_or(Ok(None), Bins::of)
    }

    /// A trusted targets role, also if it is a bin.
    pub(super) fn targets_role(&self, name: &str) -> Result<Option<&Targets>, VerifyError> {
        let bin = self.bins.get(name).map(Metadata::signed);
        Ok(self.set()?.targets_role(name).or(bin))
    }

    /// Takes a bin, on its delegator's word.
    pub(super) fn update_bin(
        &mut self,
        bytes: &[u8],
        name: &str,
        delegator: &str,
    ) -> Result<&Targets, VerifyError> {
        let bin = self.verify_bin(bytes, name, delegator)?;
        self.bins.insert(name.to_owned(), bin);
        Ok(self.bins[name].signed())
    }

    /// Verifies a bin as the library verifies a delegated role.
    pub(super) fn verify_bin(
        &self,
        bytes: &[u8],
        name: &str,
        delegator: &str,
    ) -> Result<Metadata<Targets>, VerifyError> {
        let unknown = || VerifyError::Malformed(format!("{delegator} delegates to no bin {name}"));
        let bins = self.bins_of(delegator)?.ok_or_else(unknown)?;
        let delegations = self
            .targets_role(delegator)?
            .and_then(|targets| targets.delegations.as_ref())
            .ok_or_else(unknown)?;
        let pin: MetaFile = self.pin_of_role(name)?.ok_or_else(unknown)?;

        let bin = Metadata::<Targets>::from_slice(bytes)?;
        if !fits_pin(bytes, &pin) || bin.signed().version != pin.version {
            return Err(VerifyError::Altered(format!(
                "{name}.json is not what the snapshot pins"
            )));
        }
        bin.verify_threshold(&delegations.keys, &bins.keys, name)?;
        if bin.signed().is_expired(self.now) {
            return Err(VerifyError::Expired {
                role: name.to_owned(),
                expires: bin.signed().expires,
            });
        }
        Ok(bin)
    }
}

#[cfg(test)]
mod tests;
