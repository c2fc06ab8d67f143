//! The directory of a log: who may write, how many partitions it has, and its birth.
//!
//! ```text
//!   <log>/LOCK              held by the writer for as long as it lives; the system releases it, also after kill -9
//!   <log>/meta              number of partitions, format version, codec; written last when a log is created
//!   <log>/partition-00000/  segments, time indexes, end mark
//! ```
//!
//! A log without its `meta` was never finished. It is then created again, but only if no partition holds a record: a lost
//! `meta` is not taken for a new log.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::Offset;
use super::codec::CODEC_ID;
use super::disk;
use super::error::LogError;
use super::frame::part;
use super::mark::{Mark, MarkWriter};
use super::options::PARTITIONS_MAX;
use super::segment::{FORMAT_VERSION, PartitionDir, SEGMENT_HEADER_BYTES};

const MAGIC: [u8; 8] = *b"SWLOGMET";
const META_BYTES: usize = 20;
/// Where it says how many partitions there are.
const PARTITIONS_AT: usize = 12;

/// Being the one writer of a directory.
#[derive(Debug)]
pub(super) struct WriterLock(File);

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just being started holds a copy until it runs its own
        // program. An error here means that the lock is gone with the file.
        let _ = self.0.unlock();
    }
}

/// Becomes the one writer of a directory, which must exist.
pub(super) fn lock(log: &Path) -> Result<WriterLock, LogError> {
    let path = log.join("LOCK");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(LogError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(WriterLock(file)),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked { dir: log.to_owned() }),
        Err(TryLockError::Error(error)) => Err(LogError::io("lock", &path)(error)),
    }
}

/// How many partitions the log has, or `None` if there is no log yet.
pub(super) fn partitions(log: &Path) -> Result<Option<u32>, LogError> {
    let path = file_of(log);
    let Some(bytes) = disk::read_whole(&path)? else {
        return Ok(None);
    };
    if bytes.len() != META_BYTES || bytes[..8] != MAGIC {
        return Err(LogError::corrupt(&path, 0, "this does not describe an event log"));
    }
    if bytes[16..] != crc32fast::hash(&bytes[..16]).to_le_bytes() {
        return Err(LogError::corrupt(
            &path,
            0,
            "the description of the log does not match its checksum",
        ));
    }
    let (version, codec) =
        (u16::from_le_bytes(part(&bytes, 8)), u16::from_le_bytes(part(&bytes, 10)));
    if (version, codec) != (FORMAT_VERSION, CODEC_ID) {
        return Err(LogError::UnsupportedFormat { path, version, codec });
    }
    let partitions = u32::from_le_bytes(part(&bytes, PARTITIONS_AT));
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        let reason = format!("it speaks of {partitions} partitions, not of 1 to {PARTITIONS_MAX}");
        return Err(LogError::corrupt(&path, PARTITIONS_AT as u64, reason));
    }
    Ok(Some(partitions))
}

/// Makes an empty log. The caller holds the lock.
pub(super) fn create(log: &Path, partitions: u32) -> Result<(), LogError> {
    refuse_records_without_meta(log)?;
    for number in 0..partitions {
        let dir = PartitionDir::of(log, number);
        disk::create_dir(&dir.path)?;
        dir.create_segment(Offset::ZERO)?;
        let empty = Mark {
            end: Offset::ZERO,
            segment: Offset::ZERO,
            position: SEGMENT_HEADER_BYTES,
            durable: Offset::ZERO,
        };
        MarkWriter::open(&dir.path, &empty)?;
        disk::sync_dir(&dir.path)?;
    }
    let mut bytes = Vec::with_capacity(META_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&CODEC_ID.to_le_bytes());
    bytes.extend_from_slice(&partitions.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    disk::create_whole(&file_of(log), &bytes)?;
    Ok(())
}

fn refuse_records_without_meta(log: &Path) -> Result<(), LogError> {
    for number in 0..PARTITIONS_MAX {
        let dir = PartitionDir::of(log, number);
        if !dir.path.exists() {
            continue;
        }
        for base in dir.segments()? {
            let path = dir.segment(base);
            let bytes = path.metadata().map_err(LogError::io("measure", &path))?.len();
            if base != Offset::ZERO || bytes > SEGMENT_HEADER_BYTES {
                return Err(LogError::corrupt(
                    &file_of(log),
                    0,
                    "it is missing, although the log holds records",
                ));
            }
        }
    }
    Ok(())
}

fn file_of(log: &Path) -> PathBuf {
    log.join("meta")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_although_a_child_being_started_still_has_a_copy_of_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = lock(dir.path()).expect("nobody else");
        let copy_of_the_child = first.0.try_clone().expect("copied");
        assert!(matches!(lock(dir.path()), Err(LogError::Locked { .. })));
        drop(first);
        drop(lock(dir.path()).expect("the first is gone"));
        drop(copy_of_the_child);
    }
}
