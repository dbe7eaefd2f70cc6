//! The function `enroll`: devices come in, ask about themselves, and take new keys.
//!
//! | route | who | what |
//! |---|---|---|
//! | `POST /v1/enroll` | a device with an invite | [`control::enroll::enroll`] |
//! | `GET /v1/devices/{id}` | that device | [`control::devices::show`] |
//! | `POST /v1/devices/{id}/keys` | that device, with its new key | [`control::devices::rotation::rotate`] |

#[cfg(feature = "workers")]
mod worker;

use api::enroll::{DeviceAnswer, ENROLL, EnrollRequest};
use api::rotation::RotateDevice;
use axum::extract::State;
use axum::{Json, Router};
use edge::settings::Reader;
use edge::{Edge, Failure, Listed, MakeRoutes, Route, Signed};
use http::Method;
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
    edge::router(table(), &edge).with_state(edge)
}

/// Every route, for documentation and tests.
pub fn listed() -> Vec<Listed> {
    edge::listed(table())
}

fn table() -> Vec<Route<Edge>> {
    vec![
        Route::signed(Method::POST, ENROLL, enroll),
        Route::signed(Method::GET, "/v1/devices/{id}", show),
        Route::signed(Method::POST, "/v1/devices/{id}/keys", rotate),
    ]
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

async fn rotate(State(edge): State<Edge>, request: Signed) -> Result<Json<DeviceAnswer>, Failure> {
    let id: DeviceId = request.id()?;
    let body: RotateDevice = request.json()?;
    let context = edge.context(request.moment);
    let answer = control::devices::rotation::rotate(&context, request.signer, &id, &body).await?;
    Ok(Json(answer))
}
