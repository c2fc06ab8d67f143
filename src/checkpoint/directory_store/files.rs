//! The disk, with errors that say what was done to which file, and the few sequences that several concerns share.

use std::{
    io::{self, ErrorKind},
    ops::Range,
    path::{Path, PathBuf, absolute},
    sync::Arc,
};

use super::{super::store_error::StoreError, layout};
use crate::storage::{Disk, DiskEntry, DiskFile, DiskLock, create_dir_durably};

/// A directory on a disk.
#[derive(Debug)]
pub(super) struct Files {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl Files {
    /// The files below a directory, which is created if necessary.
    pub(super) fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, StoreError> {
        let files = Self { disk, root: absolute(root).map_err(failed("find", root))? };
        files.create_dir_durably(files.root())?;
        files.list(files.root())?;
        Ok(files)
    }

    /// Those below another directory of the same disk, which exists.
    pub(super) fn beside(&self, root: &Path) -> Result<Self, StoreError> {
        let root = absolute(root).map_err(failed("find", root))?;
        let files = Self { disk: Arc::clone(&self.disk), root };
        files.list(files.root())?;
        Ok(files)
    }

    /// Those below another directory of the same disk, which is created if necessary.
    pub(super) fn elsewhere(&self, root: &Path) -> Result<Self, StoreError> {
        Self::open(Arc::clone(&self.disk), root)
    }

    /// The store's directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn try_lock(&self, path: &Path) -> Result<Option<Box<dyn DiskLock>>, StoreError> {
        self.disk.try_lock(path).map_err(failed("lock", path))
    }

    /// The content of a file, or `None` if there is no such file.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        found(self.disk.read(path)).map_err(failed("read", path))
    }

    /// What a file holds within a range, as far as it goes, or `None` if there is no such file.
    pub(super) fn read_range(
        &self,
        path: &Path,
        range: Range<u64>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        found(self.disk.read_range(path, range)).map_err(failed("read", path))
    }

    pub(super) fn list(&self, path: &Path) -> Result<Vec<DiskEntry>, StoreError> {
        self.disk.list(path).map_err(failed("list", path))
    }

    /// As `list`, where a directory that does not exist is an empty one.
    pub(super) fn list_if_any(&self, path: &Path) -> Result<Vec<DiskEntry>, StoreError> {
        found(self.disk.list(path)).map(Option::unwrap_or_default).map_err(failed("list", path))
    }

    /// Creates a directory in one that exists, unless it is there already.
    pub(super) fn create_dir(&self, path: &Path) -> Result<(), StoreError> {
        match self.disk.create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            created => created.map_err(failed("create directory", path)),
        }
    }

    /// Creates a directory and those above it, as far as they are missing, each durably.
    pub(super) fn create_dir_durably(&self, path: &Path) -> Result<(), StoreError> {
        create_dir_durably(&*self.disk, path).map_err(failed("create directory", path))
    }

    /// Writes a file whose content is durable on return. Its name is not.
    pub(super) fn write_synced(
        &self,
        path: &Path,
        pieces: &[&[u8]],
    ) -> Result<Box<dyn DiskFile>, StoreError> {
        let file = self.disk.create(path).map_err(failed("create", path))?;
        for piece in pieces {
            file.append(piece).map_err(failed("write", path))?;
        }
        file.sync().map_err(failed("synchronize", path))?;
        Ok(file)
    }

    /// Creates an empty file.
    pub(super) fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
        self.disk.create(path).map_err(failed("create", path))
    }

    pub(super) fn append(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        file.append(bytes).map_err(failed("write", path))
    }

    pub(super) fn write_at(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        position: u64,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        file.write_at(position, bytes).map_err(failed("write", path))
    }

    pub(super) fn sync(&self, file: &dyn DiskFile, path: &Path) -> Result<(), StoreError> {
        file.sync().map_err(failed("synchronize", path))
    }

    /// Puts a file in the place of the old one, so that at any moment either is there as a whole. Durable on return.
    pub(super) fn replace(
        &self,
        path: &Path,
        pieces: &[&[u8]],
    ) -> Result<Box<dyn DiskFile>, StoreError> {
        let temporary = layout::temporary(path);
        // A rename that a power failure cut in two may have left one file under both names: writing
        // into what lies there would then cut the file in use.
        self.remove_file(&temporary)?;
        let file = self.write_synced(&temporary, pieces)?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or(&self.root))?;
        Ok(file)
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.disk.rename(from, to).map_err(failed("rename", from))
    }

    /// Removes a file, unless there is none.
    pub(super) fn remove_file(&self, path: &Path) -> Result<(), StoreError> {
        found(self.disk.remove_file(path))
            .map(Option::unwrap_or_default)
            .map_err(failed("remove", path))
    }

    /// Removes an empty directory, unless there is none; or the symbolic link by which it was reached.
    pub(super) fn remove_dir(&self, path: &Path) -> Result<(), StoreError> {
        match self.disk.remove_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotADirectory => self.remove_file(path),
            removed => found(removed)
                .map(Option::unwrap_or_default)
                .map_err(failed("remove directory", path)),
        }
    }

    pub(super) fn sync_dir(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.sync_dir(path).map_err(failed("synchronize directory", path))
    }

    /// The bytes in all files of a directory and of those in it.
    pub(super) fn bytes_below(&self, path: &Path) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for entry in self.list_if_any(path)? {
            bytes +=
                if entry.is_dir { self.bytes_below(&path.join(&entry.name))? } else { entry.bytes };
        }
        Ok(bytes)
    }
}

/// Turns an error of the disk into one that names what was done to which file.
pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { operation, path, source }
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
