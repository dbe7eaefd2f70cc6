//! The function `admin`: what admins see and do.
//!
//! Three routes let somebody in and are signed with their key: `POST /v1/admin/setup`
//! ([`control::setup`]), `POST /v1/admin/challenges` and `POST /v1/admin/sessions`
//! ([`control::sessions`]). All others ask for a session, and [`table`] is the one place that says which
//! role a route needs; the check stands before the handler ([`Route::guarded`]). Either way path, query
//! and body are read only then.

mod access;
mod fleet;
mod network;
mod policy;
#[cfg(feature = "workers")]
mod worker;

use std::sync::Arc;

use api::admin;
use api::admins::{ADMINS, CHALLENGES, SESSION, SESSION_END, SESSIONS, SETUP};
use api::fleet::{FLEET, PROVIDERS};
use api::policy::{BEGIN_EPOCH, EPOCHS, EXPLANATION, POLICY};
use axum::Router;
use axum::extract::{FromRef, FromRequest, Request};
use control::Context;
use edge::settings::{self, LIMITS, Reader, Setting};
use edge::{BySession, Edge, Failure, Listed, MakeRoutes, Route};
use http::Method;
use model::{Actor, AdminRole, Limits, SetupCode};

/// The code that makes the first owner.
pub const SETUP_CODE: Setting = Setting {
    name: "POSTERN_SETUP_CODE",
    holds: "the setup code's hash and expiry as JSON: the member 'setup' of network.json, or nothing",
};
/// The routes as a deployment sets them up.
pub fn from_settings(reader: &mut Reader<'_>) -> Option<MakeRoutes> {
    let setup = reader.optional(SETUP_CODE, settings::json);
    let limits = reader.required(LIMITS, settings::json);
    let (setup, limits) = (setup?, Arc::new(limits?));
    Some(Box::new(|edge| routes(edge, setup, limits)))
}

/// What the routes stand on.
#[derive(Clone, FromRef)]
struct Admin {
    edge: Edge,
    setup: Arc<Option<SetupCode>>,
    limits: Arc<Limits>,
}

/// The routes. `setup` is the code that makes the first owner; without one, nobody becomes one. What
/// admins make must lie within the signed `limits`: anything else could never work.
pub fn routes(edge: Edge, setup: Option<SetupCode>, limits: Arc<Limits>) -> Router {
    edge::router(table(), &edge).with_state(Admin {
        edge,
        setup: Arc::new(setup),
        limits,
    })
}

/// Every route, for documentation and tests.
pub fn listed() -> Vec<Listed> {
    edge::listed(table())
}

/// Every route. Those that ask for a session state the least role that it needs, here and nowhere
/// else.
fn table() -> Vec<Route<Admin>> {
    use AdminRole::{Auditor, Operator, Owner};
    vec![
        Route::signed(Method::POST, SETUP, access::setup),
        Route::signed(Method::POST, CHALLENGES, access::challenge),
        Route::signed(Method::POST, SESSIONS, access::open_session),
        Route::guarded(Method::GET, Auditor, SESSION, access::show_session),
        Route::guarded(Method::POST, Auditor, SESSION_END, access::end_session),
        Route::guarded(Method::GET, Auditor, ADMINS, access::list_admins),
        Route::guarded(Method::POST, Owner, ADMINS, access::add_admin),
        Route::guarded(
            Method::POST,
            Owner,
            "/v1/admin/admins/{id}/role",
            access::change_role,
        ),
        Route::guarded(
            Method::POST,
            Owner,
            "/v1/admin/admins/{id}/removal",
            access::remove_admin,
        ),
        Route::guarded(Method::GET, Auditor, admin::INVITES, network::list_invites),
        Route::guarded(
            Method::POST,
            Operator,
            admin::INVITES,
            network::create_invite,
        ),
        Route::guarded(
            Method::POST,
            Operator,
            "/v1/admin/invites/{id}/withdrawal",
            network::withdraw,
        ),
        Route::guarded(Method::GET, Auditor, admin::DEVICES, network::list_devices),
        Route::guarded(
            Method::POST,
            Operator,
            "/v1/admin/devices/{id}/revocation",
            network::revoke,
        ),
        Route::guarded(
            Method::POST,
            Operator,
            "/v1/admin/devices/{id}/rotation",
            network::rotate_device,
        ),
        Route::guarded(
            Method::GET,
            Auditor,
            admin::GATEWAYS,
            network::list_gateways,
        ),
        Route::guarded(
            Method::POST,
            Operator,
            admin::GATEWAYS,
            network::create_gateway,
        ),
        Route::guarded(
            Method::POST,
            Operator,
            "/v1/admin/gateways/{id}/state",
            network::change_state,
        ),
        Route::guarded(
            Method::POST,
            Operator,
            "/v1/admin/gateways/{id}/rotation",
            network::rotate_gateway,
        ),
        Route::guarded(Method::GET, Auditor, admin::CATALOG, network::show_catalog),
        Route::guarded(Method::GET, Auditor, admin::AUDIT, network::list_audit),
        Route::guarded(Method::GET, Auditor, POLICY, policy::show),
        Route::guarded(Method::PUT, Operator, POLICY, policy::apply),
        // It changes nothing: its question is too long for a query.
        Route::guarded(Method::POST, Auditor, EXPLANATION, policy::explain),
        Route::guarded(Method::GET, Auditor, EPOCHS, policy::show_epochs),
        Route::guarded(Method::POST, Operator, BEGIN_EPOCH, policy::begin_epoch),
        Route::guarded(Method::GET, Auditor, FLEET, fleet::show),
        Route::guarded(Method::PUT, Operator, FLEET, fleet::apply),
        Route::guarded(Method::GET, Auditor, PROVIDERS, fleet::list_providers),
        // For the mode 'live' the use case asks for an owner.
        Route::guarded(
            Method::PUT,
            Operator,
            "/v1/admin/providers/{id}/mode",
            fleet::set_mode,
        ),
    ]
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
