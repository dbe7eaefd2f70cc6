//! What a door must do, asked of it as devices and other caches ask.
//!
//! Every fault names what to change. What is served is verified against the network's root and against
//! nothing that the door says.

use anyhow::bail;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use model::FirstContact;
use serde_json::Value;
use tuf::repository::{TIMESTAMP_PATH, bundle_path, root_path};
use tuf::{MOST_BUNDLE_BYTES, Start, Wanted, verify_bundle, verify_whole};

use super::Known;
use super::door::{Door, MOST_TIMESTAMP};
use crate::deploy::steps::Done;
use crate::now;

/// What never changes is kept for at least so many seconds: a day. Less is no fault of trust, but costs the
/// origin what a door is there to save.
const LEAST_FOR_GOOD: u64 = 24 * 60 * 60;

/// Whether anything answers for it.
pub async fn answers(door: &Door) -> anyhow::Result<Done> {
    let answer = door.get(TIMESTAMP_PATH, None, MOST_TIMESTAMP).await?;
    if answer.status != StatusCode::OK {
        bail!(
            "{}/{TIMESTAMP_PATH} is answered {}: the door does not reach what it stands before, or nothing was \
             published there yet",
            door.url(),
            answer.status
        );
    }
    Ok(Done::as_it_was((), format!("{} answers", door.url())))
}

/// Verifies every file that the door serves, and every bundle; the version of its timestamp.
pub async fn whole(door: &Door, contact: &FirstContact) -> anyhow::Result<Done<u64>> {
    let refused = |what: &str, error: tuf::VerifyError| {
        anyhow::anyhow!(
            "{} is not to be believed with {what}: {error}. It serves another network, an old copy, or bytes \
             that were changed on the way (compression and rewriting must be off)",
            door.url()
        )
    };
    let start = Start::Pin(&contact.root);
    let mut source = |path: &str, most| door.source(path, most);
    let whole = verify_whole(start, &contact.network, &[], &mut source, now());
    let whole = whole.map_err(|error| refused("its repository", error))?;
    let names: Vec<_> = whole
        .catalogs
        .iter()
        .map(|(catalog, _)| &catalog.name)
        .collect();
    for name in std::iter::once(None).chain(names.iter().copied().map(Some)) {
        let path = bundle_path(name);
        let Some(bytes) = door.file(&path, MOST_BUNDLE_BYTES).await? else {
            bail!(
                "{}/{path} is not there. Where it was published a moment ago, run this again in a minute",
                door.url()
            );
        };
        let wanted = Wanted {
            network: &contact.network,
            catalog: name,
            keys: &[],
        };
        let verified = verify_bundle(start, &wanted, &bytes, now());
        verified.map_err(|error| refused(&path, error))?;
    }
    let said = format!(
        "version {}, {} catalogs and all their files and bundles are signed as they must be",
        whole.state.timestamp_version(),
        names.len()
    );
    Ok(Done::as_it_was(whole.state.timestamp_version(), said))
}

/// Whether what the door served is what its origin has.
pub async fn is_current(origin: &Door, version: u64, brief: u32) -> anyhow::Result<Done> {
    let file = origin.file(TIMESTAMP_PATH, MOST_TIMESTAMP).await;
    let bytes = match file {
        Ok(Some(bytes)) => bytes,
        Ok(None) => bail!("the origin {} serves no {TIMESTAMP_PATH}", origin.url()),
        Err(error) => {
            // A door that goes on without its origin does what it is for.
            return Ok(Done::as_it_was(
                (),
                format!(
                    "the origin does not answer now, and the door goes on without it ({error:#})"
                ),
            ));
        }
    };
    let timestamp: Value = serde_json::from_slice(&bytes)?;
    let newest = timestamp["signed"]["version"].as_u64().unwrap_or_default();
    if newest > version {
        bail!(
            "the origin has version {newest}, the door served {version}. It may keep it for {brief} seconds: run \
             this again after them. If it is behind then, too: a door that serves a copy needs '--pull' again, \
             and else a cache before it keeps what it should not (the rules are in docs/deploy/doors.md)"
        );
    }
    Ok(Done::as_it_was((), format!("both have version {version}")))
}

/// Whether other caches are told the right thing, and callers who have a file already are told so.
pub async fn rules(door: &Door, brief: u32) -> anyhow::Result<Done> {
    let root = root_path(1);
    let mut faults = Vec::new();
    for (path, changes) in [
        (TIMESTAMP_PATH, true),
        (&*bundle_path(None), true),
        (&*root, false),
    ] {
        let first = door.get(path, None, MOST_BUNDLE_BYTES).await?;
        let rule = first.header(CACHE_CONTROL);
        let kept = max_age(rule);
        if changes && kept.is_none_or(|kept| kept > u64::from(brief)) {
            faults.push(format!(
                "{path} changes, and its Cache-Control is '{rule}': make it 'public, max-age={brief}'"
            ));
        }
        if !changes && kept.is_none_or(|kept| kept < LEAST_FOR_GOOD) {
            faults.push(format!(
                "{path} never changes, and its Cache-Control is '{rule}': make it 'public, max-age=31536000, \
                 immutable'"
            ));
        }
        if !first.header(CONTENT_ENCODING).is_empty() {
            faults.push(format!("{path} is compressed on the way: turn that off"));
        }
        match first.etag() {
            None => faults.push(format!(
                "{path} has no ETag, so that whoever has it gets it whole each time"
            )),
            Some(etag) => {
                let again = door.get(path, Some(etag), MOST_BUNDLE_BYTES).await?;
                // It may have changed meanwhile.
                let is_same = again.status != StatusCode::OK || again.etag() == Some(etag);
                if is_same && again.status != StatusCode::NOT_MODIFIED {
                    faults.push(format!(
                        "{path} is answered {} to whoever has it already: it must be 304",
                        again.status
                    ));
                }
            }
        }
    }
    if !faults.is_empty() {
        bail!("{}: {}", door.url(), faults.join(". "));
    }
    let said = format!(
        "what changes is kept for {brief} seconds at most, all else for good; a 304 where nothing is new"
    );
    Ok(Done::as_it_was((), said))
}

/// Whether the control plane is behind it, and nothing of it is kept.
pub async fn control(door: &Door) -> anyhow::Result<Done> {
    // Nobody is let in without a session: the answer is the control plane's own, a problem.
    let path = api::admin::INVITES.trim_start_matches('/');
    let answer = door.get(path, None, MOST_TIMESTAMP).await?;
    let is_ours = answer
        .header(CONTENT_TYPE)
        .starts_with("application/problem+json");
    if answer.status != StatusCode::UNAUTHORIZED || !is_ours {
        bail!(
            "{}/{path} is answered {}, and not by the control plane: check that it runs at the URL in the \
             door's configuration",
            door.url(),
            answer.status
        );
    }
    if !answer.header(CACHE_CONTROL).contains("no-store") {
        bail!(
            "{}/{path} lacks 'Cache-Control: no-store': the door must keep nothing below /v1/",
            door.url()
        );
    }
    Ok(Done::as_it_was(
        (),
        "the control plane answers through it, and nothing of it is kept",
    ))
}

/// Whether devices are told of it, or what makes it so.
pub fn is_named(network: &Known, door: &Door) -> Done {
    let mut named = network.contact.front_doors.iter();
    if named.any(|named| named.url.trim_end_matches('/') == door.url()) {
        return Done::as_it_was((), "the network names it");
    }
    let what = "the offline keys name it by 'posternctl root begin --add-door'";
    Done::as_it_was(
        (),
        format!("it is right, and no device knows of it yet: {what}"),
    )
}

/// For how many seconds a rule lets others keep an answer; `None` where it does not say.
fn max_age(rule: &str) -> Option<u64> {
    let mut parts = rule.split(',').map(str::trim);
    parts.find_map(|part| part.strip_prefix("max-age=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::max_age;

    #[test]
    fn a_rule_s_age_is_read_wherever_it_stands() {
        assert_eq!(max_age("public, max-age=60"), Some(60));
        assert_eq!(max_age("max-age=31536000, immutable"), Some(31_536_000));
        assert_eq!(max_age("no-store"), None);
        assert_eq!(max_age("max-age=soon"), None);
    }
}
