//! The files of an event log: description, segments, indexes, end mark.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use streamwork::log::{
    EventLog, LogError, LogOptions, LogReader, LogSurvey, Offset, Record, RepairReport,
};
use tempfile::TempDir;

use crate::memory_disk::Random;
use crate::mutate::mutated;
use crate::{tier, within_bounds};

const RECORDS: u64 = 36;

/// Bytes of all files of a log here, and more.
const LOG_BYTES: usize = 8_000;

/// An undamaged log: its files, and its records as they were written.
pub(crate) struct SoundLog {
    files: Vec<(PathBuf, Vec<u8>)>,
    records: Vec<Record<String>>,
}

/// A directory in memory, where there is one.
pub(crate) fn directory() -> TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

fn event(number: u64) -> String {
    format!("event {number} {}", "x".repeat(number as usize % 13))
}

/// One partition in several segments.
pub(crate) fn sound() -> SoundLog {
    let dir = directory();
    let options = LogOptions { partitions: Some(1), segment_bytes: 400, ..LogOptions::default() };
    let mut log = EventLog::create_or_open(dir.path(), options).expect("it opens");
    for number in 0..RECORDS {
        log.append(0, number as i64, &event(number)).expect("appended");
    }
    log.close().expect("closed");
    let sound = SoundLog::of(files(dir.path()));
    assert!(sound.files.len() >= 6, "several segments and indexes");
    let numbers = sound.records.iter().map(|record| record.offset.get());
    assert!(numbers.eq(0..RECORDS) && sound.records.iter().all(is_true));
    sound
}

impl SoundLog {
    /// A sound log of these files, by their names in its directory.
    pub(crate) fn of(files: Vec<(PathBuf, Vec<u8>)>) -> Self {
        let dir = directory();
        lay(dir.path(), &files);
        let records = read_all(dir.path()).expect("it is sound");
        Self { files, records }
    }

    fn holds(&self, record: &Record<String>) -> bool {
        self.records.contains(record)
    }
}

/// The files of a log by name, with their bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let partition = fs::read_dir(dir.join("partition-00000")).expect("listed");
    let mut paths: Vec<_> = partition.map(|entry| entry.expect("listed").path()).collect();
    paths.push(dir.join("meta"));
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("read");
        (path.strip_prefix(dir).expect("inside").to_owned(), bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Makes `dir` a log of exactly these files.
fn lay(dir: &Path, files: &[(PathBuf, Vec<u8>)]) {
    let partition = dir.join("partition-00000");
    let _ = fs::remove_dir_all(&partition);
    fs::create_dir_all(&partition).expect("created");
    for (path, bytes) in files {
        fs::write(dir.join(path), bytes).expect("written");
    }
}

/// All records up to an error.
fn read_all(dir: &Path) -> Result<Vec<Record<String>>, LogError> {
    let mut reader = LogReader::<String>::open(dir)?;
    let mut next = reader.earliest(0)?;
    let mut records = Vec::new();
    loop {
        let from = next;
        next = reader.read(0, from, 7, &mut records)?;
        if next == from {
            return Ok(records);
        }
    }
}

fn is_true(record: &Record<String>) -> bool {
    let number = record.offset.get();
    record.event == event(number) && record.timestamp_ms == number as i64
}

/// Opens a log for writing, as a restart does; returns what the log cut, and its number of records.
fn repaired(dir: &Path) -> Result<(Vec<RepairReport>, Offset), LogError> {
    let log = EventLog::<String>::create_or_open(dir, LogOptions::default())?;
    Ok((log.repairs().to_vec(), log.end(0)?))
}

/// Damages one of the files: reading gives the written records, or is refused.
pub(crate) fn damage(sound: &SoundLog, dir: &Path, random: &mut Random, what: &str) {
    let mut damaged = sound.files.clone();
    let at = random.below(damaged.len());
    let (path, bytes) = &mut damaged[at];
    *bytes = mutated(bytes, random);
    let what = format!("{what}: {}", path.display());
    let is_mark = path.ends_with("end");
    let all = sound.records.len();
    lay(dir, &damaged);
    within_bounds(&what, LOG_BYTES, || {
        let _ = LogSurvey::of(dir);
        match read_all(dir) {
            Ok(records) => {
                assert!(records.iter().all(|record| sound.holds(record)), "{what}: altered");
                // Of two marks the older one may be left; that of an empty log is none of them.
                let found = records.len();
                assert!(found == all || is_mark && found > 0, "{what}: {found}");
            }
            Err(LogError::Corrupt { .. } | LogError::UnsupportedFormat { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
        }
        match repaired(dir) {
            Ok((_, end)) => {
                assert_eq!(end, Offset::new(all as u64), "{what}: a durable record was cut");
                // Of full segments only the extent is looked at; a record is when it is read.
                match read_all(dir) {
                    Ok(records) => assert_eq!(records, sound.records, "{what}"),
                    Err(LogError::Corrupt { .. }) => {}
                    Err(other) => panic!("{what}: {other}"),
                }
            }
            Err(LogError::Corrupt { .. } | LogError::UnsupportedFormat { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
        }
    });
}

#[test]
fn a_log_with_any_damaged_file_gives_what_was_written_or_refuses_by_type() {
    let test = "a_log_with_any_damaged_file_gives_what_was_written_or_refuses_by_type";
    let (seed, started) = (tier::seed(test), Instant::now());
    let (sound, dir) = (sound(), directory());
    let cases = tier::times(5_000, 2_000_000);
    for case in 0..cases {
        let random = &mut Random(seed << 24 ^ case);
        damage(&sound, dir.path(), random, &format!("STREAMWORK_SEED={seed}, case {case}"));
    }
    tier::report(21, test, cases, "damaged logs", seed, started.elapsed());
}

/// Corrects the checksums of a file of the log, as far as it has any.
fn reseal(path: &Path, bytes: &mut [u8]) {
    let name = path.file_name().expect("named").to_string_lossy().into_owned();
    match name.rsplit('.').next() {
        Some("meta") => seal(bytes, 0..32, 32),
        Some("end") => {
            seal(bytes, 4..48, 0);
            seal(bytes, 516..560, 512);
        }
        Some("index") if bytes.len() >= 48 => {
            bytes[12..16].fill(0);
            let checksum = crc32fast::hash(bytes).to_le_bytes();
            bytes[12..16].copy_from_slice(&checksum);
        }
        Some("log") => {
            seal(bytes, 0..28, 28);
            reseal_frames(bytes);
        }
        _ => {}
    }
}

fn seal(bytes: &mut [u8], range: std::ops::Range<usize>, at: usize) {
    if bytes.len() >= range.end && bytes.len() >= at + 4 {
        let checksum = crc32fast::hash(&bytes[range]).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&checksum);
    }
}

fn reseal_frames(bytes: &mut [u8]) {
    let mut at = 32;
    while let Some(frame) = bytes.get_mut(at..).filter(|rest| rest.len() >= 24) {
        let payload = u32::from_le_bytes(frame[4..8].try_into().expect("four bytes")) as usize;
        let Some(frame) = frame.get_mut(..24_usize.saturating_add(payload)) else { return };
        let checksum = crc32fast::hash(&frame[4..]).to_le_bytes();
        frame[..4].copy_from_slice(&checksum);
        at += 24 + payload;
    }
}

/// Damages one or two of the files and corrects their checksums: any result is allowed, within the bounds of memory.
pub(crate) fn lie(sound: &SoundLog, dir: &Path, random: &mut Random, what: &str) {
    let mut damaged = sound.files.clone();
    let mut what = format!("{what}:");
    for _ in 0..=random.below(2) {
        let at = random.below(damaged.len());
        let (path, bytes) = &mut damaged[at];
        *bytes = mutated(bytes, random);
        reseal(path, bytes);
        what += &format!(" {}", path.display());
    }
    lay(dir, &damaged);
    let from = [0, 5, 35, 36, u64::MAX][random.below(5)];
    let time = [i64::MIN, 7, i64::MAX][random.below(3)];
    within_bounds(&what, LOG_BYTES, || {
        let _ = LogSurvey::of(dir);
        let _ = read_all(dir);
        if let Ok(mut reader) = LogReader::<Vec<u64>>::open(dir) {
            let _ = reader.end(0);
            let _ = reader.seek_to_time(0, time);
            let _ = reader.read(0, Offset::new(from), 5, &mut Vec::new());
        }
        let _ = repaired(dir);
        let _ = read_all(dir);
    });
}

#[test]
fn log_files_that_lie_under_a_right_checksum_lead_to_no_panic_and_no_large_allocation() {
    let test = "log_files_that_lie_under_a_right_checksum_lead_to_no_panic_and_no_large_allocation";
    let (seed, started) = (tier::seed(test), Instant::now());
    let (sound, dir) = (sound(), directory());
    let cases = tier::times(5_000, 2_000_000);
    for case in 0..cases {
        let random = &mut Random(seed << 24 ^ case);
        lie(&sound, dir.path(), random, &format!("STREAMWORK_SEED={seed}, case {case}"));
    }
    tier::report(21, test, cases, "resealed logs", seed, started.elapsed());
}
