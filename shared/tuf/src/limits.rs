//! What offline keys allow online keys to say.
//!
//! The keys that sign catalogs are online and can be stolen. `limits.json` bounds the harm: a
//! catalog cannot name a front door whose host is not listed there, or a gateway outside the listed
//! networks, or serve a cohort that does not exist. What lies outside is taken out and named, the
//! rest stays of use; only a file of another network and an unknown cohort are refused whole.
//!
//! A URL is read here by rules so narrow that no other reader can see another host in it: the
//! program that fetches it uses another parser, and a difference between the two would be a hole.

use std::net::{IpAddr, Ipv6Addr};

use model::{Catalog, CohortName, Limits, NetworkId, Slice};

pub use crate::error::VerifyError;

/// The most front doors that a catalog may name: a device tries all it knows before it gives up, so
/// a list without end would be a wait without end. Four CDNs of four names each.
pub const MOST_FRONT_DOORS: usize = 16;

/// Refuses a file of another network.
pub fn check_network(
    what: &str,
    expected: &NetworkId,
    found: &NetworkId,
) -> Result<(), VerifyError> {
    if found != expected {
        return Err(VerifyError::WrongNetwork {
            what: what.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }
    Ok(())
}

/// Refuses a cohort that the limits do not name.
pub fn check_cohort(limits: &Limits, cohort: &CohortName) -> Result<(), VerifyError> {
    if !limits.cohorts.contains(cohort) {
        return Err(VerifyError::OutsideLimits(format!(
            "there is no cohort '{cohort}'"
        )));
    }
    Ok(())
}

/// Takes out of `catalog`, whose slices were opened before, what the limits do not allow, and adds a line for each to `skipped`.
pub fn enforce(limits: &Limits, catalog: &mut Catalog, skipped: &mut Vec<String>) {
    let mut doors = 0;
    catalog.front_doors.retain(|door| {
        let why = if !allows_front_door(limits, door) {
            "outside the signed limits".to_owned()
        } else if doors == MOST_FRONT_DOORS {
            format!("a catalog may name {MOST_FRONT_DOORS}")
        } else {
            doors += 1;
            return true;
        };
        skipped.push(format!("front door {door:?}: {why}"));
        false
    });
    for slice in &mut catalog.slices {
        match slice {
            Slice::Open { gateways } => gateways.retain(|gateway| {
                // ::ffff:192.0.2.1 is reached at 192.0.2.1, so it is judged as that.
                let address = gateway.endpoint.ip().to_canonical();
                let allowed = limits.allow_gateway_at(address);
                if !allowed {
                    skipped.push(format!(
                        "gateway {} at {}: outside the signed limits",
                        gateway.id, gateway.endpoint
                    ));
                }
                allowed
            }),
            // Its entries are judged once they are opened.
            Slice::Sealed(_) => {}
        }
    }
}

/// Whether a catalog may name this front door.
pub fn allows_front_door(limits: &Limits, url: &str) -> bool {
    let Some(host) = host_of(url) else {
        return false;
    };
    limits
        .front_door_hosts
        .iter()
        .any(|allowed| is_same_host(allowed, host))
}

/// The host of `http(s)://host[:port][/path]`, an address of IPv6 without its brackets; None for anything
/// less plain.
pub fn host_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~/".contains(c);
    if !path.chars().all(plain) {
        return None;
    }
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        (host, port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let of_name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        if host.is_empty() || !host.chars().all(of_name) {
            return None;
        }
        (host, port)
    };
    let port_is_plain = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.parse::<u16>().is_ok_and(|port| port > 0));
    port_is_plain.then_some(host)
}

fn is_same_host(allowed: &str, host: &str) -> bool {
    let address = |text: &str| text.parse::<IpAddr>().ok();
    match (address(allowed), address(host)) {
        (Some(allowed), Some(host)) => allowed == host,
        _ => allowed.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests;
