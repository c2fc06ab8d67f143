//! The end mark of a partition: how far readers may go.
//!
//! The writer's side of the one thing that passes between writer and readers besides the segments themselves:
//!
//! ```text
//!            writer                                     readers, any process
//!   append ─► buffer ─► segment file ─► fdatasync ─┐
//!                                                  ▼
//!                                   file `end`  ┌──────┬──────┐
//!                                               │ slot │ slot │ ──► read up to here, no further
//!                                               └──────┴──────┘
//! ```
//!
//! The two slots are written in turn, each with its checksum, so one that is being written or was torn leaves the other.
//! The mark is written after the data it speaks of is on disk and is itself synced only when a segment is full and at
//! `close`: after a power loss it may be older than the data, which hides records until the log is next opened for writing,
//! but never newer.

use std::path::{Path, PathBuf};

use super::Offset;
use super::disk;
use super::error::LogError;
use super::frame::part;
use crate::storage::{Disk, DiskFile};

const SLOT_BYTES: usize = 48;
/// Slots are in different sectors: a disk that tears one leaves the other.
const SLOT_DISTANCE: usize = 512;
const FILE_BYTES: usize = SLOT_DISTANCE + SLOT_BYTES;

/// No writer comes so far; a number above it was never written by one.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// How far a partition goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The offset behind the last record that readers may see.
    pub(super) end: Offset,
    /// The segment in which that place is, by its first offset.
    pub(super) segment: Offset,
    /// That place in bytes from the segment's start.
    pub(super) position: u64,
    /// Every record below this offset is on disk: if one is missing it was lost, not torn.
    pub(super) durable: Offset,
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct MarkWriter {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    sequence: u64,
}

impl MarkWriter {
    /// Opens the file, or makes it, and writes the mark to both slots, durably: nothing older can be read any more.
    pub(super) fn open(disk: &dyn Disk, partition: &Path, mark: &Mark) -> Result<Self, LogError> {
        let path = file_of(partition);
        // Both slots are written below, so that numbering may begin anew where it has come near its end.
        let known = read_slots(disk, &path)?.map(|(sequence, _)| sequence);
        let sequence = known.filter(|sequence| *sequence < SEQUENCE_MAX).unwrap_or(0);
        let file = disk::open_or_create(disk, &path)?;
        let mut writer = MarkWriter { file, path, sequence };
        writer.publish(mark)?;
        writer.publish(mark)?;
        writer.sync()?;
        Ok(writer)
    }

    /// Shows readers the mark.
    pub(super) fn publish(&mut self, mark: &Mark) -> Result<(), LogError> {
        self.sequence += 1;
        let mut slot = [0; SLOT_BYTES];
        slot[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        slot[16..24].copy_from_slice(&mark.end.get().to_le_bytes());
        slot[24..32].copy_from_slice(&mark.segment.get().to_le_bytes());
        slot[32..40].copy_from_slice(&mark.position.to_le_bytes());
        slot[40..48].copy_from_slice(&mark.durable.get().to_le_bytes());
        let crc = crc32fast::hash(&slot[4..]);
        slot[..4].copy_from_slice(&crc.to_le_bytes());
        let place = (self.sequence % 2) * SLOT_DISTANCE as u64;
        disk::write_at(&*self.file, &self.path, place, &slot)
    }

    /// Makes the last published mark durable.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        disk::sync(&*self.file, &self.path)
    }
}

/// The mark as it stands, or `None` when the file is missing or neither slot can be trusted.
pub(super) fn read(disk: &dyn Disk, partition: &Path) -> Result<Option<Mark>, LogError> {
    Ok(read_slots(disk, &file_of(partition))?.map(|(_, mark)| mark))
}

/// The reader's side: keeps the file open.
#[derive(Debug)]
pub(super) struct MarkReader {
    file: Box<dyn DiskFile>,
    path: PathBuf,
}

impl MarkReader {
    pub(super) fn open(disk: &dyn Disk, partition: &Path) -> Result<Self, LogError> {
        let path = file_of(partition);
        let file = disk::open(disk, &path)?;
        Ok(MarkReader { file, path })
    }

    /// The mark as it stands.
    pub(super) fn read(&mut self) -> Result<Mark, LogError> {
        // Both slots can be seen half-written only if the writer publishes twice during one call; not three times over.
        for _ in 0..3 {
            let mut bytes = [0; FILE_BYTES];
            disk::read_at(&*self.file, &self.path, 0, &mut bytes)?;
            if let Some((_, mark)) = newest(&bytes) {
                return Ok(mark);
            }
        }
        Err(LogError::corrupt(&self.path, 0, "neither slot of the end mark matches its checksum"))
    }
}

/// The file of a partition's mark.
pub(super) fn file_of(partition: &Path) -> PathBuf {
    partition.join("end")
}

fn read_slots(disk: &dyn Disk, path: &Path) -> Result<Option<(u64, Mark)>, LogError> {
    let found = disk::read_whole(disk, path)?.unwrap_or_default();
    let mut bytes = [0; FILE_BYTES];
    let length = found.len().min(FILE_BYTES);
    bytes[..length].copy_from_slice(&found[..length]);
    Ok(newest(&bytes))
}

fn newest(file: &[u8; FILE_BYTES]) -> Option<(u64, Mark)> {
    let slots = [&file[..SLOT_BYTES], &file[SLOT_DISTANCE..]];
    slots.into_iter().filter_map(parse).max_by_key(|(sequence, _)| *sequence)
}

fn parse(slot: &[u8]) -> Option<(u64, Mark)> {
    let number = |at| u64::from_le_bytes(part(slot, at));
    let offset = |at| Offset::new(number(at));
    let mark =
        Mark { end: offset(16), segment: offset(24), position: number(32), durable: offset(40) };
    (slot[..4] == crc32fast::hash(&slot[4..]).to_le_bytes()).then_some((number(8), mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;

    fn mark(end: u64) -> Mark {
        Mark {
            end: Offset::new(end),
            segment: Offset::ZERO,
            position: 32 + end,
            durable: Offset::new(end),
        }
    }

    #[test]
    fn a_mark_torn_at_any_byte_leaves_the_one_before() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut writer = MarkWriter::open(&RealDisk, dir.path(), &mark(1)).expect("a new mark");
        writer.publish(&mark(2)).expect("published");
        let old = std::fs::read(file_of(dir.path())).expect("readable");
        writer.publish(&mark(3)).expect("published");
        let new = std::fs::read(file_of(dir.path())).expect("readable");
        for torn_at in 0..=FILE_BYTES {
            let torn = [&new[..torn_at], &old[torn_at..]].concat();
            let (_, found) = newest(torn.as_slice().try_into().expect("the same length"))
                .expect("one slot is whole");
            assert!(found == mark(2) || found == mark(3), "torn at {torn_at}: {found:?}");
        }
    }

    #[test]
    fn a_flipped_bit_never_changes_the_mark_to_something_never_published() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut writer = MarkWriter::open(&RealDisk, dir.path(), &mark(1)).expect("a new mark");
        writer.publish(&mark(2)).expect("published");
        let bytes = std::fs::read(file_of(dir.path())).expect("readable");
        for bit in 0..bytes.len() * 8 {
            let mut flipped: [u8; FILE_BYTES] =
                bytes.as_slice().try_into().expect("the whole file");
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (_, found) = newest(&flipped).expect("one slot is whole");
            assert!(found == mark(1) || found == mark(2), "bit {bit}: {found:?}");
        }
    }
}
