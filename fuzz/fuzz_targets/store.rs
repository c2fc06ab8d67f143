//! A directory of checkpoints in which one file is the input. It is never taken for an empty one.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use streamwork::CheckpointId;
use streamwork::checkpoint::{CheckpointStore, DirectoryStore, Manifest, PartName};

#[path = "../../tests/checkpoint_store/memory_disk.rs"]
#[allow(dead_code, unreachable_pub)]
mod memory_disk;

use memory_disk::{MemoryDisk, Outside as _};

const ROOT: &str = "/store";

fn open(disk: &MemoryDisk) -> DirectoryStore {
    DirectoryStore::open_on(Arc::new(disk.clone()), ROOT).expect("memory can be opened")
}

/// One checkpoint, one position, and the files they are in.
fn sound() -> (MemoryDisk, PartName, Vec<PathBuf>) {
    let disk = MemoryDisk::new();
    let (store, name) = (open(&disk), PartName::new("source", 0));
    let execution = store.begin_execution().expect("it begins");
    let mut parts = vec![store.write_part(execution, CheckpointId(1), &name, &b"state".into()).expect("written")];
    let together = [0, 1].map(|instance| (PartName::new("counter", instance), b"7".into()));
    parts.extend(store.write_parts(execution, CheckpointId(1), &together).expect("written"));
    let mut manifest = Manifest::new(execution, CheckpointId(1), "count");
    manifest.parts = parts;
    store.commit(&manifest).expect("complete");
    store.write_position(execution, &name, &b"position".into()).expect("written");
    drop(store);
    let mut files = vec![Path::new(ROOT).join("EXECUTION")];
    for directory in ["positions", "chk-00000000000000000001-x1"] {
        let directory = Path::new(ROOT).join(directory);
        files.extend(disk.names_in(&directory).iter().map(|name| directory.join(name)));
    }
    (disk, name, files)
}

fuzz_target!(|input: (u8, bool, Vec<u8>)| {
    let (which, resealed, mut bytes) = input;
    let (disk, name, files) = sound();
    let path = &files[which as usize % files.len()];
    if resealed {
        // The head of the sound file, a right length and checksum: what is behind them is reached.
        let mut sealed = disk.get(path)[..11].to_vec();
        sealed.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        sealed.append(&mut bytes);
        sealed.extend_from_slice(&crc32fast::hash(&sealed).to_le_bytes());
        bytes = sealed;
    }
    disk.put(path, &bytes);
    let looker = open(&disk);
    assert!(!matches!(looker.latest(), Ok(None)), "it is taken for empty");
    let _ = looker.survey();
    assert!(!matches!(looker.read_position(&name), Ok(None)), "the position is taken for none");
    for manifest in looker.list().unwrap_or_default() {
        for part in &manifest.parts {
            let _ = looker.read_part(&manifest, &part.name);
        }
    }
    let owner = open(&disk);
    if owner.begin_execution().is_ok() {
        assert!(!matches!(owner.latest(), Ok(None)), "it is taken for empty");
    }
});
