//! `fetch`, as everything of ours that speaks HTTP in a Worker uses it: a whole request, a whole answer.

use api::http::Http;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use worker::js_sys::Uint8Array;
use worker::send::SendFuture;
use worker::{AbortController, Headers, Method, RequestInit, RequestRedirect};

/// [`Http`] in a Worker.
#[derive(Debug)]
pub struct Fetch;

#[async_trait]
impl Http for Fetch {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        fetch(request).await
    }
}

/// The answer to `request`, or in words why there is none.
pub async fn fetch(request: Request<Bytes>) -> Result<Response<Bytes>, String> {
    SendFuture::new(send(request)).await
}

async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, String> {
    let text = |error: worker::Error| error.to_string();
    let request = outgoing(&request).map_err(text)?;
    let abort = AbortOnDrop(Some(AbortController::default()));
    let signal = abort.0.as_ref().map(AbortController::signal);
    let signal = signal.expect("it is taken when it is dropped");
    let fetch = worker::Fetch::Request(request);
    let mut answer = fetch.send_with_signal(&signal).await.map_err(text)?;
    let bytes = answer.bytes().await.map_err(text)?;
    let mut response = Response::new(Bytes::from(bytes));
    *response.status_mut() =
        StatusCode::from_u16(answer.status_code()).map_err(|error| error.to_string())?;
    *response.headers_mut() = incoming(answer.headers());
    Ok(response)
}

fn outgoing(request: &Request<Bytes>) -> worker::Result<worker::Request> {
    let headers = Headers::new();
    for (name, value) in request.headers() {
        // `fetch` sets these itself and may refuse to be told.
        if !matches!(name.as_str(), "host" | "content-length") {
            let value = value.to_str().map_err(|error| error.to_string())?;
            headers.append(name.as_str(), value)?;
        }
    }
    let mut init = RequestInit::new();
    init.with_method(Method::from(request.method().as_str().to_owned()))
        .with_headers(headers)
        // What was signed for one host must reach no other.
        .with_redirect(RequestRedirect::Manual);
    if !request.body().is_empty() {
        init.with_body(Some(Uint8Array::from(request.body().as_ref()).into()));
    }
    worker::Request::new_with_init(&request.uri().to_string(), &init)
}

fn incoming(headers: &Headers) -> HeaderMap {
    let headers = headers.entries().filter_map(|(name, value)| {
        // A header that cannot be read says nothing to us.
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    });
    headers.collect()
}

/// Ends a `fetch` whose caller no longer waits: Workers allow six at once.
struct AbortOnDrop(Option<AbortController>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(controller) = self.0.take() {
            controller.abort();
        }
    }
}
