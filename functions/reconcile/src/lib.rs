//! The function `reconcile`: from the fleet that is wanted to nodes that serve.
//!
//! It holds the credentials of providers and the key of bootstrap secrets, and works in two ways
//! ([`control::fleet`]): a schedule wakes it to heal and to go on with what is under way, and admins ask
//! it for a plan, for carrying out the plan that they were shown, and for trials of a provider. Either
//! way a run is bounded, and the next one goes on where it ended. A run that did something writes a
//! record of it, which an admin who asked gets, too.

#[cfg(not(target_family = "wasm"))]
pub mod native;
mod routes;
mod runs;
#[cfg(feature = "workers")]
mod worker;

use std::sync::Arc;

use control::fleet::{Boot, BootstrapKey};
use edge::accounts::{Accounts, Shelf};
use edge::mirrors::MakeHttp;
use edge::settings::{self, LIMITS, Reader, Setting};

pub use routes::{CheckAnswer, InventoryAnswer, listed, routes};
pub use runs::{RunAnswer, SmokeAnswer};

/// What all bootstrap secrets are derived from.
pub const BOOTSTRAP_KEY: Setting = Setting {
    name: "POSTERN_BOOTSTRAP_KEY",
    holds: "the key that nodes' bootstrap secrets are derived from, as 'posternctl settings reconcile' prints it",
};
/// How nodes reach and trust the network.
pub const CONTACT: Setting = Setting {
    name: "POSTERN_CONTACT",
    holds: "the first contact as JSON, as 'posternctl settings reconcile' prints it",
};

/// What the function stands on besides the state.
pub struct Reconcile {
    accounts: Accounts,
    boot: Boot,
    shelf: Shelf,
}

impl Reconcile {
    /// Of these accounts; nodes boot with `boot`, and records go to `shelf`.
    pub fn new(accounts: Accounts, boot: Boot, shelf: Shelf) -> Self {
        Self {
            accounts,
            boot,
            shelf,
        }
    }

    /// Reads it from a deployment's settings; `http` reaches providers and buckets.
    pub fn from_settings(reader: &mut Reader<'_>, http: MakeHttp) -> Option<Arc<Self>> {
        let accounts = Accounts::from_settings(reader, http);
        let key = reader.required(BOOTSTRAP_KEY, |text| {
            BootstrapKey::parse(text).map_err(|error| error.to_string())
        });
        let contact = reader.required(CONTACT, settings::json);
        let limits = reader.required(LIMITS, settings::json);
        let shelf = Shelf::from_settings(reader, http);
        let boot = Boot {
            key: key?,
            contact: contact?,
            limits: limits?,
        };
        Some(Arc::new(Self::new(accounts?, boot, shelf?)))
    }
}
