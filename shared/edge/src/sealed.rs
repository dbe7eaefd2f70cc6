//! The sealed route of a function: opens what was sealed to the control key, lets the function's own
//! routes answer it, and seals the answer, problems too.
//!
//! What stands in a capsule meets the same router as what comes in the plain, with the same checks and
//! limits, so that every route works sealed and none can be reached only so. The sealed route itself is not
//! among them: a capsule in a capsule finds nothing.
//!
//! Whoever sent what cannot be opened is told so in the plain, for there is nothing to seal to. It is
//! told apart only whether the key's number is unknown, which anybody on the way can read; all else is
//! one problem. Once a capsule is open, whatever is wrong with the rest is said under seal.

use std::sync::Arc;

use api::sealed::{ANSWER, ControlSecrets, Refused, open};
use api::{Kind, Problem};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tower::ServiceExt;

use crate::finish::{Opened, RequestId, mark, write};
use crate::{Edge, Failure, MOST_BODY};

/// The most bytes of a capsule: what may come in the plain, and what is around it.
const MOST_CAPSULE: usize = api::sealed::most(MOST_BODY);

#[derive(Clone)]
struct Sealing {
    /// The function's routes, finished.
    inner: Router,
    keys: Arc<ControlSecrets>,
    edge: Edge,
}

/// The routes and, at `path`, the same ones sealed to one of `keys`. Where the network takes sealed
/// requests alone, what comes to the routes in the plain is refused.
pub fn sealed(routes: Router, path: &'static str, keys: ControlSecrets, edge: Edge) -> Router {
    let plain = if edge.network.sealed_only {
        routes.clone().route_layer(middleware::from_fn(refuse))
    } else {
        routes.clone()
    };
    let sealing = Sealing {
        inner: crate::finish(routes, edge.clone()),
        keys: Arc::new(keys),
        edge,
    };
    let route = post(answer).layer(DefaultBodyLimit::max(MOST_CAPSULE));
    plain.route(path, route.with_state(sealing))
}

async fn refuse(_: Request, _: Next) -> Failure {
    let detail = "nothing is taken in the plain here: seal to the control key that the invite, the \
                  bootstrap token or the recovery kit names";
    Problem::new(Kind::SealedOnly, detail).into()
}

async fn answer(State(sealing): State<Sealing>, request: Request) -> Result<Response, Failure> {
    let id = request.extensions().get::<RequestId>().cloned();
    let capsule = capsule(request).await?;
    let (sealer, opened) = open(&sealing.keys, &capsule).map_err(refused)?;
    let answer = match opened {
        Ok(request) => {
            let mut request = request.map(Body::from);
            if let Some(id) = id {
                request.extensions_mut().insert(id);
            }
            let answered = sealing.inner.oneshot(request).await;
            answered.unwrap_or_else(|never| match never {})
        }
        Err(why) => {
            let mut problem = Problem::new(Kind::MalformedRequest, format!("{why}: seal it anew"));
            tracing::info!(status = problem.status, problem = problem.type_, "refused");
            let RequestId(id) = id.unwrap_or_default();
            problem.request_id = Some(id.clone());
            let mut response = write(&problem);
            mark(&mut response, &id);
            response
        }
    };
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.map_err(|error| {
        tracing::error!(%error, "an answer could not be read to its end");
        Problem::new(Kind::Internal, "tell the operator the request's id")
    })?;
    let answer = http::Response::from_parts(parts, body.to_vec());
    // Fresh for each answer, as the seal asks: a capsule may come twice.
    let random = sealing.edge.clock.moment().random(0);
    let mut response = sealer.seal(&answer, random).into_response();
    response.headers_mut().insert(CONTENT_TYPE, ANSWER);
    response.extensions_mut().insert(Opened);
    Ok(response)
}

async fn capsule(request: Request) -> Result<Bytes, Problem> {
    Bytes::from_request(request, &())
        .await
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let detail = format!("at most {MOST_CAPSULE} bytes are taken: send less at once");
                Problem::new(Kind::TooLarge, detail)
            } else {
                Problem::new(Kind::MalformedRequest, rejection.body_text())
            }
        })
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::UnknownKey(_) => Problem::new(
            Kind::SealKeyUnknown,
            format!("{refused}: seal to the one that the recovery kit or a new invite names"),
        ),
        Refused::Broken => Problem::new(
            Kind::SealBroken,
            format!("{refused}: seal the request anew (RFC 9458), as message/ohttp-req"),
        ),
    }
}
