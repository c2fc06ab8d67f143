//! [`RealDisk`]: the disk of the machine, an operation of the operating system per method.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
    thread,
};

use super::disk::{Disk, DiskEntry, DiskFile, DiskLock, StartedSync};

/// The disk of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Box::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let opened = fs::File::open(path);
        Ok(Box::new(opened.map_err(|error| or_link_to_nothing(path, error))?))
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let opened = fs::OpenOptions::new().read(true).write(true).open(path);
        Ok(Box::new(opened.map_err(|error| or_link_to_nothing(path, error))?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path).map_err(|error| or_link_to_nothing(path, error))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        fs::read_dir(path)
            .map_err(|error| or_link_to_nothing(path, error))?
            .map(|entry| described(&entry?))
            // Another process may remove an entry between its being listed and its being looked at.
            .filter(|entry| !matches!(entry, Err(e) if e.kind() == io::ErrorKind::NotFound))
            .collect()
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)
            .map_err(|error| or_link_to_nothing(path, error))?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(file, name)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    /// Other systems offer no such operation; their file systems order the names themselves.
    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(FileLock(file)))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// What is behind a symbolic link to nothing (a disk that is not there today) is not missing: it cannot be read.
fn or_link_to_nothing(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    match path.ancestors().find(|above| above.symlink_metadata().is_ok()) {
        Some(link) if link.metadata().is_err() => {
            io::Error::other(format!("{} is a symbolic link to nothing", link.display()))
        }
        _ => error,
    }
}

fn described(entry: &fs::DirEntry) -> io::Result<DiskEntry> {
    let metadata = entry.metadata()?;
    Ok(DiskEntry {
        name: entry.file_name().to_string_lossy().into_owned(),
        bytes: metadata.len(),
        is_dir: metadata.is_dir(),
        modified: metadata.modified().ok(),
    })
}

impl DiskFile for fs::File {
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match read_some(self, position + filled as u64, &mut into[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    #[cfg(unix)]
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, position)
    }

    #[cfg(not(unix))]
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = self;
        file.seek(SeekFrom::Start(position))?;
        file.write_all(bytes)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn start_sync(self: Arc<Self>) -> Option<StartedSync> {
        let builder = thread::Builder::new().name("streamwork-sync".to_owned());
        // Without a thread to be had nothing is begun.
        builder.spawn(move || self.sync_data()).ok().map(StartedSync::running)
    }
}

#[cfg(unix)]
fn read_some(file: &fs::File, position: u64, into: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, position)
}

#[cfg(not(unix))]
fn read_some(mut file: &fs::File, position: u64, into: &mut [u8]) -> io::Result<usize> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(position))?;
    file.read(into)
}

/// A lock on a file that is open here.
#[derive(Debug)]
struct FileLock(fs::File);

impl DiskLock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just being started holds a copy until it runs its own
        // program. An error here means that the lock is gone with the file.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_although_a_child_being_started_still_has_a_copy_of_the_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("LOCK");
        let file = fs::File::create(&path).expect("created");
        file.try_lock().expect("nobody else");
        let copy_of_the_child = file.try_clone().expect("copied");
        let first = FileLock(file);
        assert!(RealDisk.try_lock(&path).expect("asked").is_none());
        drop(first);
        assert!(RealDisk.try_lock(&path).expect("asked").is_some());
        drop(copy_of_the_child);
    }
}
