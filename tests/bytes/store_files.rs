//! The files of a checkpoint store: manifest, parts, execution id, positions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::memory_disk::Outside as _;
use streamwork::CheckpointId;
use streamwork::checkpoint::{
    CheckpointStore, ComponentRecord, DirectoryStore, EncodedState, Manifest, PartName, Recovered,
    StoreError,
};

use crate::memory_disk::{MemoryDisk, Random};
use crate::mutate::{mutated, reseal};
use crate::{tier, within_bounds};

const ROOT: &str = "/store";

/// Bytes of all files of a store here, and more.
const STORE_BYTES: usize = 8_000;

/// An undamaged store, and its content.
pub(crate) struct SoundStore {
    disk: MemoryDisk,
    root: &'static str,
    files: Vec<PathBuf>,
    manifests: Vec<Manifest>,
    /// By checkpoint and name.
    states: BTreeMap<(CheckpointId, String), EncodedState>,
    source: PartName,
    /// All that the source may be told: one that was written before counts where a later one is cut off.
    positions: Vec<&'static [u8]>,
}

impl SoundStore {
    /// A sound store with these checkpoints, in these files.
    pub(crate) fn on(
        (disk, root): (MemoryDisk, &'static str),
        files: Vec<PathBuf>,
        manifests: Vec<Manifest>,
        (source, positions): (PartName, Vec<&'static [u8]>),
    ) -> Self {
        let states = BTreeMap::new();
        let mut sound = Self { disk, root, files, manifests, states, source, positions };
        let store = sound.open(&sound.disk);
        for manifest in &sound.manifests {
            for part in &manifest.parts {
                let state = store.read_part(manifest, &part.name).expect("sound").expect("there");
                sound.states.insert((manifest.checkpoint, part.name.to_string()), state);
            }
        }
        drop(store);
        sound
    }

    fn open(&self, disk: &MemoryDisk) -> DirectoryStore {
        DirectoryStore::open_on(Arc::new(disk.clone()), self.root).expect("memory can be opened")
    }
}

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

/// A store with three checkpoints, one of parts that share a file, and three positions.
pub(crate) fn sound() -> SoundStore {
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
    let positions: Vec<&[u8]> = vec![b"first", b"second", b"third"];
    let sound = SoundStore::on((disk, ROOT), files, manifests, (source(), positions));
    for ((checkpoint, _), found) in &sound.states {
        let written = |name| *found == state(checkpoint.0, name).into();
        assert!(names.iter().any(written), "{checkpoint}: {found:?}");
    }
    sound
}

/// The checkpoint that was found is one that was written: never altered, never absent.
fn assert_true_or_refused(
    store: &DirectoryStore,
    sound: &SoundStore,
    latest: Result<Option<Recovered>, StoreError>,
    what: &str,
) {
    match latest {
        Ok(None) => panic!("{what}: the store is taken for empty"),
        Ok(Some(found)) => {
            let found = found.manifest;
            assert!(sound.manifests.contains(&found), "{what}: {found:?}");
            for part in &found.parts {
                let read = store.read_part(&found, &part.name).expect(what).expect(what);
                let written = &sound.states[&(found.checkpoint, part.name.to_string())];
                assert_eq!(read, *written, "{what}");
            }
        }
        Err(
            StoreError::NoneUsable { .. }
            | StoreError::UnknownFormat { .. }
            | StoreError::Damaged { .. },
        ) => {}
        Err(other) => panic!("{what}: {other}"),
    }
    match store.read_position(&sound.source) {
        Ok(None) => assert!(sound.positions.is_empty(), "{what}: the position is taken for none"),
        Ok(Some(position)) => {
            assert!(sound.positions.contains(&&position.bytes[..]), "{what}: {position:?}");
        }
        Err(StoreError::Damaged { .. } | StoreError::UnknownFormat { .. }) => {}
        Err(other) => panic!("{what}: {other}"),
    }
}

/// Damages one to three of the files: reading gives what was written, or is refused.
pub(crate) fn damage(sound: &SoundStore, random: &mut Random, what: &str) {
    let disk = sound.disk.fork();
    let mut what = format!("{what}:");
    for _ in 0..=random.below(3) {
        let path = &sound.files[random.below(sound.files.len())];
        disk.put(path, &mutated(&disk.get(path), random));
        what += &format!(" {}", path.display());
    }
    within_bounds(&what, STORE_BYTES, || {
        let looker = sound.open(&disk);
        let latest = looker.latest();
        assert_true_or_refused(&looker, sound, latest, &what);
        drop(looker.survey().expect(&what));
        let owner = sound.open(&disk);
        match owner.begin_execution() {
            Ok(_) => assert_true_or_refused(&owner, sound, owner.latest(), &what),
            Err(StoreError::Damaged { .. } | StoreError::UnknownFormat { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
        }
    });
}

/// Damages one of the files and corrects its checksum: any result is allowed, within the bounds of memory.
pub(crate) fn lie(sound: &SoundStore, random: &mut Random, what: &str) {
    let disk = sound.disk.fork();
    let path = &sound.files[random.below(sound.files.len())];
    let mut bytes = mutated(&disk.get(path), random);
    // The length in the envelope is corrected as well, otherwise nothing after it would be read.
    if let Some(body) = bytes.len().checked_sub(23).filter(|_| random.below(4) > 0) {
        bytes[11..19].copy_from_slice(&(body as u64).to_le_bytes());
    }
    reseal(&mut bytes);
    disk.put(path, &bytes);
    let what = format!("{what}: {}", path.display());
    within_bounds(&what, STORE_BYTES, || {
        let looker = sound.open(&disk);
        let _ = looker.latest();
        let _ = looker.list();
        let _ = looker.survey();
        let _ = looker.read_position(&sound.source);
        for manifest in &sound.manifests {
            for part in &manifest.parts {
                let _ = looker.read_part(manifest, &part.name);
            }
        }
        let owner = sound.open(&disk);
        if owner.begin_execution().is_ok() {
            let _ = owner.latest();
            let _ = owner.retain(2, None);
        }
    });
}

#[test]
fn a_store_with_any_damaged_files_gives_what_was_written_or_refuses_by_type() {
    let test = "a_store_with_any_damaged_files_gives_what_was_written_or_refuses_by_type";
    let (seed, started) = (tier::seed(test), Instant::now());
    let sound = sound();
    let cases = tier::times(20_000, 10_000_000);
    for case in 0..cases {
        let random = &mut Random(seed << 24 ^ case);
        damage(&sound, random, &format!("STREAMWORK_SEED={seed}, case {case}"));
    }
    tier::report(21, test, cases, "damaged stores", seed, started.elapsed());
}

#[test]
fn files_that_lie_under_a_right_checksum_lead_to_no_panic_and_no_large_allocation() {
    let test = "files_that_lie_under_a_right_checksum_lead_to_no_panic_and_no_large_allocation";
    let (seed, started) = (tier::seed(test), Instant::now());
    let sound = sound();
    let cases = tier::times(20_000, 10_000_000);
    for case in 0..cases {
        let random = &mut Random(seed << 24 ^ case);
        lie(&sound, random, &format!("STREAMWORK_SEED={seed}, case {case}"));
    }
    tier::report(21, test, cases, "resealed files", seed, started.elapsed());
}
