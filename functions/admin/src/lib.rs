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
use axum::routing::{MethodFilter, MethodRouter, on, post};
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
        route(Method::GET, Auditor, SESSION, access::show_session),
        route(Method::POST, Auditor, SESSION_END, access::end_session),
        route(Method::GET, Auditor, ADMINS, access::list_admins),
        route(Method::POST, Owner, ADMINS, access::add_admin),
        route(
            Method::POST,
            Owner,
            "/v1/admin/admins/{id}/role",
            access::change_role,
        ),
        route(
            Method::POST,
            Owner,
            "/v1/admin/admins/{id}/removal",
            access::remove_admin,
        ),
        route(Method::GET, Auditor, admin::INVITES, network::list_invites),
        route(
            Method::POST,
            Operator,
            admin::INVITES,
            network::create_invite,
        ),
        route(
            Method::POST,
            Operator,
            "/v1/admin/invites/{id}/withdrawal",
            network::withdraw,
        ),
        route(Method::GET, Auditor, admin::DEVICES, network::list_devices),
        route(
            Method::POST,
            Operator,
            "/v1/admin/devices/{id}/revocation",
            network::revoke,
        ),
        route(
            Method::POST,
            Operator,
            "/v1/admin/devices/{id}/rotation",
            network::rotate_device,
        ),
        route(
            Method::GET,
            Auditor,
            admin::GATEWAYS,
            network::list_gateways,
        ),
        route(
            Method::POST,
            Operator,
            admin::GATEWAYS,
            network::create_gateway,
        ),
        route(
            Method::POST,
            Operator,
            "/v1/admin/gateways/{id}/state",
            network::change_state,
        ),
        route(
            Method::POST,
            Operator,
            "/v1/admin/gateways/{id}/rotation",
            network::rotate_gateway,
        ),
        route(Method::GET, Auditor, admin::CATALOG, network::show_catalog),
        route(Method::GET, Auditor, admin::AUDIT, network::list_audit),
        route(Method::GET, Auditor, POLICY, policy::show),
        route(Method::PUT, Operator, POLICY, policy::apply),
        // It changes nothing: its question is too long for a query.
        route(Method::POST, Auditor, EXPLANATION, policy::explain),
    ]
}

fn route<H, T>(method: Method, role: AdminRole, path: &'static str, handler: H) -> Guarded
where
    H: Handler<T, Admin>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).expect("a standard method");
    Guarded {
        method,
        path,
        role,
        handler: on(filter, handler),
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
