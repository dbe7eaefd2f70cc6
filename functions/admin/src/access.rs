//! Handlers of setup, logins, sessions, and of who the admins are.

use std::sync::Arc;

use api::admin::List;
use api::admins::{
    ChallengeAnswer, NewAdmin, RoleRequest, SessionAnswer, SessionRequest, SessionView,
    SetupRequest,
};
use axum::Json;
use axum::extract::State;
use edge::{Edge, Failure, Signed};
use model::{Admin, AdminId, SetupCode};

use crate::ByAdmin;

pub(crate) async fn setup(
    State(edge): State<Edge>,
    State(code): State<Arc<Option<SetupCode>>>,
    request: Signed,
) -> Result<Json<Admin>, Failure> {
    let body: SetupRequest = request.json()?;
    let context = edge.context(request.moment);
    let code = code.as_ref().as_ref();
    let owner = control::setup::setup(&context, code, request.signer, body).await?;
    Ok(Json(owner))
}

pub(crate) async fn challenge(
    State(edge): State<Edge>,
    request: Signed,
) -> Result<Json<ChallengeAnswer>, Failure> {
    request.nothing()?;
    let context = edge.context(request.moment);
    let answer = control::sessions::challenge(&context, request.signer).await?;
    Ok(Json(answer))
}

pub(crate) async fn open_session(
    State(edge): State<Edge>,
    request: Signed,
) -> Result<Json<SessionAnswer>, Failure> {
    let body: SessionRequest = request.json()?;
    let context = edge.context(request.moment);
    let answer = control::sessions::open(&context, request.signer, &body).await?;
    Ok(Json(answer))
}

pub(crate) async fn show_session(by: ByAdmin) -> Json<SessionView> {
    let asking = by.request.asking;
    Json(SessionView {
        admin: asking.admin,
        expires_at: asking.session.expires_at,
    })
}

pub(crate) async fn end_session(by: ByAdmin) -> Result<Json<serde_json::Value>, Failure> {
    by.request.nothing()?;
    control::sessions::end(&by.context(), &by.request.asking).await?;
    Ok(Json(serde_json::json!({})))
}

pub(crate) async fn list_admins(by: ByAdmin) -> Result<Json<List<Admin>>, Failure> {
    let items = control::admins::list(&by.context()).await?;
    Ok(Json(List { items, next: None }))
}

pub(crate) async fn add_admin(by: ByAdmin) -> Result<Json<Admin>, Failure> {
    let new: NewAdmin = by.request.json()?;
    let asks = &by.request.asking.admin.id;
    let admin = control::admins::add(&by.context(), asks, new).await?;
    Ok(Json(admin))
}

pub(crate) async fn change_role(by: ByAdmin) -> Result<Json<Admin>, Failure> {
    let id: AdminId = by.request.id()?;
    let RoleRequest { role } = by.request.json()?;
    let asks = &by.request.asking.admin.id;
    let admin = control::admins::change_role(&by.context(), asks, &id, role).await?;
    Ok(Json(admin))
}

pub(crate) async fn remove_admin(by: ByAdmin) -> Result<Json<Admin>, Failure> {
    let id: AdminId = by.request.id()?;
    by.request.nothing()?;
    let asks = &by.request.asking.admin.id;
    let admin = control::admins::remove(&by.context(), asks, &id).await?;
    Ok(Json(admin))
}
