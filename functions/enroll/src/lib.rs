//! The function `enroll`: devices come in, and ask about themselves.
//!
//! | route | who | what |
//! |---|---|---|
//! | `POST /v1/enroll` | a device with an invite | [`control::enroll::enroll`] |
//! | `GET /v1/devices/{id}` | that device | [`control::devices::show`] |

#[cfg(feature = "workers")]
mod worker;

use api::enroll::{DeviceAnswer, ENROLL, EnrollRequest};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use edge::settings::Reader;
use edge::{Edge, Failure, MakeRoutes, Signed};
use model::DeviceId;

/// The routes as a deployment sets them up: there is nothing to tell but what every function is told.
#[allow(
    clippy::unnecessary_wraps,
    reason = "it has the form of every function's"
)]
pub fn from_settings(_: &mut Reader<'_>) -> Option<MakeRoutes> {
    Some(Box::new(routes))
}

/// The routes.
pub fn routes(edge: Edge) -> Router {
    Router::new()
        .route(ENROLL, post(enroll))
        .route("/v1/devices/{id}", get(show))
        .with_state(edge)
}

async fn enroll(State(edge): State<Edge>, request: Signed) -> Result<Json<DeviceAnswer>, Failure> {
    let body: EnrollRequest = request.json()?;
    let context = edge.context(request.moment);
    let answer = control::enroll::enroll(&context, request.signer, body).await?;
    Ok(Json(answer))
}

async fn show(State(edge): State<Edge>, request: Signed) -> Result<Json<DeviceAnswer>, Failure> {
    let id: DeviceId = request.id()?;
    let context = edge.context(request.moment);
    let answer = control::devices::show(&context, request.signer, &id).await?;
    Ok(Json(answer))
}
