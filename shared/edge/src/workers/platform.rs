//! What the DynamoDB client needs of a system, from what a Worker has: `fetch`, `Date`, timers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{
    AsyncSleep, BehaviorVersion, Credentials, HttpClient, IdentityCache, Region, RuntimeComponents,
    Sleep,
};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use worker::js_sys::Uint8Array;
use worker::send::SendFuture;
use worker::{
    AbortController, Date, Delay, Fetch, Headers, Method, Request, RequestInit, RequestRedirect,
};

use crate::settings::Database;

/// A client for the table of a deployment. How often and how long it tries is the store's affair.
pub(super) fn client(database: Database) -> Client {
    let credentials = Credentials::new(
        database.access_key,
        database.secret_key,
        database.session_token,
        None,
        "settings",
    );
    let mut config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(database.region))
        .credentials_provider(credentials)
        .http_client(Platform)
        .sleep_impl(Platform)
        .time_source(Platform)
        // It would keep a timer of the request that filled it.
        .identity_cache(IdentityCache::no_cache());
    config.set_endpoint_url(database.endpoint);
    Client::from_conf(config.build())
}

/// The system of a Worker. It holds nothing, so that it can be kept from one request to the next.
#[derive(Clone, Copy, Debug)]
struct Platform;

impl TimeSource for Platform {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(Date::now().as_millis())
    }
}

impl AsyncSleep for Platform {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(SendFuture::new(Delay::from(duration)))
    }
}

impl HttpClient for Platform {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Self)
    }
}

impl HttpConnector for Platform {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(SendFuture::new(send(request)))
    }
}

async fn send(request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = outgoing(&request).map_err(|error| ConnectorError::user(error.into()))?;
    let io = |error: worker::Error| ConnectorError::io(error.to_string().into());
    let abort = AbortOnDrop(Some(AbortController::default()));
    let signal = abort.0.as_ref().map(AbortController::signal);
    let signal = signal.expect("it is taken when it is dropped");
    let mut answer = Fetch::Request(request)
        .send_with_signal(&signal)
        .await
        .map_err(io)?;
    let bytes = answer.bytes().await.map_err(io)?;
    let status = StatusCode::try_from(answer.status_code());
    let status = status.map_err(|error| ConnectorError::other(error.into(), None))?;
    let mut response = HttpResponse::new(status, bytes.into());
    for (name, value) in answer.headers() {
        // A header that cannot be read says nothing to the client.
        let _ = response.headers_mut().try_append(name, value);
    }
    Ok(response)
}

fn outgoing(request: &HttpRequest) -> Result<Request, String> {
    let text = |error: worker::Error| error.to_string();
    let headers = Headers::new();
    for (name, value) in request.headers() {
        // `fetch` sets these itself and may refuse to be told.
        if !matches!(name, "host" | "content-length") {
            headers.append(name, value).map_err(text)?;
        }
    }
    let body = request.body().bytes();
    let body = body.ok_or("a body that streams cannot be sent")?;
    let mut init = RequestInit::new();
    init.with_method(Method::from(request.method().to_owned()))
        .with_headers(headers)
        // What was signed for one host must reach no other.
        .with_redirect(RequestRedirect::Manual);
    if !body.is_empty() {
        init.with_body(Some(Uint8Array::from(body).into()));
    }
    Request::new_with_init(request.uri(), &init).map_err(text)
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
