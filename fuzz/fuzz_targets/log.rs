//! An event log in which one file is the input: read by offset and by time, surveyed, opened for
//! writing.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use streamwork::log::{EventLog, LogOptions, LogReader, LogSurvey, Offset};
use tempfile::TempDir;

/// A directory in memory, where there is one.
fn directory() -> TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// The files of a sound log of two segments, by their names below its directory.
static SOUND: LazyLock<Vec<(PathBuf, Vec<u8>)>> = LazyLock::new(|| {
    let dir = directory();
    let options = LogOptions { partitions: Some(1), segment_bytes: 200, ..LogOptions::default() };
    let mut log = EventLog::create_or_open(dir.path(), options).expect("it opens");
    for number in 0..6 {
        log.append(0, number, &format!("event {number}")).expect("appended");
    }
    log.close().expect("closed");
    let partition = fs::read_dir(dir.path().join("partition-00000")).expect("listed");
    let mut paths: Vec<_> = partition.map(|entry| entry.expect("listed").path()).collect();
    paths.push(dir.path().join("meta"));
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("read");
        (path.strip_prefix(dir.path()).expect("inside").to_owned(), bytes)
    };
    paths.into_iter().map(read).collect()
});

/// The log that is broken anew for each input.
static DIR: LazyLock<TempDir> = LazyLock::new(directory);

fuzz_target!(|input: (u8, bool, u64, i64, Vec<u8>)| {
    let (which, keep_head, from, time, bytes) = input;
    let dir = DIR.path();
    let _ = fs::remove_dir_all(dir.join("partition-00000"));
    fs::create_dir_all(dir.join("partition-00000")).expect("created");
    let which = which as usize % SOUND.len();
    for (number, (path, sound)) in SOUND.iter().enumerate() {
        let content = match number == which {
            true if keep_head => [&sound[..32.min(sound.len())], &bytes].concat(),
            true => bytes.clone(),
            false => sound.clone(),
        };
        let content = if number == which { resealed(path, content) } else { content };
        fs::write(dir.join(path), content).expect("written");
    }
    let _ = LogSurvey::of(dir);
    if let Ok(mut reader) = LogReader::<String>::open(dir) {
        let _ = reader.seek_to_time(0, time);
        let _ = reader.read(0, Offset::new(from), 100, &mut Vec::new());
        let _ = reader.read(0, Offset::ZERO, 100, &mut Vec::new());
    }
    let _ = EventLog::<String>::create_or_open(dir, LogOptions::default());
});

/// With right checksums, as far as there is room for them.
fn resealed(path: &std::path::Path, mut bytes: Vec<u8>) -> Vec<u8> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("log") => {
            seal(&mut bytes, 0, 28, 28);
            frames(&mut bytes);
        }
        Some("index") if bytes.len() >= 48 => {
            bytes[12..16].fill(0);
            let checksum = crc32fast::hash(&bytes).to_le_bytes();
            bytes[12..16].copy_from_slice(&checksum);
        }
        None if path.ends_with("meta") => seal(&mut bytes, 0, 32, 32),
        None => {
            seal(&mut bytes, 4, 48, 0);
            seal(&mut bytes, 516, 560, 512);
        }
        _ => {}
    }
    bytes
}

fn seal(bytes: &mut [u8], from: usize, to: usize, at: usize) {
    if bytes.len() >= to.max(at + 4) {
        let checksum = crc32fast::hash(&bytes[from..to]).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&checksum);
    }
}

fn frames(bytes: &mut [u8]) {
    let mut at = 32;
    while let Some(header) = bytes.get(at + 4..at + 8) {
        let payload = u32::from_le_bytes(header.try_into().expect("four bytes")) as usize;
        let Some(frame) = bytes.get_mut(at..at + 24 + payload) else { return };
        let checksum = crc32fast::hash(&frame[4..]).to_le_bytes();
        frame[..4].copy_from_slice(&checksum);
        at += 24 + payload;
    }
}
