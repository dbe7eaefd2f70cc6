//! HTTP to buckets outside Workers: the house's own client.

use std::sync::Arc;
use std::time::Duration;

use api::http::{Http, NativeHttp};

/// How long a request to a bucket may take. What is slower lags, and the other mirrors do not wait.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The client as [`crate::settings::Publish`] asks for it.
pub fn http() -> Result<Arc<dyn Http>, String> {
    Ok(Arc::new(NativeHttp::new("postern-publish", TIMEOUT)?))
}
