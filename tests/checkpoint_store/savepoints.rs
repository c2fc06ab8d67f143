//! Copies of a checkpoint with everything that it refers to (state P3).

use std::path::Path;

use streamwork::checkpoint::{CheckpointStore, DirectoryStore, Manifest, StoreError};
use streamwork::storage::Disk as _;
use streamwork::testkit::{DiskFailures, DiskFault};
use streamwork::{CheckpointId, ExecutionId};

use crate::memory_disk::Outside as _;
use crate::{
    fixture::*,
    memory_disk::{MemoryDisk, Random},
};

const COPY: &str = "/job/savepoint";

/// A store with checkpoint 1, and 2, which refers to its first part.
fn store_with_references(disk: &MemoryDisk) -> (DirectoryStore, ExecutionId, Manifest) {
    let store = open(disk);
    let execution = store.begin_execution().unwrap();
    let first = complete(&store, execution, 1);
    let mut second = write_parts(&store, execution, 2).unwrap();
    second.parts[0] = first.parts[0].clone();
    store.commit(&second).unwrap();
    (store, execution, second)
}

fn states(store: &dyn CheckpointStore, manifest: &Manifest) -> Vec<Vec<u8>> {
    manifest.parts.iter().map(|part| store.read(part).unwrap().bytes).collect()
}

#[test]
fn a_copy_has_all_that_its_checkpoint_refers_to_and_needs_the_store_no_more() {
    let disk = MemoryDisk::new();
    let (store, _, second) = store_with_references(&disk);
    let expected = states(&store, &second);
    assert_eq!(store.copy_newest(Path::new(COPY)).unwrap(), second);
    for directory in disk.names_in(ROOT).into_iter().filter(|name| name.starts_with("chk-")) {
        let directory = Path::new(ROOT).join(directory);
        disk.names_in(&directory)
            .iter()
            .for_each(|name| disk.remove_file(&directory.join(name)).unwrap());
    }
    let copy = store.open_copy(Path::new(COPY)).unwrap();
    let found = copy.latest().unwrap().unwrap();
    assert_eq!((&found.manifest, found.set_aside.len()), (&second, 0));
    assert_eq!(states(&*copy, &second), expected);
    // It is also a store: what comes after is newer.
    let store = DirectoryStore::open_on(std::sync::Arc::new(disk.clone()), COPY).unwrap();
    let next = store.begin_execution().unwrap();
    assert!(next > second.execution);
    let third = complete(&store, next, 3);
    store.retain(2, None).unwrap();
    assert_eq!(store.latest().unwrap().unwrap().manifest, third);
}

#[test]
fn a_directory_that_is_not_empty_is_no_place_for_a_copy() {
    let disk = MemoryDisk::new();
    let (store, ..) = store_with_references(&disk);
    store.copy_newest(Path::new(COPY)).unwrap();
    let refused = store.copy_newest(Path::new(COPY)).unwrap_err();
    assert!(matches!(&refused, StoreError::NotEmpty { path } if path == Path::new(COPY)));
    assert_eq!(refused.to_string(), "/job/savepoint is not empty");
    let refused = store.open_copy(Path::new("/job/nowhere")).unwrap_err();
    assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
    assert!(!disk.names_in("/job").contains(&"nowhere".to_owned()));
}

#[test]
fn without_a_checkpoint_there_is_no_copy() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    store.begin_execution().unwrap();
    let refused = store.copy_newest(Path::new(COPY)).unwrap_err();
    assert!(refused.to_string().contains("there is none yet"), "{refused}");
}

#[test]
fn a_copy_that_fails_leaves_an_empty_directory_and_one_that_is_cut_off_is_none() {
    let mut random = Random(7);
    for fault in [DiskFault::Refuse, DiskFault::Crash] {
        let mut failed = 0;
        for after in 0.. {
            let disk = MemoryDisk::new();
            let (store, _, second) = store_with_references(&disk);
            disk.fail(DiskFailures { after, times: 1, fault, ..DiskFailures::default() });
            let copied = store.copy_newest(Path::new(COPY));
            if fault == DiskFault::Crash {
                drop(store);
                let disk = disk.after_power_failure(&mut random);
                let store = open(&disk);
                let copy = store.open_copy(Path::new(COPY));
                let found = copy.ok().and_then(|copy| copy.latest().unwrap());
                match &found {
                    Some(found) => assert_eq!(found.manifest, second),
                    None => assert!(copied.is_err(), "{after}: it was told to be durable"),
                }
                assert!(found.is_none_or(|found| found.set_aside.is_empty()));
            } else if copied.is_err() {
                let again = store.copy_newest(Path::new(COPY));
                assert_eq!(again.expect("what the first call has left is gone"), second);
            }
            if copied.is_ok() {
                break;
            }
            failed += 1;
        }
        assert!(failed > 8, "{failed} operations");
    }
}

#[test]
fn what_is_copied_stays_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let [root, to] = ["store", "copies"].map(|name| directory.path().join(name));
    let store = DirectoryStore::open(&root).unwrap();
    let execution = store.begin_execution().unwrap();
    complete(&store, execution, 1);
    std::thread::scope(|threads| {
        let copier = threads.spawn(|| {
            (0..40).for_each(|copy| {
                store.copy_newest(&to.join(copy.to_string())).expect("it stays");
            });
        });
        for checkpoint in 2.. {
            complete(&store, execution, checkpoint);
            store.retain(2, None).unwrap();
            if copier.is_finished() {
                break;
            }
        }
    });
    for copy in 0..40 {
        let copy = DirectoryStore::open(to.join(copy.to_string())).unwrap();
        let found = copy.latest().unwrap().unwrap();
        assert!(found.set_aside.is_empty() && found.manifest.checkpoint > CheckpointId(0));
    }
}
