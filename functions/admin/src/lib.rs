//! The function `admin`: what admins see and do.
//!
//! Three routes let somebody in and are signed with their key: `POST /v1/admin/setup`
//! ([`control::setup`]), `POST /v1/admin/challenges` and `POST /v1/admin/sessions`
//! ([`control::sessions`]). All others are in the table of [`guarded_routes`], which is the one place that
//! says which role a route needs; the check stands before the handler ([`edge::guarded`]). Either
//! way path, query and body are read only then.

mod access;
mod network;
mod policy;

use std::sync::Arc;

use api::admin;
use api::admins::{ADMINS, CHALLENGES, SESSION, SESSION_END, SESSIONS, SETUP};
use api::policy::{EXPLANATION, POLICY};
use axum::Router;
use axum::extract::{FromRef, FromRequest, Request};
use axum::handler::Handler;
use axum::routing::{MethodRouter, get, post, put};
use control::Context;
use edge::{BySession, Edge, Failure};
use http::Method;
use model::{Actor, AdminRole, Limits, SetupCode};

/// What the routes stand on.
#[derive(Clone, FromRef)]
struct Admin {
    edge: Edge,
    setup: Arc<Option<SetupCode>>,
    limits: Arc<Limits>,
}

/// A route and who may use it.
struct Guarded {
    method: Method,
    path: &'static str,
    role: AdminRole,
    handler: MethodRouter<Admin>,
}

/// Every route that asks for a session, with the least role that it needs.
fn guarded_routes() -> Vec<Guarded> {
    use AdminRole::{Auditor, Operator, Owner};
    vec![
        see(Auditor, SESSION, access::show_session),
        change(Auditor, SESSION_END, access::end_session),
        see(Auditor, ADMINS, access::list_admins),
        change(Owner, ADMINS, access::add_admin),
        change(Owner, "/v1/admin/admins/{id}/role", access::change_role),
        change(Owner, "/v1/admin/admins/{id}/removal", access::remove_admin),
        see(Auditor, admin::INVITES, network::list_invites),
        change(Operator, admin::INVITES, network::create_invite),
        change(
            Operator,
            "/v1/admin/invites/{id}/withdrawal",
            network::withdraw,
        ),
        see(Auditor, admin::DEVICES, network::list_devices),
        change(
            Operator,
            "/v1/admin/devices/{id}/revocation",
            network::revoke,
        ),
        see(Auditor, admin::GATEWAYS, network::list_gateways),
        change(Operator, admin::GATEWAYS, network::create_gateway),
        change(
            Operator,
            "/v1/admin/gateways/{id}/state",
            network::change_state,
        ),
        see(Auditor, admin::CATALOG, network::show_catalog),
        see(Auditor, admin::AUDIT, network::list_audit),
        see(Auditor, POLICY, policy::show),
        replace(Operator, POLICY, policy::apply),
        // It changes nothing: its question is too long for a query.
        change(Auditor, EXPLANATION, policy::explain),
    ]
}

/// A `GET`.
fn see<H, T>(role: AdminRole, path: &'static str, handler: H) -> Guarded
where
    H: Handler<T, Admin>,
    T: 'static,
{
    Guarded {
        method: Method::GET,
        path,
        role,
        handler: get(handler),
    }
}

/// A `POST`.
fn change<H, T>(role: AdminRole, path: &'static str, handler: H) -> Guarded
where
    H: Handler<T, Admin>,
    T: 'static,
{
    Guarded {
        method: Method::POST,
        path,
        role,
        handler: post(handler),
    }
}

/// A `PUT`.
fn replace<H, T>(role: AdminRole, path: &'static str, handler: H) -> Guarded
where
    H: Handler<T, Admin>,
    T: 'static,
{
    Guarded {
        method: Method::PUT,
        path,
        role,
        handler: put(handler),
    }
}

/// The routes. `setup` is the code that makes the first owner; without one, nobody becomes one. What
/// admins make must lie within the signed `limits`: anything else could never work.
pub fn routes(edge: Edge, setup: Option<SetupCode>, limits: Arc<Limits>) -> Router {
    let open = Router::new()
        .route(SETUP, post(access::setup))
        .route(CHALLENGES, post(access::challenge))
        .route(SESSIONS, post(access::open_session));
    let all = guarded_routes().into_iter().fold(open, |router, route| {
        let handler = edge::guarded(route.handler, edge.clone(), route.role);
        router.route(route.path, handler)
    });
    all.with_state(Admin {
        edge,
        setup: Arc::new(setup),
        limits,
    })
}

/// Method, path and least role of every route that asks for a session: for documentation and
/// tests.
pub fn roles() -> Vec<(Method, &'static str, AdminRole)> {
    let routes = guarded_routes().into_iter();
    routes
        .map(|route| (route.method, route.path, route.role))
        .collect()
}

/// A request of an admin whose role suffices.
struct ByAdmin {
    request: BySession,
    actor: Actor,
    edge: Edge,
    limits: Arc<Limits>,
}

impl ByAdmin {
    fn context(&self) -> Context<'_> {
        self.edge.context(self.request.moment)
    }
}

impl FromRequest<Admin> for ByAdmin {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &Admin) -> Result<Self, Failure> {
        let request = BySession::from_request(request, state).await?;
        let actor = Actor::Admin(request.asking.admin.id.clone());
        Ok(Self {
            request,
            actor,
            edge: state.edge.clone(),
            limits: Arc::clone(&state.limits),
        })
    }
}
