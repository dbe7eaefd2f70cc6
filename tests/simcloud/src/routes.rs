//! The routes, and the way of a request through the gate to what answers it.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Extension, Path, Query, State as Shared};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::call::{Call, Handler};
use crate::error::Refusal;
use crate::state::Twist;
use crate::{SimCloud, actions, addresses, firewalls, gate, pages, servers, shop};

/// The API, below `/v1`.
pub fn router(cloud: &SimCloud) -> Router {
    let reads = Router::new()
        .route("/locations", reading(shop::locations))
        .route("/locations/{id}", reading(shop::location))
        .route("/server_types", reading(shop::types))
        .route("/server_types/{id}", reading(shop::server_type))
        .route("/images", reading(shop::images))
        .route("/images/{id}", reading(shop::image))
        .route("/pricing", reading(shop::pricing))
        .route("/actions", reading(actions::list))
        .route("/actions/{id}", reading(actions::get));
    let api = reads
        .merge(of_servers())
        .merge(of_addresses())
        .merge(of_firewalls());
    Router::new()
        .nest("/v1", api)
        .fallback(async || Refusal::new(404, "not_found", "no such endpoint"))
        .layer(middleware::from_fn_with_state(cloud.clone(), gate::pass))
        .with_state(cloud.clone())
}

fn of_servers() -> Router<SimCloud> {
    Router::new()
        .route(
            "/servers",
            reading(servers::list).merge(posting(servers::create)),
        )
        .route(
            "/servers/{id}",
            resource(servers::get, servers::update, servers::delete),
        )
        .route("/servers/{id}/actions", reading(actions::of_server))
        .route(
            "/servers/{id}/actions/{action}",
            reading(actions::of_resource),
        )
        .route(
            "/servers/{id}/actions/poweroff",
            posting(servers::power_off),
        )
        .route("/servers/{id}/actions/shutdown", posting(servers::shutdown))
        .route("/servers/{id}/actions/poweron", posting(servers::power_on))
}

fn of_addresses() -> Router<SimCloud> {
    Router::new()
        .route(
            "/primary_ips",
            reading(addresses::list).merge(posting(addresses::create)),
        )
        .route(
            "/primary_ips/{id}",
            resource(addresses::get, addresses::update, addresses::delete),
        )
        .route("/primary_ips/{id}/actions", reading(actions::of_address))
        .route(
            "/primary_ips/{id}/actions/{action}",
            reading(actions::of_resource),
        )
        .route(
            "/primary_ips/{id}/actions/assign",
            posting(addresses::assign),
        )
        .route(
            "/primary_ips/{id}/actions/unassign",
            posting(addresses::unassign),
        )
}

fn of_firewalls() -> Router<SimCloud> {
    Router::new()
        .route(
            "/firewalls",
            reading(firewalls::list).merge(posting(firewalls::create)),
        )
        .route(
            "/firewalls/{id}",
            resource(firewalls::get, firewalls::update, firewalls::delete),
        )
        .route("/firewalls/{id}/actions", reading(actions::of_firewall))
        .route(
            "/firewalls/{id}/actions/{action}",
            reading(actions::of_resource),
        )
        .route(
            "/firewalls/{id}/actions/set_rules",
            posting(firewalls::set_rules),
        )
        .route(
            "/firewalls/{id}/actions/apply_to_resources",
            posting(firewalls::apply),
        )
        .route(
            "/firewalls/{id}/actions/remove_from_resources",
            posting(firewalls::remove),
        )
}

fn resource(read: Handler, update: Handler, delete: Handler) -> MethodRouter<SimCloud> {
    reading(read)
        .put(async move |asked: Asked| asked.answer(update))
        .delete(async move |asked: Asked| asked.answer(delete))
}

fn reading(handler: Handler) -> MethodRouter<SimCloud> {
    get(async move |asked: Asked| asked.answer(handler))
}

fn posting(handler: Handler) -> MethodRouter<SimCloud> {
    post(async move |asked: Asked| asked.answer(handler))
}

/// What a request asks for, as axum takes it apart.
#[derive(axum::extract::FromRequest)]
#[from_request(state(SimCloud))]
struct Asked {
    #[from_request(via(Shared))]
    cloud: SimCloud,
    #[from_request(via(Path))]
    parts: BTreeMap<String, String>,
    #[from_request(via(Query))]
    query: Vec<(String, String)>,
    #[from_request(via(Extension))]
    twist: Twist,
    body: Bytes,
}

impl Asked {
    fn answer(self, handler: Handler) -> Response {
        let body = if self.body.is_empty() {
            Value::Null
        } else if let Ok(body) = serde_json::from_slice(&self.body) {
            body
        } else {
            return Refusal::new(400, "json_error", "invalid JSON").into_response();
        };
        let call = Call {
            parts: self.parts,
            query: pages::Query(self.query),
            body,
            twist: self.twist,
        };
        match handler(&mut self.cloud.state(), &call) {
            Ok((204, _)) => StatusCode::NO_CONTENT.into_response(),
            Ok((status, body)) => {
                let status = StatusCode::from_u16(status).expect("a status");
                (status, axum::Json(body)).into_response()
            }
            Err(refusal) => refusal.into_response(),
        }
    }
}
