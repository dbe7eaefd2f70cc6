//! The device file: where it is, and how it survives crashes and company.
//!
//! - **Atomic.** It is replaced as a whole ([`api::files`]): after a crash there is the old file or
//!   the new one. It is written where something in it changed.
//! - **Whole.** Who has this one file has the device. What it can do without ([`crate::device::Memory`]) stands beside
//!   it, in `<file>.memory`, which is written with every save and may be lost at any time.
//! - **Private.** `0600` from the first byte; a new folder is `0700`.
//! - **Locked.** A command that changes it holds `<file>.lock` from load to save. The lock is the
//!   system's and ends with the process, so none is ever left behind. Commands that only read take
//!   no lock: the rename shows them a whole file.
//! - **Alone.** What a command that was killed left beside it or beside the tunnels' configs, with their secrets, goes
//!   when the next one that locks it opens it.
//! - **Never overwritten in ignorance.** A damaged file or one of a newer schema is an error, and
//!   stays as it is.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::files::{replace_by, replace_unsynced, sweep};
use serde::{Deserialize, Serialize};

use crate::device::{SCHEMA, SCHEMA_FAMILY};
use crate::{Device, Error};

/// For how long a command waits for another one: longer than a front door's timeout.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks again. The system's blocking lock could not be given up on.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The device file's path: `given`, or the one in the platform's config folder.
pub fn locate(given: Option<PathBuf>) -> Result<PathBuf, Error> {
    if let Some(path) = given {
        return Ok(path);
    }
    let folders = directories::ProjectDirs::from("", "", "postern").ok_or(Error::NoPlace)?;
    Ok(folders.config_dir().join("device.json"))
}

/// Reads the device file without a lock; [`Error::NoDevice`] if there is none.
pub fn read(path: &Path) -> Result<Device, Error> {
    load(path)?.ok_or_else(|| Error::NoDevice {
        path: path.to_owned(),
    })
}

/// The device file, held by this process alone.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    /// What the file holds, as far as this process knows.
    held: Mutex<Option<Device>>,
    _lock: File,
}

impl Locked {
    /// Locks the device file at `path`, which need not exist yet, and waits for at most `patience`
    /// while another process holds it.
    pub async fn open(path: &Path, patience: Duration) -> Result<Self, Error> {
        let failed = |doing| move |source| failure(path, doing, source);
        create_folder(folder(path)).map_err(failed("make the folder of"))?;
        let lock_path = path.with_added_extension("lock");
        let lock = private_options()
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|source| failure(&lock_path, "open", source))?;

        let given_up = tokio::time::Instant::now() + patience;
        let mut said = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => {
                    return Err(failure(&lock_path, "lock", source));
                }
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() >= given_up => {
                    return Err(Error::Locked {
                        path: path.to_owned(),
                    });
                }
                Err(TryLockError::WouldBlock) => {
                    if !said {
                        tracing::warn!("another postern is using {}: waiting", path.display());
                        said = true;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
        clean_up(path);
        clean_up(&memory_of(path));
        Ok(Self {
            path: path.to_owned(),
            held: Mutex::new(None),
            _lock: lock,
        })
    }

    /// Where the device file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file holds; None if there is none.
    pub fn load(&self) -> Result<Option<Device>, Error> {
        let device = load_alone(&self.path)?;
        self.held().clone_from(&device);
        let issued = device.iter().flat_map(|device| device.issued.files());
        issued.for_each(clean_up);
        Ok(device.map(|device| with_memory(&self.path, device)))
    }

    /// What the file holds; [`Error::NoDevice`] if there is none.
    pub fn read(&self) -> Result<Device, Error> {
        self.load()?.ok_or_else(|| Error::NoDevice {
            path: self.path.clone(),
        })
    }

    /// Replaces the file, all or nothing, if anything but the memory changed. When this returns, it survives
    /// a loss of power; the memory may not.
    pub fn save(&self, device: &Device) -> Result<(), Error> {
        let (device, memory) = device.split();
        let mut held = self.held();
        if held.as_ref() != Some(&device) {
            // Whatever becomes of it: what the file holds now is not known until it is there.
            *held = None;
            // Straight into the file: its text is megabytes.
            replace_by(&self.path, |file| Ok(serde_json::to_writer(file, &device)?))
                .map_err(|source| failure(&self.path, "write", source))?;
            *held = Some(device);
        }
        let path = memory_of(&self.path);
        replace_unsynced(&path, &json(&memory)?).map_err(|source| failure(&path, "write", source))
    }

    fn held(&self) -> MutexGuard<'_, Option<Device>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Replaces a tunnel's config, for who holds the device file that it was made from: one folder is for one device.
pub fn replace(path: &Path, config: &str) -> io::Result<()> {
    clean_up(path);
    api::files::replace(path, config.as_bytes())
}

/// Removes what a killed command left of the file. Where that cannot be, the file is of use all the same.
fn clean_up(path: &Path) {
    if let Err(error) = sweep(path) {
        let path = path.display();
        tracing::warn!("beside {path} an old copy may lie, and cannot be removed: {error}");
    }
}

/// Makes a folder that only its owner can enter, if it is not there.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn json(what: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(what)
        .map_err(|error| Error::Internal(format!("the device is not JSON: {error}")))
}

/// Where the memory of the device file at `path` is.
fn memory_of(path: &Path) -> PathBuf {
    path.with_added_extension("memory")
}

fn load(path: &Path) -> Result<Option<Device>, Error> {
    let device = load_alone(path)?;
    Ok(device.map(|device| with_memory(path, device)))
}

/// The device with its memory, if that can be read.
fn with_memory(path: &Path, mut device: Device) -> Device {
    let path = memory_of(path);
    let memory = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    match memory {
        Ok(memory) => device.remember(memory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let path = path.display();
            tracing::warn!("{path} cannot be read, and is made anew: {error}");
        }
    }
    device
}

/// What the device file holds by itself.
fn load_alone(path: &Path) -> Result<Option<Device>, Error> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }

    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failure(path, "read", source)),
    };
    warn_if_shared(path);
    // It is megabytes: its schema is looked for by itself only where it cannot be read.
    let read = serde_json::from_slice::<Device>(&bytes);
    let schema = match &read {
        Ok(device) => Some(device.schema.clone()),
        Err(_) => serde_json::from_slice(&bytes)
            .ok()
            .map(|head: Head| head.schema),
    };
    check_schema(path, schema)?;
    // serde_json's messages name fields and places, never what a field holds; those of the secrets
    // do not either (api::secret).
    read.map(Some)
        .map_err(|error| damaged(path, error.to_string()))
}

/// Refuses a file of another schema, as far as it names one.
fn check_schema(path: &Path, schema: Option<String>) -> Result<(), Error> {
    match schema {
        Some(found) if found == SCHEMA => Ok(()),
        Some(found) if found.starts_with(SCHEMA_FAMILY) => Err(Error::NewerSchema {
            path: path.to_owned(),
            found,
        }),
        Some(found) => Err(damaged(path, format!("it is no device file but '{found}'"))),
        None => Ok(()),
    }
}

fn damaged(path: &Path, why: String) -> Error {
    Error::Damaged {
        path: path.to_owned(),
        why,
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn failure(path: &Path, doing: &'static str, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        doing,
        source,
    }
}

fn private_options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(unix)]
fn warn_if_shared(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        let path = path.display();
        tracing::warn!("others can read {path}, which holds secrets: chmod 600 {path}");
    }
}

#[cfg(not(unix))]
fn warn_if_shared(_path: &Path) {}

#[cfg(all(test, unix))]
mod tests;
