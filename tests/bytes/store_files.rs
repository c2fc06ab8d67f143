//! The files of a checkpoint store: manifest, parts, execution id, positions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::memory_disk::Outside as _;
use streamwork::CheckpointId;
use streamwork::checkpoint::{
    CheckpointStore, ComponentRecord, DirectoryStore, Manifest, PartName, Recovered, StoreError,
};

use crate::memory_disk::{MemoryDisk, Random};
use crate::mutate::{mutated, reseal};
use crate::{tier, within_bounds};

const ROOT: &str = "/store";

fn open(disk: &MemoryDisk) -> DirectoryStore {
    DirectoryStore::open_on(Arc::new(disk.clone()), ROOT).expect("memory can be opened")
}

fn source() -> PartName {
    PartName::new("source", 0)
}

/// The state of an instance at a checkpoint.
fn state(checkpoint: u64, name: &PartName) -> Vec<u8> {
    format!("{name} at {checkpoint} ").repeat(20).into_bytes()
}

/// A store with three checkpoints, one of parts that share a file, and three positions; and its files.
fn sound() -> (MemoryDisk, Vec<Manifest>, Vec<PathBuf>) {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().expect("it begins");
    let names = [source(), PartName::new("counter", 0), PartName::new("counter", 1)];
    let complete = |checkpoint, together| {
        let id = CheckpointId(checkpoint);
        let write = |name: &PartName| {
            store.write_part(execution, id, name, &state(checkpoint, name).into())
        };
        let states = names.clone().map(|name| (name.clone(), state(checkpoint, &name).into()));
        let parts = match together {
            true => store.write_parts(execution, id, &states),
            false => names.iter().map(write).collect(),
        };
        let mut manifest = Manifest::new(execution, id, "count");
        manifest.cut = "aligned".to_owned();
        manifest.components =
            vec![ComponentRecord::new("source", 1), ComponentRecord::new("counter", 2)];
        manifest.taken_unix_ms = 1_700_000_000_000;
        manifest.parts = parts.expect("written");
        store.commit(&manifest).expect("complete");
        manifest
    };
    let manifests = vec![complete(1, false), complete(2, false), complete(3, true)];
    for position in ["first", "second", "third"] {
        store.write_position(execution, &source(), &position.as_bytes().into()).expect("written");
    }
    drop(store);
    let mut files = vec![Path::new(ROOT).join("EXECUTION")];
    let checkpoints = [1, 2, 3].map(|checkpoint| format!("chk-{checkpoint:020}-x1"));
    for directory in ["positions".to_owned()].iter().chain(&checkpoints) {
        let directory = Path::new(ROOT).join(directory);
        files.extend(disk.names_in(&directory).iter().map(|name| directory.join(name)));
    }
    assert_eq!(files.len(), 12);
    (disk, manifests, files)
}

/// What was found is what was written: never another thing, never nothing.
fn assert_true_or_refused(
    store: &DirectoryStore,
    manifests: &[Manifest],
    latest: Result<Option<Recovered>, StoreError>,
    what: &str,
) {
    match latest {
        Ok(None) => panic!("{what}: the store is taken for empty"),
        Ok(Some(found)) => {
            let found = found.manifest;
            assert!(manifests.contains(&found), "{what}: {found:?}");
            for part in &found.parts {
                let read = store.read_part(&found, &part.name).expect(what).expect(what);
                assert_eq!(read, state(found.checkpoint.0, &part.name).into(), "{what}");
            }
        }
        Err(
            StoreError::NoneUsable { .. }
            | StoreError::UnknownFormat { .. }
            | StoreError::Damaged { .. },
        ) => {}
        Err(other) => panic!("{what}: {other}"),
    }
    match store.read_position(&source()) {
        Ok(None) => panic!("{what}: the position is taken for none"),
        Ok(Some(position)) => {
            let known: [&[u8]; 3] = [b"first", b"second", b"third"];
            assert!(known.contains(&&position.bytes[..]), "{what}: {position:?}");
        }
        Err(StoreError::Damaged { .. } | StoreError::UnknownFormat { .. }) => {}
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn a_store_with_any_damaged_files_gives_what_was_written_or_refuses_by_type() {
    let test = "a_store_with_any_damaged_files_gives_what_was_written_or_refuses_by_type";
    let (seed, started) = (tier::seed(test), Instant::now());
    let (disk, manifests, files) = sound();
    let cases = tier::times(20_000, 10_000_000);
    for case in 0..cases {
        let random = &mut Random(seed << 24 ^ case);
        let disk = disk.fork();
        let mut what = format!("STREAMWORK_SEED={seed}, case {case}:");
        for _ in 0..=random.below(3) {
            let path = &files[random.below(files.len())];
            disk.put(path, &mutated(&disk.get(path), random));
            what += &format!(" {}", path.display());
        }
        within_bounds(&what, 8_000, || {
            let looker = open(&disk);
            let latest = looker.latest();
            assert_true_or_refused(&looker, &manifests, latest, &what);
            drop(looker.survey().expect(&what));
            let owner = open(&disk);
            match owner.begin_execution() {
                Ok(_) => assert_true_or_refused(&owner, &manifests, owner.latest(), &what),
                Err(StoreError::Damaged { .. } | StoreError::UnknownFormat { .. }) => {}
                Err(other) => panic!("{what}: {other}"),
            }
        });
    }
    tier::report(21, test, cases, "damaged stores", seed, started.elapsed());
}

#[test]
fn files_that_lie_under_a_right_checksum_lead_to_no_panic_and_no_large_allocation() {
    let test = "files_that_lie_under_a_right_checksum_lead_to_no_panic_and_no_large_allocation";
    let (seed, started) = (tier::seed(test), Instant::now());
    let (disk, manifests, files) = sound();
    let cases = tier::times(20_000, 10_000_000);
    for case in 0..cases {
        let random = &mut Random(seed << 24 ^ case);
        let disk = disk.fork();
        let path = &files[random.below(files.len())];
        let mut bytes = mutated(&disk.get(path), random);
        // The envelope's own length is set right as well, or nothing behind it would be looked at.
        if let Some(body) = bytes.len().checked_sub(23).filter(|_| random.below(4) > 0) {
            bytes[11..19].copy_from_slice(&(body as u64).to_le_bytes());
        }
        reseal(&mut bytes);
        disk.put(path, &bytes);
        let what = format!("STREAMWORK_SEED={seed}, case {case}: {}", path.display());
        within_bounds(&what, 8_000, || {
            let looker = open(&disk);
            let _ = looker.latest();
            let _ = looker.list();
            let _ = looker.survey();
            let _ = looker.read_position(&source());
            for manifest in &manifests {
                for part in &manifest.parts {
                    let _ = looker.read_part(manifest, &part.name);
                }
            }
            let owner = open(&disk);
            if owner.begin_execution().is_ok() {
                let _ = owner.latest();
                let _ = owner.retain(2, None);
            }
        });
    }
    tier::report(21, test, cases, "resealed files", seed, started.elapsed());
}
