//! What stands on a mirror. A mirror is not believed: bytes count as ours by the hash of the head, or
//! by the signature of our own timestamp key, or not at all.

use model::CatalogName;
use serde::Deserialize;
use tuf::bundle::Bundle;
use tuf::envelope;
use tuf::repository::{self, Pin};

use super::assemble::Metadata;
use super::files::{File, What};
use super::{Head, Publisher};

/// Whether `bytes` are what `file` holds at `head`.
pub(super) fn fits(publisher: &Publisher<'_>, head: &Head, file: &File, bytes: &[u8]) -> bool {
    let offline = publisher.offline;
    let has = |sha256: &String| Pin::of(1, bytes).sha256 == *sha256;
    match &file.what {
        What::Root(place) => offline.roots.get(*place).is_some_and(|root| root == bytes),
        What::Targets => offline.targets == bytes,
        What::Offline(path) => offline.files.get(path).is_some_and(|file| file == bytes),
        What::Catalog(name) => head.catalogs.get(name).is_some_and(|pin| has(&pin.sha256)),
        What::Catalogs => has(&head.metadata.catalogs),
        What::Snapshot => has(&head.metadata.snapshot),
        What::Timestamp => has(&head.metadata.timestamp),
        What::Bundle(name) => bundle_fits(publisher, head, name.as_ref(), bytes).is_some(),
    }
}

/// A bundle is right if its parts have the head's hashes and nothing else is in it: then it is what
/// would be written of them.
fn bundle_fits(
    publisher: &Publisher<'_>,
    head: &Head,
    name: Option<&CatalogName>,
    bytes: &[u8],
) -> Option<()> {
    let bundle = Bundle::read(bytes).ok()?;
    let part = |path: &str, sha256: &String| {
        let part = bundle.get(path)?;
        (Pin::of(1, part).sha256 == *sha256).then_some(part)
    };
    let (version, pins) = (head.version, &head.metadata);
    let metadata = Metadata {
        version,
        catalogs: part(&repository::catalogs_path(version), &pins.catalogs)?.to_vec(),
        snapshot: part(&repository::snapshot_path(version), &pins.snapshot)?.to_vec(),
        timestamp: part(repository::TIMESTAMP_PATH, &pins.timestamp)?.to_vec(),
    };
    let catalog = match name {
        None => None,
        Some(name) => {
            let pin = head.catalogs.get(name)?;
            let path = &repository::target_paths(&name.path(), &pin.sha256)[0];
            Some((name, part(path, &pin.sha256)?))
        }
    };
    let written = metadata.bundle(publisher.offline, catalog).ok()?;
    (written == bytes).then_some(())
}

/// The version of a timestamp or of the one in a bundle, if our own key signed it; `None` for
/// everything else, which then may be replaced.
pub(super) fn version_of(publisher: &Publisher<'_>, file: &File, bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Timestamp {
        #[serde(rename = "_type")]
        role: String,
        version: u64,
    }
    let timestamp = match file.what {
        What::Timestamp => bytes,
        What::Bundle(_) => Bundle::read(bytes).ok()?.get(repository::TIMESTAMP_PATH)?,
        _ => return None,
    };
    let key = publisher.keys.timestamp.public();
    match envelope::verify_by::<Timestamp>(timestamp, &[key]) {
        Ok(timestamp) if timestamp.role == "timestamp" => Some(timestamp.version),
        Ok(_) => None,
        Err(error) => {
            tracing::error!(path = file.path, %error, "what a mirror serves is not ours");
            None
        }
    }
}
