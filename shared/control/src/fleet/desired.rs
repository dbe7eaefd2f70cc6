//! The fleet that is wanted: the one in force and the ones before it.
//!
//! As with the policy, the fleet in force is one item; applying another is one commit, which takes the
//! item's place only if nobody else did since the caller looked, keeps it under its version for good,
//! and is in the audit. Applying a fleet rents nothing: a plan shows what it would, and carrying that
//! out is another request.
//!
//! Where a provider is live, or a fleet was ever carried out, it takes an owner to raise the cap on what
//! all may cost, and to say which program the gateways run: an operator who could do either could spend
//! an owner's money, or read what people send.

use api::Kind;
use api::fleet::{ApplyFleet, FleetView};
use model::{Actor, Admin, Fleet, Limits, Mode};
use store::{Change, CommitError, Expect, Item, StoreError, Write};

use super::modes;
use crate::{Context, Error, checks, items};

/// The fleet in force.
pub async fn show(context: &Context<'_>) -> Result<FleetView, Error> {
    let (view, _) = current(context).await?;
    Ok(view)
}

/// Puts a fleet in force in the place of the version that the caller expects, within the signed
/// `limits`. The same request again changes nothing.
pub async fn apply(
    context: &Context<'_>,
    limits: &Limits,
    who: &Admin,
    request: ApplyFleet,
) -> Result<FleetView, Error> {
    let now = context.moment.now;
    let ApplyFleet {
        expected_version,
        fleet,
    } = request;
    fleet
        .check()
        .map_err(|invalid| Error::refused(Kind::FleetInvalid, invalid.to_string()))?;
    for cohort in fleet.pools.values().flat_map(|pool| &pool.cohorts) {
        checks::cohort(limits, cohort)?;
    }
    let (there, expect) = current(context).await?;
    let view = FleetView {
        version: there.version + 1,
        applied_at: Some(now),
        fleet: Some(fleet),
    };
    if is_done(&there, expected_version, &view) {
        return Ok(there);
    }
    if there.version != expected_version {
        return Err(conflict(there.version));
    }
    let answered = answered_for(context, &there).await?;
    if let Some((before, _)) = &answered
        && let Some(what) = takes_an_owner(before.as_ref(), view.fleet.as_ref())
        && !who.is_owner()
    {
        let detail = format!("gateways are rented for real: only an owner may {what}");
        return Err(Error::refused(Kind::NotAllowed, detail));
    }
    let pools = view.fleet.iter().flat_map(|fleet| &fleet.pools);
    let pools: Vec<String> = pools
        .map(|(name, pool)| format!("{name}: {} at {}", pool.count, pool.provider))
        .collect();
    let mut writes = vec![
        items::put(items::fleet(), expect, &view),
        items::put(items::fleet_version(view.version), Expect::Absent, &view),
        crate::audit::write(
            context,
            0,
            &Actor::Admin(who.id.clone()),
            "fleet.applied",
            &view.version,
            pools.join(", "),
        ),
    ];
    writes.extend(answered.map(|(_, expect)| Write {
        key: items::fleet_accepted(),
        expect,
        change: Change::Check,
    }));
    match context.store.commit(now, writes).await {
        Ok(()) => Ok(view),
        Err(CommitError::Failed(_)) => {
            let (there, _) = current(context).await?;
            if is_done(&there, expected_version, &view) {
                return Ok(there);
            }
            Err(conflict(there.version))
        }
        Err(error) => Err(error.into()),
    }
}

/// The fleet that an item of [`items::fleet`] puts in force.
pub(super) fn in_force(item: Option<&Item>) -> Result<FleetView, StoreError> {
    Ok(items::read(item)?.unwrap_or(FleetView {
        version: 0,
        applied_at: None,
        fleet: None,
    }))
}

async fn current(context: &Context<'_>) -> Result<(FleetView, Expect), Error> {
    let found = context
        .store
        .get_many(context.moment.now, &[items::fleet()])
        .await?;
    let item = found[0].as_ref();
    let expect = item.map_or(Expect::Absent, |item| Expect::Version(item.version));
    Ok((in_force(item)?, expect))
}

/// What of the change from one fleet to the next an owner must answer for.
fn takes_an_owner(before: Option<&Fleet>, after: Option<&Fleet>) -> Option<&'static str> {
    let after = after?;
    let is_dearer = before.is_none_or(|before| {
        after.currency != before.currency || after.most_per_month > before.most_per_month
    });
    if is_dearer {
        return Some("set or raise 'most_per_month'");
    }
    let is_other = before.is_none_or(|before| after.agent != before.agent);
    is_other.then_some("change 'agent', the program that gateways run")
}

/// The fleet that an owner has answered for, by approving of a provider or because its plan was carried
/// out, and what to expect of the accepted one; none if nothing was rented for real yet.
async fn answered_for(
    context: &Context<'_>,
    there: &FleetView,
) -> Result<Option<(Option<Fleet>, Expect)>, Error> {
    let now = context.moment.now;
    let found = context
        .store
        .get_many(now, &[items::fleet_accepted()])
        .await?;
    if let Some(item) = &found[0] {
        let accepted = in_force(Some(item))?;
        return Ok(Some((accepted.fleet, Expect::Version(item.version))));
    }
    let all = modes::list(context).await?;
    let is_live = all.iter().any(|one| one.policy.mode_at(now) == Mode::Live);
    Ok(is_live.then(|| (there.fleet.clone(), Expect::Absent)))
}

/// Whether `there` is what applying `wanted` over the version `expected` makes or leaves.
fn is_done(there: &FleetView, expected: u64, wanted: &FleetView) -> bool {
    let just_after = Some(there.version) == expected.checked_add(1);
    there.fleet == wanted.fleet && (there.version == expected || just_after)
}

fn conflict(version: u64) -> Error {
    Error::Refused {
        kind: Kind::FleetConflict,
        detail: format!(
            "version {version} is in force: look at it ('fleet show'), bring your changes together \
             with it and apply again"
        ),
        version: Some(version),
    }
}
