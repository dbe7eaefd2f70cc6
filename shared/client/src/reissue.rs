//! Reissue: the tunnel configs are written anew when what stands in them is no longer so, and the
//! changes are said.
//!
//! What was last written is remembered by its terms (keys, addresses, gateways) and its file. After
//! a sync or a rotation the terms of now are held against it. A gateway that is no longer listed is
//! replaced by the best that is, as `postern select` would.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use model::{Catalog, GatewayId, Role};
use serde::Serialize;

use crate::device::{Issued, IssuedHop, Terms};
use crate::select::{self, Request};
use crate::tunnel::{self, Configs};
use crate::{Device, Error, file, standing};

/// What was written anew.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reissued {
    /// What is different from the configs before.
    pub changes: Vec<Change>,
    /// The files that were replaced.
    pub files: Vec<PathBuf>,
    /// Whether a config was only printed, and must be made anew by hand.
    pub by_hand: bool,
}

/// A difference between a tunnel's config as it was written and as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Change {
    /// This device's own key is another.
    OwnKey {
        /// Which tunnel, by the gateway that it ends at.
        role: Role,
    },
    /// This device's addresses are others.
    OwnAddresses {
        /// Which tunnel.
        role: Role,
    },
    /// The gateway is another.
    Gateway {
        /// Its role.
        role: Role,
        /// The gateway before.
        from: GatewayId,
        /// The gateway now.
        to: GatewayId,
    },
    /// The gateway has a new key.
    GatewayKey {
        /// Its role.
        role: Role,
        /// The gateway.
        gateway: GatewayId,
    },
    /// The outer tunnel carries packets to another egress gateway's address.
    Carries {
        /// The address.
        to: IpAddr,
    },
    /// The gateway is reached elsewhere.
    Endpoint {
        /// Its role.
        role: Role,
        /// The gateway.
        gateway: GatewayId,
        /// Where it is reached now.
        endpoint: SocketAddr,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnKey { role } => write!(f, "this device's key for the {role} gateway is new"),
            Self::OwnAddresses { role } => {
                write!(f, "this device's addresses at the {role} gateway are new")
            }
            Self::Gateway { role, from, to } => {
                write!(f, "the {role} gateway is now {to}, it was {from}")
            }
            Self::GatewayKey { role, gateway } => {
                write!(f, "the {role} gateway {gateway} has a new key")
            }
            Self::Carries { to } => write!(f, "the outer tunnel carries the way to {to} now"),
            Self::Endpoint {
                role,
                gateway,
                endpoint,
            } => write!(f, "the {role} gateway {gateway} moved to {endpoint}"),
        }
    }
}

/// Remembers that the config of this tunnel was written to `file`, or printed; what differs from the
/// one before. One that was written stays as it is known, to be written anew, though another is printed
/// later; unless its folder is gone.
pub fn issued(
    device: &mut Device,
    configs: &Configs,
    role: Role,
    file: Option<PathBuf>,
) -> Vec<Change> {
    let terms = configs.of(role).1.clone();
    let place = place(&mut device.issued, role);
    let before = place.as_ref().map(|before| &before.terms);
    let changes = before.map_or(Vec::new(), |before| changes(before, &terms, role));
    let written = place.as_ref().and_then(|before| before.file.as_ref());
    let stays = written.is_some_and(|written| written.parent().is_some_and(Path::is_dir));
    if file.is_some() || !stays {
        *place = Some(IssuedHop { file, terms });
    }
    changes
}

/// Writes the configs anew that differ from what was written; None if none does. The device is
/// changed and is the caller's to save: until then the next reissue does the same again.
pub fn reissue(device: &mut Device, now: Timestamp) -> Result<Option<Reissued>, Error> {
    if device.issued == Issued::default() {
        return Ok(None);
    }
    let known = standing::usable(device, now)?;
    if !is_listed(device, &known.catalog)? {
        select::select(device, &Request::default(), now)?;
    }
    let configs = tunnel::configs_by(device, &known)?;
    let mut reissued = Reissued {
        changes: Vec::new(),
        files: Vec::new(),
        by_hand: false,
    };
    for role in [Role::Ingress, Role::Egress] {
        let Some(before) = place(&mut device.issued, role).clone() else {
            continue;
        };
        let (text, terms) = configs.of(role);
        if before.terms == *terms {
            continue;
        }
        match &before.file {
            Some(path) => {
                file::replace(path, text).map_err(|source| Error::File {
                    path: path.clone(),
                    doing: "write",
                    source,
                })?;
                reissued.files.push(path.clone());
            }
            None => reissued.by_hand = true,
        }
        let changes = issued(device, &configs, role, before.file);
        reissued.changes.extend(changes);
    }
    Ok((!reissued.changes.is_empty()).then_some(reissued))
}

fn place(issued: &mut Issued, role: Role) -> &mut Option<IssuedHop> {
    match role {
        Role::Ingress => &mut issued.outer,
        Role::Egress => &mut issued.inner,
    }
}

/// Whether both selected gateways are in the catalog still.
fn is_listed(device: &Device, catalog: &Catalog) -> Result<bool, Error> {
    let selection = device.selection.as_ref().ok_or(Error::NotSelected)?;
    let listed = |id: &GatewayId| catalog.gateways().any(|gateway| gateway.id == *id);
    Ok(listed(&selection.ingress.id) && listed(&selection.egress.id))
}

/// What differs, in the order in which it matters.
fn changes(before: &Terms, now: &Terms, role: Role) -> Vec<Change> {
    let mut changes = Vec::new();
    if before.own_key != now.own_key {
        changes.push(Change::OwnKey { role });
    }
    if before.addresses != now.addresses {
        changes.push(Change::OwnAddresses { role });
    }
    if before.gateway != now.gateway {
        changes.push(Change::Gateway {
            role,
            from: before.gateway.clone(),
            to: now.gateway.clone(),
        });
    }
    let same = before.gateway == now.gateway;
    let gateway = || now.gateway.clone();
    if same && before.gateway_key != now.gateway_key {
        changes.push(Change::GatewayKey {
            role,
            gateway: gateway(),
        });
    }
    if same && before.endpoint != now.endpoint {
        changes.push(Change::Endpoint {
            role,
            gateway: gateway(),
            endpoint: now.endpoint,
        });
    }
    if let Some(to) = now.carries
        && before.carries != now.carries
    {
        changes.push(Change::Carries { to });
    }
    changes
}

#[cfg(test)]
mod tests;
