//! Parts that share a file: they are read back, and any damage to the file or to a reference to it is detected.

use std::path::Path;

use crate::memory_disk::Outside as _;
use streamwork::{
    CheckpointId,
    checkpoint::{
        CheckpointStore, Condition, DirectoryStore, FormatError, Manifest, PartName, StoreError,
    },
    storage::{Disk, RealDisk},
};

use crate::{
    damage::{assert_falls_back, assert_falls_back_from_every_cut_and_flip},
    fixture::*,
    memory_disk::MemoryDisk,
};

#[test]
fn parts_written_together_come_back_each_as_it_was_from_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    let parts: Vec<_> = (0..300)
        .map(|instance| {
            (PartName::new("counter", instance), vec![instance as u8; instance * 7].into())
        })
        .collect();
    let mut manifest = manifest_without_parts(execution, 1);
    manifest.parts = store.write_parts(execution, CheckpointId(1), &parts).unwrap();
    store.commit(&manifest).unwrap();
    let files = std::fs::read_dir(directory.path().join(crate::fixture::directory(&manifest)));
    assert_eq!(files.unwrap().count(), 2, "the manifest and the file of all parts");
    drop(store);

    let store = DirectoryStore::open(directory.path()).unwrap();
    store.begin_execution().unwrap();
    let found = store.latest().unwrap().unwrap().manifest;
    assert_eq!(found, manifest);
    for (name, state) in &parts {
        assert_eq!(store.read_part(&found, name).unwrap().as_ref(), Some(state), "{name}");
    }
    let surveyed = store.survey().unwrap();
    assert!(matches!(&surveyed.checkpoints[0].condition, Condition::Complete(m) if *m == manifest));
}

#[test]
fn no_parts_are_no_file_and_no_records() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let before = disk.names_in(ROOT);
    assert!(store.write_parts(execution, CheckpointId(1), &[]).unwrap().is_empty());
    assert_eq!(disk.names_in(ROOT), before);
}

#[test]
fn several_threads_can_write_parts_together_for_one_checkpoint() {
    let manifest = committed_by_threads(|store, execution, eighth| {
        let parts: Vec<_> = (eighth * 10..eighth * 10 + 10)
            .map(|instance| (PartName::new("counter", instance), vec![instance as u8].into()))
            .collect();
        store.write_parts(execution, CheckpointId(1), &parts)
    });
    assert_eq!(manifest.parts.len(), 80);
}

#[test]
fn a_shared_file_cut_anywhere_or_with_any_bit_flipped_falls_back_to_the_checkpoint_before() {
    let (disk, manifests) = disk_with_parts_together([1, 2]);
    let path = part_path(&manifests[1], 0);
    assert_eq!(path, part_path(&manifests[1], 1));
    assert_falls_back_from_every_cut_and_flip(&disk, &manifests, &path);
    disk.remove_file(&path).unwrap();
    assert_falls_back(&disk, &manifests, "the shared file is missing");
}

#[test]
fn bytes_behind_the_last_part_belong_to_none() {
    let (disk, manifests) = disk_with_parts_together([1, 2]);
    let path = part_path(&manifests[1], 0);
    disk.put(&path, &[&disk.get(&path)[..], b"\0"].concat());
    let store = open(&disk);
    assert_eq!(store.latest().unwrap().unwrap().manifest, manifests[1]);
    assert_parts_hold(&store, &manifests[1]);
}

#[test]
fn a_shared_file_in_the_place_of_another_falls_back() {
    let (disk, manifests) = disk_with_parts_together([1, 2]);
    disk.put(part_path(&manifests[1], 0), &disk.get(part_path(&manifests[0], 0)));
    assert_falls_back(&disk, &manifests, "the parts of the checkpoint before");
}

/// Wrong locations of the second part in a manifest.
fn wrong_words(manifest: &Manifest) -> Vec<String> {
    let [first, second] = [0, 1].map(|part| manifest.parts[part].at.file.clone());
    let (file, range) = second.split_once('@').unwrap();
    let (start, bytes) = range.split_once('+').unwrap();
    let [start, bytes]: [u64; 2] = [start, bytes].map(|number| number.parse().unwrap());
    let place = |start: u64, bytes: u64| format!("{file}@{start}+{bytes}");
    vec![
        file.to_owned(),
        first,
        // Beyond the end of the file, by a byte, by much, and where no file can end.
        place(start, bytes + 1),
        place(start + bytes, bytes),
        place(start, u64::MAX - start),
        place(u64::MAX - bytes, bytes),
        place(u64::MAX, 0),
        place(1 << 63, bytes),
        format!("{file}@{start}+{}", u64::MAX),
        // In the file, and overlapping another part.
        place(start - 1, bytes),
        place(start - 1, bytes + 1),
        place(start + 1, bytes - 1),
        place(start, bytes - 1),
        place(start, 0),
        place(0, start + bytes),
        place(0, 0),
        // No place at all.
        format!("{second}@0+1"),
        format!("{file}@+{start}+{bytes}"),
        format!("{file}@0{start}+{bytes}"),
        format!("{file}@{start}"),
        format!("{file}@"),
        format!("@{start}+{bytes}"),
        // Another file, or another directory.
        format!("x{second}"),
        format!("../{second}"),
        format!("./{second}"),
        format!("/{second}"),
        format!("MANIFEST@{start}+{bytes}"),
    ]
}

#[test]
fn a_manifest_that_says_of_a_part_where_it_does_not_lie_falls_back() {
    let (disk, manifests) = disk_with_parts_together([1, 2]);
    for word in wrong_words(&manifests[1]) {
        let (disk, mut manifests) = (disk.fork(), manifests.clone());
        manifests[1].parts[1].at.file.clone_from(&word);
        disk.put(manifest_path(&manifests[1]), &manifests[1].to_bytes().unwrap());
        assert_falls_back(&disk, &manifests, &word);
    }
}

#[test]
fn on_a_real_disk_a_wrong_place_is_damage_by_type_and_never_an_error_of_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    let manifest = write_parts_together(&store, execution, 1).unwrap();
    store.commit(&manifest).unwrap();
    let path = directory.path().join(crate::fixture::directory(&manifest)).join("MANIFEST");
    for word in wrong_words(&manifest) {
        let mut wrong = manifest.clone();
        wrong.parts[1].at.file.clone_from(&word);
        std::fs::write(&path, wrong.to_bytes().unwrap()).unwrap();
        let found = store.latest();
        assert!(matches!(found, Err(StoreError::NoneUsable { .. })), "{word}: {found:?}");
        let found = store.read_part(&wrong, &names()[1]);
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "{word}: {found:?}");
        let surveyed = &store.survey().unwrap().checkpoints[0].condition;
        assert!(matches!(surveyed, Condition::Damaged(_)), "{word}: {surveyed:?}");
    }
}

#[test]
fn a_range_beyond_the_end_of_its_file_is_a_wrong_length_and_names_the_file() {
    let (disk, manifests) = disk_with_parts_together([1]);
    let path = part_path(&manifests[0], 1);
    disk.put(&path, &disk.get(&path)[..disk.get(&path).len() - 1]);
    match open(&disk).read_part(&manifests[0], &names()[1]) {
        Err(StoreError::Damaged { path: at, source: FormatError::Length { .. } }) => {
            assert_eq!(at, path);
        }
        found => panic!("{found:?}"),
    }
}

#[test]
fn records_whose_ranges_are_the_same_are_harmless() {
    let (disk, mut manifests) = disk_with_parts_together([1]);
    let again = manifests[0].parts[1].clone();
    manifests[0].parts.push(again);
    disk.put(manifest_path(&manifests[0]), &manifests[0].to_bytes().unwrap());
    let store = open(&disk);
    assert_eq!(store.latest().unwrap().unwrap().manifest, manifests[0]);
    assert_parts_hold(&store, &manifests[0]);
}

#[test]
fn a_manifest_that_names_a_place_where_no_part_was_written_is_refused() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let manifest = write_parts_together(&store, execution, 1).unwrap();
    // The content is not read again before a commit, so what is refused is what cannot be by its length alone.
    let file = manifest.parts[1].at.file.split('@').next().unwrap();
    let bytes = disk.get(part_path(&manifest, 1)).len() as u64;
    let (_, length) = manifest.parts[1].at.file.rsplit_once('+').unwrap();
    for word in [
        file.to_owned(),
        format!("{file}@0+{bytes}"),
        format!("{file}@{bytes}+{length}"),
        format!("{file}@{}+{length}", u64::MAX),
        format!("x{}", manifest.parts[1].at.file),
        format!("../{}", manifest.parts[1].at.file),
    ] {
        let mut wrong = manifest.clone();
        wrong.parts[1].at.file.clone_from(&word);
        let refused = store.commit(&wrong).unwrap_err();
        assert!(matches!(refused, StoreError::PartNotWritten { .. }), "{word}: {refused}");
    }
    let mut wrong = manifest.clone();
    for bytes in [0, u64::MAX] {
        wrong.parts[1].bytes = bytes;
        let refused = store.commit(&wrong).unwrap_err();
        assert!(matches!(refused, StoreError::PartNotWritten { .. }), "{bytes}: {refused}");
    }
    assert!(store.latest().unwrap().is_none());
    store.commit(&manifest).unwrap();
}

#[test]
fn a_shared_file_goes_with_its_checkpoint() {
    let (disk, manifests) = disk_with_parts_together(1..=4);
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    store.retain(2, None).unwrap();
    assert_eq!(store.list().unwrap(), [manifests[3].clone(), manifests[2].clone()]);
    write_parts_together(&store, execution, 5).unwrap();
    store.abandon(execution, CheckpointId(5)).unwrap();
    let left = disk.names_in(ROOT).into_iter().filter(|name| name.starts_with("chk-"));
    assert_eq!(left.count(), 2);
}

#[test]
fn a_range_of_a_file_is_read_as_far_as_the_file_goes_on_every_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (real, memory) = (directory.path().join("file"), Path::new("/file"));
    let content = b"0123456789";
    RealDisk.create(&real).unwrap().append(content).unwrap();
    let disk = MemoryDisk::new();
    disk.put(memory, content);
    let ends = [0, 1, 5, 9, 10, 11, 1 << 40, (1 << 63) - 1, 1 << 63, u64::MAX];
    for (start, end) in ends.iter().flat_map(|start| ends.map(|end| (*start, end))) {
        let within = |at: u64| at.min(content.len() as u64) as usize;
        let expected = content.get(within(start)..within(end)).unwrap_or_default();
        assert_eq!(RealDisk.read_range(&real, start..end).unwrap(), expected, "{start}..{end}");
        assert_eq!(disk.read_range(memory, start..end).unwrap(), expected, "{start}..{end}");
    }
    for missing in [
        RealDisk.read_range(&directory.path().join("none"), 0..1),
        disk.read_range(Path::new("/none"), 0..1),
    ] {
        assert_eq!(missing.unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
