//! Where verified bytes are kept: metadata as `<role>.json`, downloads under their target path.
//!
//! Both names are encoded, so that whatever a role or a target is called, it is one file in its
//! folder. Each file is replaced as a whole. Roots come first and what they lead to after them: a
//! program that is stopped between two files has left what a refused step would have left.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use percent_encoding::percent_decode_str;
use tuf::Cache;
use tuf::client::encode;

/// The two folders, and what is known to lie in them.
pub struct Place {
    metadata: PathBuf,
    targets: Option<PathBuf>,
    kept: Cache,
}

impl Place {
    /// The folders; they need not exist.
    pub fn new(metadata: PathBuf, targets: Option<PathBuf>) -> Self {
        Self {
            metadata,
            targets,
            kept: Cache::default(),
        }
    }

    /// What was kept before. Of the downloads, those that are wanted.
    pub fn load(&mut self, wanted: &[String]) -> anyhow::Result<Cache> {
        let root = self.metadata.join("root.json");
        let mut known = Cache {
            root: std::fs::read(&root).with_context(|| root.display().to_string())?,
            ..Cache::default()
        };
        for entry in std::fs::read_dir(&self.metadata)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            let role = percent_decode_str(name).decode_utf8_lossy().into_owned();
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            match role.as_str() {
                "root" => {}
                "timestamp" => known.timestamp = Some(bytes),
                "snapshot" => known.snapshot = Some(bytes),
                _ => {
                    known.roles.insert(role, bytes);
                }
            }
        }
        for path in wanted {
            if let Some(bytes) = self.target(path).and_then(|file| read(&file).transpose()) {
                known.files.insert(path.clone(), bytes?);
            }
        }
        self.kept = known.clone();
        Ok(known)
    }

    /// Writes what is new.
    pub fn keep(&mut self, verified: &Cache) -> anyhow::Result<()> {
        let root = (self.kept.root != verified.root).then_some(&verified.root);
        self.metadata("root", root)?;
        let timestamp = verified.timestamp.as_ref();
        self.metadata(
            "timestamp",
            timestamp.filter(|_| self.kept.timestamp.as_ref() != timestamp),
        )?;
        let snapshot = verified.snapshot.as_ref();
        self.metadata(
            "snapshot",
            snapshot.filter(|_| self.kept.snapshot.as_ref() != snapshot),
        )?;
        for (role, bytes) in &verified.roles {
            self.metadata(
                role,
                (self.kept.roles.get(role) != Some(bytes)).then_some(bytes),
            )?;
        }
        for (path, bytes) in &verified.files {
            if self.kept.files.get(path) != Some(bytes)
                && let Some(file) = self.target(path)
            {
                replace(&file, bytes)?;
            }
        }
        self.kept.clone_from(verified);
        Ok(())
    }

    fn metadata(&self, role: &str, bytes: Option<&Vec<u8>>) -> anyhow::Result<()> {
        let Some(bytes) = bytes else {
            return Ok(());
        };
        replace(&self.metadata.join(format!("{}.json", encode(role))), bytes)
    }

    /// The file of a download. A name of dots alone would be a folder.
    fn target(&self, path: &str) -> Option<PathBuf> {
        let name = encode(path);
        let dots = name.bytes().all(|byte| byte == b'.');
        let name = if dots { name.replace('.', "%2E") } else { name };
        self.targets.as_ref().map(|folder| folder.join(name))
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    api::files::replace(path, bytes).with_context(|| path.display().to_string())
}
