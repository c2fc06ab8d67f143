//! A manifest may refer to parts of earlier checkpoints; a part is kept as long as a manifest refers to it.

use std::path::Path;

use crate::memory_disk::Outside as _;
use streamwork::CheckpointId;
use streamwork::checkpoint::{CheckpointStore, Condition, DirectoryStore, Manifest, StoreError};

use streamwork::testkit::{DiskFailures, DiskFault};

use crate::{
    fixture::*,
    memory_disk::{MemoryDisk, Random},
};

/// The manifest of a checkpoint whose first part is that of an earlier one, and whose second is its own.
fn referring(store: &DirectoryStore, to: &Manifest, checkpoint: u64) -> Manifest {
    let mut manifest = write_parts(store, to.execution, checkpoint).unwrap();
    manifest.parts[0] = to.parts[0].clone();
    manifest
}

/// A store in which checkpoints 2 to `last` refer to the first part of checkpoint 1.
fn disk_with_references(last: u64) -> (MemoryDisk, Vec<Manifest>) {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let mut manifests = vec![complete(&store, execution, 1)];
    for checkpoint in 2..=last {
        let manifest = referring(&store, &manifests[0], checkpoint);
        store.commit(&manifest).unwrap();
        manifests.push(manifest);
    }
    (disk, manifests)
}

fn state_of(store: &DirectoryStore, manifest: &Manifest) -> Vec<u8> {
    store.read_part(manifest, &names()[0]).unwrap().unwrap().bytes
}

fn files_of(disk: &MemoryDisk, manifest: &Manifest) -> Vec<String> {
    disk.names_in(Path::new(ROOT).join(directory(manifest)))
}

#[test]
fn a_part_of_an_earlier_checkpoint_is_read_also_when_that_checkpoint_is_gone() {
    let (disk, mut manifests) = disk_with_references(2);
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    for checkpoint in [3, 4] {
        let mut manifest = manifest_without_parts(execution, checkpoint);
        manifest.parts = vec![manifests[0].parts[0].clone(), manifests[1].parts[1].clone()];
        store.commit(&manifest).unwrap();
        manifests.push(manifest);
    }
    let [first, second] =
        [1, 2].map(|of| state(manifests[0].execution, of, &names()[of as usize - 1]));
    // The first stays whole: it is the next that will share nothing with the newest.
    assert_eq!(store.retain(2, None).unwrap(), [CheckpointId(2)]);
    let found = store.latest().unwrap().unwrap();
    assert_eq!(found.manifest, manifests[3]);
    for (name, expected) in names().iter().zip([first, second]) {
        assert_eq!(store.read_part(&found.manifest, name).unwrap().unwrap().bytes, expected);
    }
    // Of the one that is gone there is the part that is referred to, and the mark that it is.
    let part = manifests[1].parts[1].at.file.clone();
    assert_eq!(files_of(&disk, &manifests[1]), ["REFERENCED".to_owned(), part]);
    let survey = store.survey().unwrap();
    let told = survey.checkpoints.iter().filter(|of| matches!(of.condition, Condition::Referenced));
    assert_eq!(told.map(|one| one.checkpoint.0).collect::<Vec<_>>(), [2]);
    assert!(survey.foreign.is_empty(), "{:?}", survey.foreign);
}

#[test]
fn of_checkpoints_that_share_files_one_stays_that_shares_none_with_the_newest() {
    // state B5.3: every eighth checkpoint begins a base, and the others refer to the base before.
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let mut base = complete(&store, execution, 1);
    let mut kept: Vec<u64> = vec![1];
    for checkpoint in 2..=40 {
        match checkpoint % 8 {
            1 => base = complete(&store, execution, checkpoint),
            _ => store.commit(&referring(&store, &base, checkpoint)).unwrap(),
        }
        let deleted = store.retain(2, None).unwrap();
        kept.push(checkpoint);
        kept.retain(|of| !deleted.contains(&CheckpointId(*of)));
        assert!(kept.len() <= 4, "{kept:?}");
        let newest = base.checkpoint.0;
        if newest > 1 {
            assert!(kept.iter().any(|of| *of < newest), "{kept:?} with a base of {newest}");
            let oldest = kept.iter().min().unwrap();
            assert!(newest - oldest <= 16, "{kept:?} with a base of {newest}");
        }
    }
}

#[test]
fn a_part_that_nobody_refers_to_any_more_is_removed_with_its_directory() {
    let (disk, manifests) = disk_with_references(3);
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    store.retain(2, None).unwrap();
    assert!(!files_of(&disk, &manifests[0]).is_empty(), "two refer to it");
    for checkpoint in [4, 5] {
        complete(&store, execution, checkpoint);
    }
    store.retain(2, None).unwrap();
    let left: Vec<String> = disk.names_in(ROOT);
    assert!(!left.contains(&directory(&manifests[0])), "{left:?}");
    assert_eq!(store.latest().unwrap().unwrap().manifest.checkpoint, CheckpointId(5));
}

#[test]
fn a_damaged_part_makes_every_checkpoint_that_refers_to_it_unusable_and_no_other() {
    let (disk, manifests) = disk_with_references(3);
    let part = part_path(&manifests[0], 0);
    disk.put(&part, &resealed(&disk.get(&part), 40, 7));
    let store = open(&disk);
    store.begin_execution().unwrap();
    assert!(matches!(store.latest(), Err(StoreError::NoneUsable { .. })));

    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let [zero, one] = [0, 1].map(|checkpoint| complete(&store, execution, checkpoint));
    store.commit(&referring(&store, &one, 2)).unwrap();
    let part = part_path(&one, 0);
    disk.put(&part, &resealed(&disk.get(&part), 40, 7));
    let found = store.latest().unwrap().unwrap();
    assert_eq!((found.manifest, found.set_aside.len()), (zero, 2));
}

#[test]
fn a_manifest_cannot_refer_to_what_is_not_there_or_is_of_a_later_checkpoint() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let first = complete(&store, execution, 1);
    let third = write_parts(&store, execution, 3).unwrap();
    let of_a_later_one = referring(&store, &third, 2);
    let mut of_none = referring(&store, &first, 2);
    of_none.parts[0].at.checkpoint = CheckpointId(0);
    for manifest in [of_a_later_one, of_none] {
        let refused = store.commit(&manifest).unwrap_err();
        assert!(matches!(refused, StoreError::PartNotWritten { .. }), "{refused}");
    }
    assert_eq!(store.latest().unwrap().unwrap().manifest, first);
}

#[test]
fn what_a_manifest_may_refer_to_that_cannot_be_read_today_stays() {
    let (disk, manifests) = disk_with_references(2);
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    for checkpoint in [3, 4] {
        complete(&store, execution, checkpoint);
    }
    // A later version wrote the manifest that refers to the part.
    let path = manifest_path(&manifests[1]);
    let whole = disk.get(&path);
    disk.put(&path, &resealed(&whole, 8, 99));
    let before = files_of(&disk, &manifests[0]);
    assert!(store.retain(2, None).unwrap().is_empty());
    assert_eq!(files_of(&disk, &manifests[0]), before);
    // That version has come: the checkpoint can be read, and is removed with all it refers to.
    disk.put(&path, &whole);
    assert_eq!(store.retain(2, None).unwrap(), [CheckpointId(1), CheckpointId(2)]);
    let left: Vec<String> = disk.names_in(ROOT);
    assert!(!left.contains(&directory(&manifests[0])), "{left:?}");
}

#[test]
fn a_power_failure_at_any_moment_leaves_no_complete_checkpoint_without_its_parts() {
    let mut random = Random(7);
    let mut finished = false;
    for crash_at in 0.. {
        for _ in 0..4 {
            let (disk, manifests) = disk_with_references(3);
            let store = open(&disk);
            let execution = store.begin_execution().unwrap();
            let fault = DiskFault::Crash;
            disk.fail(DiskFailures { after: crash_at, times: 1, fault, ..DiskFailures::default() });
            let done = write_parts(&store, execution, 4).and_then(|mut manifest| {
                manifest.parts[0] = manifests[0].parts[0].clone();
                store.commit(&manifest)?;
                store.retain(2, None)
            });
            finished = done.is_ok();
            drop(store);
            let disk = disk.after_power_failure(&mut random);
            let store = open(&disk);
            store.begin_execution().unwrap();
            let found = store.latest().unwrap().unwrap();
            assert!(found.set_aside.is_empty(), "{crash_at}: {:?}", found.set_aside);
            let expected = state(manifests[0].execution, 1, &names()[0]);
            assert_eq!(state_of(&store, &found.manifest), expected, "{crash_at}");
            assert!(!finished || found.manifest.checkpoint == CheckpointId(4), "{crash_at}");
        }
        if finished {
            assert!(crash_at > 15, "a test that cannot fail: {crash_at} operations");
            return;
        }
    }
}
