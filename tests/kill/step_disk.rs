//! Named steps of the protocol, counted by a disk for the checkpoint store and by a transactional sink,
//! which can end the process at a chosen step. Otherwise both behave like the real ones.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use streamwork::storage::{Disk, DiskEntry, DiskFile, DiskLock, RealDisk};
use streamwork::{BoxError, Instance, Transaction, TransactionalFiles, TransactionalSink};

use crate::child::Counted;

/// How often each step was passed, by name.
pub(crate) type Census = BTreeMap<String, u64>;

/// The steps that a process has passed, and the one at which it ends.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    passed: Mutex<Census>,
    ends_at: Option<(String, u64)>,
}

impl Steps {
    /// Ends the process when `name` is passed for the `nth` time, counted from 1.
    pub(crate) fn ending_at(step: Option<(String, u64)>) -> Arc<Self> {
        Arc::new(Self { passed: Mutex::default(), ends_at: step })
    }

    pub(crate) fn passed(&self) -> Census {
        self.passed.lock().clone()
    }

    /// Whether the process is to end at this step.
    fn ends_at(&self, name: &str) -> bool {
        let mut passed = self.passed.lock();
        let times = passed.entry(name.to_owned()).or_default();
        *times += 1;
        self.ends_at.as_ref().is_some_and(|(at, nth)| at == name && nth == times)
    }

    fn pass(&self, name: &str) {
        if self.ends_at(name) {
            std::process::abort();
        }
    }

    /// Does something between its two steps.
    fn around<R>(&self, what: &str, act: impl FnOnce() -> R) -> R {
        self.pass(&format!("before {what}"));
        let done = act();
        self.pass(&format!("after {what}"));
        done
    }
}

/// The machine's disk, with a named step for every operation that changes it.
#[derive(Clone, Debug)]
pub(crate) struct StepDisk {
    steps: Arc<Steps>,
    root: PathBuf,
}

impl StepDisk {
    pub(crate) fn new(steps: Arc<Steps>, root: impl Into<PathBuf>) -> Self {
        Self { steps, root: root.into() }
    }

    /// What a path is, in the words of the protocol.
    fn subject(&self, path: &Path) -> &'static str {
        let Ok(below) = path.strip_prefix(&self.root) else { return "a directory above" };
        let below = below.to_string_lossy();
        let name = below.trim_end_matches(".tmp");
        match name {
            "" => "the store",
            "LOCK" => "the lock",
            "EXECUTION" => "the execution id",
            "positions" => "the positions",
            _ if name.ends_with(".pos") => "a position",
            _ if name.ends_with(".part") => "a part",
            _ if name.ends_with(".parts") => "the small parts",
            _ if name.ends_with("MANIFEST") => "the manifest",
            _ if name.starts_with("chk-") => "a checkpoint",
            _ => panic!("the test does not know what {name} is"),
        }
    }

    fn around<R>(&self, what: &str, path: &Path, act: impl FnOnce() -> R) -> R {
        self.steps.around(&format!("{what} {}", self.subject(path)), act)
    }
}

impl Disk for StepDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.around("creating", path, || RealDisk.create_dir(path))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.around("creating", path, || RealDisk.create(path))?;
        let (steps, subject) = (Arc::clone(&self.steps), self.subject(path));
        Ok(Box::new(StepFile { file, steps, subject }))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path)
    }
    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.open_for_writing(path)?;
        let (steps, subject) = (Arc::clone(&self.steps), self.subject(path));
        Ok(Box::new(StepFile { file, steps, subject }))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        RealDisk.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.around("renaming", to, || RealDisk.rename(from, to))
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.around("linking", name, || RealDisk.link(file, name))
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.around("removing", path, || RealDisk.remove_file(path))
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.around("removing", path, || RealDisk.remove_dir(path))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.around("syncing", path, || RealDisk.sync_dir(path))
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.around("taking", path, || RealDisk.try_lock(path))
    }
}

#[derive(Debug)]
struct StepFile {
    file: Box<dyn DiskFile>,
    steps: Arc<Steps>,
    subject: &'static str,
}

impl DiskFile for StepFile {
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(position, into)
    }
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        if self.steps.ends_at(&format!("in the middle of writing {}", self.subject)) {
            self.file.write_at(position, &bytes[..bytes.len() / 2])?;
            std::process::abort();
        }
        let write = || self.file.write_at(position, bytes);
        self.steps.around(&format!("writing {}", self.subject), write)
    }
    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.steps.around(&format!("cutting {}", self.subject), || self.file.truncate(bytes))
    }
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn sync(&self) -> io::Result<()> {
        self.steps.around(&format!("syncing {}", self.subject), || self.file.sync())
    }
}

/// The transactional files of the crate, with a named step for each call that changes their output.
pub(crate) struct StepFiles {
    files: TransactionalFiles<Counted>,
    directory: PathBuf,
    steps: Arc<Steps>,
    /// Whether there was output to prepare yet.
    has_prepared: bool,
}

impl StepFiles {
    pub(crate) fn new(
        files: TransactionalFiles<Counted>,
        directory: PathBuf,
        steps: Arc<Steps>,
    ) -> Self {
        Self { files, directory, steps, has_prepared: false }
    }

    /// Cuts pending files in half, as a process leaves them that ends while it writes one.
    fn cut_pending_files(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(".pending") {
                let file = std::fs::OpenOptions::new().write(true).open(&path)?;
                file.set_len(file.metadata()?.len() / 2)?;
            }
        }
        Ok(())
    }
}

impl TransactionalSink for StepFiles {
    type In = Counted;
    type Handle = <TransactionalFiles<Counted> as TransactionalSink>::Handle;

    fn setup(&mut self, instance: &Instance) -> Result<(), BoxError> {
        self.steps.around("setting up the sink", || self.files.setup(instance))
    }
    fn write(&mut self, event: Counted) -> Result<(), BoxError> {
        self.files.write(event)
    }
    fn prepare(&mut self, transaction: Transaction) -> Result<Option<Self::Handle>, BoxError> {
        let files = &mut self.files;
        let handle = self.steps.around("preparing output", || files.prepare(transaction))?;
        // Nothing else is pending when the first output is prepared. A checkpoint before it can have had none.
        let first = handle.is_some() && !mem::replace(&mut self.has_prepared, true);
        if first && self.steps.ends_at("in the middle of preparing output") {
            self.cut_pending_files()?;
            std::process::abort();
        }
        Ok(handle)
    }
    fn commit(&mut self, handle: Self::Handle) -> Result<(), BoxError> {
        self.steps.around("committing output", || self.files.commit(handle))
    }
    fn newest(&self) -> Option<Self::Handle> {
        self.files.newest()
    }
    fn rewind(&mut self, newest: Self::Handle) -> Result<(), BoxError> {
        self.files.rewind(newest)
    }
    fn abort_unfinished(&mut self) -> Result<(), BoxError> {
        self.steps.around("discarding unfinished output", || self.files.abort_unfinished())
    }
}
