//! The routes of the policy, and of the epochs of what it seals.

use api::policy::{ApplyPolicy, BeginEpoch, EpochsView, ExplainPolicy, Explanation, PolicyView};
use axum::Json;
use edge::Failure;

use super::ByAdmin;

pub(super) async fn show(by: ByAdmin) -> Result<Json<PolicyView>, Failure> {
    let view = control::policy::show(&by.context()).await?;
    Ok(Json(view))
}

pub(super) async fn apply(by: ByAdmin) -> Result<Json<PolicyView>, Failure> {
    let request: ApplyPolicy = by.request.json()?;
    let view = control::policy::apply(&by.context(), &by.actor, request).await?;
    Ok(Json(view))
}

pub(super) async fn explain(by: ByAdmin) -> Result<Json<Explanation>, Failure> {
    let request: ExplainPolicy = by.request.json()?;
    let explanation = control::policy::explain(&by.context(), &request).await?;
    Ok(Json(explanation))
}

pub(super) async fn show_epochs(by: ByAdmin) -> Result<Json<EpochsView>, Failure> {
    let view = control::epochs::show(&by.context()).await?;
    Ok(Json(view))
}

pub(super) async fn begin_epoch(by: ByAdmin) -> Result<Json<EpochsView>, Failure> {
    let request: BeginEpoch = by.request.json()?;
    let view = control::epochs::begin(&by.context(), &by.actor, &request).await?;
    Ok(Json(view))
}
