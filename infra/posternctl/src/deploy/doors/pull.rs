//! A verified copy of a repository in a folder, for a door that has no cache.
//!
//! What is not verified never reaches the folder, and what is there never gets older. Files that never change
//! come first, then the bundles, `timestamp.json` last: stopped anywhere, the folder holds a complete
//! repository, the old or the new one. When nothing is new, one request is made.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use model::FirstContact;
use serde_json::Value;
use tempfile::NamedTempFile;
use tuf::repository::{TIMESTAMP_PATH, bundle_path};
use tuf::{MOST_BUNDLE_BYTES, Start, Wanted, verify_bundle, verify_whole};

use super::door::{Door, MOST_TIMESTAMP};
use crate::deploy::steps::Done;
use crate::now;

/// Brings what `origin` serves into `folder`.
pub async fn pull(contact: &FirstContact, origin: &Door, folder: &Path) -> anyhow::Result<Done> {
    let shown = folder.display();
    fs::create_dir_all(folder).with_context(|| shown.to_string())?;
    let there = fs::read(folder.join(TIMESTAMP_PATH)).ok();
    let newest = origin.file(TIMESTAMP_PATH, MOST_TIMESTAMP).await?;
    let Some(newest) = newest else {
        bail!(
            "{} serves no {TIMESTAMP_PATH}: nothing was published there, or it is no front door",
            origin.url()
        );
    };
    if there.as_ref() == Some(&newest) {
        return Ok(Done::as_it_was(
            (),
            format!("{shown} is as new as {}", origin.url()),
        ));
    }
    let files = verified(contact, origin)?;
    let version = version_of(&files[TIMESTAMP_PATH]);
    if let Some(before) = there.as_deref().map(version_of)
        && before > version
    {
        bail!(
            "{} serves version {version}, and {shown} holds {before} already: the origin is older than the copy. \
             If its versions have begun anew after a change of keys, remove {shown}/{TIMESTAMP_PATH} first",
            origin.url()
        );
    }
    let mut changed = Vec::new();
    for (path, bytes) in &files {
        if path == TIMESTAMP_PATH {
            continue;
        }
        if path.starts_with("bundles/") {
            changed.push((path, bytes));
            continue;
        }
        put(folder, path, bytes)?;
    }
    for (path, bytes) in changed {
        put(folder, path, bytes)?;
    }
    put(folder, TIMESTAMP_PATH, &files[TIMESTAMP_PATH])?;
    Ok(Done::changed(
        (),
        format!("{shown} holds version {version}"),
    ))
}

/// Every file of the repository under every name that clients ask for, and every bundle.
fn verified(contact: &FirstContact, origin: &Door) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let start = Start::Pin(&contact.root);
    let mut files = BTreeMap::new();
    let mut source = |path: &str, most| {
        let bytes = origin.source(path, most)?;
        if let Some(bytes) = &bytes {
            files.insert(path.to_owned(), bytes.clone());
        }
        Ok(bytes)
    };
    let whole = verify_whole(start, &contact.network, &[], &mut source, now())
        .with_context(|| format!("{} is not to be believed", origin.url()))?;
    let others: Vec<_> = files
        .iter()
        .filter_map(|(path, bytes)| Some((other_name(path)?, bytes.clone())))
        .collect();
    files.extend(others);
    let names = whole.catalogs.iter().map(|(catalog, _)| &catalog.name);
    for name in std::iter::once(None).chain(names.map(Some)) {
        let path = bundle_path(name);
        let bytes = origin.source(&path, MOST_BUNDLE_BYTES)?;
        let bytes = bytes.with_context(|| format!("{}/{path} is not there", origin.url()))?;
        let wanted = Wanted {
            network: &contact.network,
            catalog: name,
            keys: &[],
        };
        verify_bundle(start, &wanted, &bytes, now())
            .with_context(|| format!("{}/{path} is not to be believed", origin.url()))?;
        files.insert(path, bytes);
    }
    Ok(files)
}

/// The name that other clients have for a target file in a folder
/// ([`target_paths`](tuf::repository::target_paths)).
fn other_name(path: &str) -> Option<String> {
    let (folder, file) = path.strip_prefix("targets/")?.rsplit_once('/')?;
    let (hash, name) = file.split_once('.')?;
    Some(format!("targets/{hash}.{folder}/{name}"))
}

fn version_of(timestamp: &[u8]) -> u64 {
    let read: Option<Value> = serde_json::from_slice(timestamp).ok();
    read.and_then(|read| read["signed"]["version"].as_u64())
        .unwrap_or_default()
}

fn put(folder: &Path, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let to = folder.join(path);
    let shown = || to.display().to_string();
    if fs::read(&to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let parent = to.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(shown)?;
    replace(&to, bytes).with_context(shown)
}

/// Replaces a file as a whole; everybody may read it. Its time of change is never that of the file before
/// it, to the second: by that and the length, Caddy makes entity tags.
pub fn replace(to: &Path, bytes: &[u8]) -> io::Result<()> {
    let before = fs::metadata(to).and_then(|about| about.modified());
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    let opened: &File = file.as_file();
    opened.set_permissions(Permissions::from_mode(0o644))?;
    opened.sync_all()?;
    if let Ok(before) = before {
        let next = before + Duration::from_secs(1);
        if opened.metadata()?.modified()? < next {
            opened.set_modified(next)?;
        }
    }
    file.persist(to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_in_a_folder_has_the_names_that_publishing_gives_it() {
        let names = tuf::repository::target_paths("catalogs/default.json", "abc");

        assert_eq!(other_name(&names[0]).as_ref(), Some(&names[1]));
        assert_eq!(other_name("targets/abc.limits.json"), None);
        assert_eq!(other_name("metadata/1.root.json"), None);
    }

    #[test]
    fn a_file_that_is_replaced_at_once_is_of_another_second() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("timestamp.json");
        let second = |file: &Path| {
            let modified = fs::metadata(file).unwrap().modified().unwrap();
            let since = modified.duration_since(std::time::UNIX_EPOCH);
            since.unwrap().as_secs()
        };

        replace(&file, b"one").unwrap();
        let first = second(&file);
        replace(&file, b"two").unwrap();
        let then = second(&file);

        assert!(then > first);
        assert_eq!(fs::read(&file).unwrap(), b"two");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}
