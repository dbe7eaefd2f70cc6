//! The providers that this machine's environment names, by the names that deployed functions know.

use std::env;

use edge::accounts::{Accounts, HETZNER_TOKEN, PROVIDERS};
use edge::settings::Reader;

/// The accounts that this program's environment names; none if it names no token.
pub fn of_environment() -> anyhow::Result<Accounts> {
    let source = |name: &str| Ok(env::var(name).ok());
    let is_named = |name: &str| env::var(name).is_ok_and(|text| !text.is_empty());
    if !is_named(HETZNER_TOKEN.name) && !is_named(PROVIDERS.name) {
        return Ok(Accounts::none());
    }
    let mut reader = Reader::new(&source);
    let accounts = Accounts::from_settings(&mut reader, reconcile::native::http);
    reader.finish()?;
    Ok(accounts.expect("what is not there has a fault"))
}
