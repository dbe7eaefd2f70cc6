//! What operators ask for.

use std::sync::Arc;

use api::fleet::CleanRequest;
use axum::extract::{FromRef, FromRequest, Request};
use axum::{Json, Router};
use edge::{BySession, Edge, Failure, Listed, Route};
use http::Method;
use model::{Actor, AdminRole, ProviderName};

use crate::{CleanAnswer, CleanUp, Order, wanted};

/// What routes stand on.
#[derive(Clone, FromRef)]
struct State {
    edge: Edge,
    own: Arc<CleanUp>,
}

/// The routes.
pub fn routes(edge: Edge, own: &Arc<CleanUp>) -> Router {
    let own = own.clone();
    edge::router(table(), &edge).with_state(State { edge, own })
}

/// Every route, for documentation and tests.
pub fn listed() -> Vec<Listed> {
    edge::listed(table())
}

fn table() -> Vec<Route<State>> {
    vec![Route::guarded(
        Method::POST,
        AdminRole::Operator,
        "/v1/cleanup/providers/{id}",
        clean,
    )]
}

/// A request of an operator.
struct ByOperator {
    request: BySession,
    edge: Edge,
    own: Arc<CleanUp>,
}

impl FromRequest<State> for ByOperator {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &State) -> Result<Self, Failure> {
        Ok(Self {
            request: BySession::from_request(request, state).await?,
            edge: state.edge.clone(),
            own: state.own.clone(),
        })
    }
}

async fn clean(by: ByOperator) -> Result<Json<CleanAnswer>, Failure> {
    let name: ProviderName = by.request.id()?;
    let CleanRequest {
        dry_run,
        all_trials,
        unknown_live,
    } = by.request.json()?;
    let admin = &by.request.asking.admin;
    if unknown_live {
        edge::accounts::may_remove_unknown(admin)?;
    }
    let opened = by.own.accounts.open(&by.edge.clock);
    let provider = opened.provider(&name);
    let provider = provider.ok_or_else(|| Failure::from(edge::accounts::unknown(&name)))?;
    let order = Order {
        by: Actor::Admin(admin.id.clone()),
        is_alone: false,
        wanted: wanted(all_trials, unknown_live),
        dry_run,
        is_asked_for: true,
    };
    let moment = by.request.moment;
    let done = by
        .own
        .clean(&by.edge, &moment, &opened, provider.as_ref(), order);
    let answer = done.await?;
    Ok(Json(answer))
}
