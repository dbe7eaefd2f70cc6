//! Where verified bytes are kept: metadata as `<role>.json`, downloads under their target path.
//!
//! Both names are encoded, so that whatever a role or a target is called, it is one file in its
//! folder. Each file is replaced as a whole. Roots come first and what they lead to after them: a
//! program that is stopped between two files has left what a refused step would have left. What a
//! root has made fall is removed after that root is written, and before anything newer is.

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

    /// Writes what is new, and removes the metadata of the roles that have `fallen`, in this order.
    pub fn keep(&mut self, verified: &Cache, fallen: &[&str]) -> anyhow::Result<()> {
        if self.kept.root != verified.root {
            self.metadata("root", &verified.root)?;
            self.kept.root.clone_from(&verified.root);
        }
        for role in fallen {
            self.remove(role)?;
        }
        if let Some(bytes) = &verified.timestamp
            && self.kept.timestamp.as_ref() != Some(bytes)
        {
            self.metadata("timestamp", bytes)?;
            self.kept.timestamp = Some(bytes.clone());
        }
        if let Some(bytes) = &verified.snapshot
            && self.kept.snapshot.as_ref() != Some(bytes)
        {
            self.metadata("snapshot", bytes)?;
            self.kept.snapshot = Some(bytes.clone());
        }
        for (role, bytes) in &verified.roles {
            if self.kept.roles.get(role) != Some(bytes) {
                self.metadata(role, bytes)?;
                self.kept.roles.insert(role.clone(), bytes.clone());
            }
        }
        for (path, bytes) in &verified.files {
            if self.kept.files.get(path) != Some(bytes)
                && let Some(file) = self.target(path)
            {
                replace(&file, bytes)?;
                self.kept.files.insert(path.clone(), bytes.clone());
            }
        }
        Ok(())
    }

    fn metadata(&self, role: &str, bytes: &[u8]) -> anyhow::Result<()> {
        replace(&self.file(role), bytes)
    }

    /// Removes the metadata of a role, if there is any.
    fn remove(&mut self, role: &str) -> anyhow::Result<()> {
        match role {
            "timestamp" => self.kept.timestamp = None,
            "snapshot" => self.kept.snapshot = None,
            _ => {}
        }
        let file = self.file(role);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| file.display().to_string())
            }
            _ => Ok(()),
        }
    }

    /// The file of a role's metadata.
    fn file(&self, role: &str) -> PathBuf {
        self.metadata.join(format!("{}.json", encode(role)))
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
