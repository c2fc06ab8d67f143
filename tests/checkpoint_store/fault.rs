//! A disk that counts its operations and fails, or stops for good, at one of them.

use std::{
    io::{self, ErrorKind},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use streamwork::checkpoint::{Disk, DiskEntry, DiskFile, DiskLock};

use crate::memory_disk::MemoryDisk;

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does nothing (a write does half) and says that the disk is full. Later ones work.
    Refuse,
    /// It is done, and says that it failed. Later ones work.
    Deny,
    /// It and every later one do nothing (a write does half first): the process is gone.
    Crash,
}

#[derive(Debug)]
struct Script {
    done: AtomicUsize,
    at: usize,
    fault: Fault,
}

#[derive(Clone, Debug)]
pub(crate) struct FaultyDisk {
    disk: MemoryDisk,
    script: Arc<Script>,
}

impl FaultyDisk {
    /// Fails at operation `at`, counted from 0.
    pub(crate) fn new(disk: &MemoryDisk, fault: Fault, at: usize) -> Self {
        let script = Script { done: AtomicUsize::new(0), at, fault };
        Self { disk: disk.clone(), script: Arc::new(script) }
    }

    /// Whether the chosen operation was reached.
    pub(crate) fn was_reached(&self) -> bool {
        self.script.done.load(Ordering::Relaxed) > self.script.at
    }
}

impl Script {
    /// Does one operation, or what the script has in its place.
    fn run<T>(&self, act: impl FnOnce() -> io::Result<T>, half: impl FnOnce()) -> io::Result<T> {
        let number = self.done.fetch_add(1, Ordering::Relaxed);
        let full = || Err(ErrorKind::StorageFull.into());
        match self.fault {
            Fault::Deny if number == self.at => act().and_then(|_| full()),
            Fault::Refuse | Fault::Crash if number == self.at => {
                half();
                full()
            }
            Fault::Crash if number > self.at => full(),
            _ => act(),
        }
    }
}

impl FaultyDisk {
    fn run<T>(&self, act: impl FnOnce(&MemoryDisk) -> io::Result<T>) -> io::Result<T> {
        self.script.run(|| act(&self.disk), || ())
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.run(|disk| disk.create_dir(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.run(|disk| disk.create(path))?;
        let script = Arc::clone(&self.script);
        Ok(Box::new(FaultyFile { file, script }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.run(|disk| disk.read(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.run(|disk| disk.list(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(|disk| disk.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(|disk| disk.remove_file(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run(|disk| disk.remove_dir(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run(|disk| disk.sync_dir(path))
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.run(|disk| disk.try_lock(path))
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    script: Arc<Script>,
}

impl DiskFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = std::cell::RefCell::new(&mut self.file);
        let write = |bytes: &[u8]| file.borrow_mut().append(bytes);
        let half = &bytes[..bytes.len() / 2];
        self.script.run(|| write(bytes), || write(half).expect("memory takes all"))
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = &mut self.file;
        self.script.run(|| file.sync(), || ())
    }
}
