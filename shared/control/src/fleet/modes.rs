//! What may be done at a provider: `plan` until somebody says otherwise, `smoke` for trials, `live` for
//! the fleet.
//!
//! `live` spends money month after month, so it takes an owner and a reason, both of which stay on
//! record, and may end by itself. Every plan's commit checks the version of the policy that it was made
//! under: taking a provider back to `plan` stops the next one, whoever is in the middle of it.

use api::Kind;
use api::fleet::{ProviderView, SetMode};
use model::provider::Approval;
use model::{Actor, Admin, Mode, ProviderName, ProviderPolicy};
use store::{Expect, Item, Range, StoreError};

use crate::items::Read as _;
use crate::{Context, Error, checks, items};

/// What may be done at a provider.
pub async fn show(context: &Context<'_>, provider: &ProviderName) -> Result<ProviderView, Error> {
    let (policy, _) = current(context, provider).await?;
    Ok(ProviderView {
        provider: provider.clone(),
        policy,
    })
}

/// What may be done at every provider about which somebody has said something, by name.
pub async fn list(context: &Context<'_>) -> Result<Vec<ProviderView>, Error> {
    let range = Range::all(items::PROVIDERS);
    let items = store::query_all(context.store, context.moment.now, &range).await?;
    items
        .iter()
        .map(|item| {
            let provider = item.key.sk.parse();
            let corrupt = |error: model::Invalid| StoreError::Corrupt(error.to_string());
            Ok(ProviderView {
                provider: provider.map_err(corrupt)?,
                policy: item.read()?,
            })
        })
        .collect()
}

/// Says what may be done at a provider from now on. Only an owner may allow `live` or raise what a
/// smoke run may cost; any operator may take a provider back.
pub async fn set(
    context: &Context<'_>,
    who: &Admin,
    provider: &ProviderName,
    request: SetMode,
) -> Result<ProviderView, Error> {
    let now = context.moment.now;
    checks::note(&request.reason)?;
    let (before, expect) = current(context, provider).await?;
    let smoke_most_per_hour = request
        .smoke_most_per_hour
        .unwrap_or(before.smoke_most_per_hour);
    let raises = smoke_most_per_hour > before.smoke_most_per_hour;
    if (request.mode == Mode::Live || raises) && !who.is_owner() {
        let detail = "only an owner may approve of mode 'live' or of dearer smoke runs";
        return Err(Error::refused(Kind::NotAllowed, detail));
    }
    let approval = match request.mode {
        Mode::Live => Some(approval(context, who, &request)?),
        _ => None,
    };
    let policy = ProviderPolicy {
        mode: request.mode,
        approval,
        smoke_most_per_hour,
    };
    let until = policy
        .approval
        .as_ref()
        .and_then(|approval| approval.expires_at);
    let until = until.map(|at| format!(" until {at}"));
    let detail = format!(
        "was {}, smoke runs may cost {} an hour; {}{}",
        before.mode,
        policy.smoke_most_per_hour,
        request.reason,
        until.unwrap_or_default()
    );
    let actor = Actor::Admin(who.id.clone());
    let action = format!("provider.{}", policy.mode);
    let writes = vec![
        items::put(items::provider(provider), expect, &policy),
        crate::audit::write(context, 0, &actor, &action, provider, detail),
    ];
    context.store.commit(now, writes).await?;
    Ok(ProviderView {
        provider: provider.clone(),
        policy,
    })
}

fn approval(context: &Context<'_>, who: &Admin, request: &SetMode) -> Result<Approval, Error> {
    let now = context.moment.now;
    if request.reason.trim().is_empty() {
        let detail = "'reason' must say why the provider may be used live";
        return Err(checks::malformed(detail));
    }
    if request.expires_at.is_some_and(|at| at <= now) {
        return Err(checks::malformed(
            "'expires_at' is in the past: choose a later time",
        ));
    }
    Ok(Approval {
        by: who.id.clone(),
        at: now,
        reason: request.reason.clone(),
        expires_at: request.expires_at,
    })
}

async fn current(
    context: &Context<'_>,
    provider: &ProviderName,
) -> Result<(ProviderPolicy, Expect), Error> {
    let found = context
        .store
        .get_many(context.moment.now, &[items::provider(provider)])
        .await?;
    Ok(in_force(found[0].as_ref())?)
}

/// The policy that an item of [`items::provider`] puts in force, and what a write in its place must
/// expect.
pub(super) fn in_force(item: Option<&Item>) -> Result<(ProviderPolicy, Expect), StoreError> {
    let expect = item.map_or(Expect::Absent, |item| Expect::Version(item.version));
    Ok((items::read(item)?.unwrap_or_default(), expect))
}
