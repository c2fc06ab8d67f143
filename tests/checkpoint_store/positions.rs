//! Write-ahead positions of sources.

use std::path::{Path, PathBuf};

use crate::memory_disk::Outside as _;
use streamwork::{
    ExecutionId,
    checkpoint::{CheckpointStore, DirectoryStore, FormatError, PartName, StoreError},
};

use crate::{fixture::*, memory_disk::MemoryDisk};

fn source() -> PartName {
    PartName::new("transactions / all", 0)
}

fn path(disk: &MemoryDisk) -> PathBuf {
    let names = disk.names_in(format!("{ROOT}/positions"));
    assert_eq!(names.len(), 1, "{names:?}");
    Path::new(ROOT).join("positions").join(&names[0])
}

/// A disk with positions 1 to `count` of one source, and the length of the file after each.
fn disk_with_positions(count: u8) -> (MemoryDisk, Vec<usize>) {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let write = |position| {
        store.write_position(execution, &source(), &[position].into()).unwrap();
        disk.get(path(&disk)).len()
    };
    let lengths = (1..=count).map(write).collect();
    drop(store);
    (disk, lengths)
}

#[test]
fn the_newest_position_wins_also_in_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    assert_eq!(store.read_position(&source()).unwrap(), None);
    let other = PartName::new("transactions / all", 1);
    store.write_position(execution, &other, &b"other".into()).unwrap();
    for position in ["", "one", "three", "two"] {
        store.write_position(execution, &source(), &position.as_bytes().into()).unwrap();
        assert_eq!(store.read_position(&source()).unwrap().unwrap().bytes, position.as_bytes());
    }
    drop(store);
    let store = DirectoryStore::open(directory.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    assert_eq!(store.read_position(&source()).unwrap().unwrap().bytes, b"two");
    store.write_position(execution, &source(), &b"four".into()).unwrap();
    assert_eq!(store.read_position(&source()).unwrap().unwrap().bytes, b"four");
    assert_eq!(store.read_position(&other).unwrap().unwrap().bytes, b"other");
}

#[test]
fn a_position_file_stays_short_however_many_are_written() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let mut longest = 0;
    for position in 0..5_000_u64 {
        store.write_position(execution, &source(), &(&position.to_le_bytes()).into()).unwrap();
        longest = longest.max(disk.get(path(&disk)).len());
        if position % 500 == 0 || position > 4_990 {
            let found = store.read_position(&source()).unwrap().unwrap();
            assert_eq!(found.bytes, position.to_le_bytes());
        }
    }
    assert!((60 * 1024..=64 * 1024).contains(&longest), "{longest}");
    let large = vec![7; 200_000];
    for _ in 0..2 {
        store.write_position(execution, &source(), &large.clone().into()).unwrap();
        assert_eq!(store.read_position(&source()).unwrap().unwrap().bytes, large);
    }
}

#[test]
fn a_record_cut_short_is_as_if_never_written() {
    let (disk, lengths) = disk_with_positions(3);
    let path = path(&disk);
    let whole = disk.get(&path);
    for cut in lengths[0]..whole.len() {
        let expected = if cut < lengths[1] { 1 } else { 2 };
        let zeros = vec![0; whole.len() - cut];
        for tail in [&[][..], &zeros] {
            let disk = disk.fork();
            disk.put(&path, &[&whole[..cut], tail].concat());
            let store = open(&disk);
            let execution = store.begin_execution().unwrap();
            assert_eq!(
                store.read_position(&source()).unwrap(),
                Some(vec![expected].into()),
                "cut at {cut}"
            );
            store.write_position(execution, &source(), &[9].into()).unwrap();
            store.write_position(execution, &source(), &[10].into()).unwrap();
            assert_eq!(
                store.read_position(&source()).unwrap(),
                Some(vec![10].into()),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn damage_before_the_last_record_is_an_error() {
    let (disk, lengths) = disk_with_positions(3);
    let path = path(&disk);
    let whole = disk.get(&path);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.put(&path, &flipped);
        let found = open(&disk).read_position(&source());
        if bit / 8 < lengths[1] {
            assert!(matches!(found, Err(StoreError::Damaged { .. })), "bit {bit}: {found:?}");
        } else {
            assert_eq!(found.unwrap(), Some(vec![2].into()), "bit {bit}");
        }
    }
}

#[test]
fn the_only_record_was_whole_once_so_damage_to_it_is_an_error_and_never_none() {
    let (disk, lengths) = disk_with_positions(1);
    let path = path(&disk);
    let whole = disk.get(&path);
    for cut in 0..lengths[0] {
        disk.put(&path, &whole[..cut]);
        let found = open(&disk).read_position(&source());
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "cut at {cut}: {found:?}");
    }
}

#[test]
fn a_position_file_in_the_place_of_another_is_an_error() {
    let (disk, _) = disk_with_positions(1);
    let strange = disk.get(path(&disk));
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let other = PartName::new("other", 0);
    store.write_position(execution, &other, &b"1".into()).unwrap();
    disk.put(path(&disk), &strange);
    match store.read_position(&other) {
        Err(StoreError::Damaged { source: FormatError::Misplaced { .. }, .. }) => {}
        found => panic!("{found:?}"),
    }
}

#[test]
fn a_record_carries_the_execution_that_wrote_it() {
    let (disk, lengths) = disk_with_positions(2);
    let record = &disk.get(path(&disk))[lengths[0]..lengths[1]];
    assert_eq!(record[12..20], ExecutionId(1).0.to_le_bytes());
}
