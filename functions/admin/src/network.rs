//! Handlers of what admins see and change of the network.

use api::admin::{self, AuditQuery, CatalogView, GatewayView, InviteView, List, ListQuery};
use api::{Kind, Problem};
use axum::Json;
use edge::Failure;
use model::{AuditEvent, Device, DeviceId, Gateway, GatewayId, Invite, InviteId};

use crate::ByAdmin;

pub(crate) async fn create_invite(by: ByAdmin) -> Result<Json<Invite>, Failure> {
    let new = by.request.json()?;
    let invite = control::invites::create(&by.context(), &by.limits, &by.actor, new).await?;
    Ok(Json(invite))
}

pub(crate) async fn list_invites(by: ByAdmin) -> Result<Json<List<InviteView>>, Failure> {
    let query: ListQuery<InviteId> = by.request.query()?;
    let after = query.after.as_ref().map(InviteId::as_str);
    let (items, next) = control::invites::list(&by.context(), after).await?;
    Ok(Json(List { items, next }))
}

pub(crate) async fn withdraw(by: ByAdmin) -> Result<Json<Invite>, Failure> {
    let id: InviteId = by.request.id()?;
    by.request.nothing()?;
    let invite = control::invites::withdraw(&by.context(), &by.actor, &id).await?;
    Ok(Json(invite))
}

pub(crate) async fn list_devices(by: ByAdmin) -> Result<Json<List<Device>>, Failure> {
    let query: ListQuery<DeviceId> = by.request.query()?;
    let after = query.after.as_ref().map(DeviceId::as_str);
    let (items, next) = control::devices::list(&by.context(), after).await?;
    Ok(Json(List { items, next }))
}

pub(crate) async fn revoke(by: ByAdmin) -> Result<Json<Device>, Failure> {
    let id: DeviceId = by.request.id()?;
    by.request.nothing()?;
    let device = control::devices::revoke(&by.context(), &by.actor, &id).await?;
    Ok(Json(device))
}

pub(crate) async fn rotate_device(by: ByAdmin) -> Result<Json<Device>, Failure> {
    let id: DeviceId = by.request.id()?;
    by.request.nothing()?;
    let device = control::devices::rotation::want(&by.context(), &by.actor, &id).await?;
    Ok(Json(device))
}

pub(crate) async fn create_gateway(by: ByAdmin) -> Result<Json<Gateway>, Failure> {
    let new = by.request.json()?;
    let gateway = control::gateways::create(&by.context(), &by.limits, &by.actor, new).await?;
    Ok(Json(gateway))
}

pub(crate) async fn list_gateways(by: ByAdmin) -> Result<Json<List<GatewayView>>, Failure> {
    let items = control::gateways::list(&by.context()).await?;
    Ok(Json(List { items, next: None }))
}

pub(crate) async fn change_state(by: ByAdmin) -> Result<Json<Gateway>, Failure> {
    let id: GatewayId = by.request.id()?;
    let change: admin::ChangeState = by.request.json()?;
    let context = by.context();
    let gateway = control::gateways::states::change(&context, &by.actor, &id, change.state).await?;
    Ok(Json(gateway))
}

pub(crate) async fn rotate_gateway(by: ByAdmin) -> Result<Json<Gateway>, Failure> {
    let id: GatewayId = by.request.id()?;
    by.request.nothing()?;
    let gateway = control::gateways::rotation::want(&by.context(), &by.actor, &id).await?;
    Ok(Json(gateway))
}

pub(crate) async fn show_catalog(by: ByAdmin) -> Result<Json<CatalogView>, Failure> {
    let Some((head, alarm)) = control::publish::show(&by.context()).await? else {
        let detail =
            "the first run of 'publish' makes the catalog: wait for it, or see why it fails";
        return Err(Problem::new(Kind::NothingPublished, detail).into());
    };
    let alarms = alarm.since.map(|since| {
        format!(
            "since {since:.0}: {} of {} active gateways went quiet at once; the last list is kept",
            alarm.quiet.len(),
            alarm.active
        )
    });
    let ends = head.warnings(by.context().moment.now);
    Ok(Json(CatalogView {
        version: head.version,
        published_at: head.published_at,
        alarms: alarms.into_iter().chain(ends).collect(),
    }))
}

pub(crate) async fn list_audit(by: ByAdmin) -> Result<Json<List<AuditEvent>>, Failure> {
    let query: AuditQuery = by.request.query()?;
    let context = by.context();
    let today = control::audit::day_of(context.moment.now);
    let day = query.day.unwrap_or(today);
    let before = query.after.map(|id| id.to_string());
    let (items, next) = control::audit::list(&context, day, before.as_deref()).await?;
    Ok(Json(List { items, next }))
}
