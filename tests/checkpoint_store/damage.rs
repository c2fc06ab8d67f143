//! Checkpoints that were complete and then damaged.

use std::path::Path;

use crate::memory_disk::Outside as _;
use streamwork::{
    ExecutionId,
    checkpoint::{CheckpointStore, FormatError, Manifest, StoreError},
};

use crate::{
    fixture::*,
    memory_disk::{MemoryDisk, Random},
};

/// Checkpoint 1 is whole and 2 is not: 1 is used, 2 is reported, set aside and still there, byte for byte.
pub(crate) fn assert_falls_back(disk: &MemoryDisk, manifests: &[Manifest], what: &str) {
    let looked_at = open(disk).latest().unwrap().expect(what);
    let store = open(disk);
    store.begin_execution().unwrap();
    let bytes = store.stored_bytes().unwrap();
    let recovered = store.latest().unwrap().expect(what);
    assert_eq!(recovered, looked_at, "{what}");
    assert_eq!(recovered.manifest, manifests[0], "{what}");
    assert_eq!(recovered.set_aside.len(), 1, "{what}");
    assert_eq!(recovered.set_aside[0].checkpoint, manifests[1].checkpoint);
    assert_parts_hold(&store, &manifests[0]);
    assert_eq!(store.stored_bytes().unwrap(), bytes, "{what}");
    let names = disk.names_in(ROOT);
    let aside = format!("damaged-1-{}", directory(&manifests[1]));
    assert!(names.contains(&aside), "{what}: {names:?}");
    assert!(!names.contains(&directory(&manifests[1])), "{what}");
    let again = store.latest().unwrap().expect(what);
    assert!(again.set_aside.is_empty(), "{what}");
}

/// A file of checkpoint 2 may be cut anywhere, or have any bit flipped.
pub(crate) fn assert_falls_back_from_every_cut_and_flip(
    disk: &MemoryDisk,
    manifests: &[Manifest],
    path: &Path,
) {
    let whole = disk.get(path);
    for cut in 0..whole.len() {
        let disk = disk.fork();
        disk.put(path, &whole[..cut]);
        assert_falls_back(&disk, manifests, &format!("cut at byte {cut}"));
    }
    for bit in 0..whole.len() * 8 {
        let disk = disk.fork();
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.put(path, &flipped);
        assert_falls_back(&disk, manifests, &format!("bit {bit} flipped"));
    }
}

fn every_cut_and_flip(path_of: impl Fn(&Manifest) -> std::path::PathBuf) {
    let (disk, manifests) = disk_with([1, 2]);
    let path = path_of(&manifests[1]);
    assert_falls_back_from_every_cut_and_flip(&disk, &manifests, &path);
    let longer = [&disk.get(&path)[..], b"\0"].concat();
    disk.put(&path, &longer);
    assert_falls_back(&disk, &manifests, "a byte too many");
}

#[test]
fn a_manifest_cut_anywhere_or_with_any_bit_flipped_falls_back_to_the_checkpoint_before() {
    every_cut_and_flip(manifest_path);
}

#[test]
fn a_part_cut_anywhere_or_with_any_bit_flipped_falls_back_to_the_checkpoint_before() {
    every_cut_and_flip(|manifest| part_path(manifest, 0));
    every_cut_and_flip(|manifest| part_path(manifest, 1));
}

#[test]
fn a_part_of_many_blocks_with_one_block_damaged_falls_back() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let first = complete(&store, execution, 1);
    let mut second = write_parts(&store, execution, 2).unwrap();
    let (name, id) = (names()[0].clone(), second.checkpoint);
    let state: Vec<u8> = (0..1 << 20).map(|at: u32| at as u8).collect();
    second.parts[0] = store.write_part(execution, id, &name, &state.into()).unwrap();
    store.commit(&second).unwrap();
    drop(store);
    let path = part_path(&second, 0);
    let whole = disk.get(&path);
    let mut random = Random(1);
    for block in (0..whole.len() / 4096).step_by(16) {
        let disk = disk.fork();
        let mut damaged = whole.clone();
        damaged[block * 4096..][..4096].fill_with(|| random.next() as u8);
        disk.put(&path, &damaged);
        assert_falls_back(&disk, &[first.clone(), second.clone()], &format!("block {block}"));
    }
}

#[test]
fn a_missing_part_falls_back() {
    use streamwork::storage::Disk;
    let (disk, manifests) = disk_with([1, 2]);
    disk.remove_file(&part_path(&manifests[1], 1)).unwrap();
    assert_falls_back(&disk, &manifests, "a part is missing");
}

#[test]
fn a_whole_part_in_the_place_of_another_falls_back() {
    let (disk, manifests) = disk_with([1, 2]);
    let elsewhere =
        [part_path(&manifests[1], 1), part_path(&manifests[0], 0), manifest_path(&manifests[1])];
    for other in elsewhere {
        let disk = disk.fork();
        disk.put(part_path(&manifests[1], 0), &disk.get(&other));
        assert_falls_back(&disk, &manifests, &format!("{other:?} instead"));
    }
}

#[test]
fn a_whole_part_other_than_the_manifest_has_seen_falls_back() {
    let (disk, manifests) = disk_with([1, 2]);
    let other = MemoryDisk::new();
    let store = open(&other);
    let execution = store.begin_execution().unwrap();
    let (id, name) = (manifests[1].checkpoint, &names()[0]);
    let mut state = state(execution, 2, name);
    state.reverse();
    store.write_part(execution, id, name, &state.into()).unwrap();
    let path = part_path(&manifests[1], 0);
    disk.put(&path, &other.get(&path));
    assert_falls_back(&disk, &manifests, "another state of the same instance");
}

#[test]
fn a_part_for_which_the_manifest_has_another_name_falls_back() {
    let (disk, mut manifests) = disk_with([1, 2]);
    manifests[1].parts[0].name.component = "retnuoc".to_owned();
    let bytes = manifests[1].to_bytes().unwrap();
    disk.put(manifest_path(&manifests[1]), &bytes);
    assert_falls_back(&disk, &manifests, "the part of another component");
}

#[test]
fn a_whole_manifest_in_the_place_of_another_falls_back() {
    let (disk, manifests) = disk_with([1, 2]);
    let mut strange = manifests[0].clone();
    strange.parts.clear();
    disk.put(manifest_path(&manifests[1]), &strange.to_bytes().unwrap());
    assert_falls_back(&disk, &manifests, "manifest of another checkpoint");
}

#[test]
fn a_manifest_that_points_out_of_its_directory_is_damaged() {
    let (disk, mut manifests) = disk_with([1, 2]);
    let path = manifest_path(&manifests[1]);
    let file = part_path(&manifests[1], 0);
    file.to_str().unwrap().clone_into(&mut manifests[1].parts[0].at.file);
    disk.put(path, &manifests[1].to_bytes().unwrap());
    assert_falls_back(&disk, &manifests, "a path for a file name");
}

#[test]
fn read_part_verifies_what_it_gives() {
    let (disk, manifests) = disk_with([1]);
    let path = part_path(&manifests[0], 0);
    let mut bytes = disk.get(&path);
    bytes[60] ^= 1;
    disk.put(&path, &bytes);
    let error = open(&disk).read_part(&manifests[0], &names()[0]).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { path: p, .. } if p == path));
}

#[test]
fn when_no_checkpoint_is_whole_there_is_an_error_each_time_and_never_none() {
    let (disk, manifests) = disk_with([1, 2]);
    for manifest in &manifests {
        disk.put(manifest_path(manifest), b"rubbish");
    }
    let names_before = disk.names_in(ROOT);
    let store = open(&disk);
    for _ in 0..2 {
        store.begin_execution().unwrap();
        match store.latest() {
            Err(StoreError::NoneUsable { reasons }) => assert_eq!(reasons.len(), 2),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(disk.names_in(ROOT), names_before, "nothing was moved");
}

#[test]
fn a_checkpoint_set_aside_still_counts_when_nothing_else_is_left() {
    use streamwork::storage::Disk;
    let (disk, manifests) = disk_with([1, 2]);
    disk.put(manifest_path(&manifests[1]), b"rubbish");
    let store = open(&disk);
    store.begin_execution().unwrap();
    store.latest().unwrap().unwrap();
    disk.put(manifest_path(&manifests[0]), b"rubbish");
    assert!(
        matches!(store.latest(), Err(StoreError::NoneUsable { reasons }) if reasons.len() == 2)
    );
    let first = Path::new(ROOT).join(directory(&manifests[0]));
    disk.rename(&first, Path::new("/moved away by hand")).unwrap();
    let error = store.latest().unwrap_err();
    assert!(error.to_string().contains("set aside before as damaged-1-chk-"), "{error}");
}

#[test]
fn a_manifest_of_a_later_version_is_refused_by_name_and_stays_where_it_is() {
    let (disk, manifests) = disk_with([1, 2]);
    let path = manifest_path(&manifests[1]);
    let later = resealed(&disk.get(&path), 8, 4);
    disk.put(&path, &later);
    let store = open(&disk);
    store.begin_execution().unwrap();
    for found in [store.latest().map(|_| ()), store.list().map(|_| ())] {
        match found.unwrap_err() {
            StoreError::UnknownFormat {
                source: FormatError::UnknownVersion { found: 4, newest_known: 3, .. },
                ..
            } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(store.retain(2, None).unwrap().is_empty());
    assert_eq!(disk.get(&path), later);
}

#[test]
fn a_part_of_an_unknown_codec_is_refused_by_name_and_stays_where_it_is() {
    let (disk, manifests) = disk_with([1, 2]);
    let path = part_path(&manifests[1], 0);
    disk.put(&path, &resealed(&disk.get(&path), 10, 77));
    let store = open(&disk);
    store.begin_execution().unwrap();
    let error = store.latest().unwrap_err();
    let StoreError::UnknownFormat { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "part is written with codec 77, which is not known");
}

#[test]
fn a_damaged_execution_id_is_an_error_and_a_removed_one_is_made_up_for() {
    use streamwork::storage::Disk;
    let (disk, _) = disk_with([1]);
    let path = Path::new(ROOT).join("EXECUTION");
    let whole = disk.get(&path);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.put(&path, &flipped);
        let error = open(&disk).begin_execution().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "bit {bit}: {error}");
    }
    disk.remove_file(&path).unwrap();
    assert_eq!(open(&disk).begin_execution().unwrap(), ExecutionId(2));
}
