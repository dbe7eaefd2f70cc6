//! The function `admin`: what operators see and do. Every route asks for an operator's key, and
//! reads path, query and body only then.
//!
//! | route | what |
//! |---|---|
//! | `POST`, `GET /v1/admin/invites` | [`control::invites`] |
//! | `POST /v1/admin/invites/{id}/withdrawal` | [`control::invites::withdraw`] |
//! | `GET /v1/admin/devices` | [`control::devices::list`] |
//! | `POST /v1/admin/devices/{id}/revocation` | [`control::devices::revoke`] |
//! | `POST`, `GET /v1/admin/gateways` | [`control::gateways`] |
//! | `GET /v1/admin/catalog` | [`control::publish::show`] |
//! | `GET /v1/admin/audit?day=&after=` | [`control::audit::list`] |
//! | `GET`, `PUT /v1/admin/policy` | [`control::policy`] |
//! | `POST /v1/admin/policy/explanation` | [`control::policy::explain`] |

mod policy;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::admin::{self, AuditQuery, CatalogView, GatewayView, InviteView, List, ListQuery};
use api::policy::{EXPLANATION, POLICY};
use api::{Kind, Problem};
use axum::extract::{FromRef, FromRequest, Request};
use axum::routing::{get, post};
use axum::{Json, Router};
use control::Context;
use edge::{Edge, Failure, Signed};
use model::{
    Actor, AuditEvent, Device, DeviceId, Gateway, IdentityKey, Invite, InviteId, Limits, id,
};

/// What the routes stand on.
#[derive(Clone, FromRef)]
struct Admin {
    edge: Edge,
    operators: Arc<BTreeSet<IdentityKey>>,
    limits: Arc<Limits>,
}

/// The routes; only the holders of the keys in `operators` may use them. What they make must lie
/// within the signed `limits`: anything else could never work.
pub fn routes(edge: Edge, operators: BTreeSet<IdentityKey>, limits: Arc<Limits>) -> Router {
    Router::new()
        .route(admin::INVITES, post(create_invite).get(list_invites))
        .route("/v1/admin/invites/{id}/withdrawal", post(withdraw))
        .route(admin::DEVICES, get(list_devices))
        .route("/v1/admin/devices/{id}/revocation", post(revoke))
        .route(admin::GATEWAYS, post(create_gateway).get(list_gateways))
        .route(admin::CATALOG, get(show_catalog))
        .route(admin::AUDIT, get(list_audit))
        .route(POLICY, get(policy::show).put(policy::apply))
        .route(EXPLANATION, post(policy::explain))
        .with_state(Admin {
            edge,
            operators: Arc::new(operators),
            limits,
        })
}

/// A signed request whose signer is an operator.
struct ByOperator {
    request: Signed,
    actor: Actor,
    edge: Edge,
    limits: Arc<Limits>,
}

impl ByOperator {
    fn context(&self) -> Context<'_> {
        self.edge.context(self.request.moment)
    }
}

impl FromRequest<Admin> for ByOperator {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &Admin) -> Result<Self, Failure> {
        let request = Signed::from_request(request, state).await?;
        if !state.operators.contains(&request.signer) {
            let detail = "sign with an operator's key of this network";
            return Err(Problem::new(Kind::NotAllowed, detail).into());
        }
        let actor = Actor::Operator(id::key_hash(&request.signer));
        Ok(Self {
            request,
            actor,
            edge: state.edge.clone(),
            limits: Arc::clone(&state.limits),
        })
    }
}

async fn create_invite(by: ByOperator) -> Result<Json<Invite>, Failure> {
    let new = by.request.json()?;
    let invite = control::invites::create(&by.context(), &by.limits, &by.actor, new).await?;
    Ok(Json(invite))
}

async fn list_invites(by: ByOperator) -> Result<Json<List<InviteView>>, Failure> {
    let query: ListQuery = by.request.query()?;
    let (items, next) = control::invites::list(&by.context(), query.after.as_deref()).await?;
    Ok(Json(List { items, next }))
}

async fn withdraw(by: ByOperator) -> Result<Json<Invite>, Failure> {
    let id: InviteId = by.request.id()?;
    let invite = control::invites::withdraw(&by.context(), &by.actor, &id).await?;
    Ok(Json(invite))
}

async fn list_devices(by: ByOperator) -> Result<Json<List<Device>>, Failure> {
    let query: ListQuery = by.request.query()?;
    let (items, next) = control::devices::list(&by.context(), query.after.as_deref()).await?;
    Ok(Json(List { items, next }))
}

async fn revoke(by: ByOperator) -> Result<Json<Device>, Failure> {
    let id: DeviceId = by.request.id()?;
    let device = control::devices::revoke(&by.context(), &by.actor, &id).await?;
    Ok(Json(device))
}

async fn create_gateway(by: ByOperator) -> Result<Json<Gateway>, Failure> {
    let new = by.request.json()?;
    let gateway = control::gateways::create(&by.context(), &by.limits, &by.actor, new).await?;
    Ok(Json(gateway))
}

async fn list_gateways(by: ByOperator) -> Result<Json<List<GatewayView>>, Failure> {
    let items = control::gateways::list(&by.context()).await?;
    Ok(Json(List { items, next: None }))
}

async fn show_catalog(by: ByOperator) -> Result<Json<CatalogView>, Failure> {
    let Some((head, alarm)) = control::publish::show(&by.context()).await? else {
        let detail = "nothing was published yet: the first run of 'publish' does";
        return Err(Problem::new(Kind::UnknownRoute, detail).into());
    };
    let alarms = alarm.since.map(|since| {
        format!(
            "since {since:.0}: {} of {} active gateways went quiet at once; the last list is kept",
            alarm.quiet.len(),
            alarm.active
        )
    });
    Ok(Json(CatalogView {
        version: head.version,
        published_at: head.published_at,
        alarms: alarms.into_iter().collect(),
    }))
}

async fn list_audit(by: ByOperator) -> Result<Json<List<AuditEvent>>, Failure> {
    let query: AuditQuery = by.request.query()?;
    let context = by.context();
    let today = control::audit::day_of(context.moment.now);
    let day = query.day.unwrap_or(today);
    let (items, next) = control::audit::list(&context, day, query.after.as_deref()).await?;
    Ok(Json(List { items, next }))
}
