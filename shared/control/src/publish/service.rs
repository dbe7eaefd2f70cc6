//! Which gateways come into service and which leave it, and the alarm when too many went quiet.

use model::{Actor, GatewayId, GatewayState};
use rules::health::{self, Judgement, MassSilence, Observed};
use rules::listening::{self, Listening};
use store::{CommitError, Expect, Item, Write};

use super::{ACTOR, Alarm, event};
use crate::{Context, Error, audit, gateways, items};

/// Judges all gateways and commits what changes: the gateways as they are then, the changes, and
/// whether the control plane suspects itself.
pub(super) async fn judge(
    context: &Context<'_>,
) -> Result<(Vec<Observed>, Vec<(GatewayId, GatewayState)>, bool), Error> {
    let now = context.moment.now;
    let found = context
        .store
        .get_many(now, &[items::judged(), items::alarm()])
        .await?;
    let listening = listen(context, found[0].as_ref()).await?;
    let mut observed = gateways::observe(context).await?;
    let before: Vec<Observed> = observed
        .iter()
        .map(|(observed, _)| observed.clone())
        .collect();
    let Judgement {
        changes,
        mass_silence,
        can_clear,
    } = health::judge(&before, &context.network.timing, listening.since, now);

    let mut made = Vec::new();
    for (number, (id, next)) in (event::FIRST_CHANGE..).zip(changes) {
        let Some((observed, version)) = observed.iter_mut().find(|(o, _)| o.gateway.id == id)
        else {
            continue;
        };
        if change(context, number, observed, *version, next).await? {
            made.push((id, next));
        }
    }
    if can_clear || mass_silence.is_some() {
        sound(context, found[1].as_ref(), mass_silence.as_ref()).await?;
    }
    let observed = observed.into_iter().map(|(observed, _)| observed).collect();
    Ok((observed, made, mass_silence.is_some()))
}

/// Since when the control plane has listened; leaves a mark of this run if one is due.
async fn listen(context: &Context<'_>, item: Option<&Item>) -> Result<Listening, Error> {
    let now = context.moment.now;
    let last: Option<Listening> = items::read(item)?;
    let listening = listening::listen(last.as_ref(), &context.network.timing, now);
    if last == Some(listening) {
        return Ok(listening);
    }
    let expect = item.map_or(Expect::Absent, |item| Expect::Version(item.version));
    let mark = Write::put(items::judged(), expect, &listening);
    match context.store.commit(now, vec![mark]).await {
        // Another run was faster; its mark is as good.
        Ok(()) | Err(CommitError::Failed(_)) => Ok(listening),
        Err(error) => Err(error.into()),
    }
}

/// Commits one gateway's new state. `false` if somebody else changed the gateway meanwhile: the
/// next run judges it as it is then.
async fn change(
    context: &Context<'_>,
    number: u32,
    observed: &mut Observed,
    version: u64,
    next: GatewayState,
) -> Result<bool, Error> {
    let mut gateway = observed.gateway.clone();
    let detail = format!("was {}", gateway.state);
    gateway.state = next;
    gateway.changed_at = context.moment.now;
    let actor = Actor::Schedule(ACTOR.to_owned());
    let action = format!("gateway.{next}");
    let writes = vec![
        Write::put(
            items::gateway(&gateway.id),
            Expect::Version(version),
            &gateway,
        ),
        audit::write(context, number, &actor, &action, &gateway.id, detail),
    ];
    match context.store.commit(context.moment.now, writes).await {
        Ok(()) => {
            observed.gateway = gateway;
            Ok(true)
        }
        Err(CommitError::Failed(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Raises or clears the alarm, once for each time that it begins or ends.
async fn sound(
    context: &Context<'_>,
    item: Option<&Item>,
    silence: Option<&MassSilence>,
) -> Result<(), Error> {
    let now = context.moment.now;
    let last: Alarm = items::read(item)?.unwrap_or_default();
    let (alarm, action) = match silence {
        Some(silence) if last.since.is_none() => {
            let alarm = Alarm {
                quiet: silence.late.clone(),
                active: silence.active,
                since: Some(now),
            };
            (alarm, "alarm.raised")
        }
        // One that began later than this run does not end with it.
        None if last.since.is_some_and(|since| since <= now) => (Alarm::default(), "alarm.cleared"),
        _ => return Ok(()),
    };
    let detail = match silence {
        Some(silence) => format!(
            "{} of {} active gateways went quiet at once",
            silence.late.len(),
            silence.active
        ),
        None => String::new(),
    };
    tracing::warn!(action, detail, "mass silence");
    let expect = item.map_or(Expect::Absent, |item| Expect::Version(item.version));
    let actor = Actor::Schedule(ACTOR.to_owned());
    let writes = vec![
        Write::put(items::alarm(), expect, &alarm),
        audit::write(
            context,
            event::ALARM,
            &actor,
            action,
            "mass-silence",
            detail,
        ),
    ];
    match context.store.commit(now, writes).await {
        // Another run saw the same and was faster.
        Ok(()) | Err(CommitError::Failed(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
