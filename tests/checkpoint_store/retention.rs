//! What is deleted and what never is.

use crate::memory_disk::Outside as _;
use streamwork::{
    CheckpointId,
    checkpoint::{CheckpointStore, DirectoryStore},
    storage::Disk,
};

use crate::{fixture::*, memory_disk::MemoryDisk};

fn kept(store: &DirectoryStore) -> Vec<u64> {
    let manifests = store.list().unwrap();
    manifests.iter().map(|manifest| manifest.checkpoint.0).collect()
}

#[test]
fn retain_keeps_the_newest_and_says_what_it_deleted() {
    let (disk, _) = disk_with(1..=6);
    let store = open(&disk);
    store.begin_execution().unwrap();
    let deleted = store.retain(3, None).unwrap();
    assert_eq!(deleted, [CheckpointId(1), CheckpointId(2), CheckpointId(3)]);
    assert_eq!(kept(&store), [6, 5, 4]);
    assert!(store.retain(3, None).unwrap().is_empty());
}

#[test]
fn retain_keeps_two_even_if_asked_for_fewer() {
    for keep in [0, 1, 2] {
        let (disk, _) = disk_with(1..=4);
        let store = open(&disk);
        store.begin_execution().unwrap();
        store.retain(keep, None).unwrap();
        assert_eq!(kept(&store), [4, 3]);
    }
}

#[test]
fn retain_keeps_the_one_in_use() {
    let (disk, _) = disk_with(1..=5);
    let store = open(&disk);
    store.begin_execution().unwrap();
    let deleted = store.retain(2, Some(CheckpointId(2))).unwrap();
    assert_eq!(deleted, [CheckpointId(1), CheckpointId(3)]);
    assert_eq!(kept(&store), [5, 4, 2]);
}

#[test]
fn retain_removes_orphans_older_than_the_newest_complete_and_leaves_the_one_being_written() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let first = store.begin_execution().unwrap();
    complete(&store, first, 1);
    let orphan = write_parts(&store, first, 2).unwrap();
    let second = store.begin_execution().unwrap();
    store.retain(2, None).unwrap();
    assert!(disk.names_in(ROOT).contains(&directory(&orphan)), "newer than all that is complete");
    complete(&store, second, 2);
    let being_written = write_parts(&store, second, 3).unwrap();
    store.retain(2, None).unwrap();
    assert!(!disk.names_in(ROOT).contains(&directory(&orphan)));
    assert!(disk.names_in(ROOT).contains(&directory(&being_written)));
    store.commit(&being_written).unwrap();
    assert_eq!(kept(&store), [3, 2, 1]);
}

#[test]
fn retain_neither_counts_nor_deletes_damaged_checkpoints() {
    let (disk, manifests) = disk_with(1..=5);
    for damaged in [1, 4] {
        disk.put(manifest_path(&manifests[damaged]), b"rubbish");
    }
    let store = open(&disk);
    store.begin_execution().unwrap();
    assert_eq!(store.retain(2, None).unwrap(), [CheckpointId(1)]);
    assert_eq!(kept(&store), [4, 3]);
    for damaged in [1, 4] {
        assert!(disk.names_in(ROOT).contains(&directory(&manifests[damaged])));
    }
}

#[test]
fn what_the_user_keeps_beside_the_checkpoints_is_left_alone() {
    let (disk, _) = disk_with(1..=4);
    let mine = ["notes.txt", "chk-7-x0/kept", "chk-00000000000000000001-x1.bak"];
    disk.create_dir(format!("{ROOT}/chk-7-x0").as_ref()).unwrap();
    for name in mine {
        disk.put(format!("{ROOT}/{name}"), b"mine");
    }
    let store = open(&disk);
    store.begin_execution().unwrap();
    store.retain(2, None).unwrap();
    for name in mine {
        assert_eq!(disk.get(format!("{ROOT}/{name}")), b"mine");
    }
}
