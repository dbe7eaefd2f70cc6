//! The client of native programs: hyper and rustls (ring) on tokio.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// How long a connection may take to be made: three handshakes, half around the world.
const MOST_CONNECT_TIME: Duration = Duration::from_millis(1500);

/// The roots that certificates of AWS' endpoints end in, all five as Amazon asks for
/// (amazontrust.com/repository). The system's own 140 take a third of a function's start to read.
pub const AMAZON_ROOTS: &str = include_str!("amazon-roots.pem");

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
    let http = http_client(&settings.region, settings.endpoint.as_deref());
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

/// The client for the region's own endpoint, which Amazon's roots vouch for and no other (docs/adr/0025),
/// or for another one: without TLS on loopback, else with the system's roots.
fn http_client(region: &str, endpoint: Option<&str>) -> SharedHttpClient {
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        return Builder::new().build_http();
    }
    let tls = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    // The regions of China are another operator's.
    if endpoint.is_some() || region.starts_with("cn-") {
        return tls.build_https();
    }
    let roots = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    let context = TlsContext::builder().with_trust_store(roots).build();
    let context = context.expect("a context is built of any trust store");
    tls.tls_context(context).build_https()
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, HEXLOWER};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_roots_are_those_that_amazon_publishes() {
        let bodies = AMAZON_ROOTS.split("-----BEGIN CERTIFICATE-----").skip(1);
        let fingerprints = bodies.map(|body| {
            let (base64, _) = body.split_once("-----END").unwrap();
            let base64: String = base64.split_whitespace().collect();
            let certificate = BASE64.decode(base64.as_bytes()).unwrap();
            HEXLOWER.encode(&Sha256::digest(certificate))
        });

        // amazontrust.com/repository, "SHA-256 hash of the certificate".
        let published = [
            "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
            "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
            "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
            "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
            "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
        ];
        assert_eq!(fingerprints.collect::<Vec<_>>(), published);
    }
}
