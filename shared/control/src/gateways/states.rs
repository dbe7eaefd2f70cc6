//! The changes of a gateway's state that admins ask for: drain, undrain, retire.
//!
//! Catalogs, configs and rosters follow the state by themselves. A gateway that is retired loses its
//! keys and its heartbeat's item with the same commit: from then on all its requests are refused.

use api::Kind;
use api::admin::WantedState;
use jiff::Timestamp;
use model::{Actor, Gateway, GatewayId, GatewayState};
use store::{Change, CommitError, Expect, Write};

use crate::{Context, Error, MOST_TRIES, audit, items};

/// Brings the gateway `id` to the state that is wanted. Asking again changes nothing.
pub async fn change(
    context: &Context<'_>,
    actor: &Actor,
    id: &GatewayId,
    wanted: WantedState,
) -> Result<Gateway, Error> {
    for _ in 0..MOST_TRIES {
        let (before, version) = super::find(context, id).await?;
        let next = target(wanted);
        if before.state == next {
            return Ok(before);
        }
        check(&before, next)?;
        let now = context.moment.now;
        let (after, mut writes) = if next == GatewayState::Retired {
            retired(&before, now)
        } else {
            let after = Gateway {
                state: next,
                changed_at: now,
                ..before.clone()
            };
            (after, Vec::new())
        };
        let detail = format!("was {}", before.state);
        writes.push(items::put(
            items::gateway(id),
            Expect::Version(version),
            &after,
        ));
        writes.push(audit::write(
            context,
            0,
            actor,
            &format!("gateway.{next}"),
            id,
            detail,
        ));
        match context.store.commit(context.moment.now, writes).await {
            Ok(()) => return Ok(after),
            // It changed meanwhile: judged again as it is now.
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

/// A gateway's record once it is retired, and the writes that remove its heartbeats.
pub(crate) fn retired(before: &Gateway, now: Timestamp) -> (Gateway, Vec<Write>) {
    let previous = before.previous.iter().map(|old| &old.keys);
    let identities = before.keys.iter().chain(previous);
    let writes = identities.map(|keys| Write {
        key: items::heartbeat(&before.id, &keys.identity),
        expect: Expect::Any,
        change: Change::Delete,
    });
    let after = Gateway {
        state: GatewayState::Retired,
        changed_at: now,
        keys: None,
        previous: None,
        bootstrap: None,
        rotation_wanted_at: None,
        ..before.clone()
    };
    (after, writes.collect())
}

fn target(wanted: WantedState) -> GatewayState {
    match wanted {
        WantedState::Draining => GatewayState::Draining,
        WantedState::Active => GatewayState::Active,
        WantedState::Retired => GatewayState::Retired,
    }
}

/// Refuses what the state machine has no way for, and says which way there is.
fn check(gateway: &Gateway, next: GatewayState) -> Result<(), Error> {
    use GatewayState::{Active, Drained, Draining, Failed, Provisioning, Retired, Unhealthy};
    let detail = match (gateway.state, next) {
        // Retiring passes through `drained` or `failed`, which nobody needs to see.
        (Active | Unhealthy, Draining)
        | (Draining, Active)
        | (Draining | Drained | Failed | Provisioning, Retired) => return Ok(()),
        (Active | Unhealthy, Retired) => "drain it first: its devices must find another",
        (Retired, _) => "it is gone for good: make a new gateway",
        (_, Active) => "only a draining gateway can be put back; others come by their heartbeats",
        _ => "there is no way from here: see the states in docs/architecture.md",
    };
    let detail = format!("it is {}: {detail}", gateway.state);
    Err(Error::refused(Kind::GatewayState, detail))
}
