//! Walks the frames of one segment in order, many per read call.
//!
//! The one place that takes bytes of a segment for records: the reader, the recovery and the index all go through it. It
//! never looks beyond the limit that it was given, so never at bytes that the writer has not yet published, and never hands
//! out a frame whose checksum, length and offset were not verified.

use std::path::PathBuf;

use super::Offset;
use super::codec::PAYLOAD_BYTES_CEILING;
use super::disk;
use super::error::LogError;
use super::frame::{Checksums, FRAME_HEADER_BYTES, FrameHeader};
use super::segment::{PartitionDir, SEGMENT_HEADER_BYTES};
use crate::storage::DiskFile;

/// How much is read at once; a larger record makes the buffer grow to its size.
const READ_BYTES: usize = 256 << 10;

/// What stands at the cursor.
pub(super) enum Step<'a> {
    /// A verified frame; the cursor now stands behind it.
    Frame(Frame<'a>),
    /// The limit, exactly behind a frame.
    End,
    /// Something that is not the expected frame; the cursor stays before it.
    Bad(Damage),
}

/// A verified frame.
pub(super) struct Frame<'a> {
    pub(super) offset: Offset,
    pub(super) timestamp_ms: i64,
    pub(super) payload: &'a [u8],
    /// Where in the file it begins.
    pub(super) position: u64,
    pub(super) checksum: u32,
}

/// Why there is no frame where one should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The limit or the file ends within it.
    CutOff,
    /// Its bytes do not match its checksum, or its length is impossible.
    Checksum,
    /// It is a whole frame of another offset.
    WrongOffset(Offset),
    /// It is a whole frame, of an offset that no writer gives away: none is left behind it.
    NoOffsetLeft,
}

/// A place in a segment.
#[derive(Debug)]
pub(super) struct SegmentCursor {
    path: PathBuf,
    base: Offset,
    file: Box<dyn DiskFile>,
    limit: u64,
    /// Where the next frame begins, in the file and in the buffer.
    position: u64,
    start: usize,
    /// Where in the buffer the bytes end that were read; what lies behind is only room.
    held: usize,
    buffer: Vec<u8>,
    next: Offset,
    checksums: Checksums,
}

impl SegmentCursor {
    /// Opens a segment and verifies its header. The cursor stands at its first frame and may go up to the file's end.
    pub(super) fn open(dir: &PartitionDir, base: Offset) -> Result<Self, LogError> {
        let path = dir.segment(base);
        let file = disk::open(&*dir.disk, &path)?;
        dir.check_header(&*file, base)?;
        let limit = disk::length(&*file, &path)?;
        let mut cursor = SegmentCursor {
            path,
            base,
            file,
            limit,
            position: 0,
            start: 0,
            held: 0,
            buffer: Vec::new(),
            next: base,
            checksums: Checksums::default(),
        };
        cursor.jump(SEGMENT_HEADER_BYTES, base);
        Ok(cursor)
    }

    /// Goes to a place where the frame of this offset begins.
    pub(super) fn jump(&mut self, position: u64, next: Offset) {
        (self.position, self.start, self.held, self.next) = (position, 0, 0, next);
    }

    /// How far the cursor may go, in bytes from the file's start. Never less than before.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The length of the file at this moment.
    pub(super) fn file_bytes(&self) -> Result<u64, LogError> {
        disk::length(&*self.file, &self.path)
    }

    /// The first offset of the segment.
    pub(super) fn base(&self) -> Offset {
        self.base
    }

    /// The offset that the next frame must have.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// Where in the file the next frame begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The frame at the cursor, if there is one.
    #[inline(always)]
    pub(super) fn step(&mut self) -> Result<Step<'_>, LogError> {
        if self.position == self.limit {
            return Ok(Step::End);
        }
        if !self.holds(FRAME_HEADER_BYTES)? {
            return Ok(Step::Bad(Damage::CutOff));
        }
        let (header, _) =
            self.buffer[self.start..].split_first_chunk().expect("the header is in the buffer");
        let header = FrameHeader::parse(header);
        let frame_bytes = header.frame_bytes();
        if header.payload_bytes as usize > PAYLOAD_BYTES_CEILING {
            return Ok(Step::Bad(Damage::Checksum));
        }
        if !self.holds(frame_bytes)? {
            return Ok(Step::Bad(Damage::CutOff));
        }
        let frame = &self.buffer[self.start..self.start + frame_bytes];
        if !header.verifies(frame, &mut self.checksums) {
            return Ok(Step::Bad(Damage::Checksum));
        }
        if header.offset != self.next {
            return Ok(Step::Bad(Damage::WrongOffset(header.offset)));
        }
        if header.offset == Offset::LAST {
            return Ok(Step::Bad(Damage::NoOffsetLeft));
        }
        let position = self.position;
        self.position += frame_bytes as u64;
        self.start += frame_bytes;
        self.next = self.next.next();
        Ok(Step::Frame(Frame {
            offset: header.offset,
            timestamp_ms: header.timestamp_ms,
            payload: &frame[FRAME_HEADER_BYTES..],
            position,
            checksum: header.checksum(),
        }))
    }

    /// The error for what a `step` found at the place where the cursor stands.
    pub(super) fn damage(&self, damage: Damage) -> LogError {
        let record = self.next;
        let reason = match damage {
            Damage::CutOff => format!("record {record} is cut off"),
            Damage::Checksum => format!("record {record} does not match its checksum"),
            Damage::NoOffsetLeft => format!("record {record} is behind the last that can exist"),
            Damage::WrongOffset(found) => format!("record {found} stands where {record} should be"),
        };
        LogError::corrupt(&self.path, self.position, reason)
    }

    /// Whether this many bytes from the cursor on are in the buffer, after reading if need be.
    #[inline]
    fn holds(&mut self, bytes: usize) -> Result<bool, LogError> {
        Ok(self.held - self.start >= bytes || self.fill(bytes)?)
    }

    #[cold]
    fn fill(&mut self, bytes: usize) -> Result<bool, LogError> {
        self.buffer.copy_within(self.start..self.held, 0);
        (self.start, self.held) = (0, self.held - self.start);
        let mut goal = self.goal(bytes, self.limit);
        if goal > self.buffer.len() {
            // Asked before the buffer grows: a damaged length must not allocate more than the file has.
            goal = self.goal(bytes, self.limit.min(self.file_bytes()?));
            if goal < bytes {
                return Ok(false);
            }
            self.buffer.resize(goal.max(self.buffer.len()), 0);
        }
        let behind = self.position + self.held as u64;
        let room = &mut self.buffer[self.held..goal.max(self.held)];
        self.held += disk::read_at(&*self.file, &self.path, behind, room)?;
        Ok(self.held >= bytes)
    }

    /// How many bytes to read into the buffer if this many are needed, in a file that ends at `end`.
    fn goal(&self, bytes: usize, end: u64) -> usize {
        let behind = usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        behind.min(bytes.max(READ_BYTES))
    }
}
