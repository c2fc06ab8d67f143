//! The few things done to files, each with the error that names the file.
//!
//! Every write, fsync, rename and removal of the log goes through here, so a test can make any of them fail (see
//! `fault`). Never retries: what a failed fsync has left on disk cannot be known.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::error::LogError;

/// Writes all of `bytes` at the file's current place.
pub(super) fn write(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    let result = match fault::strikes() {
        // A disk that fills up takes a part first.
        Err(full) => file.write_all(&bytes[..bytes.len() / 2]).and(Err(full)),
        Ok(()) => file.write_all(bytes),
    };
    result.map_err(LogError::io("write to", path))
}

/// Writes all of `bytes` at a place of the file.
pub(super) fn write_at(
    mut file: &File,
    path: &Path,
    position: u64,
    bytes: &[u8],
) -> Result<(), LogError> {
    file.seek(SeekFrom::Start(position)).map_err(LogError::io("seek in", path))?;
    write(file, path, bytes)
}

/// Returns once the file's bytes and its length are on disk.
pub(super) fn sync(file: &File, path: &Path) -> Result<(), LogError> {
    fault::strikes().and_then(|()| file.sync_data()).map_err(LogError::io("sync", path))
}

/// Begins what `sync` does, on a thread of its own that says how it ended.
///
/// # Errors
///
/// If the system has no thread left; then nothing was begun.
pub(super) fn start_sync(file: &Arc<File>) -> io::Result<JoinHandle<io::Result<()>>> {
    let file = Arc::clone(file);
    // Asked here, because a test's faults are those of its own thread.
    let allowed = fault::strikes();
    let sync = move || allowed.and_then(|()| file.sync_data());
    thread::Builder::new().name("streamwork-log-sync".to_owned()).spawn(sync)
}

/// Returns once the names in a directory are on disk.
pub(super) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    // Where directories cannot be opened as files, the system has no such call either.
    if cfg!(not(unix)) {
        return Ok(());
    }
    let opened = fault::strikes().and_then(|()| File::open(dir));
    opened.and_then(|handle| handle.sync_all()).map_err(LogError::io("sync directory", dir))
}

/// Makes a file with these bytes appear whole, or not at all, and durable. Returns it open for writing, at its end.
pub(super) fn create_whole(path: &Path, bytes: &[u8]) -> Result<File, LogError> {
    let unfinished = unfinished(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let opened = fault::strikes().and_then(|()| options.open(&unfinished));
    let file = opened.map_err(LogError::io("create", &unfinished))?;
    write(&file, &unfinished, bytes)?;
    sync(&file, &unfinished)?;
    let renamed = fault::strikes().and_then(|()| fs::rename(&unfinished, path));
    renamed.map_err(LogError::io("rename to", path))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))?;
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
pub(super) fn truncate(file: &File, path: &Path, bytes: u64) -> Result<(), LogError> {
    let cut = fault::strikes().and_then(|()| file.set_len(bytes));
    cut.map_err(LogError::io("truncate", path))?;
    sync(file, path)
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove(path: &Path) -> Result<(), LogError> {
    match fault::strikes().and_then(|()| fs::remove_file(path)) {
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
pub(super) fn create_dir(dir: &Path) -> Result<(), LogError> {
    fs::create_dir_all(dir).map_err(LogError::io("create directory", dir))
}

/// Makes the name of a directory durable, and the names of those above it, whoever created them: the process that did may
/// have died before they were.
pub(super) fn sync_above(dir: &Path) -> Result<(), LogError> {
    for above in dir.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        match sync_dir(above) {
            // Who may not synchronize a directory did not create anything in it either.
            Err(LogError::Io { source, .. }) if is_not_ours(&source) => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn is_not_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported)
}

/// All bytes of a small file, or `None` when there is no such file.
pub(super) fn read_whole(path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        // A link to nothing is no reason to make what it should lead to.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() =>
        {
            Ok(None)
        }
        Err(error) => Err(LogError::io("read", path)(error)),
    }
}

/// As many of the bytes at a place as the file has, up to the buffer's length.
pub(super) fn read_at(
    file: &mut File,
    path: &Path,
    position: u64,
    into: &mut [u8],
) -> Result<usize, LogError> {
    file.seek(SeekFrom::Start(position)).map_err(LogError::io("seek in", path))?;
    let mut filled = 0;
    while filled < into.len() {
        match file.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LogError::io("read", path)(error)),
        }
    }
    Ok(filled)
}

/// The file's length in bytes.
pub(super) fn length(file: &File, path: &Path) -> Result<u64, LogError> {
    Ok(file.metadata().map_err(LogError::io("measure", path))?.len())
}

/// Failures on demand, in tests only: the n-th change to the disk fails, and every later one.
#[cfg(not(test))]
mod fault {
    /// Never strikes outside of this crate's own tests.
    #[inline]
    pub(super) fn strikes() -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod fault {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        static STRUCK: Cell<usize> = const { Cell::new(0) };
    }

    /// Lets this many changes by this thread succeed, and then none; `None` heals the disk.
    pub(in crate::log) fn after(changes: Option<usize>) {
        LEFT.set(changes);
        STRUCK.set(0);
    }

    /// How many changes have failed since `after`.
    pub(in crate::log) fn struck() -> usize {
        STRUCK.get()
    }

    pub(super) fn strikes() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => {
                STRUCK.set(STRUCK.get() + 1);
                Err(io::Error::new(io::ErrorKind::StorageFull, "simulated"))
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
