//! The routes of the fleet that is wanted, and of what may be done at providers. None of them needs a
//! provider's credential: those that do are the function `reconcile`'s.

use api::admin::List;
use api::fleet::{ApplyFleet, FleetView, ProviderView, SetMode};
use axum::Json;
use control::fleet::{desired, modes};
use edge::Failure;
use model::ProviderName;

use super::ByAdmin;

pub(super) async fn show(by: ByAdmin) -> Result<Json<FleetView>, Failure> {
    let view = desired::show(&by.context()).await?;
    Ok(Json(view))
}

pub(super) async fn apply(by: ByAdmin) -> Result<Json<FleetView>, Failure> {
    let request: ApplyFleet = by.request.json()?;
    let who = &by.request.asking.admin;
    let view = desired::apply(&by.context(), &by.limits, who, request).await?;
    Ok(Json(view))
}

pub(super) async fn list_providers(by: ByAdmin) -> Result<Json<List<ProviderView>>, Failure> {
    let items = modes::list(&by.context()).await?;
    Ok(Json(List { items, next: None }))
}

pub(super) async fn set_mode(by: ByAdmin) -> Result<Json<ProviderView>, Failure> {
    let provider: ProviderName = by.request.id()?;
    let request: SetMode = by.request.json()?;
    let who = &by.request.asking.admin;
    let view = modes::set(&by.context(), who, &provider, request).await?;
    Ok(Json(view))
}
