//! Files of every version of the format that was ever released must be read for ever. A golden file is never edited.

use std::path::Path;

use crate::memory_disk::Outside as _;
use streamwork::{
    CheckpointId, EventTime, ExecutionId,
    checkpoint::{CheckpointStore, ComponentRecord, Manifest, PartKind, PartName, PartRecord},
};

use crate::{fixture::*, memory_disk::MemoryDisk};

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    let line =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

#[track_caller]
fn assert_golden(name: &str, bytes: &[u8]) {
    assert_eq!(
        hex(bytes),
        hex(&golden(name)),
        "{name} is written differently now: that needs a new version"
    );
}

fn source() -> PartName {
    PartName::new("transactions", 1)
}

/// The files that version 1 wrote for two executions.
fn disk_of_today() -> (MemoryDisk, Manifest) {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    store.begin_execution().unwrap();
    let execution = store.begin_execution().unwrap();
    store.write_position(execution, &source(), &b"offset 41".into()).unwrap();
    store.write_position(execution, &source(), &b"offset 42".into()).unwrap();
    let manifest = complete(&store, execution, 7);
    (disk, manifest)
}

/// The newest version of a file's format.
fn newest(name: &str) -> String {
    match name.split('-').next() {
        Some("manifest") => name.replace("-v1", "-v3"),
        Some("part" | "parts" | "position") => name.replace("-v1", "-v2"),
        _ => name.to_owned(),
    }
}

fn files(disk: &MemoryDisk, manifest: &Manifest) -> [(&'static str, std::path::PathBuf); 5] {
    let position = &disk.names_in(format!("{ROOT}/positions"))[0];
    [
        ("execution-v1.hex", format!("{ROOT}/EXECUTION").into()),
        ("manifest-v1.hex", manifest_path(manifest)),
        ("part-0-v1.hex", part_path(manifest, 0)),
        ("part-1-v1.hex", part_path(manifest, 1)),
        ("position-v1.hex", format!("{ROOT}/positions/{position}").into()),
    ]
}

/// The files that version 1 wrote if parts shared a file.
fn disk_with_a_shared_file() -> (MemoryDisk, Manifest) {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    let execution = store.begin_execution().unwrap();
    let manifest = write_parts_together(&store, execution, 8).unwrap();
    store.commit(&manifest).unwrap();
    (disk, manifest)
}

fn shared_files(manifest: &Manifest) -> [(&'static str, std::path::PathBuf); 2] {
    [("manifest-parts-v1.hex", manifest_path(manifest)), ("parts-v1.hex", part_path(manifest, 0))]
}

#[test]
fn parts_that_share_a_file_are_written_today_as_in_the_newest_version() {
    let (disk, manifest) = disk_with_a_shared_file();
    for (name, path) in shared_files(&manifest) {
        assert_golden(&newest(name), &disk.get(path));
    }
}

#[test]
fn parts_that_share_a_file_of_version_1_are_restored_by_manifests_of_version_1_and_2() {
    for of_the_manifest in ["-v1", "-v2"] {
        let (disk, written) = disk_with_a_shared_file();
        for (name, path) in shared_files(&written) {
            let name = match name.starts_with("manifest") {
                true => name.replace("-v1", of_the_manifest),
                false => name.to_owned(),
            };
            disk.put(path, &golden(&name));
        }
        let store = open(&disk);
        store.begin_execution().unwrap();
        let manifest = store.latest().unwrap().unwrap().manifest;
        assert_eq!(manifest.checkpoint, CheckpointId(8));
        assert_parts_hold(&store, &manifest);
    }
}

#[test]
fn a_watermark_is_a_field_of_its_part_and_those_without_are_written_as_before() {
    let (_, mut manifest) = disk_with_a_shared_file();
    manifest.parts[1].watermark = Some(EventTime::from_unix_ms(1_700_000_000_000));
    assert_golden("manifest-watermark-v3.hex", &manifest.to_bytes().unwrap());
    let read = Manifest::from_bytes(&golden("manifest-watermark-v3.hex")).unwrap();
    assert_eq!(read, manifest);
    let before = Manifest::from_bytes(&golden("manifest-parts-v3.hex")).unwrap();
    assert!(before.parts.iter().all(|part| part.watermark.is_none()));
}

#[test]
fn what_a_part_has_of_its_unit_and_when_it_was_cut_are_fields_and_whole_parts_are_written_as_before()
 {
    // state B5
    let (_, mut manifest) = disk_with_a_shared_file();
    (manifest.parts[1].kind, manifest.parts[1].cut_at) = (PartKind::Delta, Some(7_000_000_000));
    assert_golden("manifest-delta-v3.hex", &manifest.to_bytes().unwrap());
    let read = Manifest::from_bytes(&golden("manifest-delta-v3.hex")).unwrap();
    assert_eq!(read, manifest);
    let before = Manifest::from_bytes(&golden("manifest-parts-v3.hex")).unwrap();
    let is_whole = |part: &PartRecord| part.kind == PartKind::Whole && part.cut_at.is_none();
    assert!(before.parts.iter().all(is_whole));
}

#[test]
fn a_version_of_a_state_is_a_field_of_its_component_and_those_of_version_1_are_written_as_before() {
    // state P1
    let (_, mut manifest) = disk_with_a_shared_file();
    assert_eq!(manifest.components[0].version, 1);
    manifest.components[0].version = 2;
    assert_golden("manifest-version-v3.hex", &manifest.to_bytes().unwrap());
    let read = Manifest::from_bytes(&golden("manifest-version-v3.hex")).unwrap();
    assert_eq!(read, manifest);
    let before = Manifest::from_bytes(&golden("manifest-parts-v3.hex")).unwrap();
    assert!(before.components.iter().all(|component| component.version == 1));
}

#[test]
fn what_is_written_today_is_the_newest_version() {
    let (disk, manifest) = disk_of_today();
    for (name, path) in files(&disk, &manifest) {
        assert_golden(&newest(name), &disk.get(path));
    }
}

#[test]
fn a_manifest_of_a_later_version_or_with_a_field_that_must_be_known_is_refused_by_name() {
    let whole = Manifest::new(ExecutionId(1), CheckpointId(1), "count").to_bytes().unwrap();
    let resealed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        let end = bytes.len() - 4;
        let checksum = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&checksum);
        Manifest::from_bytes(&bytes)
    };
    // The version is behind the magic, the number of the first field behind the head.
    let later = resealed(8, 4).unwrap_err();
    assert!(later.is_unknown_format() && later.to_string().contains("version 4"), "{later}");
    assert!(resealed(8, 0).unwrap_err().is_unknown_format());
    let field = resealed(19, 99).unwrap_err();
    assert!(field.to_string().contains("field"), "{field}");
}

#[test]
fn a_checkpoint_of_version_1_is_restored() {
    let (disk, written) = disk_of_today();
    for (name, path) in files(&disk, &written) {
        disk.put(path, &golden(name));
    }
    let store = open(&disk);
    assert_eq!(store.begin_execution().unwrap(), ExecutionId(3));
    let manifest = store.latest().unwrap().unwrap().manifest;
    assert_eq!(manifest.execution, ExecutionId(2));
    assert_eq!(manifest.checkpoint, CheckpointId(7));
    assert_eq!(manifest.job, "count");
    assert_eq!(manifest.cut, "aligned");
    assert_eq!(manifest.components, [ComponentRecord::new("counter", 2)]);
    assert_eq!(manifest.taken_unix_ms, 1_700_000_000_000);
    assert_parts_hold(&store, &manifest);
    assert_eq!(store.read_position(&source()).unwrap().unwrap().bytes, b"offset 42");
}
