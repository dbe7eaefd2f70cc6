//! The policy: the one in force, the ones before it, and what it decides.
//!
//! The policy in force is one item, which every answer to a device reads together with the device.
//! Applying another is one commit: it takes the item's place only if nobody else did since the
//! caller looked, is kept under its version for good, and is in the audit. Until one was applied,
//! the default policy is in force, as version 0.

use std::collections::BTreeMap;

use api::Kind;
use api::policy::{
    ApplyPolicy, Asker, Decision, ExplainPolicy, Explanation, PolicyView, Ruling, Through,
};
use model::{Actor, Device, DeviceState, Disclosure, Gateway, Policy, Role};
use rules::policy::{self as rule, Destination, Subject, Verdict};
use store::{CommitError, Expect, Item, Range, StoreError};

use crate::items::Read as _;
use crate::{Context, Error, items};

/// The policy in force.
pub async fn show(context: &Context<'_>) -> Result<PolicyView, Error> {
    let (view, _) = current(context).await?;
    Ok(view)
}

/// Puts a policy in force in the place of the version that the caller expects. The same request
/// again changes nothing.
pub async fn apply(
    context: &Context<'_>,
    actor: &Actor,
    request: ApplyPolicy,
) -> Result<PolicyView, Error> {
    let now = context.moment.now;
    let ApplyPolicy {
        expected_version,
        policy,
    } = request;
    policy
        .check()
        .map_err(|invalid| Error::refused(Kind::PolicyInvalid, invalid.to_string()))?;
    let (there, expect) = current(context).await?;
    if is_done(&there, expected_version, &policy) {
        return Ok(there);
    }
    if there.version != expected_version {
        return Err(conflict(there.version));
    }
    let view = PolicyView {
        version: there.version + 1,
        applied_at: Some(now),
        policy,
    };
    let detail = format!(
        "{} ingress and {} egress rules",
        view.policy.ingress.len(),
        view.policy.egress.len()
    );
    let narrows = narrows(there.policy.disclosure, view.policy.disclosure);
    let mut writes = vec![
        items::put(items::policy(), expect, &view),
        items::put(items::policy_version(view.version), Expect::Absent, &view),
        crate::audit::write(context, 0, actor, "policy.applied", &view.version, detail),
    ];
    // Keys of the next epoch were given by the policy before: it begins with others.
    writes.extend(narrows.then(crate::epochs::revoked));
    match context.store.commit(now, writes).await {
        Ok(()) => Ok(view),
        Err(CommitError::Failed(_)) => {
            let (there, _) = current(context).await?;
            if is_done(&there, expected_version, &view.policy) {
                return Ok(there);
            }
            Err(conflict(there.version))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether devices hold fewer slices than before, so that what they were given of the next epoch is too
/// much.
fn narrows(before: Disclosure, after: Disclosure) -> bool {
    match (before, after) {
        (Disclosure::Sealed { held: before, .. }, Disclosure::Sealed { held: after, .. }) => {
            after < before
        }
        _ => false,
    }
}

/// What the policy in force decides about a device and gateways, and by which rules: asked of the
/// same functions that catalogs and rosters ask.
pub async fn explain(context: &Context<'_>, request: &ExplainPolicy) -> Result<Explanation, Error> {
    let now = context.moment.now;
    let mut keys = vec![items::policy()];
    if let Asker::Device(id) = &request.who {
        keys.push(items::device(id));
    }
    let found = context.store.get_many(now, &keys).await?;
    let in_force = in_force(found[0].as_ref())?;
    let (cohort, tags, revoked) = match &request.who {
        Asker::Kind { cohort, tags } => (cohort.clone(), tags.clone(), false),
        Asker::Device(id) => {
            let device: Option<Device> = items::read(found[1].as_ref())?;
            let device = device.ok_or_else(|| {
                let detail = format!("{id} is not enrolled: see the list of devices");
                Error::refused(Kind::DeviceUnknown, detail)
            })?;
            let revoked = device.state == DeviceState::Revoked;
            (device.cohort, device.tags, revoked)
        }
    };
    let subject = Subject {
        cohort: &cohort,
        tags: &tags,
    };
    let gateways = asked_about(context, request).await?;
    let destination = request.to.map(|to| Destination {
        address: to.ip(),
        port: to.port(),
        transport: request.protocol,
    });
    Ok(Explanation {
        policy_version: in_force.version,
        catalog: rule::catalog_of(&in_force.policy, subject),
        decisions: decisions(&in_force.policy, subject, gateways, destination),
        cohort,
        tags,
        revoked,
    })
}

/// The policy that an item of [`items::policy`] puts in force.
pub(crate) fn in_force(item: Option<&Item>) -> Result<PolicyView, StoreError> {
    Ok(items::read(item)?.unwrap_or_else(|| PolicyView {
        version: 0,
        applied_at: None,
        policy: Policy::default(),
    }))
}

/// The policy in force, and what a write in its place must expect.
pub(crate) async fn current(context: &Context<'_>) -> Result<(PolicyView, Expect), Error> {
    let found = context
        .store
        .get_many(context.moment.now, &[items::policy()])
        .await?;
    let item = found[0].as_ref();
    let expect = item.map_or(Expect::Absent, |item| Expect::Version(item.version));
    Ok((in_force(item)?, expect))
}

/// Whether `there` is what applying `policy` over the version `expected` makes or leaves.
fn is_done(there: &PolicyView, expected: u64, policy: &Policy) -> bool {
    let just_after = Some(there.version) == expected.checked_add(1);
    there.policy == *policy && (there.version == expected || just_after)
}

fn conflict(version: u64) -> Error {
    Error::Refused {
        kind: Kind::PolicyConflict,
        detail: format!(
            "version {version} is in force: look at it ('policy show'), bring your changes \
             together with it and apply again"
        ),
        version: Some(version),
    }
}

/// The gateways that an explanation was asked about.
async fn asked_about(
    context: &Context<'_>,
    request: &ExplainPolicy,
) -> Result<Vec<Gateway>, Error> {
    let now = context.moment.now;
    let items = match &request.through {
        Some(Through::Gateway(id)) => {
            let mut found = context.store.get_many(now, &[items::gateway(id)]).await?;
            let item = found.pop().flatten().ok_or_else(|| {
                let detail = format!("{id} does not exist: see the list of gateways");
                Error::refused(Kind::GatewayUnknown, detail)
            })?;
            vec![item]
        }
        _ => store::query_all(context.store, now, &Range::all(items::GATEWAYS)).await?,
    };
    let mut gateways: Vec<Gateway> = items.iter().map(Item::read).collect::<Result<_, _>>()?;
    match &request.through {
        Some(Through::Gateway(id)) => {
            if let Some(over) = gateways.iter().find(|gateway| gateway.state.is_over()) {
                let detail = format!("{id} is {}: it lets nobody in", over.state);
                return Err(Error::refused(Kind::GatewayState, detail));
            }
        }
        Some(Through::Pool(pool)) => {
            gateways.retain(|gateway| gateway.pool == *pool && !gateway.state.is_over());
        }
        None => gateways.retain(|gateway| !gateway.state.is_over()),
    }
    Ok(gateways)
}

/// One decision for all gateways that the policy cannot tell apart.
fn decisions(
    policy: &Policy,
    subject: Subject<'_>,
    gateways: Vec<Gateway>,
    destination: Option<Destination>,
) -> Vec<Decision> {
    let mut alike: BTreeMap<_, Vec<Gateway>> = BTreeMap::new();
    for gateway in gateways {
        let is_for = gateway.cohorts.contains(subject.cohort);
        let key = (gateway.role, gateway.pool.clone(), is_for);
        alike.entry(key).or_default().push(gateway);
    }
    alike
        .into_iter()
        .map(|((role, pool, is_for), gateways)| {
            let usable = ruling(
                rule::gateway(policy, subject, &gateways[0]),
                &format!("the pool '{pool}'"),
                is_for,
            );
            let to = destination.filter(|_| role == Role::Egress);
            let reaches = to.map(|to| {
                let verdict = if is_for {
                    rule::egress(policy, subject, &pool, to)
                } else {
                    rule::gateway(policy, subject, &gateways[0])
                };
                let what = format!("{} port {} through the pool '{pool}'", to.address, to.port);
                ruling(verdict, &what, is_for)
            });
            Decision {
                gateways: gateways.into_iter().map(|gateway| gateway.id).collect(),
                role,
                pool,
                usable,
                reaches,
            }
        })
        .collect()
}

fn ruling(verdict: Verdict, what: &str, is_for: bool) -> Ruling {
    let why = match (&verdict.rule, verdict.allowed) {
        _ if !is_for => "the gateway is for other cohorts".to_owned(),
        (Some(rule), true) => format!("rule '{rule}' allows {what}"),
        (Some(rule), false) => format!("rule '{rule}' denies {what}"),
        (None, _) => format!("no rule allows {what}"),
    };
    Ruling {
        allowed: verdict.allowed,
        rule: verdict.rule,
        why,
    }
}
