//! The client of native programs: hyper and rustls (ring) on tokio.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// How long a connection may take to be made: three handshakes, half around the world.
const MOST_CONNECT_TIME: Duration = Duration::from_millis(1500);

/// Where DynamoDB is, and who calls it. It has no `Debug`, so that no key is printed.
pub struct Settings {
    /// The region, as `eu-central-1`.
    pub region: String,
    /// The base URL in place of the region's own: for emulators and private endpoints.
    pub endpoint: Option<String>,
    /// The id of the access key.
    pub access_key_id: String,
    /// The access key.
    pub secret_access_key: String,
    /// The token of temporary credentials, as a function's role has them.
    pub session_token: Option<String>,
}

pub(super) fn client(settings: Settings) -> Client {
    let credentials = Credentials::new(
        settings.access_key_id,
        settings.secret_access_key,
        settings.session_token,
        None,
        "settings",
    );
    let http = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(settings.region))
        .credentials_provider(credentials)
        .http_client(http)
        .sleep_impl(TokioSleep::new())
        .time_source(SystemTimeSource::new())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(MOST_CONNECT_TIME)
                .build(),
        );
    config.set_endpoint_url(settings.endpoint);
    Client::from_conf(config.build())
}
