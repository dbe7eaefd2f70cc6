//! Gateways: record, keys, heartbeat, events.

use control::items::{self, Heartbeat};
use model::gateway::PreviousGatewayKeys;
use model::{Actor, Gateway, GatewayState, id};

use super::{Audit, changes, held, wants};
use crate::ledger::{GatewayTale, Ledger};

/// Checks all gateways.
pub fn check(audit: &mut Audit<'_>, ledger: &Ledger) {
    for tale in &ledger.gateways {
        let id = tale.id().as_str();
        let Some((found, item)) = audit.claim::<Gateway>(id, &items::gateway(tale.id())) else {
            continue;
        };
        changes(audit, id, item.version);
        record(audit, tale, &found);
        for keys in &tale.sets {
            held(audit, id, &items::wireguard_key(keys.tunnel.as_bytes()));
        }
        heartbeat(audit, tale);
        events(audit, ledger, tale, &found);
    }
}

fn record(audit: &mut Audit<'_>, tale: &GatewayTale, found: &Gateway) {
    let before = tale.sets.len().checked_sub(2).map(|at| tale.sets[at]);
    let expected = Gateway {
        bootstrap: None,
        keys: tale.sets.last().copied(),
        previous: before
            .zip(tale.previous_until)
            .map(|(keys, until)| PreviousGatewayKeys { keys, until }),
        // The schedule and the operators decide these; their events are checked below.
        state: found.state,
        changed_at: found.changed_at,
        rotation_wanted_at: found.rotation_wanted_at,
        ..tale.made.clone()
    };
    audit.equal("a gateway's record", found, &expected);
}

/// One heartbeat, under the present key, with the version that was answered last. That of an older
/// key belongs to nobody.
fn heartbeat(audit: &mut Audit<'_>, tale: &GatewayTale) {
    let keys = tale.sets.last().expect("it has registered");
    let key = items::heartbeat(tale.id(), &keys.identity);
    if let Some((beat, item)) = audit.claim::<Heartbeat>(tale.id().as_str(), &key) {
        let found = (
            beat.gateway,
            beat.load,
            beat.seen_at.is_some(),
            item.version,
        );
        let load = tale.load.unwrap_or(0);
        let expected = (tale.id().clone(), load, tale.load.is_some(), tale.version);
        audit.equal("a gateway's last heartbeat", &found, &expected);
    }
}

/// One event for each change; those of its state lead from `registered` to where it is.
fn events(audit: &mut Audit<'_>, ledger: &Ledger, tale: &GatewayTale, found: &Gateway) {
    let id = tale.id().as_str();
    let itself = Actor::Gateway(tale.id().clone());
    audit.one(id, "gateway.created", |event| {
        event.at == tale.made.created_at
    });
    let key = |keys: &model::gateway::GatewayKeys| format!("key {}", id::key_hash(&keys.identity));
    for (at, keys) in tale.sets.iter().enumerate() {
        let action = if at == 0 {
            "gateway.registered"
        } else {
            "gateway.rotated"
        };
        audit.one(id, action, |event| {
            event.actor == itself && event.detail == key(keys)
        });
    }
    let since = found.rotation_wanted_at;
    let most = tale.sets.len() - 1 + usize::from(since.is_some());
    let wanted = (id, "gateway.rotation-wanted");
    wants(audit, ledger, wanted, since, most);
    states(audit, id, found);
}

fn states(audit: &mut Audit<'_>, id: &str, found: &Gateway) {
    let mut events = audit.take(id, |event| matches!(event.actor, Actor::Schedule(_)));
    events.sort_unstable_by_key(|event| event.id);
    let mut state = GatewayState::Registered;
    for event in events {
        if event.detail != format!("was {state}") {
            audit.breach(format!("{id}: {event:?} where it was {state}"));
        }
        let next = event.action.trim_start_matches("gateway.");
        let next: Result<GatewayState, _> = serde_json::from_value(next.into());
        match next {
            Ok(next) if state.can_become(next) => state = next,
            _ => audit.breach(format!("{id}: {event:?} leads nowhere")),
        }
        if state == found.state {
            audit.equal(
                &format!("{id}: since when {state}"),
                &found.changed_at,
                &event.at,
            );
        }
    }
    audit.equal(&format!("{id}: its state"), &found.state, &state);
}
