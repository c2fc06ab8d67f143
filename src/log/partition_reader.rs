//! One partition as a reader sees it.
//!
//! Owns the order in which things are looked at, because a writer and its retention are at work meanwhile: first the mark,
//! then the names of the segments, then the bytes. What the mark shows exists under its name by then; what has lost its name
//! was removed by retention.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::codec;
use super::cursor::{Frame, SegmentCursor, Step};
use super::error::LogError;
use super::index::{IndexEntry, SegmentIndex};
use super::mark::{Mark, MarkReader};
use super::meta;
use super::segment::PartitionDir;
use super::{Limit, LogId, Offset, Record};
use crate::storage::Disk;

#[derive(Debug)]
pub(super) struct PartitionReader {
    log: PathBuf,
    id: LogId,
    dir: PartitionDir,
    mark_file: MarkReader,
    /// As it was when last looked at; it only moves forward.
    mark: Mark,
    /// Where the last read ended.
    cursor: Option<SegmentCursor>,
    /// The checksum of the record that was read last.
    last_checksum: Option<u32>,
}

/// Why a run of records was left.
enum Run {
    /// There may be more, if more are wanted.
    Interrupted,
    /// The next record is not there yet after all.
    Ended,
}

impl PartitionReader {
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        log: &Path,
        id: LogId,
        partition: u32,
    ) -> Result<Self, LogError> {
        let dir = PartitionDir::of(disk, log, partition);
        let mut mark_file = MarkReader::open(&**disk, &dir.path)?;
        let mark = mark_file.read()?;
        Ok(PartitionReader {
            log: log.to_owned(),
            id,
            dir,
            mark_file,
            mark,
            cursor: None,
            last_checksum: None,
        })
    }

    pub(super) fn earliest(&self) -> Result<Offset, LogError> {
        self.dir.segments()?.first().copied().ok_or_else(|| self.without_segments())
    }

    pub(super) fn end(&mut self) -> Result<Offset, LogError> {
        let mark = self.mark_file.read()?;
        // A torn slot shows the mark before; what was once visible stays visible.
        if mark.end >= self.mark.end {
            self.mark = mark;
        }
        Ok(self.mark.end)
    }

    pub(super) fn read<E: DeserializeOwned>(
        &mut self,
        from: Offset,
        most: Limit,
        into: &mut Vec<Record<E>>,
    ) -> Result<(Offset, usize), LogError> {
        let max = most.records;
        if max == 0 || (from >= self.mark.end && from >= self.end()?) {
            return Ok((from, 0));
        }
        let (before, mut bytes) = (into.len(), 0);
        let room = max.min(usize::MAX - before);
        let mut next = from;
        while into.len() - before < room && bytes < most.bytes && next < self.mark.end {
            let full = Limit { records: before + room, bytes: most.bytes };
            match self.read_run(&mut next, full, &mut bytes, into) {
                Ok(Run::Interrupted) => {}
                Ok(Run::Ended) => break,
                // What was found before it comes first; the next call meets the error again.
                Err(_) if into.len() > before => break,
                Err(error) => return Err(error),
            }
        }
        Ok((next, bytes))
    }

    pub(super) fn last_checksum(&self) -> Option<u32> {
        self.last_checksum
    }

    /// The checksum of a record. After a power failure the mark may lie behind what a reader has seen before
    /// it, until the log is opened for writing again; so the segment being written is looked through to its
    /// end.
    pub(super) fn checksum(&mut self, offset: Offset) -> Result<Option<u32>, LogError> {
        let shown = offset < self.end()?;
        let mut cursor = match self.segment_of(offset)? {
            base if shown => self.walk_to_offset(base, offset)?,
            base => SegmentCursor::open(&self.dir, base)?,
        };
        while let Step::Frame(frame) = cursor.step()? {
            if frame.offset == offset {
                return Ok(Some(frame.checksum));
            }
        }
        Ok(None)
    }

    pub(super) fn seek_to_time(&mut self, timestamp_ms: i64) -> Result<Offset, LogError> {
        let end = self.end()?;
        for base in self.dir.segments()?.into_iter().take_while(|base| *base < end) {
            let walked = match self.walk_to_time(base, timestamp_ms) {
                // Removed by retention meanwhile, and so no longer among the candidates.
                Err(error) if error.is_not_found() => None,
                result => result?,
            };
            if let Some(found) = walked {
                return Ok(found);
            }
        }
        Ok(end)
    }

    /// Records from `next` on, which the mark shows, as long as `into` has fewer than `full` and nothing else has to be done.
    #[inline]
    fn read_run<E: DeserializeOwned>(
        &mut self,
        next: &mut Offset,
        full: Limit,
        bytes: &mut usize,
        into: &mut Vec<Record<E>>,
    ) -> Result<Run, LogError> {
        let end = self.mark.end;
        let Some(cursor) = self.cursor.as_mut().filter(|cursor| cursor.next() == *next) else {
            self.cursor = Some(self.locate(*next)?);
            return Ok(Run::Interrupted);
        };
        while into.len() < full.records && *bytes < full.bytes && *next < end {
            match cursor.step()? {
                Step::Frame(Frame { offset, timestamp_ms, payload, checksum, .. }) => {
                    let take = |event| into.push(Record { offset, timestamp_ms, event });
                    if let Err(source) = codec::decode(payload, take) {
                        return Err(LogError::Decode {
                            partition: self.dir.number,
                            offset,
                            bytes: payload.to_vec(),
                            source,
                        });
                    }
                    *bytes += payload.len();
                    self.last_checksum = Some(checksum);
                    *next = cursor.next();
                }
                Step::End => {
                    self.go_on(*next)?;
                    return Ok(Run::Interrupted);
                }
                Step::Bad(damage) => {
                    let error = cursor.damage(damage);
                    // Its buffer may hold what a repair is about to cut.
                    self.cursor = None;
                    return if self.may_be_unwritten(*next) { Ok(Run::Ended) } else { Err(error) };
                }
            }
        }
        Ok(Run::Interrupted)
    }

    /// Whether the record was shown without being durable, and may since have gone with the power.
    fn may_be_unwritten(&self, offset: Offset) -> bool {
        offset >= self.mark.durable
    }

    /// The cursor stands at its limit, before a record that the mark shows: more of the same segment, or the next one.
    #[cold]
    fn go_on(&mut self, next: Offset) -> Result<(), LogError> {
        let Some(mut cursor) = self.cursor.take() else {
            return Ok(());
        };
        let limit = self.limit_of(&cursor)?;
        if limit > cursor.position() {
            cursor.set_limit(limit);
            self.cursor = Some(cursor);
            return Ok(());
        }
        let following = self.locate(next)?;
        if following.base() <= cursor.base() {
            return Err(self.missing(cursor.base(), cursor.position(), next));
        }
        self.cursor = Some(following);
        Ok(())
    }

    /// A cursor before the record at this offset, which the mark shows.
    #[cold]
    fn locate(&self, offset: Offset) -> Result<SegmentCursor, LogError> {
        let mut attempts_left = 8;
        loop {
            let base = self.segment_of(offset)?;
            match self.walk_to_offset(base, offset) {
                // Removed by retention between the list and the open: the next list says so.
                Err(error) if error.is_not_found() && attempts_left > 0 => attempts_left -= 1,
                // Asked when the file is open: the log may have been created again, and then the file is
                // another log's.
                result => return meta::check(&*self.dir.disk, &self.log, self.id).and(result),
            }
        }
    }

    /// The segment in which the offset must be if it is anywhere.
    fn segment_of(&self, offset: Offset) -> Result<Offset, LogError> {
        let mut bases = self.dir.segments()?;
        if bases.last().is_some_and(|last| *last > offset) {
            // A later one is there: see `segments` for why the second list has no gap before it.
            bases = self.dir.segments()?;
        }
        let earliest = *bases.first().ok_or_else(|| self.without_segments())?;
        let behind = bases.partition_point(|base| *base <= offset);
        match behind.checked_sub(1) {
            Some(at) => Ok(bases[at]),
            None => Err(LogError::OffsetGone {
                partition: self.dir.number,
                requested: offset,
                earliest,
            }),
        }
    }

    fn walk_to_offset(&self, base: Offset, offset: Offset) -> Result<SegmentCursor, LogError> {
        let index = self.index_of(base)?;
        let mut cursor = self.open_at(base, index.and_then(|index| index.before_offset(offset)))?;
        while cursor.next() < offset {
            match cursor.step()? {
                Step::Frame(_) => {}
                Step::End => return Err(self.missing(base, cursor.position(), cursor.next())),
                Step::Bad(damage) => return Err(cursor.damage(damage)),
            }
        }
        Ok(cursor)
    }

    fn walk_to_time(&self, base: Offset, timestamp_ms: i64) -> Result<Option<Offset>, LogError> {
        let start = match self.index_of(base)? {
            None => None,
            Some(index) => match index.before_time(timestamp_ms) {
                None => return Ok(None),
                start => start,
            },
        };
        let mut cursor = self.open_at(base, start)?;
        loop {
            match cursor.step()? {
                Step::Frame(frame) if frame.timestamp_ms >= timestamp_ms => {
                    return Ok(Some(frame.offset));
                }
                Step::Frame(_) => {}
                Step::End => return Ok(None),
                Step::Bad(damage) => {
                    let unwritten = self.may_be_unwritten(cursor.next());
                    return if unwritten { Ok(None) } else { Err(cursor.damage(damage)) };
                }
            }
        }
    }

    /// The index of a full segment; the one being written has none yet.
    fn index_of(&self, base: Offset) -> Result<Option<SegmentIndex>, LogError> {
        if base >= self.mark.segment {
            return Ok(None);
        }
        Ok(SegmentIndex::load(&self.dir, base)?.map(|(index, _)| index))
    }

    fn open_at(&self, base: Offset, start: Option<IndexEntry>) -> Result<SegmentCursor, LogError> {
        let mut cursor = SegmentCursor::open(&self.dir, base)?;
        cursor.set_limit(self.limit_of(&cursor)?);
        if let Some(entry) = start {
            cursor.jump(entry.position, entry.offset);
        }
        Ok(cursor)
    }

    /// How far the mark lets readers go in the cursor's segment.
    fn limit_of(&self, cursor: &SegmentCursor) -> Result<u64, LogError> {
        if cursor.base() == self.mark.segment {
            Ok(self.mark.position)
        } else {
            cursor.file_bytes()
        }
    }

    fn missing(&self, base: Offset, position: u64, record: Offset) -> LogError {
        LogError::corrupt(&self.dir.segment(base), position, format!("record {record} is missing"))
    }

    fn without_segments(&self) -> LogError {
        LogError::corrupt(&self.dir.path, 0, "the partition has no segment")
    }
}
