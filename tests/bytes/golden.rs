//! Stores and logs as earlier versions wrote them: each golden file at its place in a directory.

use std::path::{Path, PathBuf};

use streamwork::checkpoint::{CheckpointStore, Manifest, PartName};

use crate::fixture::{self, ROOT, manifest_path, part_path};
use crate::log_files::SoundLog;
use crate::memory_disk::{MemoryDisk, Outside as _};
use crate::store_files::SoundStore;

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = std::fs::read_to_string(path).expect("a golden file");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits are text");
        u8::from_str_radix(pair, 16).expect("two digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// Stores of every version of the manifest and of the parts.
pub(crate) fn stores() -> Vec<SoundStore> {
    let of_their_own = [("v1", "v1"), ("v2", "v1"), ("v3", "v2")];
    let shared = [
        ("manifest-parts-v1", "parts-v1"),
        ("manifest-parts-v2", "parts-v1"),
        ("manifest-parts-v3", "parts-v2"),
        ("manifest-watermark-v3", "parts-v2"),
        ("manifest-version-v3", "parts-v2"),
    ];
    let of_their_own = of_their_own.map(|(manifest, parts)| store_with_a_position(manifest, parts));
    let shared = shared.map(|(manifest, parts)| store_of_a_shared_file(manifest, parts));
    of_their_own.into_iter().chain(shared).collect()
}

fn store_with_a_position(manifest_version: &str, version: &str) -> SoundStore {
    let (disk, source) = (MemoryDisk::new(), PartName::new("transactions", 1));
    let store = fixture::open(&disk);
    store.begin_execution().expect("it begins");
    let execution = store.begin_execution().expect("it begins");
    store.write_position(execution, &source, &b"offset 41".into()).expect("written");
    let written = fixture::complete(&store, execution, 7);
    drop(store);
    let positions = Path::new(ROOT).join("positions");
    let position = positions.join(&disk.names_in(&positions)[0]);
    let files = vec![
        ("execution-v1".to_owned(), Path::new(ROOT).join("EXECUTION")),
        (format!("manifest-{manifest_version}"), manifest_path(&written)),
        (format!("part-0-{version}"), part_path(&written, 0)),
        (format!("part-1-{version}"), part_path(&written, 1)),
        (format!("position-{version}"), position),
    ];
    sound(disk, files, (source, vec![b"offset 41", b"offset 42"]))
}

fn store_of_a_shared_file(manifest: &str, parts: &str) -> SoundStore {
    let disk = MemoryDisk::new();
    let store = fixture::open(&disk);
    let execution = store.begin_execution().expect("it begins");
    let written = fixture::write_parts_together(&store, execution, 8).expect("written");
    store.commit(&written).expect("complete");
    drop(store);
    let files = vec![
        (manifest.to_owned(), manifest_path(&written)),
        (parts.to_owned(), part_path(&written, 0)),
    ];
    sound(disk, files, (PartName::new("transactions", 1), Vec::new()))
}

fn sound(
    disk: MemoryDisk,
    files: Vec<(String, PathBuf)>,
    positions: (PartName, Vec<&'static [u8]>),
) -> SoundStore {
    let mut manifests = Vec::new();
    for (name, path) in &files {
        let bytes = golden(&format!("{name}.hex"));
        if name.starts_with("manifest") {
            manifests.push(Manifest::from_bytes(&bytes).expect("it can be read for ever"));
        }
        disk.put(path, &bytes);
    }
    let files = files.into_iter().map(|(_, path)| path).collect();
    SoundStore::on((disk, ROOT), files, manifests, positions)
}

/// Logs with a description of every version.
pub(crate) fn logs() -> Vec<SoundLog> {
    let log = |meta: &str| {
        let files = [
            (meta, "meta"),
            ("log-segment-full-v1.hex", "partition-00000/00000000000000000000.log"),
            ("log-index-v1.hex", "partition-00000/00000000000000000000.index"),
            ("log-segment-last-v1.hex", "partition-00000/00000000000000000004.log"),
            ("log-end-v1.hex", "partition-00000/end"),
        ];
        SoundLog::of(files.map(|(name, path)| (PathBuf::from(path), golden(name))).to_vec())
    };
    vec![log("log-meta-v1.hex"), log("log-meta-v2.hex")]
}
