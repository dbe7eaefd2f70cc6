//! A folder as a mirror: what object storage promises, kept with files.
//!
//! A conditional replacement compares and renames under a lock that all publishers on this machine
//! take, writes a temporary file first and syncs it, so that a reader or a crash finds the old or
//! the new bytes and nothing between. The version of bytes is their SHA-256.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use control::publish::{Etag, Mirror, MirrorError, Object, Replaced};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// A folder that front doors serve.
#[derive(Clone)]
pub struct Folder {
    name: String,
    root: PathBuf,
}

impl Folder {
    /// The mirror `name` in the folder `root`, which is made if it is not there.
    pub fn new(name: impl Into<String>, root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        make_folders(&root)?;
        Ok(Self {
            name: name.into(),
            root,
        })
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&Path, &Path) -> Result<T, MirrorError> + Send + 'static,
    ) -> Result<T, MirrorError> {
        let root = self.root.clone();
        let file = root.join(path);
        let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !plain {
            return Err(MirrorError::Unavailable(format!(
                "'{path}' is not a plain relative path"
            )));
        }
        tokio::task::spawn_blocking(move || work(&root, &file))
            .await
            .map_err(|error| MirrorError::Unavailable(error.to_string()))?
    }
}

#[async_trait]
impl Mirror for Folder {
    fn name(&self) -> &str {
        &self.name
    }

    async fn get(&self, path: &str) -> Result<Option<Object>, MirrorError> {
        self.blocking(path, |_, file| {
            let bytes = read(file)?;
            Ok(bytes.map(|bytes| Object {
                etag: etag(&bytes),
                bytes: Bytes::from(bytes),
            }))
        })
        .await
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        let (bytes, shown) = (bytes.to_vec(), path.to_owned());
        self.blocking(path, move |root, file| {
            let _lock = lock(root)?;
            match read(file)? {
                Some(there) if there == bytes => Ok(()),
                Some(_) => Err(MirrorError::Changed(shown)),
                None => write(root, file, &bytes),
            }
        })
        .await
    }

    async fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        over: Option<&Etag>,
    ) -> Result<Replaced, MirrorError> {
        let (bytes, over) = (bytes.to_vec(), over.cloned());
        self.blocking(path, move |root, file| {
            let _lock = lock(root)?;
            let there = read(file)?.map(|bytes| etag(&bytes));
            if there != over {
                return Ok(Replaced::Conflict);
            }
            write(root, file, &bytes)?;
            Ok(Replaced::Yes(Some(etag(&bytes))))
        })
        .await
    }
}

fn etag(bytes: &[u8]) -> Etag {
    Etag(HEXLOWER.encode(&Sha256::digest(bytes)))
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, MirrorError> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, &error)),
    }
}

/// Held until it is dropped; other processes wait.
fn lock(root: &Path) -> Result<File, MirrorError> {
    let path = root.join(".lock");
    let take = || {
        let file = File::options().create(true).append(true).open(&path)?;
        file.lock()?;
        Ok(file)
    };
    take().map_err(|error: io::Error| failed(&path, &error))
}

fn write(root: &Path, file: &Path, bytes: &[u8]) -> Result<(), MirrorError> {
    let parent = file.parent().unwrap_or(root);
    let put = || {
        make_folders(parent)?;
        // Under the lock there is one writer, so that one name serves all.
        let temporary = root.join(".new");
        let mut new = File::create(&temporary)?;
        new.write_all(bytes)?;
        new.sync_all()?;
        fs::rename(&temporary, file)?;
        File::open(parent)?.sync_all()
    };
    put().map_err(|error: io::Error| failed(file, &error))
}

/// Makes `folder` and those above it that are not there, and syncs the entry of each: a file is not
/// kept before all folders on the way to it are.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_folders(above)?;
    match fs::create_dir(folder) {
        Ok(()) => File::open(above)?.sync_all(),
        // Another process was faster, and syncs it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

fn failed(file: &Path, error: &io::Error) -> MirrorError {
    MirrorError::Unavailable(format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new("test", temporary.path().join("site")).unwrap();
        (temporary, folder)
    }

    #[tokio::test]
    async fn a_replacement_over_other_bytes_changes_nothing() {
        let (_temporary, folder) = folder();
        let first = folder.replace("a/b", b"1", None).await.unwrap();
        assert_eq!(
            folder.replace("a/b", b"2", None).await.unwrap(),
            Replaced::Conflict
        );
        let there = folder.get("a/b").await.unwrap().unwrap();
        assert_eq!(there.bytes, "1");
        assert_eq!(first, Replaced::Yes(Some(there.etag.clone())));
        let second = folder.replace("a/b", b"2", Some(&there.etag)).await;
        assert!(matches!(second, Ok(Replaced::Yes(Some(_)))));
        assert_eq!(
            folder
                .replace("a/b", b"3", Some(&there.etag))
                .await
                .unwrap(),
            Replaced::Conflict
        );
    }

    #[tokio::test]
    async fn a_file_that_never_changes_is_refused_other_bytes() {
        let (_temporary, folder) = folder();
        folder.create("1.root.json", b"x").await.unwrap();
        folder.create("1.root.json", b"x").await.unwrap();
        let error = folder.create("1.root.json", b"y").await.unwrap_err();
        assert!(matches!(error, MirrorError::Changed(_)));
    }

    #[tokio::test]
    async fn folders_on_the_way_to_a_file_are_made_and_what_is_in_their_place_is_an_error() {
        let (temporary, folder) = folder();
        folder.create("bundles/1/cohort/x", b"x").await.unwrap();
        assert!(folder.get("bundles/1/cohort/x").await.unwrap().is_some());
        Folder::new("again", temporary.path().join("a/b/c")).unwrap();

        let through_a_file = folder.create("bundles/1/cohort/x/y", b"y").await;

        assert!(matches!(through_a_file, Err(MirrorError::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_path_out_of_the_folder_is_refused() {
        let (_temporary, folder) = folder();
        assert!(folder.create("../x", b"x").await.is_err());
        assert!(folder.get("/etc/passwd").await.is_err());
    }

    #[tokio::test]
    async fn of_many_replacements_over_the_same_bytes_one_wins() {
        let (_temporary, folder) = folder();
        let tries = (0..16u8).map(|n| {
            let folder = folder.clone();
            tokio::spawn(async move { folder.replace("x", &[n], None).await.unwrap() })
        });
        let mut wins = 0;
        for one in tries.collect::<Vec<_>>() {
            wins += usize::from(one.await.unwrap() != Replaced::Conflict);
        }
        assert_eq!(wins, 1);
    }
}
