//! The sink by itself: names, what is never replaced, what a failing disk leaves.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::api::waker::Waker;
use crate::checkpoint::{DiskEntry, DiskFile, DiskLock};
use crate::id::InstanceName;

fn instance(execution: u64) -> Instance {
    Instance {
        name: InstanceName::new("files", 0),
        parallelism: 1,
        execution: ExecutionId(execution),
        waker: Waker::default(),
    }
}

/// A sink as an execution sets it up.
fn sink(directory: &Path, execution: u64) -> TransactionalFiles<u64> {
    let encode = |n: &u64, file: &mut Vec<u8>| file.extend(format!("{n}\n").into_bytes());
    let mut sink = TransactionalFiles::factory(directory, encode)();
    sink.setup(&instance(execution)).unwrap();
    sink
}

/// The same, from a checkpoint that knows of no transaction after `newest`.
fn sink_from(directory: &Path, execution: u64, newest: FileTransaction) -> TransactionalFiles<u64> {
    let mut sink = sink(directory, execution);
    sink.rewind(newest).unwrap();
    sink
}

fn prepared(sink: &mut TransactionalFiles<u64>, event: u64) -> FileTransaction {
    sink.write(event).unwrap();
    sink.prepare(CheckpointId(1)).unwrap().unwrap()
}

#[test]
fn an_execution_that_was_replaced_does_not_touch_the_pending_files_of_its_successor() {
    let directory = tempfile::tempdir().unwrap();
    let mut replaced = sink(directory.path(), 1);
    let known = replaced.newest().unwrap();
    let mut successor = sink_from(directory.path(), 2, known);
    let handle = prepared(&mut successor, 2);
    let late = prepared(&mut replaced, 1);
    assert_ne!(late, handle);
    successor.commit(handle).unwrap();
    let shown = std::fs::read_to_string(successor.committed(&handle)).unwrap();
    assert_eq!(shown, "2\n");
    sink_from(directory.path(), 3, successor.newest().unwrap()).abort_unfinished().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_commit_replaces_no_file_of_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path(), 1);
    let handle = prepared(&mut sink, 1);
    let file = sink.committed(&handle);
    std::fs::write(&file, "something else").unwrap();
    let refused = sink.commit(handle).unwrap_err().to_string();
    assert!(refused.contains(file.to_str().unwrap()), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something else");
    std::fs::remove_file(&file).unwrap();
    sink.commit(handle).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n");
}

#[test]
fn a_transaction_that_a_consumer_took_away_is_committed_again_to_no_effect() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(directory.path(), 1);
    let handle = prepared(&mut sink, 1);
    sink.commit(handle).unwrap();
    std::fs::remove_file(sink.committed(&handle)).unwrap();
    sink.commit(handle).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(prepared(&mut sink_from(directory.path(), 2, handle), 2).number, 2);
}

#[test]
fn a_number_is_known_from_the_state_where_the_last_checkpoint_had_nothing_to_commit() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = sink(directory.path(), 1);
    let handle = prepared(&mut first, 1);
    first.commit(handle).unwrap();
    assert_eq!(first.prepare(CheckpointId(2)).unwrap(), None);
    std::fs::remove_file(first.committed(&handle)).unwrap();
    let mut second = sink_from(directory.path(), 1, first.newest().unwrap());
    assert_ne!(prepared(&mut second, 2), handle);
}

#[test]
fn what_is_taken_back_twice_is_kept_twice() {
    let directory = tempfile::tempdir().unwrap();
    let none = sink(directory.path(), 1).newest().unwrap();
    for execution in [1, 1, 2] {
        let mut sink = sink_from(directory.path(), execution, none);
        let handle = prepared(&mut sink, 1);
        sink.commit(handle).unwrap();
    }
    let names =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let aside = names.filter(|name| name.to_str().unwrap().ends_with(TAKEN_BACK)).count();
    assert_eq!(aside, 2);
}

/// A disk that fails to write, or fails to synchronize directories.
#[derive(Debug, Default)]
struct Failing {
    synced: Mutex<Vec<PathBuf>>,
    full: AtomicBool,
}

impl Disk for Failing {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.create(path)?;
        match self.full.load(Ordering::Relaxed) {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => Ok(file),
        }
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        RealDisk.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.synced.lock().push(path.to_owned());
        RealDisk.sync_dir(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        RealDisk.try_lock(path)
    }
}

fn sink_on(disk: &Arc<Failing>, directory: PathBuf) -> TransactionalFiles<u64> {
    let encode = |n: &u64, file: &mut Vec<u8>| file.extend(format!("{n}\n").into_bytes());
    let disk: Arc<dyn Disk> = Arc::clone(disk) as _;
    let mut sink = TransactionalFiles::factory_on(disk, directory, encode)();
    sink.setup(&instance(1)).unwrap();
    sink
}

/// fault F32: a directory was made whose name a power failure could take away again.
#[test]
fn every_directory_that_is_made_is_synchronized_into_the_one_above() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::<Failing>::default();
    sink_on(&disk, directory.path().join("a/b/c"));
    let synced = disk.synced.lock();
    for parent in [".", "a", "a/b"] {
        let parent = directory.path().join(parent);
        assert!(synced.iter().any(|path| path.join("") == parent.join("")), "{parent:?}");
    }
}

#[test]
fn events_of_a_transaction_that_could_not_be_prepared_do_not_go_out_with_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Arc::<Failing>::default();
    let mut sink = sink_on(&disk, directory.path().to_owned());
    disk.full.store(true, Ordering::Relaxed);
    sink.write(1).unwrap();
    sink.prepare(CheckpointId(1)).unwrap_err();
    disk.full.store(false, Ordering::Relaxed);
    let handle = prepared(&mut sink, 2);
    sink.commit(handle).unwrap();
    assert_eq!(std::fs::read_to_string(sink.committed(&handle)).unwrap(), "2\n");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
