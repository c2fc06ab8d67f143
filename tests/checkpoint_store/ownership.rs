//! One process may write to a store, and in that process one execution.

use std::sync::atomic::{AtomicBool, Ordering};

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use crate::memory_disk::Outside as _;
use streamwork::{
    CheckpointId, ExecutionId,
    checkpoint::{CheckpointStore, DirectoryStore, PartName, StoreError},
};

use crate::{fixture::*, memory_disk::MemoryDisk};

#[test]
fn a_second_store_on_the_directory_is_refused_until_the_first_is_dropped_or_lets_go() {
    let directory = tempfile::tempdir().unwrap();
    let first = DirectoryStore::open(directory.path()).unwrap();
    let second = DirectoryStore::open(directory.path()).unwrap();
    let mut newest = first.begin_execution().unwrap();
    let refused = second.begin_execution();
    assert!(matches!(refused, Err(StoreError::InUse { .. })), "{refused:?}");
    first.release();
    assert!(second.begin_execution().unwrap() > newest);
    newest = ExecutionId(2);
    assert!(matches!(first.begin_execution(), Err(StoreError::InUse { .. })));
    drop(second);
    assert!(first.begin_execution().unwrap() > newest);
}

#[test]
fn a_killed_process_leaves_the_directory_free() {
    const HELD: &str = "STREAMWORK_TEST_HOLD";
    if let Some(directory) = std::env::var_os(HELD) {
        let store = DirectoryStore::open(Path::new(&directory)).unwrap();
        store.begin_execution().unwrap();
        println!("\nheld");
        std::thread::park();
    }
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ownership::a_killed_process_leaves_the_directory_free", "--nocapture"])
        .env(HELD, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "held"));
    let store = DirectoryStore::open(directory.path()).unwrap();
    let refused = store.begin_execution();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(refused, Err(StoreError::InUse { .. })), "{refused:?}");
    assert_eq!(store.begin_execution().unwrap(), ExecutionId(2));
}

#[test]
fn execution_ids_only_grow() {
    let disk = MemoryDisk::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let store = open(&disk);
        ids.push(store.begin_execution().unwrap().0);
        ids.push(store.begin_execution().unwrap().0);
    }
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn nothing_is_written_before_an_execution_begins_or_after_release() {
    let (disk, manifests) = disk_with([1]);
    let store = open(&disk);
    let (execution, checkpoint, name) = (ExecutionId(1), CheckpointId(2), &names()[0]);
    for _ in 0..2 {
        let outcomes = [
            store.write_part(execution, checkpoint, name, &b"".into()).map(drop),
            store.write_parts(execution, checkpoint, &[]).map(drop),
            store
                .write_parts(execution, checkpoint, &[(name.clone(), Vec::new().into())])
                .map(drop),
            store.commit(&manifests[0]),
            store.abandon(execution, checkpoint),
            store.retain(2, None).map(drop),
            store.write_position(execution, name, &b"".into()),
        ];
        for outcome in outcomes {
            assert!(matches!(outcome, Err(StoreError::NotBegun)), "{outcome:?}");
        }
        store.begin_execution().unwrap();
        store.release();
    }
}

#[test]
fn a_late_answer_of_the_execution_before_changes_nothing() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let old = store.begin_execution().unwrap();
    let first = complete(&store, old, 1);
    let late = write_parts(&store, old, 2).unwrap();
    let new = store.begin_execution().unwrap();
    let name = &names()[0];
    let outcomes = [
        store.write_part(old, CheckpointId(3), name, &b"".into()).map(drop),
        store.write_parts(old, CheckpointId(3), &[]).map(drop),
        store.write_parts(old, CheckpointId(3), &[(name.clone(), Vec::new().into())]).map(drop),
        store.commit(&late),
        store.write_position(old, name, &b"late".into()),
    ];
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(StoreError::Fenced { execution, newest }) if execution == old && newest == new),
            "{outcome:?}"
        );
    }
    assert!(disk.names_in(ROOT).iter().all(|name| !name.starts_with("chk-00000000000000000003")));
    assert_eq!(store.latest().unwrap().unwrap().manifest, first);
    assert_eq!(store.read_position(name).unwrap(), None);
}

#[test]
fn an_owner_that_lost_its_lock_is_fenced_by_the_id_on_the_disk() {
    let (disk, _) = disk_with([1, 2, 3]);
    let stalled = open(&disk);
    let old = stalled.begin_execution().unwrap();
    let mut manifest = manifest_without_parts(old, 4);
    manifest.parts = write_parts(&stalled, old, 4).unwrap().parts;
    // The other sees the same files but not the lock.
    let other_locks = LocklessDisk(disk.clone());
    let other = DirectoryStore::open_on(Arc::new(other_locks), ROOT).unwrap();
    let new = other.begin_execution().unwrap();
    let third = other.latest().unwrap().unwrap().manifest;
    let outcomes = [
        stalled.commit(&manifest),
        stalled.abandon(old, CheckpointId(4)),
        stalled.retain(2, None).map(drop),
        stalled.write_position(old, &names()[0], &b"late".into()),
        stalled.begin_execution().map(drop),
    ];
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(StoreError::Fenced { newest, .. }) if newest == new),
            "{outcome:?}"
        );
    }
    assert_eq!(other.latest().unwrap().unwrap().manifest, third);
    assert_eq!(other.list().unwrap().len(), 3);
    assert_eq!(other.read_position(&names()[0]).unwrap(), None);
    // It has kept nothing: now it behaves like any second store.
    assert!(matches!(
        stalled.write_position(old, &names()[0], &b"".into()),
        Err(StoreError::NotBegun)
    ));
}

#[test]
fn a_store_that_lost_the_directory_for_a_while_writes_positions_where_they_are_read() {
    let disk = MemoryDisk::new();
    let (first, second) = (open(&disk), open(&disk));
    let (name, path) = (&names()[0], Path::new(ROOT).join("EXECUTION"));
    let execution = first.begin_execution().unwrap();
    first.write_position(execution, name, &b"1".into()).unwrap();
    let whole = disk.get(&path);
    disk.put(&path, b"rubbish");
    first.begin_execution().unwrap_err();
    disk.put(&path, &whole);
    let execution = second.begin_execution().unwrap();
    second.write_position(execution, name, &b"2".into()).unwrap();
    second.release();
    let execution = first.begin_execution().unwrap();
    first.write_position(execution, name, &b"3".into()).unwrap();
    assert_eq!(first.read_position(name).unwrap().unwrap().bytes, b"3");
}

#[test]
fn who_only_looks_changes_nothing() {
    let (disk, manifests) = disk_with([1, 2]);
    disk.put(manifest_path(&manifests[1]), b"rubbish");
    let before = disk.names_in(ROOT);
    let owner = open(&disk);
    let looker = open(&disk);
    let seen = looker.latest().unwrap().unwrap();
    assert_eq!(seen.set_aside.len(), 1);
    assert_eq!(looker.list().unwrap(), [manifests[0].clone()]);
    assert_eq!(looker.read_position(&PartName::new("source", 0)).unwrap(), None);
    assert_eq!(disk.names_in(ROOT), before);
    owner.begin_execution().unwrap();
    assert_eq!(owner.latest().unwrap().unwrap(), seen);
}

#[test]
fn a_directory_that_cannot_be_created_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a file");
    std::fs::write(&file, b"").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = DirectoryStore::open(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Io { path: p, .. } if *p == path), "{error}");
    }
}

#[derive(Debug)]
struct LocklessDisk(MemoryDisk);

mod lockless {
    use std::{io, path::Path};

    use streamwork::storage::{Disk, DiskEntry, DiskFile, DiskLock};

    #[derive(Debug)]
    struct NoLock;
    impl DiskLock for NoLock {}

    impl Disk for super::LocklessDisk {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.0.create_dir(path)
        }
        fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.0.create(path)
        }
        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.0.open(path)
        }
        fn open_for_writing(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.0.open_for_writing(path)
        }
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            self.0.read(path)
        }
        fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
            self.0.list(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn link(&self, file: &Path, name: &Path) -> io::Result<()> {
            self.0.link(file, name)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            self.0.remove_file(path)
        }
        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            self.0.remove_dir(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.0.sync_dir(path)
        }
        fn try_lock(&self, _path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
            Ok(Some(Box::new(NoLock)))
        }
    }
}

/// fault F30: a child that is being started holds a copy of every open file until it runs its own program, and with it the
/// lock of a store that was released meanwhile.
#[test]
fn a_store_that_was_let_go_is_free_while_other_threads_start_processes() {
    let directory = tempfile::tempdir().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let started = std::process::Command::new("true").spawn();
                    started.expect("a process is started").wait().expect("it ends");
                }
            });
        }
        let taken = (0..1_000).map(|round| {
            let store = DirectoryStore::open(directory.path())?;
            let begun = store.begin_execution();
            if round % 2 == 0 {
                store.release();
            }
            begun
        });
        let refused = taken.filter(Result::is_err).count();
        over.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0, "the store was refused although nobody had it");
    });
}

/// fault F33: checkpoints were written elsewhere after the program changed its working directory.
#[test]
fn a_store_of_a_relative_path_stays_where_it_was_when_the_program_goes_elsewhere() {
    let here = tempfile::Builder::new().prefix("store-").tempdir_in(".").unwrap();
    let relative = Path::new(".").join(here.path().file_name().unwrap());
    assert!(relative.is_relative());
    let store = DirectoryStore::open(&relative).unwrap();
    assert_eq!(store.path(), std::path::absolute(&relative).unwrap());
    assert!(store.path().is_absolute());
}
