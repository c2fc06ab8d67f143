//! Walks the frames of one segment in order, many per read call.
//!
//! The one place that takes bytes of a segment for records: the reader, the recovery and the index all go through it. It
//! never looks beyond the limit that it was given, so never at bytes that the writer has not yet published, and never hands
//! out a frame whose checksum, length and offset were not verified.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::Offset;
use super::codec::PAYLOAD_BYTES_CEILING;
use super::disk;
use super::error::LogError;
use super::frame::{FRAME_HEADER_BYTES, FrameHeader};
use super::segment::{PartitionDir, SEGMENT_HEADER_BYTES};

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
}

/// A place in a segment.
#[derive(Debug)]
pub(super) struct SegmentCursor {
    path: PathBuf,
    base: Offset,
    file: File,
    limit: u64,
    /// Where the next frame begins, in the file and in the buffer.
    position: u64,
    start: usize,
    buffer: Vec<u8>,
    next: Offset,
}

impl SegmentCursor {
    /// Opens a segment and verifies its header. The cursor stands at its first frame and may go up to the file's end.
    pub(super) fn open(dir: &PartitionDir, base: Offset) -> Result<Self, LogError> {
        let path = dir.segment(base);
        let mut file = File::open(&path).map_err(LogError::io("open", &path))?;
        dir.check_header(&mut file, base)?;
        let limit = disk::length(&file, &path)?;
        let mut cursor = SegmentCursor {
            path,
            base,
            file,
            limit,
            position: 0,
            start: 0,
            buffer: Vec::new(),
            next: base,
        };
        cursor.jump(SEGMENT_HEADER_BYTES, base)?;
        Ok(cursor)
    }

    /// Goes to a place where the frame of this offset begins.
    pub(super) fn jump(&mut self, position: u64, next: Offset) -> Result<(), LogError> {
        self.file.seek(SeekFrom::Start(position)).map_err(LogError::io("seek in", &self.path))?;
        self.buffer.clear();
        (self.position, self.start, self.next) = (position, 0, next);
        Ok(())
    }

    /// How far the cursor may go, in bytes from the file's start. Never less than before.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// The length of the file at this moment.
    pub(super) fn file_bytes(&self) -> Result<u64, LogError> {
        disk::length(&self.file, &self.path)
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
    #[inline]
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
        if !header.verifies(frame) {
            return Ok(Step::Bad(Damage::Checksum));
        }
        if header.offset != self.next {
            return Ok(Step::Bad(Damage::WrongOffset(header.offset)));
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
        }))
    }

    /// The error for what a `step` found at the place where the cursor stands.
    pub(super) fn damage(&self, damage: Damage) -> LogError {
        let record = self.next;
        let reason = match damage {
            Damage::CutOff => format!("record {record} is cut off"),
            Damage::Checksum => format!("record {record} does not match its checksum"),
            Damage::WrongOffset(found) => format!("record {found} stands where {record} should be"),
        };
        LogError::corrupt(&self.path, self.position, reason)
    }

    /// Whether so many bytes from the cursor on are in the buffer, after reading if need be.
    #[inline]
    fn holds(&mut self, bytes: usize) -> Result<bool, LogError> {
        Ok(self.buffer.len() - self.start >= bytes || self.fill(bytes)?)
    }

    #[cold]
    fn fill(&mut self, bytes: usize) -> Result<bool, LogError> {
        // Asked before the buffer grows: a damaged length must not allocate more than the file has.
        let known_bytes = self.limit.min(self.file_bytes()?);
        if bytes as u64 > known_bytes.saturating_sub(self.position) {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let mut held = self.buffer.len();
        let behind = known_bytes - self.position;
        let goal =
            usize::try_from(behind).unwrap_or(usize::MAX).min(bytes.max(READ_BYTES)).max(held);
        self.buffer.resize(goal, 0);
        while held < bytes {
            match self.file.read(&mut self.buffer[held..]) {
                Ok(0) => break,
                Ok(read) => held += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(held);
                    return Err(LogError::io("read", &self.path)(error));
                }
            }
        }
        self.buffer.truncate(held);
        Ok(held >= bytes)
    }
}
