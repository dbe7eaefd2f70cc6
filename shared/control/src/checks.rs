//! What operators may ask for: refused when it is asked, rather than never working.

use std::net::SocketAddr;

use api::Kind;
use api::rotation::EndorsementError;
use model::{CohortName, ExitKey, Limits, TunnelKey, id};

use crate::Error;

/// The longest region, in characters: it stands in every catalog and in tables for people.
const MOST_REGION: usize = 32;
/// The longest note, in bytes.
const MOST_NOTE: usize = 500;

/// A cohort that has a catalog: devices of any other would never sync.
pub(crate) fn cohort(limits: &Limits, cohort: &CohortName) -> Result<(), Error> {
    if limits.cohorts.contains(cohort) {
        return Ok(());
    }
    Err(malformed(format!(
        "there is no cohort '{cohort}': the signed limits have {}",
        listed(&limits.cohorts)
    )))
}

/// Where a gateway may be listed: at any other address, no client would take it, and on port 0 none
/// would reach it.
pub(crate) fn endpoint(limits: &Limits, endpoint: SocketAddr) -> Result<(), Error> {
    if endpoint.port() == 0 {
        return Err(malformed("'endpoint' must have a port from 1 to 65535"));
    }
    let address = endpoint.ip();
    if limits.allow_gateway_at(address) {
        return Ok(());
    }
    Err(malformed(format!(
        "'endpoint': {address} is outside the networks of the signed limits, which are {}",
        listed(&limits.gateway_networks)
    )))
}

/// A region: 1 to 32 visible ASCII characters.
pub(crate) fn region(region: &str) -> Result<(), Error> {
    let visible = region.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (1..=MOST_REGION).contains(&region.len()) {
        return Ok(());
    }
    Err(malformed(format!(
        "'region' must be 1 to {MOST_REGION} visible ASCII characters"
    )))
}

/// The hash of a bootstrap secret: no secret fits any other text.
pub(crate) fn bootstrap_hash(hash: &str) -> Result<(), Error> {
    if id::is_hash(hash) {
        return Ok(());
    }
    Err(malformed(
        "'bootstrap_hash' must be the hash of the secret that you made, 26 characters of base32",
    ))
}

/// A note: at most 500 bytes that cannot move a terminal's cursor.
pub(crate) fn note(note: &str) -> Result<(), Error> {
    if note.len() > MOST_NOTE {
        return Err(malformed(format!("'note' has more than {MOST_NOTE} bytes")));
    }
    if note.chars().any(char::is_control) {
        return Err(malformed("'note' must have no control characters"));
    }
    Ok(())
}

/// Keys of a device's two tunnels.
pub(crate) fn two_keys(tunnel: &TunnelKey, exit: &ExitKey) -> Result<(), Error> {
    if tunnel.as_bytes() == exit.as_bytes() {
        return Err(malformed(
            "'tunnel_key' and 'exit_key' must differ, or both hops could name the device",
        ));
    }
    Ok(())
}

/// What a bad endorsement means to who sent it.
pub(crate) fn endorsement(checked: Result<(), EndorsementError>) -> Result<(), Error> {
    checked.map_err(|error| {
        let kind = match error {
            EndorsementError::SameKey => Kind::MalformedRequest,
            EndorsementError::NotMade => Kind::SignatureInvalid,
        };
        Error::refused(kind, error.to_string())
    })
}

fn listed(all: &[impl ToString]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join(", ")
}

/// A request that cannot be taken as it is; `detail` says what would be.
pub(crate) fn malformed(detail: impl Into<String>) -> Error {
    Error::refused(Kind::MalformedRequest, detail)
}
