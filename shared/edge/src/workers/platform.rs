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
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use worker::send::SendFuture;
use worker::{Date, Delay};

use super::fetch;
use crate::settings::Access;

/// A client of a deployment. How often and how long it tries is the store's affair.
pub(super) fn client(access: Access) -> Client {
    let credentials = Credentials::new(
        access.access_key,
        access.secret_key,
        access.session_token,
        None,
        "settings",
    );
    let mut config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(access.region))
        .credentials_provider(credentials)
        .http_client(Platform)
        .sleep_impl(Platform)
        .time_source(Platform)
        // It would keep a timer of the request that filled it.
        .identity_cache(IdentityCache::no_cache());
    config.set_endpoint_url(access.endpoint);
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
        HttpConnectorFuture::new(send(request))
    }
}

async fn send(request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x();
    let request = request.map_err(|error| ConnectorError::user(error.into()))?;
    let (parts, body) = request.into_parts();
    let body = body.bytes().map(Bytes::copy_from_slice);
    let body =
        body.ok_or_else(|| ConnectorError::user("a body that streams cannot be sent".into()))?;
    let answer = fetch(http::Request::from_parts(parts, body)).await;
    let answer = answer.map_err(|why| ConnectorError::io(why.into()))?;
    let answer = HttpResponse::try_from(answer.map(SdkBody::from));
    answer.map_err(|error| ConnectorError::other(error.into(), None))
}
