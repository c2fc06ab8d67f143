//! The one narrow place through which checkpoints reach a disk, so that tests can make every step of it fail.
//!
//! Holds no protocol and no retry: each method is one operation of the operating system, and its error is passed on.

use std::{
    fmt, fs,
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
};

/// The operations on files that a [`DirectoryStore`](super::DirectoryStore) is made of.
///
/// Nothing but `DiskFile::sync` makes content durable, and nothing but `sync_dir` makes a creation, a rename or a removal
/// in a directory durable. An implementation for tests may lose everything else.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates one directory in a parent that exists.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if something of that name exists, or what the disk says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates an empty file, in the place of an old one if there is one.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The whole content of a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such file, or what the disk says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// What a file holds within a range of bytes: less than was asked for, or nothing, where the file ends before.
    ///
    /// As it is given here it reads the whole file. A disk that can do better saves a job of many instances that much at its
    /// start, for each reads its part of one file.
    ///
    /// ```
    /// use streamwork::checkpoint::{Disk, RealDisk};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("greeting");
    /// RealDisk.create(&path)?.append(b"hello, disk")?;
    /// assert_eq!(RealDisk.read_range(&path, 7..9)?, b"di");
    /// assert_eq!(RealDisk.read_range(&path, 7..99)?, b"disk");
    /// assert_eq!(RealDisk.read_range(&path, 98..99)?, b"");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such file, or what the disk says.
    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut content = self.read(path)?;
        let within =
            |at: u64| usize::try_from(at).map_or(content.len(), |at| at.min(content.len()));
        let (start, end) = (within(range.start), within(range.end));
        content.truncate(end);
        content.drain(..start.min(end));
        Ok(content)
    }

    /// What lies in a directory, in any order.
    ///
    /// # Errors
    ///
    /// What the disk says; never a part of the entries.
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>>;

    /// Gives a file or directory another name, replacing a file that has it.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such file, or what the disk says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] only if there is no such directory, or what the disk says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Takes a lock that ends with the value returned, and with the process however it ends; `None` if another has it.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;
}

/// A file that is open for appending.
pub trait DiskFile: Send + fmt::Debug {
    /// Writes at the end. After an error any part of `bytes` may be in the file.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content durable. After an error nothing is known about it, also not after a later success.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn sync(&mut self) -> io::Result<()>;
}

/// Creates a directory and those above it, as far as they are missing, each durably. What is there already is made durable
/// too: the process that created it may have died before it was.
///
/// # Errors
///
/// What the disk says.
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

/// Makes the name of a directory durable, and the names above it.
fn sync_above(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    path.ancestors().skip(1).map(or_here).try_for_each(|above| if_possible(disk.sync_dir(above)))
}

/// Who may not synchronize a directory, or on what cannot be synchronized, did not create anything in it either.
fn if_possible(synced: io::Result<()>) -> io::Result<()> {
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

/// A lock that is held until it is dropped.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name within the directory; names that are not Unicode are given lossily.
    pub name: String,
    /// Its length in bytes; without meaning for a directory.
    pub bytes: u64,
    /// Whether it is a directory. A symbolic link to one is not.
    pub is_dir: bool,
}

/// The disk of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(fs::File::create(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path).map_err(|error| or_link_to_nothing(path, error))
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let opened = fs::File::open(path);
        let mut file = opened.map_err(|error| or_link_to_nothing(path, error))?;
        // Asked first: a range that was read from a damaged file may begin where no system can seek to.
        let end = range.end.min(file.metadata()?.len());
        let mut content = Vec::new();
        if range.start < end {
            file.seek(SeekFrom::Start(range.start))?;
            file.take(end - range.start).read_to_end(&mut content)?;
        }
        Ok(content)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        fs::read_dir(path)
            .map_err(|error| or_link_to_nothing(path, error))?
            .map(|entry| described(&entry?))
            // Another process may remove an entry between its being listed and its being looked at.
            .filter(|entry| !matches!(entry, Err(e) if e.kind() == io::ErrorKind::NotFound))
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
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
    })
}

impl DiskFile for fs::File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
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
