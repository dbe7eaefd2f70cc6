//! A file that must not be lost, replaced as a whole.
//!
//! The bytes go to a temporary file in the same folder, which is synced, renamed over the old one,
//! and made durable by syncing the folder. Stopped anywhere, by a kill or a loss of power, the old
//! file or the new one is there; when [`replace`] has returned, it is the new one. The order is
//! what matters: a rename that reaches the disk before the bytes leaves an empty file, and one whose
//! folder was not synced may not have happened. The tests stop it at every step, before and after,
//! on a disk that keeps no more than it was told to.
//!
//! The file can be read by its owner alone, from its first byte.

use std::ffi::OsStr;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Replaces the file at `path`, all or nothing. On an error the old one stays, unless only the last
/// step failed: then the new one is there, and may not survive a loss of power.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(path, |file| file.write_all(bytes))
}

/// The same with what `write` writes, which need not be in memory as a whole.
pub fn replace_by(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    replace_on(&System, path, write)
}

/// The same without waiting for the disk: who reads finds the old file or the new one, and after a loss of
/// power there may be either, or neither. For what can be made again.
pub fn replace_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = System.create(path)?;
    file.as_file_mut().write_all(bytes)?;
    System.rename(file, path)
}

/// Removes what a [`replace`] of the file at `path` left beside it when it was killed: a copy with all the secrets
/// that the file had. For who alone replaces the file, because one that is under way would fail. All are tried; an
/// error is the first.
pub fn sweep(path: &Path) -> io::Result<()> {
    let there = |error: &io::Error| error.kind() != io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(folder_of(path)) {
        Err(error) if !there(&error) => return Ok(()),
        entries => entries?,
    };
    let mut result = Ok(());
    for entry in entries {
        let entry = entry?;
        if is_temporary(&entry.file_name(), path)
            && let Err(error) = std::fs::remove_file(entry.path())
            && there(&error)
        {
            result = result.and(Err(error));
        }
    }
    result
}

/// Whether `name` is that of a temporary file for `path`.
fn is_temporary(name: &OsStr, path: &Path) -> bool {
    let (before, after) = names(path);
    let between = name
        .to_str()
        .and_then(|name| name.strip_prefix(&before)?.strip_suffix(after));
    between.is_some_and(|random| {
        random.len() == RANDOM_CHARS && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Of the name of a temporary file, the characters between what [`names`] gives.
const RANDOM_CHARS: usize = 6;

/// The most bytes of a file's name that are taken into those of its temporary files: 255 are the most of a name.
const MOST_OF_NAME: usize = 240;

/// What the names of temporary files for `path` begin and end with.
fn names(path: &Path) -> (String, &'static str) {
    let mut name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    while name.len() > MOST_OF_NAME {
        name.pop();
    }
    (format!(".{name}."), ".tmp")
}

/// What is done to a disk, a step each.
trait Disk {
    /// A temporary file, which goes when it is dropped.
    type File;

    /// One beside what it is to replace.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Writes some of the bytes and says how many.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<usize>;
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    fn rename(&self, file: Self::File, to: &Path) -> io::Result<()>;
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

fn replace_on<D: Disk>(
    disk: &D,
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = disk.create(path)?;
    let mut buffered = BufWriter::new(OnDisk {
        disk,
        file: &mut file,
    });
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    put_in_place(disk, file, path)
}

/// A file that is being written.
struct OnDisk<'a, D: Disk> {
    disk: &'a D,
    file: &'a mut D::File,
}

impl<D: Disk> io::Write for OnDisk<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.write(self.file, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What makes the bytes of a temporary file those of `path`, in this order.
fn put_in_place<D: Disk>(disk: &D, file: D::File, path: &Path) -> io::Result<()> {
    disk.sync(&file)?;
    disk.rename(file, path)?;
    disk.sync_folder(folder_of(path))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A file that is too large to be held in memory, on its way: it takes its place, all or nothing, when it is
/// finished. One that is dropped before leaves nothing.
#[derive(Debug)]
pub struct Replacement {
    file: NamedTempFile,
    path: PathBuf,
}

impl Replacement {
    /// Begins what is to become the file at `path`, in the same folder.
    pub fn begin(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: System.create(path)?,
            path: path.to_owned(),
        })
    }

    /// Puts it in its place. On an error the old file stays, as with [`replace`].
    pub fn finish(self) -> io::Result<()> {
        put_in_place(&System, self.file, &self.path)
    }
}

impl io::Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        System.write(&mut self.file, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct System;

impl Disk for System {
    type File = NamedTempFile;

    fn create(&self, path: &Path) -> io::Result<NamedTempFile> {
        let (before, after) = names(path);
        tempfile::Builder::new()
            .prefix(&before)
            .rand_bytes(RANDOM_CHARS)
            .suffix(after)
            .tempfile_in(folder_of(path))
    }

    fn write(&self, file: &mut NamedTempFile, bytes: &[u8]) -> io::Result<usize> {
        file.as_file_mut().write(bytes)
    }

    fn sync(&self, file: &NamedTempFile) -> io::Result<()> {
        file.as_file().sync_all()
    }

    fn rename(&self, file: NamedTempFile, to: &Path) -> io::Result<()> {
        file.persist(to).map_err(|error| error.error)?;
        Ok(())
    }

    #[cfg(unix)]
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::File::open(folder)?.sync_all()
    }

    #[cfg(not(unix))]
    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        // Windows opens no folders; its rename is written through.
        Ok(())
    }
}

#[cfg(test)]
mod tests;
