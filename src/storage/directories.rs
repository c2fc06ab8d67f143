//! Directories and names: work that takes several operations of a disk.
//!
//! Owns which names have to be made durable so that the files under them can be found after a power failure.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::disk::Disk;

/// Creates a directory and its missing parents, each durably. Existing ones are made durable too: the process that created
/// them may have been killed before it did so.
///
/// # Errors
///
/// An error of the disk.
pub(crate) fn create_dir_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().map(or_here) else {
        return Ok(());
    };
    match disk.create_dir(path) {
        Ok(()) => {
            disk.sync_dir(parent)?;
            sync_above(disk, parent)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => sync_above(disk, path),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_dir_durably(disk, parent)?;
            match disk.create_dir(path) {
                // Another thread or process was as quick.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => created?,
            }
            disk.sync_dir(parent)
        }
        Err(error) => Err(error),
    }
}

/// Creates a directory and its missing parents. Their names are not durable yet.
///
/// # Errors
///
/// What the disk says, also of something that is there and is no directory.
pub(crate) fn create_dir_all(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match disk.names(path) {
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(error),
            _ => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Some(parent) = path.parent() else { return Err(error) };
            create_dir_all(disk, or_here(parent))?;
            match disk.create_dir(path) {
                // Another thread or process was as quick.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                created => created,
            }
        }
        created => created,
    }
}

/// Whether there is a file of this name that can be opened.
///
/// # Errors
///
/// What keeps it from being opened, other than that it is not there.
pub(crate) fn is_there(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the name of a directory durable, and the names above it.
fn sync_above(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    path.ancestors()
        .skip(1)
        .map(or_here)
        .try_for_each(|above| unless_not_ours(disk.sync_dir(above)))
}

/// A process without permission to synchronize a directory, or a file system without that operation, did not create the
/// directory's content either.
pub(crate) fn unless_not_ours(synced: io::Result<()>) -> io::Result<()> {
    match synced.as_ref().map_err(io::Error::kind) {
        Err(
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidInput
            | ErrorKind::Unsupported,
        ) => Ok(()),
        _ => synced,
    }
}

/// The parent of a relative path of one name is the current directory.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}
