//! The two tunnels, as configs for `wg-quick`.
//!
//! The outer tunnel ends at the ingress gateway and carries one thing: UDP to the chosen egress
//! gateway. The inner tunnel ends there and carries everything else. So the ingress knows who and
//! the egress knows where to, and neither knows both.
//!
//! Both interfaces carry the same firewall mark. `wg-quick` sends all packets without the inner
//! tunnel's mark into the inner tunnel, except where the main table has a route more exact than
//! the default; without the mark on the outer tunnel's own packets they would be sent into the
//! inner one, in a circle. Bring up `postern-outer` first.

use std::fmt::Write as _;

use jiff::Timestamp;
use model::{Catalog, CatalogGateway, Role};
use serde::Serialize;

use crate::device::Terms;
use crate::standing::{self, Known, Standing};
use crate::text::plain;
use crate::{Device, Error};

/// Seconds between keepalives: below the 30 s after which the shortest-lived NAT bindings for UDP
/// are dropped (`wg(8)` recommends 25).
const KEEPALIVE: u16 = 25;
/// The outer MTU: a link of 1,500 bytes less what WireGuard adds over IPv6 (40 for IPv6, 8 for
/// UDP, 32 for its header and tag). It is `wg-quick`'s own default.
const OUTER_MTU: u16 = 1500 - WIREGUARD;
/// The inner MTU: its packets are wrapped once more.
const INNER_MTU: u16 = OUTER_MTU - WIREGUARD;
/// What WireGuard adds to a packet, at most.
const WIREGUARD: u16 = 40 + 8 + 32;
/// `wg-quick`'s own first choice of a mark, 51820.
const MARK: &str = "0xca6c";

/// The name of the outer tunnel's interface; a Linux interface name has at most 15 bytes.
pub const OUTER: &str = "postern-outer";
/// The name of the inner tunnel's interface.
pub const INNER: &str = "postern-inner";

/// Both configs. They hold private keys: for a file of mode `0600` or the screen of its owner.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Configs {
    /// The outer tunnel's.
    pub outer: String,
    /// The inner tunnel's.
    pub inner: String,
    /// What the outer one depends on.
    #[serde(skip)]
    pub outer_terms: Terms,
    /// What the inner one depends on.
    #[serde(skip)]
    pub inner_terms: Terms,
    /// How the catalog stands.
    pub catalog: Standing,
}

impl Configs {
    /// The config of the tunnel that ends at a gateway of `role`, and what it depends on.
    pub fn of(&self, role: Role) -> (&str, &Terms) {
        match role {
            Role::Ingress => (&self.outer, &self.outer_terms),
            Role::Egress => (&self.inner, &self.inner_terms),
        }
    }
}

/// The configs of the selected gateways, as the last verified catalog describes them now.
pub fn configs(device: &Device, now: Timestamp) -> Result<Configs, Error> {
    device.enrolled()?;
    configs_by(device, &standing::usable(device, now)?)
}

/// The same, as what was read of that catalog describes them.
pub(crate) fn configs_by(device: &Device, known: &Known) -> Result<Configs, Error> {
    let addresses = device.enrolled()?.addresses;
    let selection = device.selection.as_ref().ok_or(Error::NotSelected)?;
    let ingress = current(&known.catalog, &selection.ingress)?;
    let egress = current(&known.catalog, &selection.egress)?;

    let exit = egress.endpoint.ip();
    let outer = Hop {
        title: "outer tunnel",
        secret: device.tunnel.reveal(),
        mtu: OUTER_MTU,
        gateway: ingress,
        terms: Terms {
            own_key: device.tunnel.tunnel_key().to_string(),
            addresses: (addresses.outer, addresses.outer6),
            gateway: ingress.id.clone(),
            gateway_key: ingress.tunnel_key,
            endpoint: ingress.endpoint,
            carries: Some(exit),
        },
        keepalive: Some(KEEPALIVE),
    };
    let inner = Hop {
        title: "inner tunnel",
        secret: device.exit.reveal(),
        mtu: INNER_MTU,
        gateway: egress,
        terms: Terms {
            own_key: device.exit.exit_key().to_string(),
            addresses: (addresses.inner, addresses.inner6),
            gateway: egress.id.clone(),
            gateway_key: egress.tunnel_key,
            endpoint: egress.endpoint,
            carries: None,
        },
        keepalive: None,
    };
    Ok(Configs {
        outer: outer.text(device),
        inner: inner.text(device),
        outer_terms: outer.terms,
        inner_terms: inner.terms,
        catalog: known.standing,
    })
}

/// A selected gateway as the catalog lists it now.
fn current<'a>(
    catalog: &'a Catalog,
    selected: &CatalogGateway,
) -> Result<&'a CatalogGateway, Error> {
    let (role, id) = (selected.role, &selected.id);
    catalog
        .gateways()
        .find(|gateway| gateway.id == *id && gateway.role == role)
        .ok_or_else(|| Error::NotListed {
            role,
            gateway: id.clone(),
        })
}

struct Hop<'a> {
    title: &'static str,
    secret: String,
    mtu: u16,
    gateway: &'a CatalogGateway,
    terms: Terms,
    keepalive: Option<u16>,
}

impl Hop<'_> {
    fn text(&self, device: &Device) -> String {
        let (gateway, terms) = (self.gateway, &self.terms);
        let to = match gateway.role {
            Role::Ingress => "enters at",
            Role::Egress => "leaves at",
        };
        let allowed = match terms.carries {
            Some(only) => format!("{only}/{}", if only.is_ipv4() { 32 } else { 128 }),
            None => "0.0.0.0/0, ::/0".to_owned(),
        };
        let (v4, v6) = terms.addresses;
        // A line break in the region would start a line of config, and `wg-quick` runs some of
        // those (`PostUp`) as root.
        let mut text = format!(
            "# Postern, {title}: {device} {to} {id} ({region}).\n\
             [Interface]\n\
             PrivateKey = {secret}\n\
             Address = {v4}/32, {v6}/128\n\
             MTU = {mtu}\n\
             FwMark = {MARK}\n\
             \n\
             [Peer]\n\
             PublicKey = {key}\n\
             Endpoint = {endpoint}\n\
             AllowedIPs = {allowed}\n",
            title = self.title,
            device = device.id(),
            id = gateway.id,
            region = plain(&gateway.region),
            secret = self.secret,
            mtu = self.mtu,
            key = terms.gateway_key,
            endpoint = terms.endpoint,
        );
        if let Some(seconds) = self.keepalive {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "PersistentKeepalive = {seconds}");
        }
        text
    }
}

#[cfg(test)]
mod tests;
