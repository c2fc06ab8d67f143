//! The event log through its public interface: what it keeps, what it refuses, what it reports.
//!
//! A crash is simulated: the directory of a log with a living writer is copied (all that the process had written), and
//! then everything that was not synced is removed from the copy. One test really kills a process.

#[path = "../tier/mod.rs"]
mod tier;

mod crash;
mod damage;
mod foreign;
mod golden;
mod identity;
mod ownership;
mod power;
mod random;
mod refusal;
mod retention;
mod time;
mod together;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use serde::{Serialize, Serializer};
use streamwork::log::{
    EventLog, Fsync, LogError, LogId, LogOptions, LogReader, LogSurvey, Offset, Record, Removed,
    RepairReport, Retention,
};
use tempfile::{TempDir, tempdir};

const FRAME_HEADER_BYTES: u64 = 24;
const SEGMENT_HEADER_BYTES: u64 = 32;

fn one_partition() -> LogOptions {
    LogOptions { partitions: Some(1), ..LogOptions::default() }
}

fn open(dir: &Path, options: LogOptions) -> EventLog<String> {
    EventLog::create_or_open(dir, options).expect("the log opens")
}

fn refused(dir: &Path) -> LogError {
    EventLog::<String>::create_or_open(dir, LogOptions::default()).expect_err("the log is refused")
}

/// The event at an offset: its length differs from that of its neighbours.
fn event(number: u64) -> String {
    format!("event {number} {}", "x".repeat((number * 7 % 13) as usize))
}

fn append(log: &mut EventLog<String>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let offset = log.append(0, number as i64, &event(number)).expect("appended");
        assert_eq!(offset, Offset::new(number));
    }
}

/// A closed log of one partition with this many records in segments of at least `segment_bytes`.
fn closed_log(records: u64, segment_bytes: u64) -> TempDir {
    let dir = tempdir().expect("a temporary directory");
    let mut log = open(dir.path(), LogOptions { segment_bytes, ..one_partition() });
    append(&mut log, 0..records);
    log.close().expect("closed");
    dir
}

/// A crash: `synced` records are on disk, the others up to `written` only in the system's memory.
fn crashed_log(synced: u64, written: u64) -> TempDir {
    let dir = tempdir().expect("a temporary directory");
    let mut log = open(dir.path(), one_partition());
    append(&mut log, 0..synced);
    log.sync().expect("synced");
    append(&mut log, synced..written);
    log.flush().expect("written");
    copy_of(dir.path())
}

fn copy_of(dir: &Path) -> TempDir {
    let copy = tempdir().expect("a temporary directory");
    copy_into(dir, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).expect("created");
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("partition-00000"))
        .expect("listed")
        .map(|entry| entry.expect("listed").path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir, "log")
}

fn last_segment(dir: &Path) -> PathBuf {
    segments(dir).pop().expect("a segment")
}

fn mark(dir: &Path) -> PathBuf {
    dir.join("partition-00000/end")
}

fn cut(file: &Path, bytes: u64) {
    File::options().write(true).open(file).expect("opened").set_len(bytes).expect("cut");
}

fn flip(file: &Path, byte: u64, mask: u8) {
    let mut bytes = fs::read(file).expect("read");
    bytes[byte as usize] ^= mask;
    fs::write(file, bytes).expect("written");
}

fn length(file: &Path) -> u64 {
    file.metadata().expect("measured").len()
}

/// The byte at which each record of a single-segment log begins, and the end of the last.
fn places(records: u64) -> Vec<u64> {
    let mut places = vec![SEGMENT_HEADER_BYTES];
    for number in 0..records {
        let payload_bytes = 8 + event(number).len() as u64;
        places.push(places[number as usize] + FRAME_HEADER_BYTES + payload_bytes);
    }
    places
}

/// All records from the earliest on, read a few at a time.
fn try_read_all(dir: &Path) -> Result<Vec<Record<String>>, LogError> {
    let mut reader = LogReader::<String>::open(dir)?;
    let mut next = reader.earliest(0)?;
    let mut records = Vec::new();
    loop {
        let from = next;
        next = reader.read(0, from, 3, &mut records)?;
        if next == from {
            return Ok(records);
        }
    }
}

fn read_all(dir: &Path) -> Vec<Record<String>> {
    try_read_all(dir).expect("every record can be read")
}

fn expected(numbers: std::ops::Range<u64>) -> Vec<Record<String>> {
    let record = |number| Record {
        offset: Offset::new(number),
        timestamp_ms: number as i64,
        event: event(number),
    };
    numbers.map(record).collect()
}

/// Calls `attempt` until it returns a value, for at most half a minute.
fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}
