//! Which gateways a device uses: the best of each role, and then the same ones for as long as they
//! are good.
//!
//! A choice is sticky because a change costs people their connections: the gateways in use stay
//! while they are listed, do not rest after a failure, and are still what is preferred.

use jiff::Timestamp;
use model::{Catalog, CatalogGateway, Role};
use rules::ranking::{Candidate, Rank, rank};
use serde::Serialize;

use crate::decisions::{About, Decision};
use crate::device::Selection;
use crate::standing::{self, Standing};
use crate::{Device, Error};

/// What is asked of a selection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// Choose anew, even if the gateways in use are good.
    pub again: bool,
    /// The gateways in use of these roles do not work: they rest, and others are chosen.
    pub failed: Vec<Role>,
    /// Prefer these regions from now on; none: as before.
    pub regions: Option<Vec<String>>,
}

/// What a selection came to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Where the device enters.
    pub ingress: Chosen,
    /// Where it leaves.
    pub egress: Chosen,
    /// Whether tunnels must be made anew: another gateway, or another key or address.
    pub changed: bool,
    /// How the catalog stands.
    pub catalog: Standing,
}

/// A chosen gateway.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Chosen {
    /// The gateway, as the catalog describes it.
    #[serde(flatten)]
    pub gateway: CatalogGateway,
    /// Why this one.
    pub why: String,
    /// Whether it is the one that was in use.
    pub kept: bool,
}

/// A choice among ranked candidates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The candidate.
    pub id: String,
    /// Why.
    pub why: String,
    /// Whether it is the previous one.
    pub kept: bool,
}

/// Chooses the best gateway of each role from the last verified catalog, and remembers them.
pub fn select(device: &mut Device, request: &Request, now: Timestamp) -> Result<Report, Error> {
    device.enrolled()?;
    let known = standing::usable(device, now)?;
    if let Some(regions) = &request.regions {
        device.preferences.regions.clone_from(regions);
    }
    let before = device.selection.clone();
    for role in &request.failed {
        let in_use = in_use(before.as_ref().ok_or(Error::NotSelected)?, *role);
        let history = device.gateways.entry(in_use.id.to_string()).or_default();
        history.failed(now);
    }
    let ingress = pick(device, &known.catalog, Role::Ingress, request.again, now)?;
    let egress = pick(device, &known.catalog, Role::Egress, request.again, now)?;
    let same = |old: &CatalogGateway, new: &CatalogGateway| {
        old.id == new.id && old.endpoint == new.endpoint && old.tunnel_key == new.tunnel_key
    };
    let changed = before.is_none_or(|before| {
        !same(&before.ingress, &ingress.gateway) || !same(&before.egress, &egress.gateway)
    });
    device.selection = Some(Selection {
        ingress: ingress.gateway.clone(),
        egress: egress.gateway.clone(),
        at: now,
    });
    Ok(Report {
        ingress,
        egress,
        changed,
        catalog: known.standing,
    })
}

/// The pure choice: the previous one if it may stay, else the first. None if there is nobody.
pub fn choose(ranks: &[Rank], previous: Option<&str>, again: bool) -> Option<Choice> {
    let best = ranks.first()?;
    let choice = |rank: &Rank, why: String, kept| Choice {
        id: rank.id.clone(),
        why,
        kept,
    };
    let first = |why: &str| choice(best, format!("{why}: {}", best.reasons()), false);
    let Some(previous) = previous else {
        return Some(first("the best"));
    };
    if again {
        return Some(first("chosen anew, the best"));
    }
    let Some(current) = ranks.iter().find(|rank| rank.id == previous) else {
        return Some(first(&format!("{previous} is no longer listed, the best")));
    };
    if let Some(until) = current.resting_until {
        return Some(first(&format!(
            "{previous} rests until {until:.0}, the best"
        )));
    }
    if current.disliked && !best.disliked {
        return Some(first(&format!("{previous} is not preferred, the best")));
    }
    Some(choice(current, "in use and good".to_owned(), true))
}

fn in_use(selection: &Selection, role: Role) -> &CatalogGateway {
    match role {
        Role::Ingress => &selection.ingress,
        Role::Egress => &selection.egress,
    }
}

fn pick(
    device: &mut Device,
    catalog: &Catalog,
    role: Role,
    again: bool,
    now: Timestamp,
) -> Result<Chosen, Error> {
    let regions = &device.preferences.regions;
    let candidates: Vec<_> = catalog
        .gateways()
        .filter(|gateway| gateway.role == role)
        .map(|gateway| Candidate {
            id: gateway.id.to_string(),
            preferred: regions.is_empty() || regions.contains(&gateway.region),
            load: gateway.load,
            history: device
                .gateways
                .get(gateway.id.as_str())
                .cloned()
                .unwrap_or_default(),
        })
        .collect();
    let id = device.id();
    let ranks = rank(&candidates, id.as_str(), now);
    let previous = device.selection.as_ref();
    let previous = previous.map(|selection| in_use(selection, role).id.to_string());
    let choice = choose(&ranks, previous.as_deref(), again).ok_or(Error::NoGateway { role })?;
    let gateway = catalog
        .gateways()
        .find(|gateway| gateway.id.as_str() == choice.id)
        .cloned()
        .ok_or(Error::NoGateway { role })?;

    let about = About::Select {
        role,
        previous,
        again,
        chosen: choice.id,
        why: choice.why.clone(),
    };
    let decision = Decision::new(now, id.as_str(), &candidates, &ranks, about);
    device.decisions.push(decision);
    Ok(Chosen {
        gateway,
        why: choice.why,
        kept: choice.kept,
    })
}

#[cfg(test)]
mod tests;
