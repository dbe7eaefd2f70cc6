//! What stands around every router: request ids, one log line a request, problems for what no
//! route takes.

use api::{Kind, Problem, problem};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Uri};
use tracing::Instrument;

use crate::{Edge, Failure, MOST_BODY};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, on its way to its handler.
#[derive(Clone, Default)]
pub(crate) struct RequestId(pub(crate) String);

/// Marks the answer to a sealed request: what was in it has its log line already.
#[derive(Clone)]
pub(crate) struct Opened;

/// Adds what every function has: the limit of bodies, request ids, logging, and problems for
/// unknown routes.
pub fn finish(router: Router, edge: Edge) -> Router {
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn_with_state(edge, around))
}

async fn no_route(uri: Uri) -> Failure {
    let detail = format!(
        "{} is not a path of this function: check it, and which function was asked",
        uri.path()
    );
    Problem::new(Kind::UnknownRoute, detail).into()
}

/// RFC 9110, section 15.5.6; axum adds the header `Allow`.
async fn no_method(method: Method, uri: Uri) -> Failure {
    let detail = format!(
        "{method} is not for {}: the header 'allow' says what is",
        uri.path()
    );
    Problem::new(Kind::MethodNotAllowed, detail).into()
}

async fn around(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let moment = edge.clock.moment();
    // What came sealed has the id of what it came in.
    let carried = request.extensions_mut().remove::<RequestId>();
    let RequestId(id) = carried.unwrap_or_else(|| RequestId(moment.uuid(0).to_string()));
    request.extensions_mut().insert(RequestId(id.clone()));
    // The path holds ids and no secret; queries and bodies are not logged.
    let span = tracing::info_span!("request", %id, method = %request.method(), path = request.uri().path());
    async move {
        let mut response = next.run(request).await;
        let millis = edge
            .clock
            .moment()
            .now
            .duration_since(moment.now)
            .as_millis();
        if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
            tracing::info!(
                status = problem.status,
                problem = problem.type_,
                millis,
                "refused"
            );
            problem.request_id = Some(id.clone());
            response = write(&problem);
        } else if response.extensions().get::<Opened>().is_none() {
            tracing::info!(status = response.status().as_u16(), millis, "answered");
        }
        mark(&mut response, &id);
        response
    }
    .instrument(span)
    .await
}

/// The headers that every answer has.
pub(crate) fn mark(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

pub(crate) fn write(problem: &Problem) -> Response {
    let status = http::StatusCode::from_u16(problem.status)
        .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
    if let Some(seconds) = problem.retry_after() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    // RFC 9110, section 15.5.2, and RFC 6750, section 3.
    if problem.is(Kind::SessionMissing) {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    } else if problem.is(Kind::SessionEnded) {
        let value = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        headers.insert(WWW_AUTHENTICATE, value);
    }
    response
}
