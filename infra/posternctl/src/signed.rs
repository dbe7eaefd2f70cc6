//! What the offline keys have signed, as a profile learns it from the front doors: the control key and the
//! doors that invites, bootstrap tokens and contacts are to name.
//!
//! A profile keeps what it verified last, so that no door can show it something older.

use std::sync::Arc;

use anyhow::bail;
use client::doors::{self, Ask, Came, Lane};
use client::{Clock, Web};
use jiff::Timestamp;
use model::{ControlKey, FrontDoor};
use tuf::client::{TrustedState, Wanted, read_state};

use crate::now;
use crate::profile::Profile;

/// What was learnt.
pub struct Learnt {
    /// What is verified now.
    pub trusted: TrustedState,
    /// The control key that it names, if it names one.
    pub control_key: Option<ControlKey>,
    /// The front doors of its recovery kit; none if it has no kit.
    pub front_doors: Vec<FrontDoor>,
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// Races the front doors of the profile for what the offline keys have signed by now.
pub async fn learn(profile: &Profile) -> anyhow::Result<Learnt> {
    let contact = &profile.contact;
    let wanted = Wanted {
        network: &contact.network,
        catalog: None,
        keys: &[],
    };
    let known = profile.trusted.as_ref();
    let ask = Ask {
        network: contact.network.clone(),
        catalog: None,
        keys: Vec::new(),
        pin: contact.root.clone(),
        trusted: profile.trusted.clone(),
        damaged: known.is_some_and(|known| read_state(known, &wanted).is_err()),
    };
    let lanes: Vec<_> = doors::known(contact, None, &[])
        .into_iter()
        .map(|door| Lane {
            door,
            smoothed_ms: None,
            etag: None,
        })
        .collect();
    let options = doors::Options::default();
    let (answer, outcomes) =
        doors::fetch(&Web::new()?, &SystemClock, options, Arc::new(ask), &lanes).await;
    let served = answer.and_then(|answer| answer.served);
    let Some(served) = served else {
        let failed = outcomes.iter().filter(|one| one.outcome == Came::Failed);
        let why = failed.map(|one| {
            let reason = one.reason.as_deref().unwrap_or("no reason is known");
            format!("{}: {reason}", one.door)
        });
        bail!(
            "no front door helped ({})",
            why.collect::<Vec<_>>().join("; ")
        );
    };
    let trusted = served.verified.state;
    let kit = read_state(&trusted, &wanted)?.kit;
    Ok(Learnt {
        control_key: kit.as_ref().and_then(|kit| kit.control_key),
        front_doors: kit.map(|kit| kit.front_doors).unwrap_or_default(),
        trusted,
    })
}
