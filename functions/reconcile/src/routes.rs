//! What admins ask for: all of it needs a provider's credential.

use std::sync::Arc;

use api::fleet::{PLAN, PlanRequest, RUNS, RunRequest, SmokeBegun, SmokeRequest};
use api::{Kind, Problem};
use axum::extract::{FromRef, FromRequest, Request};
use axum::{Json, Router};
use control::fleet::smoke::{self, EXPIRES_SECONDS, SmokeOrder};
use control::fleet::{Order, desired, modes};
use edge::accounts::Opened;
use edge::{BySession, Edge, Failure, Listed, Route};
use http::Method;
use jiff::Timestamp;
use model::provider::{Inventory, Offers};
use model::{Actor, AdminRole, Fleet, GatewayId, Mode, ProviderName};
use providers::{Provider, ProviderError, Rate};
use rules::planning::Plan;
use serde::{Deserialize, Serialize};

use crate::{Reconcile, RunAnswer, SmokeAnswer};

/// The port of a trial's tunnels where no pool says one: WireGuard's own.
const PORT: u16 = 51_820;

/// What routes stand on.
#[derive(Clone, FromRef)]
struct State {
    edge: Edge,
    own: Arc<Reconcile>,
}

/// The routes.
pub fn routes(edge: Edge, own: &Arc<Reconcile>) -> Router {
    let own = own.clone();
    edge::router(table(), &edge).with_state(State { edge, own })
}

/// Every route, for documentation and tests.
pub fn listed() -> Vec<Listed> {
    edge::listed(table())
}

/// Every route. All make requests to providers, whose number is limited, and so ask for an operator.
fn table() -> Vec<Route<State>> {
    use AdminRole::Operator;
    vec![
        Route::guarded(
            Method::POST,
            Operator,
            "/v1/reconcile/providers/{id}/check",
            check_provider,
        ),
        Route::guarded(
            Method::GET,
            Operator,
            "/v1/reconcile/providers/{id}/inventory",
            show_inventory,
        ),
        Route::guarded(
            Method::POST,
            Operator,
            "/v1/reconcile/providers/{id}/smoke",
            begin_smoke,
        ),
        Route::guarded(
            Method::POST,
            Operator,
            "/v1/reconcile/smoke/{id}",
            step_smoke,
        ),
        Route::guarded(Method::POST, Operator, PLAN, make_plan),
        Route::guarded(Method::POST, Operator, RUNS, run),
    ]
}

/// What a provider says when it is asked for nothing in particular.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// The provider.
    pub provider: ProviderName,
    /// What may be done there now.
    pub mode: Mode,
    /// How many requests it still answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What it rents.
    pub offers: Offers,
}

/// What a provider lists as the network's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InventoryAnswer {
    /// The provider.
    pub provider: ProviderName,
    /// When it was read.
    pub at: Timestamp,
    /// All that carries the network's label.
    pub inventory: Inventory,
}

/// A request of an operator.
struct ByOperator {
    request: BySession,
    actor: Actor,
    edge: Edge,
    own: Arc<Reconcile>,
}

impl FromRequest<State> for ByOperator {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &State) -> Result<Self, Failure> {
        let request = BySession::from_request(request, state).await?;
        let actor = Actor::Admin(request.asking.admin.id.clone());
        Ok(Self {
            request,
            actor,
            edge: state.edge.clone(),
            own: state.own.clone(),
        })
    }
}

async fn make_plan(by: ByOperator) -> Result<Json<Plan>, Failure> {
    let PlanRequest { remove_unknown } = by.request.json()?;
    let opened = by.own.accounts.open(&by.edge.clock);
    let context = by.edge.context(by.request.moment);
    let plan = control::fleet::plan(&context, &opened.providers, remove_unknown).await?;
    Ok(Json(plan))
}

async fn run(by: ByOperator) -> Result<Json<RunAnswer>, Failure> {
    let order = match by.request.json()? {
        RunRequest::Apply {
            plan,
            remove_unknown,
        } => {
            if remove_unknown {
                edge::accounts::may_remove_unknown(&by.request.asking.admin)?;
            }
            Order::Apply {
                hash: plan,
                by: by.actor,
                remove_unknown,
            }
        }
        RunRequest::Finish {} => Order::Finish,
    };
    let answer = by.own.reconcile(&by.edge, by.request.moment, order).await?;
    Ok(Json(answer))
}

async fn check_provider(by: ByOperator) -> Result<Json<CheckAnswer>, Failure> {
    let name: ProviderName = by.request.id()?;
    by.request.nothing()?;
    let opened = by.own.accounts.open(&by.edge.clock);
    let provider = set_up(&opened, &name)?;
    let offers = provider.offers().await.map_err(|error| failed(&error))?;
    let context = by.edge.context(by.request.moment);
    let policy = modes::show(&context, &name).await?.policy;
    Ok(Json(CheckAnswer {
        mode: policy.mode_at(by.request.moment.now),
        rate: provider.rate(),
        provider: name,
        offers,
    }))
}

async fn show_inventory(by: ByOperator) -> Result<Json<InventoryAnswer>, Failure> {
    let name: ProviderName = by.request.id()?;
    let opened = by.own.accounts.open(&by.edge.clock);
    let provider = set_up(&opened, &name)?;
    let inventory = provider.inventory(&by.edge.network.id).await;
    Ok(Json(InventoryAnswer {
        provider: name,
        at: by.request.moment.now,
        inventory: inventory.map_err(|error| failed(&error))?,
    }))
}

async fn begin_smoke(by: ByOperator) -> Result<Json<SmokeBegun>, Failure> {
    let name: ProviderName = by.request.id()?;
    let request: SmokeRequest = by.request.json()?;
    let opened = by.own.accounts.open(&by.edge.clock);
    set_up(&opened, &name)?;
    let context = by.edge.context(by.request.moment);
    let fleet = desired::show(&context).await?.fleet;
    let order = order(fleet.as_ref(), &name, request)?;
    let is_late = edge::is_late(&by.edge.clock, context.moment.now);
    let run = by.own.means(context, &opened, &is_late);
    let gateway = smoke::begin(&run, &by.actor, &order).await?;
    Ok(Json(SmokeBegun { gateway }))
}

async fn step_smoke(by: ByOperator) -> Result<Json<SmokeAnswer>, Failure> {
    let gateway: GatewayId = by.request.id()?;
    by.request.nothing()?;
    let answer = by.own.smoke(&by.edge, by.request.moment, &gateway).await?;
    Ok(Json(answer))
}

/// The trial that is asked for: as the fleet has it, but for what is named.
fn order(
    fleet: Option<&Fleet>,
    provider: &ProviderName,
    request: SmokeRequest,
) -> Result<SmokeOrder, Failure> {
    let SmokeRequest {
        role,
        region,
        size,
        image,
    } = request;
    let of_fleet = fleet.and_then(|fleet| SmokeOrder::of_fleet(fleet, provider, role));
    if let Some(order) = of_fleet {
        return Ok(SmokeOrder {
            regions: region.map_or(order.regions, |region| vec![region]),
            sizes: size.map_or(order.sizes, |size| vec![size]),
            image: image.unwrap_or(order.image),
            ..order
        });
    }
    let (Some(region), Some(size), Some(image)) = (region, size, image) else {
        let detail = format!(
            "the fleet has no {role} pool at '{provider}' to take these from: name region, size and \
             image"
        );
        return Err(Problem::new(Kind::PlanRefused, detail).into());
    };
    Ok(SmokeOrder {
        provider: provider.clone(),
        role,
        regions: vec![region],
        sizes: vec![size],
        image,
        port: PORT,
        expires_seconds: EXPIRES_SECONDS,
    })
}

fn set_up<'a>(opened: &'a Opened, name: &ProviderName) -> Result<&'a dyn Provider, Failure> {
    let provider = opened.provider(name);
    let provider = provider.ok_or_else(|| Failure::from(edge::accounts::unknown(name)))?;
    Ok(provider.as_ref())
}

fn failed(error: &ProviderError) -> Failure {
    Problem::new(Kind::ProviderFailed, error.to_string()).into()
}
