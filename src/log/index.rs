//! The time index of a segment: sparse, small, and never needed.
//!
//! Every 64 KiB of a segment it notes an offset, its place in the file, and the largest timestamp *before* it. That number
//! only grows, also when the timestamps themselves go up and down, so the first record with a timestamp of at least `t`
//! stands behind the last entry whose number is below `t`, and nowhere before it. The largest timestamp of the whole segment
//! says whether to look into it at all.
//!
//! The file is written once, when the segment is full. A missing or damaged one is made again from the segment; a reader,
//! who never writes, then walks the segment instead.

use super::Offset;
use super::cursor::{Damage, SegmentCursor, Step};
use super::disk;
use super::error::LogError;
use super::frame::part;
use super::segment::{FORMAT_VERSION, PartitionDir};

const MAGIC: [u8; 8] = *b"SWLOGIDX";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
const ENTRY_DISTANCE_BYTES: u64 = 64 << 10;

/// A place in a segment where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) offset: Offset,
    pub(super) position: u64,
    /// The largest timestamp of the segment's records before this one.
    max_timestamp_before_ms: i64,
}

/// What is known about a segment without walking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    entries: Vec<IndexEntry>,
    /// The first record that begins here or behind gets an entry.
    due: u64,
    max_timestamp_ms: i64,
}

impl SegmentIndex {
    /// The index of a segment without records.
    pub(super) fn empty() -> Self {
        SegmentIndex { entries: Vec::new(), due: 0, max_timestamp_ms: i64::MIN }
    }

    /// Takes note of the next record.
    #[inline]
    pub(super) fn note(&mut self, offset: Offset, position: u64, timestamp_ms: i64) {
        if position >= self.due {
            self.due = position + ENTRY_DISTANCE_BYTES;
            self.entries.push(IndexEntry {
                offset,
                position,
                max_timestamp_before_ms: self.max_timestamp_ms,
            });
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
    }

    /// The index of everything from the cursor to its limit, and what ended it when that was not the limit.
    pub(super) fn scan(cursor: &mut SegmentCursor) -> Result<(Self, Option<Damage>), LogError> {
        let mut index = SegmentIndex::empty();
        loop {
            match cursor.step()? {
                Step::Frame(frame) => index.note(frame.offset, frame.position, frame.timestamp_ms),
                Step::End => return Ok((index, None)),
                Step::Bad(damage) => return Ok((index, Some(damage))),
            }
        }
    }

    /// The last place from which a walk finds this offset.
    pub(super) fn before_offset(&self, offset: Offset) -> Option<IndexEntry> {
        let behind = self.entries.partition_point(|entry| entry.offset <= offset);
        Some(self.entries[behind.checked_sub(1)?])
    }

    /// The last place from which a walk finds the first record at or after this time; `None` when the segment has none.
    pub(super) fn before_time(&self, timestamp_ms: i64) -> Option<IndexEntry> {
        if self.max_timestamp_ms < timestamp_ms {
            return None;
        }
        // Nothing comes before the first entry, so it counts as below every time, the least one too.
        let behind = self
            .entries
            .get(1..)?
            .partition_point(|entry| entry.max_timestamp_before_ms < timestamp_ms);
        Some(self.entries[behind])
    }

    /// Writes the index of a full segment of this many bytes, durably.
    pub(super) fn write(&self, dir: &PartitionDir, sealed: &Sealed) -> Result<(), LogError> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.entries.len() * ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&sealed.base.get().to_le_bytes());
        bytes.extend_from_slice(&sealed.end.get().to_le_bytes());
        bytes.extend_from_slice(&sealed.bytes.to_le_bytes());
        bytes.extend_from_slice(&self.max_timestamp_ms.to_le_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.offset.get().to_le_bytes());
            bytes.extend_from_slice(&entry.position.to_le_bytes());
            bytes.extend_from_slice(&entry.max_timestamp_before_ms.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        disk::create_whole(&*dir.disk, &dir.index(sealed.base), &bytes)?;
        Ok(())
    }

    /// The index of a full segment with the segment's extent, or `None` when there is none that can be trusted.
    pub(super) fn load(
        dir: &PartitionDir,
        base: Offset,
    ) -> Result<Option<(Self, Sealed)>, LogError> {
        Ok(disk::read_whole(&*dir.disk, &dir.index(base))?.and_then(|bytes| parse(bytes, base)))
    }
}

/// The extent of a full segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The offset of its first record.
    pub(super) base: Offset,
    /// The offset behind its last.
    pub(super) end: Offset,
    /// The length of its file.
    pub(super) bytes: u64,
}

fn parse(mut bytes: Vec<u8>, base: Offset) -> Option<(SegmentIndex, Sealed)> {
    if bytes.len() < HEADER_BYTES
        || bytes[..8] != MAGIC
        || bytes[8..10] != FORMAT_VERSION.to_le_bytes()
    {
        return None;
    }
    let crc: [u8; 4] = part(&bytes, 12);
    bytes[12..16].fill(0);
    if crc32fast::hash(&bytes).to_le_bytes() != crc {
        return None;
    }
    let number = |from: &[u8], at| u64::from_le_bytes(part(from, at));
    let entries = bytes[HEADER_BYTES..].chunks_exact(ENTRY_BYTES).map(|entry| IndexEntry {
        offset: Offset::new(number(entry, 0)),
        position: number(entry, 8),
        max_timestamp_before_ms: i64::from_le_bytes(part(entry, 16)),
    });
    let index = SegmentIndex {
        entries: entries.collect(),
        // It is that of a full segment.
        due: u64::MAX,
        max_timestamp_ms: i64::from_le_bytes(part(&bytes, 40)),
    };
    let sealed = Sealed {
        base: Offset::new(number(&bytes, 16)),
        end: Offset::new(number(&bytes, 24)),
        bytes: number(&bytes, 32),
    };
    (sealed.base == base).then_some((index, sealed))
}
