//! [`SimulatedDisk`]: a disk in memory that knows what was synchronized and what was not, and can
//! lose, tear and reorder the latter.
//!
//! The model of what a file system may do to a program that crashes follows Pillai et al., "All File
//! Systems Are Not Created Equal", OSDI 2014: content that was not synchronized may be there, missing,
//! cut short, or of the right length and full of zeros; names in a directory that was not
//! synchronized may each be the old or the new one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::checkpoint::{Disk, DiskEntry, DiskFile, DiskLock};
use crate::testkit::random::Random;

/// A disk in memory. Clones are the same disk.
///
/// ```
/// use std::path::Path;
/// use std::sync::Arc;
/// use streamwork::checkpoint::{CheckpointStore, DirectoryStore, Disk};
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
    /// Files that were opened before the last failure are of no use any more.
    generation: u64,
    script: Option<Box<dyn Script>>,
}

#[derive(Clone, Debug)]
enum Node {
    File(Twice<Vec<u8>>),
    Dir(Twice<BTreeMap<String, usize>>),
}

/// What a process sees, and what is safe.
#[derive(Clone, Debug, Default)]
struct Twice<T> {
    seen: T,
    safe: T,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        let nodes = vec![Node::Dir(Twice::default())];
        let (locks, script) = (HashMap::new(), None);
        let inner = Inner { nodes, locks, locks_taken: 0, on: true, generation: 0, script };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The same content on a disk of its own: what happens to one does not happen to the other.
    pub fn fork(&self) -> Self {
        let copy = Self::new();
        copy.inner.lock().nodes = self.inner.lock().nodes.clone();
        copy
    }

    /// Kills whoever uses the disk: open files and locks are gone, what was written is all there.
    pub fn lose_process(&self) {
        let mut inner = self.inner.lock();
        inner.locks.clear();
        inner.generation += 1;
        inner.on = true;
    }

    /// Takes the power away and gives it back: as [`lose_process`](Self::lose_process), and of all
    /// that was not synchronized any part may be gone; which, the seed decides.
    pub fn lose_power(&self, seed: u64) {
        self.lose_process();
        let mut random = Random::new(seed);
        for node in &mut self.inner.lock().nodes {
            match node {
                Node::File(file) => {
                    file.seen = torn(file, &mut random);
                    file.safe = file.seen.clone();
                }
                Node::Dir(dir) => {
                    dir.seen = reordered(dir, &mut random);
                    dir.safe = dir.seen.clone();
                }
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
        at.and_then(|at| Ok(inner.entries(at)?.seen.keys().cloned().collect())).unwrap_or_default()
    }

    /// Flips a bit of a file, drawn by this number; nothing if it is empty.
    pub(crate) fn flip_a_bit(&self, path: &Path, number: u64) {
        let mut inner = self.inner.lock();
        let Ok(node) = inner.find(path) else { return };
        let Ok(file) = inner.file(node) else { return };
        let bit = number % (file.seen.len() as u64 * 8).max(1);
        for content in [&mut file.seen, &mut file.safe] {
            if let Some(byte) = content.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(crate) fn follow(&self, script: impl Script + 'static) {
        self.inner.lock().script = Some(Box::new(script));
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
        let fate = match &mut inner.script {
            Some(script) => script.next(operation, path, bytes),
            None => Fate::Done,
        };
        inner.on = !matches!(fate, Fate::Killed { .. });
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

fn torn(file: &Twice<Vec<u8>>, random: &mut Random) -> Vec<u8> {
    if !file.seen.starts_with(&file.safe) {
        let old = file.safe.clone();
        let new = file.seen[..random.below(file.seen.len() + 1)].to_vec();
        return if random.coin() { old } else { new };
    }
    let kept = file.safe.len() + random.below(file.seen.len() - file.safe.len() + 1);
    let mut content = file.seen[..kept].to_vec();
    // The length may have reached the disk when the bytes did not.
    let zeros_from = file.safe.len() + random.below(kept - file.safe.len() + 1);
    if random.coin() {
        content[zeros_from..].fill(0);
    }
    content
}

fn reordered(dir: &Twice<BTreeMap<String, usize>>, random: &mut Random) -> BTreeMap<String, usize> {
    let names: BTreeSet<&String> = dir.seen.keys().chain(dir.safe.keys()).collect();
    let mut found = BTreeMap::new();
    for name in names {
        let version = if random.coin() { &dir.seen } else { &dir.safe };
        if let Some(node) = version.get(name) {
            found.insert(name.clone(), *node);
        }
    }
    found
}

impl Inner {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for name in path.iter().filter(|name| *name != "/") {
            let name = name.to_string_lossy();
            at = match &self.nodes[at] {
                Node::Dir(dir) => *dir.seen.get(&*name).ok_or(ErrorKind::NotFound)?,
                Node::File(_) => return Err(ErrorKind::NotADirectory.into()),
            };
        }
        Ok(at)
    }

    fn entries(&mut self, at: usize) -> io::Result<&mut Twice<BTreeMap<String, usize>>> {
        match &mut self.nodes[at] {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn parent(&mut self, path: &Path) -> io::Result<(&mut Twice<BTreeMap<String, usize>>, String)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        let at = self.find(path.parent().unwrap_or(Path::new("/")))?;
        Ok((self.entries(at)?, name.to_string_lossy().into_owned()))
    }

    fn file(&mut self, node: usize) -> io::Result<&mut Twice<Vec<u8>>> {
        match &mut self.nodes[node] {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        dir.seen.remove(&name).map(drop).ok_or(ErrorKind::NotFound.into())
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.run("create directory", path, |inner| {
            let new = inner.nodes.len();
            let (dir, name) = inner.parent(path)?;
            if dir.seen.contains_key(&name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            dir.seen.insert(name, new);
            inner.nodes.push(Node::Dir(Twice::default()));
            Ok(())
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.run("create", path, |inner| {
            let new = inner.nodes.len();
            let (dir, name) = inner.parent(path)?;
            let node = *dir.seen.entry(name).or_insert(new);
            if node == new {
                inner.nodes.push(Node::File(Twice::default()));
            }
            inner.file(node)?.seen.clear();
            let (disk, generation) = (self.clone(), inner.generation);
            let path = path.to_owned();
            Ok(Box::new(SimulatedFile { disk, node, generation, path }) as Box<dyn DiskFile>)
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.run("read", path, |inner| {
            let node = inner.find(path)?;
            Ok(inner.file(node)?.seen.clone())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.run("list", path, |inner| {
            let at = inner.find(path)?;
            let names = inner.entries(at)?.seen.clone();
            let entry = |(name, node): (String, usize)| match &inner.nodes[node] {
                Node::File(file) => {
                    DiskEntry { name, bytes: file.seen.len() as u64, is_dir: false }
                }
                Node::Dir(_) => DiskEntry { name, bytes: 0, is_dir: true },
            };
            Ok(names.into_iter().map(entry).collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run("rename", to, |inner| {
            let (dir, name) = inner.parent(from)?;
            let node = *dir.seen.get(&name).ok_or(ErrorKind::NotFound)?;
            let (_, _) = inner.parent(to)?;
            inner.remove(from)?;
            let (dir, name) = inner.parent(to)?;
            dir.seen.insert(name, node);
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run("remove", path, |inner| inner.remove(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run("remove directory", path, |inner| {
            let at = inner.find(path)?;
            match inner.entries(at)?.seen.len() {
                0 => inner.remove(path),
                _ => Err(ErrorKind::DirectoryNotEmpty.into()),
            }
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.run("synchronize directory", path, |inner| {
            let at = inner.find(path)?;
            let dir = inner.entries(at)?;
            dir.safe = dir.seen.clone();
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
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    node: usize,
    generation: u64,
    path: PathBuf,
}

impl SimulatedFile {
    fn write(
        &self,
        operation: &'static str,
        bytes: &[u8],
        act: impl FnOnce(&mut Twice<Vec<u8>>, &[u8]),
    ) -> io::Result<()> {
        self.disk.write(operation, &self.path, bytes, |inner, bytes| {
            if inner.generation != self.generation {
                return Err(io::Error::other("the file was open in a process that is gone"));
            }
            act(inner.file(self.node)?, bytes);
            Ok(())
        })
    }
}

impl DiskFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write("write", bytes, |file, bytes| file.seen.extend_from_slice(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write("synchronize", &[], |file, _| file.safe = file.seen.clone())
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
    number: u64,
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut inner = self.disk.inner.lock();
        // After a failure somebody else may have it.
        if inner.locks.get(&self.path) == Some(&self.number) {
            inner.locks.remove(&self.path);
        }
    }
}
