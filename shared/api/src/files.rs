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
    let mut file = System.create(folder_of(path))?;
    file.as_file_mut().write_all(bytes)?;
    System.rename(file, path)
}

/// What is done to a disk, a step each.
trait Disk {
    /// A temporary file, which goes when it is dropped.
    type File;

    fn create(&self, folder: &Path) -> io::Result<Self::File>;
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
    let folder = folder_of(path);
    let mut file = disk.create(folder)?;
    let mut buffered = BufWriter::new(OnDisk {
        disk,
        file: &mut file,
    });
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    put_in_place(disk, file, path, folder)
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
fn put_in_place<D: Disk>(disk: &D, file: D::File, path: &Path, folder: &Path) -> io::Result<()> {
    disk.sync(&file)?;
    disk.rename(file, path)?;
    disk.sync_folder(folder)
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
            file: System.create(folder_of(path))?,
            path: path.to_owned(),
        })
    }

    /// Puts it in its place. On an error the old file stays, as with [`replace`].
    pub fn finish(self) -> io::Result<()> {
        put_in_place(&System, self.file, &self.path, folder_of(&self.path))
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

    fn create(&self, folder: &Path) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(folder)
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
