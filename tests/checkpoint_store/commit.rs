//! Checkpoints without faults, and callers that misuse the store.

use std::collections::BTreeSet;

use crate::memory_disk::Outside as _;
use proptest::prelude::*;
use streamwork::{
    CheckpointId, ExecutionId,
    checkpoint::{
        CheckpointStore, ComponentRecord, DirectoryStore, Manifest, PartName, StoreError,
    },
};

use crate::{fixture::*, memory_disk::MemoryDisk};

#[test]
fn an_empty_store_has_no_latest_checkpoint() {
    let store = open(&MemoryDisk::new());
    assert!(store.latest().unwrap().is_none());
    assert!(store.list().unwrap().is_empty());
    store.begin_execution().unwrap();
    assert!(store.latest().unwrap().is_none());
}

#[test]
fn a_committed_checkpoint_is_the_latest_also_for_the_next_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made").join("on the way");
    let store = DirectoryStore::open(&path).unwrap();
    let execution = store.begin_execution().unwrap();
    complete(&store, execution, 1);
    let second = complete(&store, execution, 2);
    assert_eq!(store.latest().unwrap().unwrap().manifest, second);
    drop(store);

    let store = DirectoryStore::open(&path).unwrap();
    assert!(store.begin_execution().unwrap() > execution);
    let recovered = store.latest().unwrap().unwrap();
    assert_eq!(recovered.manifest, second);
    assert!(recovered.set_aside.is_empty());
    assert_parts_hold(&store, &second);
    let absent = PartName::new("counter", 2);
    assert_eq!(store.read_part(&second, &absent).unwrap(), None);
}

#[test]
fn parts_without_a_manifest_are_no_checkpoint() {
    let (disk, manifests) = disk_with([1]);
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    write_parts(&store, execution, 2).unwrap();
    assert_eq!(store.latest().unwrap().unwrap().manifest, manifests[0]);
}

#[test]
fn a_checkpoint_without_parts_can_be_committed() {
    let store = open(&MemoryDisk::new());
    let execution = store.begin_execution().unwrap();
    let manifest = manifest_without_parts(execution, 1);
    store.commit(&manifest).unwrap();
    assert_eq!(store.latest().unwrap().unwrap().manifest, manifest);
}

#[test]
fn a_manifest_that_names_a_part_never_written_is_refused() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let mut manifest = write_parts(&store, execution, 1).unwrap();
    manifest.parts[1].bytes += 1;
    let refused = store.commit(&manifest).unwrap_err();
    assert!(matches!(refused, StoreError::PartNotWritten { .. }), "{refused}");
    assert!(store.latest().unwrap().is_none());
}

#[test]
fn what_comes_for_a_checkpoint_older_than_a_complete_one_changes_nothing() {
    let store = open(&MemoryDisk::new());
    let execution = store.begin_execution().unwrap();
    let late = write_parts(&store, execution, 1).unwrap();
    let second = complete(&store, execution, 2);
    for checkpoint in [1, 2] {
        let refused = write_parts(&store, execution, checkpoint).unwrap_err();
        assert!(matches!(refused, StoreError::TooLate { .. }), "{refused}");
        let refused = write_parts_together(&store, execution, checkpoint).unwrap_err();
        assert!(matches!(refused, StoreError::TooLate { .. }), "{refused}");
    }
    assert!(matches!(store.commit(&late), Err(StoreError::TooLate { .. })));
    assert_eq!(store.list().unwrap(), [second]);
}

#[test]
fn a_later_execution_wins_over_a_higher_number_of_an_earlier_one() {
    let (disk, _) = disk_with([7, 8]);
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let newer = complete(&store, execution, 3);
    assert_eq!(store.latest().unwrap().unwrap().manifest, newer);
    assert_eq!(store.list().unwrap()[0], newer);
}

#[test]
fn abandon_removes_what_was_written_and_nothing_that_was_committed() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let before = disk.names_in(ROOT);
    write_parts(&store, execution, 1).unwrap();
    for _ in 0..2 {
        store.abandon(execution, CheckpointId(1)).unwrap();
        assert_eq!(disk.names_in(ROOT), before);
    }
    let committed = complete(&store, execution, 2);
    store.abandon(execution, CheckpointId(2)).unwrap();
    assert_eq!(store.latest().unwrap().unwrap().manifest, committed);
    assert_parts_hold(&store, &committed);
}

#[test]
fn stored_bytes_are_those_of_all_files() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    let before = store.stored_bytes().unwrap();
    let manifest = complete(&store, execution, 1);
    let part_files: u64 = manifest
        .parts
        .iter()
        .map(|part| {
            let file = directory.path().join(crate::fixture::directory(&manifest));
            file.join(&part.at.file).metadata().unwrap().len()
        })
        .sum();
    let manifest_bytes = manifest.to_bytes().unwrap().len() as u64;
    let added = store.stored_bytes().unwrap() - before;
    assert_eq!(added, part_files + manifest_bytes);
}

#[test]
fn component_names_of_any_kind_get_parts_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    let long = "x".repeat(5_000);
    let components = [
        "",
        ".",
        "..",
        "/",
        "../../etc/passwd",
        "a/b",
        "a\\b",
        "a b",
        "A b",
        "a%20b",
        "a\0b",
        "CON",
        "nul.txt",
        "späte Zahlung",
        "数え上げ",
        "🦀",
        "e\u{301}",
        "é",
        "-",
        "MANIFEST",
        "a\nb",
        &long,
        &long[1..],
    ];
    let mut manifest = manifest_without_parts(execution, 1);
    for (instance, component) in components.iter().enumerate() {
        for instance in [0, instance + 1, usize::MAX] {
            let name = PartName::new(*component, instance);
            let state = name.to_string();
            manifest.parts.push(
                store
                    .write_part(execution, CheckpointId(1), &name, &state.as_bytes().into())
                    .unwrap(),
            );
        }
    }
    let lowercase: BTreeSet<String> =
        manifest.parts.iter().map(|part| part.at.file.to_lowercase()).collect();
    assert_eq!(
        lowercase.len(),
        manifest.parts.len(),
        "two parts share a file where case does not count"
    );
    store.commit(&manifest).unwrap();

    let found = store.latest().unwrap().unwrap().manifest;
    assert_eq!(found, manifest);
    for part in &found.parts {
        let expected = part.name.to_string();
        let state = store.read_part(&found, &part.name).unwrap().unwrap();
        assert_eq!(state.bytes, expected.as_bytes());
    }
}

#[test]
fn every_thread_can_write_its_part_of_one_checkpoint() {
    committed_by_threads(|store, execution, instance| {
        let name = PartName::new("counter", instance);
        store
            .write_part(execution, CheckpointId(1), &name, &(&[instance as u8; 1000]).into())
            .map(|of| [of])
    });
}

proptest! {
    #[test]
    fn a_manifest_comes_back_from_its_bytes(
        ids in any::<(u64, u64, u64)>(),
        words in any::<(String, String)>(),
        components in any::<Vec<(String, u64, String, Option<String>)>>(),
    ) {
        let mut manifest = Manifest::new(ExecutionId(ids.0), CheckpointId(ids.1), words.0);
        manifest.cut = words.1;
        manifest.taken_unix_ms = ids.2;
        manifest.components = components
            .into_iter()
            .map(|(name, parallelism, kind, state)| {
                let mut component = ComponentRecord::new(name, parallelism);
                (component.kind, component.state) = (kind, state);
                component
            })
            .collect();
        let bytes = manifest.to_bytes().unwrap();
        prop_assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
    }

    #[test]
    fn a_part_comes_back_as_it_was_written(component in any::<String>(), instance in any::<usize>(), state in any::<Vec<u8>>()) {
        let store = open(&MemoryDisk::new());
        let execution = store.begin_execution().unwrap();
        let name = PartName::new(component, instance);
        let mut manifest = manifest_without_parts(execution, 1);
        manifest.parts.push(store.write_part(execution, CheckpointId(1), &name, &state.clone().into()).unwrap());
        store.commit(&manifest).unwrap();
        prop_assert_eq!(store.read_part(&manifest, &name).unwrap(), Some(state.into()));
    }
}
