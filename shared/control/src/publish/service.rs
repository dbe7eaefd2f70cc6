//! Which gateways come into service and which leave it, and the alarm when too many went quiet.

use model::{Actor, Gateway, GatewayId, GatewayState};
use rules::health::{self, Judgement, MassSilence, Observed};
use rules::listening::{self, Listening};
use store::{CommitError, Expect, Item, Write};

use super::{ACTOR, Alarm, event};
use crate::{Context, Error, audit, gateways, items};

/// The most gateways of one commit: each is two writes, its state and its audit event.
const MOST_AT_ONCE: usize = store::MOST_WRITES / 2;

/// What came of judging.
pub(super) struct Judged {
    /// The gateways as they are then.
    pub observed: Vec<Observed>,
    /// Those whose state changed, and to what.
    pub changes: Vec<(GatewayId, GatewayState)>,
    /// Whether the control plane suspects itself.
    pub mass_silence: bool,
    /// Whether changes are left for the next run.
    pub unfinished: bool,
}

/// Judges all gateways and commits what changes, in at most so many commits. `judged` and `alarm`
/// are those items.
pub(super) async fn judge(
    context: &Context<'_>,
    judged: Option<&Item>,
    alarm: Option<&Item>,
    most_commits: u32,
) -> Result<Judged, Error> {
    let now = context.moment.now;
    let listening = listen(context, judged).await?;
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

    let numbered: Vec<_> = (event::FIRST_CHANGE..).zip(changes).collect();
    let mut made = Vec::new();
    let mut commits = most_commits;
    let mut unfinished = false;
    for some in numbered.chunks(MOST_AT_ONCE) {
        unfinished |= !change(context, &mut observed, some, &mut commits, &mut made).await?;
    }
    if can_clear || mass_silence.is_some() {
        sound(context, alarm, mass_silence.as_ref()).await?;
    }
    Ok(Judged {
        observed: observed.into_iter().map(|(observed, _)| observed).collect(),
        changes: made,
        mass_silence: mass_silence.is_some(),
        unfinished,
    })
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
    let mark = items::put(items::judged(), expect, &listening);
    match context.store.commit(now, vec![mark]).await {
        // Another run was faster; its mark is as good.
        Ok(()) | Err(CommitError::Failed(_)) => Ok(listening),
        Err(error) => Err(error.into()),
    }
}

/// Commits the new states of some gateways at once. One that somebody else changed meanwhile is left
/// to the next run, which judges it as it is then. `false` if there were not enough commits.
async fn change(
    context: &Context<'_>,
    observed: &mut [(Observed, u64)],
    changes: &[(u32, (GatewayId, GatewayState))],
    commits: &mut u32,
    made: &mut Vec<(GatewayId, GatewayState)>,
) -> Result<bool, Error> {
    let mut left: Vec<_> = changes.iter().collect();
    while !left.is_empty() {
        if *commits == 0 {
            return Ok(false);
        }
        *commits -= 1;
        let mut after = Vec::new();
        let mut writes = Vec::new();
        for (number, (id, next)) in &left {
            let there = observed.iter().find(|(o, _)| o.gateway.id == *id);
            let (observed, version) = there.ok_or(Error::Contended)?;
            let gateway = with_state(context, &observed.gateway, *next);
            writes.extend(change_writes(
                context,
                *number,
                *version,
                &observed.gateway,
                &gateway,
            ));
            after.push(gateway);
        }
        match context.store.commit(context.moment.now, writes).await {
            Ok(()) => {
                for gateway in after {
                    made.push((gateway.id.clone(), gateway.state));
                    let there = observed
                        .iter_mut()
                        .find(|(o, _)| o.gateway.id == gateway.id);
                    if let Some((observed, _)) = there {
                        observed.gateway = gateway;
                    }
                }
                return Ok(true);
            }
            Err(CommitError::Failed(write)) => drop(left.remove(write / 2)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn with_state(context: &Context<'_>, gateway: &Gateway, next: GatewayState) -> Gateway {
    Gateway {
        state: next,
        changed_at: context.moment.now,
        ..gateway.clone()
    }
}

fn change_writes(
    context: &Context<'_>,
    number: u32,
    version: u64,
    before: &Gateway,
    gateway: &Gateway,
) -> [Write; 2] {
    let detail = format!("was {}", before.state);
    let actor = Actor::Schedule(ACTOR.to_owned());
    let action = format!("gateway.{}", gateway.state);
    let expect = Expect::Version(version);
    [
        items::put(items::gateway(&gateway.id), expect, gateway),
        audit::write(context, number, &actor, &action, &gateway.id, detail),
    ]
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
        items::put(items::alarm(), expect, &alarm),
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
