//! HTTP to providers and buckets outside Workers: the house's own client.

use std::sync::Arc;
use std::time::Duration;

use api::http::{Http, NativeHttp};

/// How long a request may take: Hetzner answers the creation of a server within some seconds.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The client as [`edge::accounts::Accounts::from_settings`] asks for it.
pub fn http() -> Result<Arc<dyn Http>, String> {
    Ok(Arc::new(NativeHttp::new("postern-reconcile", TIMEOUT)?))
}
