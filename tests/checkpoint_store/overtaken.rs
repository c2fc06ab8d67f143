//! A process that only reads a store, while the owner changes it between any two operations.

use std::{
    fmt, io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use streamwork::checkpoint::{CheckpointStore, Condition, DirectoryStore, Survey};
use streamwork::storage::{Disk, DiskEntry, DiskFile, DiskLock};

use crate::{fixture::*, memory_disk::MemoryDisk};

/// A disk that runs a function right before one of its operations.
struct Overtaken {
    disk: MemoryDisk,
    done: AtomicUsize,
    at: usize,
    what: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Overtaken {
    fn count(&self) -> &MemoryDisk {
        if self.done.fetch_add(1, Ordering::Relaxed) == self.at
            && let Some(what) = self.what.lock().unwrap().take()
        {
            what();
        }
        &self.disk
    }
}

impl fmt::Debug for Overtaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl Disk for Overtaken {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.count().create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.count().create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.count().open(path)
    }
    fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.count().open_for_writing(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.count().read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        self.count().list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count().rename(from, to)
    }
    fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.count().link(file, name)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.count().remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.count().remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.count().sync_dir(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.count().try_lock(path)
    }
}

/// How far the owner's removal of old checkpoints is when the reader continues.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Removal {
    Done,
    /// The manifest and a part are gone, the directory and the other part are not.
    HalfWay,
}

/// A reader that is overtaken at operation `at` by an owner that takes three more checkpoints and removes older ones.
fn overtaken(at: usize, removal: Removal) -> (DirectoryStore, Arc<Overtaken>) {
    let disk = MemoryDisk::new();
    let owner = open(&disk);
    let execution = owner.begin_execution().unwrap();
    let old = [1, 2].map(|checkpoint| complete(&owner, execution, checkpoint));
    let theirs = disk.clone();
    let what = move || {
        for checkpoint in 3..6 {
            complete(&owner, execution, checkpoint);
            if removal == Removal::Done {
                owner.retain(2, None).unwrap();
            }
        }
        for old in old.iter().filter(|_| removal == Removal::HalfWay) {
            theirs.remove_file(&manifest_path(old)).unwrap();
            theirs.remove_file(&part_path(old, 0)).unwrap();
        }
    };
    let disk = Arc::new(Overtaken {
        disk,
        done: AtomicUsize::new(0),
        at,
        what: Mutex::new(Some(Box::new(what))),
    });
    (DirectoryStore::open_on(Arc::clone(&disk) as Arc<dyn Disk>, ROOT).unwrap(), disk)
}

#[test]
fn who_only_looks_finds_a_whole_checkpoint_wherever_the_owner_overtakes_him() {
    for (at, removal) in (0..).flat_map(|at| [Removal::Done, Removal::HalfWay].map(|to| (at, to))) {
        // Once while he asks for the newest, once while he looks at all.
        let (looker, disk) = overtaken(at, removal);
        let survey = looker.survey().unwrap();
        assert_sound(&survey, &format!("overtaken at {at}, {removal:?}"));
        let surveyed = disk.done.load(Ordering::Relaxed) > at;
        let (looker, disk) = overtaken(at, removal);
        let found = looker.latest().unwrap().expect("there is always one");
        assert!(found.set_aside.is_empty(), "overtaken at {at}: {found:?}");
        if !surveyed && disk.done.load(Ordering::Relaxed) <= at {
            assert!(at > 12, "only {at} operations");
            break;
        }
    }
}

/// There is a complete checkpoint, and none that is damaged.
fn assert_sound(survey: &Survey, what: &str) {
    let complete = |one: &Condition| matches!(one, Condition::Complete(_));
    assert!(survey.checkpoints.iter().any(|one| complete(&one.condition)), "{what}");
    for one in &survey.checkpoints {
        let fine = complete(&one.condition) || matches!(one.condition, Condition::Unfinished);
        assert!(fine, "{what}: {one:?}");
    }
}
