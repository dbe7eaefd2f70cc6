//! The function `enroll`: devices come in, ask about themselves, and take new keys.
//!
//! | route | who | what |
//! |---|---|---|
//! | `POST /v1/enroll` | a device with an invite | [`control::enroll::enroll`] |
//! | `GET /v1/devices/{id}` | that device | [`control::devices::show`] |
//! | `POST /v1/devices/{id}/keys` | that device, with its new key | [`control::devices::rotation::rotate`] |
//! | `POST /v1/devices/sealed` | whoever seals one of the above | [`edge::sealed`] |

#[cfg(feature = "workers")]
mod worker;

use api::enroll::{DeviceAnswer, ENROLL, EnrollRequest};
use api::rotation::RotateDevice;
use api::sealed::{ControlSecrets, DEVICES};
use axum::extract::State;
use axum::{Json, Router};
use edge::settings::Reader;
use edge::{Edge, Failure, Listed, MakeRoutes, Route, Signed};
use http::Method;
use model::DeviceId;

/// The routes as a deployment sets them up.
pub fn from_settings(reader: &mut Reader<'_>) -> Option<MakeRoutes> {
    let control_keys = edge::settings::control_keys(reader)?;
    Some(Box::new(|edge| routes(edge, control_keys)))
}

/// The routes; `control_keys` open what is sealed.
pub fn routes(edge: Edge, control_keys: ControlSecrets) -> Router {
    let plain = edge::router(table(), &edge).with_state(edge.clone());
    edge::sealed(plain, DEVICES, control_keys, edge)
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
