//! A disk that counts its operations and fails a run of them.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use streamwork::checkpoint::{Disk, DiskEntry, DiskFile, DiskLock};

use crate::memory_disk::MemoryDisk;

/// What happens at a chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does nothing (a write does half) and says that the disk is full.
    Refuse,
    /// It is done, and says that it failed: an fsync that reports an earlier error.
    Deny,
}

/// Which operations fail: from this one on, counted from 0, so many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: usize,
    pub(crate) length: usize,
    pub(crate) fault: Fault,
}

#[derive(Clone, Debug)]
pub(crate) struct FailingDisk {
    disk: MemoryDisk,
    done: Arc<AtomicUsize>,
    window: Window,
}

impl FailingDisk {
    pub(crate) fn new(disk: &MemoryDisk, window: Window) -> Self {
        Self { disk: disk.clone(), done: Arc::default(), window }
    }

    /// Whether an operation has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.done.load(Ordering::SeqCst) > self.window.from
    }

    fn run<T>(&self, act: impl FnOnce() -> io::Result<T>, half: impl FnOnce()) -> io::Result<T> {
        let number = self.done.fetch_add(1, Ordering::SeqCst);
        let Window { from, length, fault } = self.window;
        let full = Err(ErrorKind::StorageFull.into());
        match fault {
            _ if number < from || number - from >= length => act(),
            Fault::Refuse => {
                half();
                full
            }
            Fault::Deny => act().and(full),
        }
    }

    fn whole<T>(&self, act: impl FnOnce(&MemoryDisk) -> io::Result<T>) -> io::Result<T> {
        self.run(|| act(&self.disk), || ())
    }
}

impl Disk for FailingDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.whole(|disk| disk.create_dir(path))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.whole(|disk| disk.create(path))?;
        Ok(Box::new(FailingFile { file, disk: self.clone() }))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.whole(|disk| disk.read(path))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.whole(|disk| disk.list(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(|disk| disk.rename(from, to))
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.whole(|disk| disk.remove_file(path))
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.whole(|disk| disk.remove_dir(path))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.whole(|disk| disk.sync_dir(path))
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.whole(|disk| disk.try_lock(path))
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Box<dyn DiskFile>,
    disk: FailingDisk,
}

impl DiskFile for FailingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = RefCell::new(&mut self.file);
        let write = |bytes: &[u8]| file.borrow_mut().append(bytes);
        let half = &bytes[..bytes.len() / 2];
        self.disk.run(|| write(bytes), || write(half).expect("memory takes all"))
    }
    fn sync(&mut self) -> io::Result<()> {
        let file = &mut self.file;
        self.disk.run(|| file.sync(), || ())
    }
}
