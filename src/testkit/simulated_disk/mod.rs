//! [`SimulatedDisk`]: a disk in memory that knows what was synchronized, and can lose, tear and
//! reorder everything else.
//!
//! ```text
//!   operation ─▶ failures, script: done, refused, denied, or the process is killed
//!                   │ done
//!                   ▼
//!               node: seen ◀─ change ─▶ unsafe changes ── sync ──▶ safe
//!                                            │                      ▲
//!                                            └── power is lost: some of them, some in part
//! ```
//!
//! The model of what a file system may do to a program that crashes follows Pillai et al., "All File
//! Systems Are Not Created Equal", OSDI 2014. Of what was not synchronized
//!
//! - a write may be there, missing, cut short, or of the right length and full of zeros; the one that the disk was at when the
//!   power went may end at any byte, others at the end of a sector;
//! - a truncation may be undone;
//! - each name in a directory may be the old or the new one, but a rename within one directory is never half lost: what was
//!   renamed has the old name, the new one, or both;
//! - a later change may have reached the disk when an earlier one did not.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{Disk, DiskEntry, DiskFile, DiskLock};
use crate::testkit::random::Random;
use failures::Failing;
use file::{SimulatedFile, SimulatedLock};
use node::{DirNode, FileNode, Node};

pub use failures::{DiskFailures, DiskFault, DiskOperations};

mod failures;
mod file;
mod node;
#[cfg(test)]
mod power_tests;

/// A disk in memory. Clones are the same disk.
///
/// ```
/// use std::path::Path;
/// use std::sync::Arc;
/// use streamwork::checkpoint::{CheckpointStore, DirectoryStore};
/// use streamwork::storage::Disk;
/// use streamwork::testkit::SimulatedDisk;
///
/// let disk = SimulatedDisk::new();
/// let store = DirectoryStore::open_on(Arc::new(disk.clone()), "/checkpoints")?;
/// store.begin_execution()?;
///
/// disk.create(Path::new("/note"))?.append(b"not synchronized")?;
/// disk.lose_power(7);
/// assert_ne!(disk.read(Path::new("/note")).unwrap_or_default(), b"not synchronized");
/// // What the store had said is durable is still there.
/// let store = DirectoryStore::open_on(Arc::new(disk), "/checkpoints")?;
/// assert_eq!(store.begin_execution()?.0, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
}

impl std::fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done.
    Done,
    /// It is not done (of a write the first half is), and says that the disk is full.
    Refused,
    /// It is done, and says that it failed.
    Denied,
    /// The process is killed before it (of a write the first half is done) or after it.
    Killed { after: bool },
}

/// Decides what becomes of operations, in the order in which they are made.
pub(crate) trait Script: Send {
    fn next(&mut self, operation: &'static str, path: &Path, bytes: &[u8]) -> Fate;
}

struct Inner {
    nodes: Vec<Node>,
    locks: HashMap<PathBuf, u64>,
    locks_taken: u64,
    /// While it is off nothing works.
    on: bool,
    /// Whether the last process was killed in the middle of a write.
    has_torn: bool,
    /// Files that were opened before the last failure are of no use any more.
    generation: u64,
    /// How many numbers were drawn; a fork goes on from here.
    ids_drawn: u64,
    failing: Failing,
    script: Option<Box<dyn Script>>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        let inner = Inner {
            nodes: vec![Node::Dir(DirNode::default())],
            locks: HashMap::new(),
            locks_taken: 0,
            on: true,
            has_torn: false,
            generation: 0,
            ids_drawn: 0,
            failing: Failing::default(),
            script: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A separate disk with the same content.
    pub fn fork(&self) -> Self {
        let (nodes, ids_drawn) = {
            let inner = self.inner.lock();
            (inner.nodes.clone(), inner.ids_drawn)
        };
        let copy = Self::new();
        {
            let mut inner = copy.inner.lock();
            (inner.nodes, inner.ids_drawn) = (nodes, ids_drawn);
        }
        copy
    }

    /// Lets operations fail from now on. It replaces earlier failures.
    pub fn fail(&self, failures: DiskFailures) {
        self.inner.lock().failing = Failing::new(failures);
    }

    /// Ends the failures of [`fail`](Self::fail).
    pub fn heal(&self) {
        self.inner.lock().failing.end();
    }

    /// How many operations have failed since [`fail`](Self::fail) was called last.
    pub fn failures(&self) -> u64 {
        self.inner.lock().failing.failed
    }

    /// Simulates that the process using the disk is killed: open files and locks are gone, everything written
    /// is kept. The disk works again.
    pub fn lose_process(&self) {
        let mut inner = self.inner.lock();
        inner.locks.clear();
        inner.failing.end();
        inner.has_torn = false;
        inner.generation += 1;
        inner.on = true;
    }

    /// Simulates a power failure: as [`lose_process`](Self::lose_process), and any part of the data that
    /// was not synchronized may be lost; the seed decides which.
    pub fn lose_power(&self, seed: u64) {
        let torn_already = std::mem::take(&mut self.inner.lock().has_torn);
        self.lose_process();
        let mut random = Random::new(seed);
        for node in &mut self.inner.lock().nodes {
            match node {
                Node::File(file) => file.lose_power(torn_already, &mut random),
                Node::Dir(dir) => dir.lose_power(&mut random),
            }
        }
    }

    /// Nothing works from here until the process or the power is lost: whoever still runs has been
    /// killed already and does not know.
    pub(crate) fn switch_off(&self) {
        self.inner.lock().on = false;
    }

    /// Names of what lies in a directory and content of files, without an operation that could fail.
    pub(crate) fn peek(&self, path: &Path) -> Vec<String> {
        let mut inner = self.inner.lock();
        let at = inner.find(path);
        at.and_then(|at| Ok(inner.dir(at)?.names().keys().cloned().collect())).unwrap_or_default()
    }

    /// Flips a bit of a file, drawn by this number; nothing if it is empty.
    pub(crate) fn flip_a_bit(&self, path: &Path, number: u64) {
        let mut inner = self.inner.lock();
        let Ok(node) = inner.find(path) else { return };
        let Ok(file) = inner.file(node) else { return };
        file.flip(number);
    }

    pub(crate) fn follow(&self, script: impl Script + 'static) {
        self.inner.lock().script = Some(Box::new(script));
    }

    pub(crate) fn follow_nobody(&self) {
        self.inner.lock().script = None;
    }

    fn run<T>(
        &self,
        operation: &'static str,
        path: &Path,
        act: impl FnOnce(&mut Inner) -> io::Result<T>,
    ) -> io::Result<T> {
        self.write(operation, path, &[], |inner, _| act(inner))
    }

    fn write<T>(
        &self,
        operation: &'static str,
        path: &Path,
        bytes: &[u8],
        act: impl FnOnce(&mut Inner, &[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.inner.lock();
        if !inner.on {
            return Err(io::Error::other("the process has been killed"));
        }
        let fate = match (inner.failing.next(operation), &mut inner.script) {
            (Some(fate), _) => fate,
            (None, Some(script)) => script.next(operation, path, bytes),
            (None, None) => Fate::Done,
        };
        inner.on = !matches!(fate, Fate::Killed { .. });
        inner.has_torn = fate == (Fate::Killed { after: false }) && !bytes.is_empty();
        let written = match fate {
            Fate::Done | Fate::Denied | Fate::Killed { after: true } => Some(bytes.len()),
            Fate::Refused | Fate::Killed { after: false } if bytes.is_empty() => None,
            Fate::Refused | Fate::Killed { after: false } => Some(bytes.len() / 2),
        };
        let done = written.map(|upto| act(&mut inner, &bytes[..upto]));
        // What is given up below (a lock, say) may want the disk itself.
        drop(inner);
        match done {
            Some(done) if fate == Fate::Done => done,
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Err(ErrorKind::StorageFull.into()),
        }
    }
}

impl Inner {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for name in path.iter().filter(|name| *name != "/") {
            at = match &self.nodes[at] {
                Node::Dir(dir) => dir.get(&name.to_string_lossy()).ok_or(ErrorKind::NotFound)?,
                Node::File(_) => return Err(ErrorKind::NotADirectory.into()),
            };
        }
        Ok(at)
    }

    fn dir(&mut self, node: usize) -> io::Result<&mut DirNode> {
        match &mut self.nodes[node] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&mut self, node: usize) -> io::Result<&mut FileNode> {
        match &mut self.nodes[node] {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    /// The number of the directory that a path leads into, and the name in it.
    fn parent(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        let at = self.find(path.parent().unwrap_or(Path::new("/")))?;
        match &self.nodes[at] {
            Node::Dir(_) => Ok((at, name.to_string_lossy().into_owned())),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Gives a new node a name that nothing has.
    fn add_named(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let (dir, name) = self.parent(path)?;
        if self.dir(dir)?.get(&name).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let node = self.add(node);
        self.dir(dir)?.set(name, node);
        Ok(node)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let dir = self.dir(dir)?;
        dir.get(&name).ok_or(ErrorKind::NotFound)?;
        dir.remove(&name);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (self.parent(from)?, self.parent(to)?);
        let node = self.dir(from_dir)?.get(&from_name).ok_or(ErrorKind::NotFound)?;
        // Two names of one file stay both; so does one name.
        if self.dir(to_dir)?.get(&to_name) == Some(node) {
            return Ok(());
        }
        if from_dir == to_dir {
            self.dir(to_dir)?.rename(from_name, to_name, node);
        } else {
            self.dir(to_dir)?.set(to_name, node);
            self.dir(from_dir)?.remove(&from_name);
        }
        Ok(())
    }
}

impl SimulatedDisk {
    fn opened(&self, inner: &Inner, node: usize, path: &Path, writable: bool) -> Box<dyn DiskFile> {
        let (disk, generation) = (self.clone(), inner.generation);
        Box::new(SimulatedFile { disk, node, generation, path: path.to_owned(), writable })
    }

    fn open_file(&self, path: &Path, writable: bool) -> io::Result<Box<dyn DiskFile>> {
        self.run("open", path, |inner| {
            let node = inner.find(path)?;
            inner.file(node)?;
            Ok(self.opened(inner, node, path, writable))
        })
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.run("create directory", path, |inner| {
            inner.add_named(path, Node::Dir(DirNode::default())).map(drop)
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.run("create", path, |inner| {
            let node = match inner.find(path) {
                Ok(node) => node,
                Err(_) => inner.add_named(path, Node::File(FileNode::default()))?,
            };
            inner.file(node)?.truncate(0);
            Ok(self.opened(inner, node, path, true))
        })
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_file(path, false)
    }

    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_file(path, true)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.run("read", path, |inner| {
            let node = inner.find(path)?;
            Ok(inner.file(node)?.content().to_vec())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.run("list", path, |inner| {
            let at = inner.find(path)?;
            let names = inner.dir(at)?.names().clone();
            let entry = |(name, node): (String, usize)| {
                let (bytes, is_dir) = match &inner.nodes[node] {
                    Node::File(file) => (file.content().len() as u64, false),
                    Node::Dir(_) => (0, true),
                };
                DiskEntry { name, bytes, is_dir, modified: None }
            };
            Ok(names.into_iter().map(entry).collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run("rename", to, |inner| inner.rename(from, to))
    }

    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.run("link", name, |inner| {
            let node = inner.find(file)?;
            inner.file(node)?;
            let (dir, name) = inner.parent(name)?;
            let dir = inner.dir(dir)?;
            if dir.get(&name).is_some() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            dir.set(name, node);
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run("remove", path, |inner| inner.remove(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run("remove directory", path, |inner| {
            let at = inner.find(path)?;
            match inner.dir(at)?.names().len() {
                0 => inner.remove(path),
                _ => Err(ErrorKind::DirectoryNotEmpty.into()),
            }
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run("synchronize directory", path, |inner| {
            let at = inner.find(path)?;
            inner.dir(at)?.sync();
            Ok(())
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.run("lock", path, |inner| {
            if inner.locks.contains_key(path) {
                return Ok(None);
            }
            inner.locks_taken += 1;
            let number = inner.locks_taken;
            inner.locks.insert(path.to_owned(), number);
            let (disk, path) = (self.clone(), path.to_owned());
            Ok(Some(Box::new(SimulatedLock { disk, path, number }) as Box<dyn DiskLock>))
        })
    }

    /// The same numbers in the same order, on every such disk.
    fn draw_id(&self) -> u128 {
        let mut inner = self.inner.lock();
        inner.ids_drawn += 1;
        u128::from(inner.ids_drawn) << 64 | u128::from(Random::new(inner.ids_drawn).next())
    }
}
