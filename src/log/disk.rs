//! The few things done to files, each with the error that names the file.
//!
//! Everything that the log does to a disk goes through here, to the [`Disk`] that it was opened on. Never retries: what a
//! failed fsync has left on disk cannot be known.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::error::LogError;
use crate::storage::{self, Disk, DiskEntry, DiskFile, DiskLock};

/// Writes all of `bytes` at a place of the file.
pub(super) fn write_at(
    file: &dyn DiskFile,
    path: &Path,
    position: u64,
    bytes: &[u8],
) -> Result<(), LogError> {
    file.write_at(position, bytes).map_err(LogError::io("write to", path))
}

/// Returns once the file's bytes and its length are on disk.
pub(super) fn sync(file: &dyn DiskFile, path: &Path) -> Result<(), LogError> {
    file.sync().map_err(LogError::io("sync", path))
}

/// Returns once the names in a directory are on disk.
pub(super) fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    disk.sync_dir(dir).map_err(LogError::io("sync directory", dir))
}

/// Opens a file that exists for reading.
pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskFile>, LogError> {
    disk.open(path).map_err(LogError::io("open", path))
}

/// Opens a file that exists for writing.
pub(super) fn open_for_writing(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Box<dyn DiskFile>, LogError> {
    disk.open_for_writing(path).map_err(LogError::io("open", path))
}

/// Opens a file for writing, and makes an empty one if there is none.
pub(super) fn open_or_create(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskFile>, LogError> {
    match open_for_writing(disk, path) {
        Err(error) if error.is_not_found() => disk.create(path).map_err(LogError::io("open", path)),
        opened => opened,
    }
}

/// Makes a file with these bytes appear whole, or not at all, and durable. Returns it open for writing.
pub(super) fn create_whole(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
) -> Result<Box<dyn DiskFile>, LogError> {
    let unfinished = unfinished(path);
    let file = disk.create(&unfinished).map_err(LogError::io("create", &unfinished))?;
    write_at(&*file, &unfinished, 0, bytes)?;
    sync(&*file, &unfinished)?;
    disk.rename(&unfinished, path).map_err(LogError::io("rename to", path))?;
    sync_dir(disk, path.parent().unwrap_or(Path::new(".")))?;
    Ok(file)
}

/// The name of a file that is not whole yet. One that a crash has left is removed when the log is opened again.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED_SUFFIX);
    name.into()
}

/// How the name of a file ends that is not whole yet.
pub(super) const UNFINISHED_SUFFIX: &str = ".tmp";

/// Cuts a file to a length, durably.
pub(super) fn truncate(file: &dyn DiskFile, path: &Path, bytes: u64) -> Result<(), LogError> {
    file.truncate(bytes).map_err(LogError::io("truncate", path))?;
    sync(file, path)
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The same path from the root on, so that it leads to the same place when the program changes its working directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, LogError> {
    std::path::absolute(path).map_err(LogError::io("find", path))
}

/// Creates a directory with all that is missing above it. Their names are not durable yet.
pub(super) fn create_dir(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    storage::create_dir_all(disk, dir).map_err(LogError::io("create directory", dir))
}

/// Makes the name of a directory durable, and the names of those above it, whoever created them: the process that did may
/// have died before they were.
pub(super) fn sync_above(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    for above in dir.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let synced = storage::unless_not_ours(disk.sync_dir(above));
        synced.map_err(LogError::io("sync directory", above))?;
    }
    Ok(())
}

/// Takes a lock, or `None` if another has it.
pub(super) fn try_lock(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<Box<dyn DiskLock>>, LogError> {
    disk.try_lock(path).map_err(LogError::io("lock", path))
}

/// The names of what lies in a directory.
pub(super) fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<OsString>, LogError> {
    disk.names(dir).map_err(LogError::io("list", dir))
}

/// What lies in a directory.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<DiskEntry>, LogError> {
    disk.list(dir).map_err(LogError::io("list", dir))
}

/// Whether there is a file of this name that can be opened.
pub(super) fn is_there(disk: &dyn Disk, path: &Path) -> Result<bool, LogError> {
    storage::is_there(disk, path).map_err(LogError::io("open", path))
}

/// All bytes of a small file, or `None` when there is no such file.
pub(super) fn read_whole(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    match disk.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LogError::io("read", path)(error)),
    }
}

/// As many of the bytes at a place as the file has, up to the buffer's length.
pub(super) fn read_at(
    file: &dyn DiskFile,
    path: &Path,
    position: u64,
    into: &mut [u8],
) -> Result<usize, LogError> {
    file.read_at(position, into).map_err(LogError::io("read", path))
}

/// The file's length in bytes.
pub(super) fn length(file: &dyn DiskFile, path: &Path) -> Result<u64, LogError> {
    file.length().map_err(LogError::io("measure", path))
}
