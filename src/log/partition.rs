//! One partition as its writer sees it: a buffer, the segment being written, and the full ones behind it.
//!
//! Owns the order of steps on which everything else relies. Never retries a failed one; the log above gives up instead.
//!
//! - `write_out`: buffer → file. Survives the process.
//! - `make_durable`: `write_out`, fdatasync, then the mark. In this order readers only see what is on disk.
//! - `roll`: `make_durable`, sync the mark, write the index, only then the new segment. So every segment but the last is
//!   whole and has an index, and a crash leaves traces in the last one only.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::Offset;
use super::codec::EncodeFailure;
use super::disk;
use super::early::{EARLY_SYNC_BYTES, EarlySync};
use super::error::LogError;
use super::frame::FrameBuffer;
use super::index::{Sealed, SegmentIndex};
use super::mark::{Mark, MarkWriter};
use super::options::{Fsync, LogOptions, Retention};
use super::recovery::Recovered;
use super::retention::{self, Removed};
use super::segment::{PartitionDir, SEGMENT_HEADER_BYTES};
use crate::storage::DiskFile;

#[derive(Debug)]
pub(super) struct PartitionWriter {
    dir: PartitionDir,
    sealed: Vec<Sealed>,
    active: Offset,
    /// Shared with a sync that is under way.
    file: Arc<dyn DiskFile>,
    index: SegmentIndex,
    /// The length of the active segment's file.
    position: u64,
    /// What it was when a sync of the file was last begun.
    sync_begun: u64,
    buffer: FrameBuffer,
    next: Offset,
    /// Every record below is on disk.
    durable: Offset,
    mark: MarkWriter,
}

impl PartitionWriter {
    /// Goes on where the recovery found the end.
    pub(super) fn resume(dir: PartitionDir, found: Recovered) -> Self {
        PartitionWriter {
            dir,
            sealed: found.sealed,
            active: found.active,
            file: Arc::from(found.file),
            index: found.index,
            position: found.position,
            sync_begun: found.position,
            buffer: FrameBuffer::default(),
            next: found.next,
            durable: found.next,
            mark: found.mark,
        }
    }

    /// The offset that the next record gets.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// Whether the segment has reached its size, so the next record belongs into a new one.
    #[inline]
    pub(super) fn is_full(&self, segment_bytes: u64) -> bool {
        let bytes = self.position + self.buffer.len() as u64;
        bytes >= segment_bytes && bytes > SEGMENT_HEADER_BYTES
    }

    /// Whether the buffer has reached its size and must be written out.
    #[inline]
    pub(super) fn is_brimming(&self, buffer_bytes: usize) -> bool {
        self.buffer.len() >= buffer_bytes
    }

    /// Adds a record to the buffer and returns the bytes that it takes. After a failure all is as before.
    #[inline]
    pub(super) fn push<E: Serialize>(
        &mut self,
        timestamp_ms: i64,
        event: &E,
        max_record_bytes: usize,
    ) -> Result<usize, LogError> {
        if self.next == Offset::LAST {
            return Err(self.without_offsets());
        }
        let position = self.position + self.buffer.len() as u64;
        let pushed = self.buffer.push(self.next, timestamp_ms, event, max_record_bytes);
        let bytes = pushed.map_err(|failure| self.refusal(failure, max_record_bytes))?;
        self.index.note(self.next, position, timestamp_ms);
        self.next = self.next.next();
        Ok(bytes)
    }

    /// Hands the buffer to the operating system; under `Fsync::Never` that is when readers see it.
    pub(super) fn write_out(&mut self, options: &LogOptions) -> Result<(), LogError> {
        if self.buffer.len() == 0 {
            return Ok(());
        }
        disk::write_at(
            &*self.file,
            &self.dir.segment(self.active),
            self.position,
            self.buffer.whole(),
        )?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear(options.buffer_bytes);
        match options.fsync {
            Fsync::Never => self.publish(),
            Fsync::EveryBytes(_) | Fsync::GroupCommit | Fsync::Always => Ok(()),
        }
    }

    /// Lets the disk begin on what was written, if that is much, the policy makes it durable at all, and the disk is free.
    pub(super) fn sync_early(
        &mut self,
        early: &mut EarlySync,
        options: &LogOptions,
    ) -> Result<(), LogError> {
        let waiting_bytes = self.position - self.sync_begun;
        if options.fsync == Fsync::Never || waiting_bytes < EARLY_SYNC_BYTES || early.is_running() {
            return Ok(());
        }
        self.sync_begun = self.position;
        early.start(&self.file, self.dir.segment(self.active))
    }

    /// Brings everything appended to disk and shows it to readers.
    pub(super) fn make_durable(&mut self, options: &LogOptions) -> Result<(), LogError> {
        self.write_out(options)?;
        if self.durable == self.next {
            return Ok(());
        }
        self.sync_begun = self.position;
        disk::sync(&*self.file, &self.dir.segment(self.active))?;
        self.durable = self.next;
        self.publish()
    }

    /// Makes the mark durable too, so that readers see everything even if power is lost and no writer comes back.
    pub(super) fn settle(&mut self) -> Result<(), LogError> {
        self.mark.sync()
    }

    /// Closes the active segment and opens the next.
    pub(super) fn roll(&mut self, options: &LogOptions) -> Result<(), LogError> {
        self.make_durable(options)?;
        self.settle()?;
        let sealed = Sealed { base: self.active, end: self.next, bytes: self.position };
        self.index.write(&self.dir, &sealed)?;
        self.file = Arc::from(self.dir.create_segment(self.next)?);
        self.sealed.push(sealed);
        self.active = self.next;
        self.position = SEGMENT_HEADER_BYTES;
        self.sync_begun = SEGMENT_HEADER_BYTES;
        self.index = SegmentIndex::empty();
        Ok(())
    }

    /// Removes the oldest full segments that the limits no longer allow.
    pub(super) fn retain(
        &mut self,
        limits: &Retention,
        now: SystemTime,
    ) -> Result<Removed, LogError> {
        retention::apply(&self.dir, &mut self.sealed, self.position, limits, now)
    }

    /// All that was written is in the file here, so the mark can speak of the file's end.
    fn publish(&mut self) -> Result<(), LogError> {
        let mark = Mark {
            end: self.next,
            segment: self.active,
            position: self.position,
            durable: self.durable,
        };
        self.mark.publish(&mark)
    }

    /// No writer comes so far: such a place was read from a file that lies.
    #[cold]
    fn without_offsets(&self) -> LogError {
        let reason = "no offset is left for another record";
        LogError::corrupt(&self.dir.segment(self.active), self.position, reason)
    }

    #[cold]
    fn refusal(&self, failure: EncodeFailure, max_bytes: usize) -> LogError {
        let partition = self.dir.number;
        match failure {
            EncodeFailure::TooLarge => LogError::RecordTooLarge { partition, max_bytes },
            EncodeFailure::Refused(source) => LogError::Encode { partition, source },
        }
    }
}
