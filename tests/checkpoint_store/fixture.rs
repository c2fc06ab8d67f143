//! Checkpoints for the tests.

use std::{path::Path, sync::Arc};

use streamwork::{
    CheckpointId, ExecutionId,
    checkpoint::{
        CheckpointStore, ComponentRecord, DirectoryStore, Manifest, PartName, PartRecord,
        StoreError,
    },
    storage::Disk,
};

use crate::memory_disk::MemoryDisk;

pub(crate) const ROOT: &str = "/job/checkpoints";

pub(crate) fn open(disk: &(impl Disk + Clone + 'static)) -> DirectoryStore {
    try_open(disk).unwrap()
}

pub(crate) fn try_open(disk: &(impl Disk + Clone + 'static)) -> Result<DirectoryStore, StoreError> {
    DirectoryStore::open_on(Arc::new(disk.clone()), ROOT)
}

/// The instances that have state in every checkpoint made here.
pub(crate) fn names() -> [PartName; 2] {
    [PartName::new("counter", 0), PartName::new("counter", 1)]
}

/// The state of instance `name` at `checkpoint`.
pub(crate) fn state(execution: ExecutionId, checkpoint: u64, name: &PartName) -> Vec<u8> {
    format!("{name} at {checkpoint} in {execution}").into_bytes()
}

pub(crate) fn manifest_without_parts(execution: ExecutionId, checkpoint: u64) -> Manifest {
    let mut manifest = Manifest::new(execution, CheckpointId(checkpoint), "count");
    manifest.cut = "aligned".to_owned();
    manifest.components = vec![ComponentRecord::new("counter", 2)];
    manifest.taken_unix_ms = 1_700_000_000_000;
    manifest
}

/// Checkpoint 1, of which eight threads have each written what `write` does for its number; it comes back as it was committed.
pub(crate) fn committed_by_threads<P: IntoIterator<Item = PartRecord> + Send>(
    write: impl Fn(&DirectoryStore, ExecutionId, usize) -> Result<P, StoreError> + Sync,
) -> Manifest {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path()).unwrap();
    let execution = store.begin_execution().unwrap();
    let mut manifest = manifest_without_parts(execution, 1);
    manifest.parts = std::thread::scope(|threads| {
        let (store, write) = (&store, &write);
        let writers: Vec<_> =
            (0..8).map(|number| threads.spawn(move || write(store, execution, number))).collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap().unwrap()).collect()
    });
    store.commit(&manifest).unwrap();
    assert_eq!(store.latest().unwrap().unwrap().manifest, manifest);
    manifest
}

/// Writes the parts of a checkpoint, and gives the manifest to commit.
pub(crate) fn write_parts(
    store: &DirectoryStore,
    execution: ExecutionId,
    checkpoint: u64,
) -> Result<Manifest, StoreError> {
    let mut manifest = manifest_without_parts(execution, checkpoint);
    for name in names() {
        let state = state(execution, checkpoint, &name);
        let id = CheckpointId(checkpoint);
        let record = store.write_part(execution, id, &name, &state.into())?;
        manifest.parts.push(record);
    }
    Ok(manifest)
}

/// As [`write_parts`] in one call, for which a directory has one file.
pub(crate) fn write_parts_together(
    store: &DirectoryStore,
    execution: ExecutionId,
    checkpoint: u64,
) -> Result<Manifest, StoreError> {
    let mut manifest = manifest_without_parts(execution, checkpoint);
    let states = names().map(|name| (name.clone(), state(execution, checkpoint, &name).into()));
    manifest.parts = store.write_parts(execution, CheckpointId(checkpoint), &states)?;
    Ok(manifest)
}

/// Writes and commits a checkpoint.
pub(crate) fn complete(
    store: &DirectoryStore,
    execution: ExecutionId,
    checkpoint: u64,
) -> Manifest {
    let manifest = write_parts(store, execution, checkpoint).unwrap();
    store.commit(&manifest).unwrap();
    manifest
}

/// A disk with the given checkpoints of one execution, and no process that uses it.
pub(crate) fn disk_with(checkpoints: impl IntoIterator<Item = u64>) -> (MemoryDisk, Vec<Manifest>) {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let manifests =
        checkpoints.into_iter().map(|checkpoint| complete(&store, execution, checkpoint)).collect();
    drop(store);
    (disk, manifests)
}

/// As [`disk_with`], where parts were written together.
pub(crate) fn disk_with_parts_together(
    checkpoints: impl IntoIterator<Item = u64>,
) -> (MemoryDisk, Vec<Manifest>) {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let complete = |checkpoint| {
        let manifest = write_parts_together(&store, execution, checkpoint).unwrap();
        store.commit(&manifest).unwrap();
        manifest
    };
    let manifests = checkpoints.into_iter().map(complete).collect();
    drop(store);
    (disk, manifests)
}

pub(crate) fn directory(manifest: &Manifest) -> String {
    let (checkpoint, execution) = (manifest.checkpoint.0, manifest.execution);
    format!("chk-{checkpoint:020}-x{execution}")
}

pub(crate) fn manifest_path(manifest: &Manifest) -> std::path::PathBuf {
    Path::new(ROOT).join(directory(manifest)).join("MANIFEST")
}

pub(crate) fn part_path(manifest: &Manifest, part: usize) -> std::path::PathBuf {
    let file = manifest.parts[part].at.file.split('@').next().unwrap();
    Path::new(ROOT).join(directory(manifest)).join(file)
}

/// Every part of a checkpoint is there and has the written content.
pub(crate) fn assert_parts_hold(store: &DirectoryStore, manifest: &Manifest) {
    for name in names() {
        let expected = state(manifest.execution, manifest.checkpoint.0, &name);
        let found = store.read_part(manifest, &name).unwrap();
        assert_eq!(found, Some(expected.into()), "{name} of {manifest:?}");
    }
}

/// The same file with another byte at `at`, and a correct checksum.
pub(crate) fn resealed(file: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut file = file[..file.len() - 4].to_vec();
    file[at] = byte;
    let checksum = crc32fast::hash(&file);
    file.extend_from_slice(&checksum.to_le_bytes());
    file
}
