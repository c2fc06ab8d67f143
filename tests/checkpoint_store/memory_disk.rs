//! A disk in memory that knows what was synchronized and what was not, and can lose, tear and reorder the latter.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use streamwork::checkpoint::{Disk, DiskEntry, DiskFile, DiskLock};

/// A seeded generator (SplitMix64), so that a failing history can be run again.
#[derive(Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
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

type Nodes = Arc<Mutex<Vec<Node>>>;

#[derive(Clone, Debug)]
pub(crate) struct MemoryDisk {
    nodes: Nodes,
    locks: Arc<Mutex<HashSet<PathBuf>>>,
}

impl MemoryDisk {
    pub(crate) fn new() -> Self {
        Self::of(vec![Node::Dir(Twice::default())])
    }

    fn of(nodes: Vec<Node>) -> Self {
        Self { nodes: Arc::new(Mutex::new(nodes)), locks: Arc::default() }
    }

    /// The same disk, apart: what happens to one does not happen to the other.
    pub(crate) fn fork(&self) -> Self {
        Self::of(self.nodes.lock().unwrap().clone())
    }

    /// What the machine finds after a power failure: of everything not synchronized, any part.
    pub(crate) fn after_power_failure(&self, random: &mut Random) -> Self {
        let mut nodes = self.nodes.lock().unwrap().clone();
        for node in &mut nodes {
            match node {
                Node::File(file) => {
                    file.seen = torn(file, random);
                    file.safe = file.seen.clone();
                }
                Node::Dir(dir) => {
                    dir.seen = reordered(dir, random);
                    dir.safe = dir.seen.clone();
                }
            }
        }
        Self::of(nodes)
    }

    /// Puts content into a file, as if it had always been there.
    pub(crate) fn put(&self, path: impl AsRef<Path>, content: &[u8]) {
        let mut file = self.create(path.as_ref()).unwrap();
        file.append(content).unwrap();
        file.sync().unwrap();
    }

    pub(crate) fn get(&self, path: impl AsRef<Path>) -> Vec<u8> {
        self.read(path.as_ref()).unwrap()
    }

    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = self.list(path.as_ref()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    fn with_dir<T>(
        &self,
        path: &Path,
        act: impl FnOnce(&mut Vec<Node>, usize) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut nodes = self.nodes.lock().unwrap();
        let at = find(&nodes, path)?;
        act(&mut nodes, at)
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

fn find(nodes: &[Node], path: &Path) -> io::Result<usize> {
    let mut at = 0;
    for name in path.iter() {
        let name = name.to_str().unwrap();
        if name == "/" {
            continue;
        }
        at = match &nodes[at] {
            Node::Dir(dir) => *dir.seen.get(name).ok_or(ErrorKind::NotFound)?,
            Node::File(_) => return Err(ErrorKind::NotADirectory.into()),
        };
    }
    Ok(at)
}

fn entries(nodes: &mut [Node], at: usize) -> io::Result<&mut Twice<BTreeMap<String, usize>>> {
    match &mut nodes[at] {
        Node::Dir(dir) => Ok(dir),
        Node::File(_) => Err(ErrorKind::NotADirectory.into()),
    }
}

fn split(path: &Path) -> (&Path, String) {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    (path.parent().unwrap(), name)
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path);
        self.with_dir(parent, |nodes, at| {
            let new = nodes.len();
            let dir = entries(nodes, at)?;
            if dir.seen.contains_key(&name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            dir.seen.insert(name, new);
            nodes.push(Node::Dir(Twice::default()));
            Ok(())
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (parent, name) = split(path);
        let node = self.with_dir(parent, |nodes, at| {
            let new = nodes.len();
            let node = *entries(nodes, at)?.seen.entry(name).or_insert(new);
            if node == new {
                nodes.push(Node::File(Twice::default()));
            }
            match &mut nodes[node] {
                Node::File(file) => file.seen.clear(),
                Node::Dir(_) => return Err(ErrorKind::IsADirectory.into()),
            }
            Ok(node)
        })?;
        Ok(Box::new(MemoryFile { nodes: Arc::clone(&self.nodes), node }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.with_dir(path, |nodes, at| match &nodes[at] {
            Node::File(file) => Ok(file.seen.clone()),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.with_dir(path, |nodes, at| {
            let names = entries(nodes, at)?.seen.clone();
            let entry = |(name, node): (String, usize)| match &nodes[node] {
                Node::File(file) => {
                    DiskEntry { name, bytes: file.seen.len() as u64, is_dir: false }
                }
                Node::Dir(_) => DiskEntry { name, bytes: 0, is_dir: true },
            };
            Ok(names.into_iter().map(entry).collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from), (to_dir, to)) = (split(from), split(to));
        let mut nodes = self.nodes.lock().unwrap();
        let (from_dir, to_dir) = (find(&nodes, from_dir)?, find(&nodes, to_dir)?);
        let node = entries(&mut nodes, from_dir)?.seen.remove(&from);
        let node = node.ok_or(ErrorKind::NotFound)?;
        entries(&mut nodes, to_dir)?.seen.insert(to, node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path);
        self.with_dir(parent, |nodes, at| {
            let removed = entries(nodes, at)?.seen.remove(&name);
            removed.map(drop).ok_or(ErrorKind::NotFound.into())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.with_dir(path, |nodes, at| match entries(nodes, at)?.seen.len() {
            0 => Ok(()),
            _ => Err(ErrorKind::DirectoryNotEmpty.into()),
        })?;
        self.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.with_dir(path, |nodes, at| {
            let dir = entries(nodes, at)?;
            dir.safe = dir.seen.clone();
            Ok(())
        })
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        if !self.locks.lock().unwrap().insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(MemoryLock { locks: Arc::clone(&self.locks), path: path.to_owned() })))
    }
}

#[derive(Debug)]
struct MemoryFile {
    nodes: Nodes,
    node: usize,
}

impl MemoryFile {
    fn with(&self, act: impl FnOnce(&mut Twice<Vec<u8>>)) {
        match &mut self.nodes.lock().unwrap()[self.node] {
            Node::File(file) => act(file),
            Node::Dir(_) => unreachable!("a file never becomes a directory"),
        }
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.with(|file| file.seen.extend_from_slice(bytes));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|file| file.safe = file.seen.clone());
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryLock {
    locks: Arc<Mutex<HashSet<PathBuf>>>,
    path: PathBuf,
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.locks.lock().unwrap().remove(&self.path);
    }
}
