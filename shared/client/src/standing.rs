//! How an old catalog stands: stale, not stuck.
//!
//! New metadata that has expired is refused, but the last verified catalog stays usable for a
//! bounded grace after its timestamp expired, and every command says so. A hard stop at expiry
//! would hand whoever blocks all front doors the victory; no stop at all would let them keep a
//! device on dead or seized gateways for ever.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use model::{Catalog, CatalogName, Limits, RecoveryKit};
use serde::Serialize;
use tuf::slices::Sealed;
use tuf::{LONGEST_LIFE, TrustedState, VerifyError, Wanted};

use crate::{Device, Error, keys};

/// For how long after its timestamp's expiry a catalog stays usable: 14 days, two lives of a
/// catalog's own signature by default ([`model::Timing`]).
pub const GRACE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How the last verified catalog stands at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Standing {
    /// Its timestamp is valid.
    Current {
        /// Until when.
        until: Timestamp,
    },
    /// Its timestamp has expired, its grace has not.
    Stale {
        /// When it expired.
        since: Timestamp,
        /// The end of the grace.
        until: Timestamp,
    },
    /// Its grace is over.
    Lapsed {
        /// When it expired.
        since: Timestamp,
    },
}

impl Standing {
    /// How a catalog whose timestamp expires at `expires` stands at `now`.
    pub fn at(expires: Timestamp, now: Timestamp) -> Self {
        let until = expires.checked_add(GRACE).unwrap_or(Timestamp::MAX);
        if now < expires {
            Self::Current { until: expires }
        } else if now < until {
            Self::Stale {
                since: expires,
                until,
            }
        } else {
            Self::Lapsed { since: expires }
        }
    }

    /// The same for what `device` acts on. Where its clock seems ahead, a grace that is over by it
    /// may not be: the catalog stays usable for one more, from when that was first noticed of the newest
    /// timestamp that it holds.
    pub fn of(device: &Device, expires: Timestamp, now: Timestamp) -> Self {
        let standing = Self::at(expires, now);
        let (Self::Lapsed { since }, Some(memory)) = (standing, &device.clock) else {
            return standing;
        };
        let newest = device.trusted.as_ref().map(TrustedState::timestamp_version);
        let doubted = memory.doubted.as_ref().filter(|doubted| {
            memory.verdict.may_be_ahead() && Some(doubted.version) == newest && doubted.since <= now
        });
        let until = doubted.and_then(|doubted| doubted.since.checked_add(GRACE).ok());
        match until {
            Some(until) if now < until => Self::Stale { since, until },
            _ => standing,
        }
    }

    /// Until when it may be or might have been used.
    pub fn usable_until(&self) -> Timestamp {
        match self {
            Self::Stale { until, .. } => *until,
            Self::Current { until: expires } | Self::Lapsed { since: expires } => {
                expires.checked_add(GRACE).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// Whether it has expired.
    pub fn is_stale(&self) -> bool {
        !matches!(self, Self::Current { .. })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current { until } => write!(f, "is valid until {until:.0}"),
            Self::Stale { since, until } => write!(
                f,
                "expired at {since:.0} and stays usable until {until:.0}: sync when you can"
            ),
            Self::Lapsed { since } => {
                write!(f, "expired at {since:.0} and its grace is over: sync")
            }
        }
    }
}

/// What a device's trusted state holds.
#[derive(Clone, Debug)]
pub struct Known {
    /// The catalog: the newest that could be opened.
    pub catalog: Catalog,
    /// The recovery kit, if the network has one.
    pub kit: Option<RecoveryKit>,
    /// Until when the timestamp over that catalog is valid.
    pub expires: Timestamp,
    /// How the catalog stands.
    pub standing: Standing,
    /// How many slices the newest verified catalog has, and were opened.
    pub sealed: Sealed,
    /// The limits that go with it.
    limits: Limits,
}

/// Reads the device's trusted state, stale or not. None if there is none, or no catalog in it. The one that
/// the device read before is acted on until the one that it reads now was verified. [`Error::Trusted`] if it
/// is damaged.
///
/// Where nothing in the newest catalog can be opened, the last one that could goes on being the one to act
/// on, and stands as its own timestamp says: the newer one is known to be there, no more.
pub fn known(device: &Device, now: Timestamp) -> Result<Option<Known>, Error> {
    let Some(newest) = read(device, device.trusted.as_ref(), now)? else {
        return Ok(None);
    };
    if !newest.sealed.is_shut() {
        return Ok(Some(newest));
    }
    // What is damaged in the older one is no reason to do without the newer one.
    let older = read(device, device.opened.as_ref(), now).ok().flatten();
    Ok(Some(match older.filter(|older| !older.sealed.is_shut()) {
        Some(older) => held_to(&newest, older, device, now),
        None => newest,
    }))
}

/// The older catalog, which is acted on while nothing in the newest can be opened: within the newest
/// limits, and no longer than a timestamp lives, whatever the older one's says. Who signed it may have been
/// a thief whose keys the newest metadata has ended.
fn held_to(newest: &Known, older: Known, device: &Device, now: Timestamp) -> Known {
    let mut catalog = older.catalog;
    tuf::limits::enforce(&newest.limits, &mut catalog, &mut Vec::new());
    // What needs no key is taken from the newer one: where the doors are now.
    catalog.front_doors.clone_from(&newest.catalog.front_doors);
    let verified_at = device.opened.as_ref().map(TrustedState::verified_at);
    let most = verified_at.and_then(|at| at.checked_add(LONGEST_LIFE).ok());
    let expires = most.map_or(older.expires, |most| older.expires.min(most));
    Known {
        catalog,
        kit: newest.kit.clone(),
        expires,
        standing: Standing::of(device, expires, now),
        sealed: newest.sealed,
        limits: newest.limits.clone(),
    }
}

fn read(
    device: &Device,
    state: Option<&TrustedState>,
    now: Timestamp,
) -> Result<Option<Known>, Error> {
    let (Some(state), Some(answer)) = (state, &device.answer) else {
        return Ok(None);
    };
    let Some(name) = catalog_in(state, &answer.catalog) else {
        return Ok(None);
    };
    let keys = keys::held(device);
    let wanted = Wanted {
        network: &device.contact.network,
        catalog: Some(&name),
        keys: &keys,
    };
    let verified = tuf::read_state(state, &wanted).map_err(|error| {
        Error::Trusted(match error {
            // It is there, and not what the state's own metadata pins.
            VerifyError::Missing(name) => VerifyError::Altered(name),
            error => error,
        })
    })?;
    let expires = state.timestamp_expires();
    Ok(verified.catalog.map(|catalog| Known {
        catalog,
        kit: verified.kit,
        expires,
        standing: Standing::of(device, expires, now),
        sealed: verified.sealed,
        limits: verified.limits,
    }))
}

/// The name of the catalog that `state` holds for a device which reads `wanted`: that one, or, until it was
/// verified, the one that the device read before.
pub(crate) fn catalog_in(state: &TrustedState, wanted: &CatalogName) -> Option<CatalogName> {
    if state.file(&wanted.path()).is_some() {
        return Some(wanted.clone());
    }
    let names = state.paths().filter_map(|path| {
        let name = path.strip_prefix("catalogs/")?.strip_suffix(".json")?;
        name.parse().ok()
    });
    names.last()
}

/// The same, for whoever can do without: a damaged state is None.
pub fn known_if_sound(device: &Device, now: Timestamp) -> Result<Option<Known>, Error> {
    match known(device, now) {
        Err(Error::Trusted(_)) => Ok(None),
        known => known,
    }
}

/// The catalog to act on: [`Error::NoCatalog`], [`Error::Shut`] or [`Error::Lapsed`] where there is none.
pub fn usable(device: &Device, now: Timestamp) -> Result<Known, Error> {
    let known = known(device, now)?.ok_or(Error::NoCatalog)?;
    if known.sealed.is_shut() && known.catalog.gateways().next().is_none() {
        return Err(Error::Shut);
    }
    if let Standing::Lapsed { since } = known.standing {
        return Err(Error::Lapsed { expired: since });
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{NOW, Repository};

    #[test]
    fn a_catalog_goes_on_until_the_one_in_its_place_was_verified() {
        let mut device = Repository::default().synced_device();
        let before = usable(&device, NOW).unwrap().catalog;
        let answer = device.answer.as_mut().unwrap();

        answer.catalog = "default.staff".parse().unwrap();

        assert_eq!(usable(&device, NOW).unwrap().catalog, before);
    }

    #[test]
    fn a_catalog_is_current_then_stale_for_14_days_then_lapsed() {
        let expires = Timestamp::constant(1_800_000_000, 0);
        let after = |seconds| Timestamp::from_second(expires.as_second() + seconds).unwrap();
        assert!(!Standing::at(expires, after(-1)).is_stale());
        assert_eq!(
            Standing::at(expires, expires),
            Standing::Stale {
                since: expires,
                until: after(14 * 86_400)
            }
        );
        assert_eq!(
            Standing::at(expires, after(14 * 86_400)),
            Standing::Lapsed { since: expires }
        );
    }
}
