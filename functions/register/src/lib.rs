//! The function `register`: gateways come into service, take new keys, say that they live, and pull
//! their signed configs and rosters. It alone holds the key that signs those.
//!
//! | route | who | what |
//! |---|---|---|
//! | `POST /v1/gateways/{id}/registration` | a node with its bootstrap token | [`control::gateways::register`] |
//! | `POST /v1/gateways/{id}/keys` | that gateway, with its new key | [`control::gateways::rotation::rotate`] |
//! | `POST /v1/gateways/{id}/heartbeat` | that gateway | [`control::gateways::heartbeat`] |
//! | `GET /v1/gateways/{id}/config` | that gateway | [`control::gateways::config`] |
//! | `POST /v1/gateways/{id}/roster` | that gateway | [`control::roster::pull`] |
//! | `POST /v1/gateways/sealed` | whoever seals one of the above | [`edge::sealed`] |

#[cfg(feature = "workers")]
mod worker;

use std::sync::Arc;

use api::register::{HeartbeatAnswer, HeartbeatRequest, RegisterAnswer, RegisterRequest};
use api::roster::RosterRequest;
use api::rotation::{GatewayRotated, RotateGateway};
use api::sealed::{ControlSecrets, GATEWAYS};
use api::{Kind, Problem};
use axum::extract::{FromRef, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use edge::settings::{Reader, Setting};
use edge::{Edge, Failure, Listed, MakeRoutes, Route, Signed};
use http::Method;
use http::header::CONTENT_TYPE;
use model::GatewayId;
use tuf::key::SigningKey;

/// The key that signs gateways' configs and rosters.
pub const CONFIG_KEY: Setting = Setting {
    name: "POSTERN_CONFIG_KEY",
    holds: "the config key's file: JSON of the schema postern-signing-key/1",
};

/// The routes as a deployment sets them up.
pub fn from_settings(reader: &mut Reader<'_>) -> Option<MakeRoutes> {
    // Its errors never quote the secret.
    let key = |text: &str| SigningKey::from_file_json(text).map_err(|error| error.to_string());
    let config_key = reader.required(CONFIG_KEY, key);
    let control_keys = edge::settings::control_keys(reader);
    let (config_key, control_keys) = (Arc::new(config_key?), control_keys?);
    Some(Box::new(|edge| routes(edge, config_key, control_keys)))
}

/// What the routes stand on.
#[derive(Clone, FromRef)]
struct Register {
    edge: Edge,
    config_key: Arc<SigningKey>,
}

/// The routes; `config_key` signs gateways' configs and rosters, `control_keys` open what is sealed.
pub fn routes(edge: Edge, config_key: Arc<SigningKey>, control_keys: ControlSecrets) -> Router {
    let state = Register {
        edge: edge.clone(),
        config_key,
    };
    let plain = edge::router(table(), &edge).with_state(state);
    edge::sealed(plain, GATEWAYS, control_keys, edge)
}

/// Every route, for documentation and tests.
pub fn listed() -> Vec<Listed> {
    edge::listed(table())
}

fn table() -> Vec<Route<Register>> {
    vec![
        Route::signed(Method::POST, "/v1/gateways/{id}/registration", register),
        Route::signed(Method::POST, "/v1/gateways/{id}/keys", rotate),
        Route::signed(Method::POST, "/v1/gateways/{id}/heartbeat", heartbeat),
        Route::signed(Method::GET, "/v1/gateways/{id}/config", config),
        Route::signed(Method::POST, "/v1/gateways/{id}/roster", roster),
    ]
}

async fn register(
    State(edge): State<Edge>,
    request: Signed,
) -> Result<Json<RegisterAnswer>, Failure> {
    let id: GatewayId = request.id()?;
    let body: RegisterRequest = request.json()?;
    let context = edge.context(request.moment);
    let answer = control::gateways::register(&context, request.signer, &id, &body).await?;
    Ok(Json(answer))
}

async fn rotate(
    State(edge): State<Edge>,
    request: Signed,
) -> Result<Json<GatewayRotated>, Failure> {
    let id: GatewayId = request.id()?;
    let body: RotateGateway = request.json()?;
    let context = edge.context(request.moment);
    let answer = control::gateways::rotation::rotate(&context, request.signer, &id, &body).await?;
    Ok(Json(answer))
}

async fn heartbeat(
    State(edge): State<Edge>,
    request: Signed,
) -> Result<Json<HeartbeatAnswer>, Failure> {
    let id: GatewayId = request.id()?;
    let body: HeartbeatRequest = request.json()?;
    let context = edge.context(request.moment);
    let answer = control::gateways::heartbeat(&context, request.signer, &id, &body).await?;
    Ok(Json(answer))
}

async fn config(State(register): State<Register>, request: Signed) -> Result<Response, Failure> {
    let id: GatewayId = request.id()?;
    let context = register.edge.context(request.moment);
    let config = control::gateways::config(&context, request.signer, &id).await?;
    sign(&register, &config)
}

async fn roster(State(register): State<Register>, request: Signed) -> Result<Response, Failure> {
    let id: GatewayId = request.id()?;
    let body: RosterRequest = request.json()?;
    let context = register.edge.context(request.moment);
    let part = control::roster::pull(&context, request.signer, &id, &body).await?;
    sign(&register, &part)
}

fn sign(register: &Register, answer: &impl serde::Serialize) -> Result<Response, Failure> {
    let signed = tuf::envelope::sign(answer, &[&register.config_key]).map_err(|error| {
        Problem::new(
            Kind::Internal,
            format!("the answer could not be signed: {error}"),
        )
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], signed).into_response())
}
