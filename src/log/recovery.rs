//! What opening a log for writing finds on disk, and what it repairs.
//!
//! A crash leaves at most one kind of trace: bytes behind the last synced record of the *last* segment that are incomplete
//! or, after a power loss, arbitrary. They were never promised to anyone, so they are cut off, and what was cut is reported.
//! Everything else that does not verify is damage, and refused:
//!
//! | found | because | then |
//! |---|---|---|
//! | bad record at or behind the durable end of the mark | it was never synced | cut from there on, [`RepairReport`] |
//! | bad or missing record below the durable end | it was synced, and then lost | [`LogError::Corrupt`] |
//! | bad record, the mark is unreadable, whole later records follow | damage in the middle | [`LogError::Corrupt`] |
//! | bad record, the mark is unreadable, nothing follows | torn | cut, reported |
//! | a whole record of the largest offset | no writer gives it away | [`LogError::Corrupt`] |
//! | a full segment that is shorter than it was, or has a bad header | damage | [`LogError::Corrupt`] |
//!
//! A bit that flipped inside a full segment is found when the record is read, not here: opening looks at the extent of full
//! segments only, and at every record of the last one.
//!
//! Records behind the durable end that do verify are kept. They are written once more in place before the fsync: a process
//! that ended after a failed fsync may have left pages that look clean and are not on disk, and syncing those again would
//! succeed without writing them.

use std::path::{Path, PathBuf};

use super::Offset;
use super::codec::PAYLOAD_BYTES_CEILING;
use super::cursor::{Damage, SegmentCursor};
use super::disk;
use super::error::LogError;
use super::frame::{Checksums, FRAME_HEADER_BYTES, FrameHeader};
use super::index::{Sealed, SegmentIndex};
use super::mark::{self, Mark, MarkWriter};
use super::segment::{PartitionDir, SEGMENT_HEADER_BYTES, base_of};
use crate::storage::DiskFile;

/// What was cut off the end of a partition when the log was opened: the trace of a crash.
///
/// None of it was ever durable: no `sync` that covered it has returned.
///
/// ```
/// # fn main() -> Result<(), streamwork::log::LogError> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// use streamwork::log::{EventLog, LogOptions};
///
/// let log = EventLog::<String>::create_or_open(dir.path(), LogOptions::default())?;
/// for repair in log.repairs() {
///     eprintln!("cut {} bytes at record {} of partition {}", repair.bytes_cut, repair.next, repair.partition);
/// }
/// # assert!(log.repairs().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The partition.
    pub partition: u32,
    /// The file that was cut.
    pub segment: PathBuf,
    /// Its length now, in bytes.
    pub position: u64,
    /// How many bytes were cut off.
    pub bytes_cut: u64,
    /// How many whole records stood behind the first bad one and went with it. 0 after a kill; a power loss may write later
    /// pages before earlier ones.
    pub whole_records_cut: u64,
    /// The offset that the next appended record gets.
    pub next: Offset,
}

/// A partition as it was found, ready to go on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) sealed: Vec<Sealed>,
    pub(super) active: Offset,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) index: SegmentIndex,
    pub(super) position: u64,
    pub(super) next: Offset,
    pub(super) mark: MarkWriter,
    pub(super) repair: Option<RepairReport>,
}

/// Looks at a partition, repairs its end and makes all of it durable.
pub(super) fn recover(dir: &PartitionDir) -> Result<Recovered, LogError> {
    let bases = dir.segments()?;
    let Some((&active, full)) = bases.split_last() else {
        return Err(LogError::corrupt(&dir.path, 0, "the partition has no segment"));
    };
    leftovers(dir, full)?.iter().try_for_each(|path| disk::remove(&*dir.disk, path))?;
    let sealed: Vec<Sealed> = full
        .iter()
        .zip(&bases[1..])
        .map(|(base, end)| check_sealed(dir, *base, *end))
        .collect::<Result<_, _>>()?;

    let known = mark::read(&*dir.disk, &dir.path)?;
    let tail = Tail::find(dir, active, known)?;
    let path = dir.segment(active);
    let file = disk::open_for_writing(&*dir.disk, &path)?;
    let repair = tail.damage.map(|_| tail.cut(dir, &*file)).transpose()?;
    rewrite(&*file, &path, tail.unproven, tail.position)?;
    disk::sync(&*file, &path)?;
    // The process that gave the segment its name may have died before the name was durable; and the mark says that it is.
    disk::sync_dir(&*dir.disk, &dir.path)?;

    let mark =
        Mark { end: tail.next, segment: active, position: tail.position, durable: tail.next };
    let mark = MarkWriter::open(&*dir.disk, &dir.path, &mark)?;
    if known.is_none() {
        // The file of the mark may be new.
        disk::sync_dir(&*dir.disk, &dir.path)?;
    }
    Ok(Recovered {
        sealed,
        active,
        file,
        index: tail.index,
        position: tail.position,
        next: tail.next,
        mark,
        repair,
    })
}

/// What `recover` would cut off the last segment, which begins with `base`. Changes nothing.
pub(super) fn would_cut(
    dir: &PartitionDir,
    base: Offset,
    known: Option<Mark>,
) -> Result<Option<RepairReport>, LogError> {
    let tail = Tail::find(dir, base, known)?;
    Ok(tail.damage.map(|_| tail.report(dir)))
}

/// The last segment, walked.
struct Tail {
    base: Offset,
    index: SegmentIndex,
    /// Where the last good record ends.
    position: u64,
    next: Offset,
    /// From where on nothing proves that the bytes are on disk.
    unproven: u64,
    damage: Option<Damage>,
    file_bytes: u64,
    whole_records_behind: u64,
}

impl Tail {
    fn find(dir: &PartitionDir, base: Offset, known: Option<Mark>) -> Result<Self, LogError> {
        let mut cursor = SegmentCursor::open(dir, base)?;
        let file_bytes = cursor.file_bytes()?;
        let (index, damage) = SegmentIndex::scan(&mut cursor)?;
        let (position, next) = (cursor.position(), cursor.next());

        // No crash leaves a record that no writer can have written.
        if damage == Some(Damage::NoOffsetLeft) {
            return Err(cursor.damage(Damage::NoOffsetLeft));
        }
        if let Some(mark) = known.filter(|mark| next < mark.durable) {
            let lost = LogError::corrupt(
                &dir.segment(base),
                position,
                format!("record {next} was durable, as all below {}, and is missing", mark.durable),
            );
            return Err(damage.map_or(lost, |damage| cursor.damage(damage)));
        }
        let whole_records_behind = match damage {
            Some(_) => whole_records_behind(dir, base, position, next)?,
            None => 0,
        };
        if let (Some(damage), None, 1..) = (damage, known, whole_records_behind) {
            return Err(cursor.damage(damage));
        }
        // Only a mark that speaks of this segment says which of its bytes are on disk.
        let unproven = match known {
            Some(mark) if mark.segment == base && mark.durable == mark.end => mark.position,
            _ => SEGMENT_HEADER_BYTES,
        };
        Ok(Tail { base, index, position, next, unproven, damage, file_bytes, whole_records_behind })
    }

    fn report(&self, dir: &PartitionDir) -> RepairReport {
        RepairReport {
            partition: dir.number,
            segment: dir.segment(self.base),
            position: self.position,
            bytes_cut: self.file_bytes - self.position,
            whole_records_cut: self.whole_records_behind,
            next: self.next,
        }
    }

    fn cut(&self, dir: &PartitionDir, file: &dyn DiskFile) -> Result<RepairReport, LogError> {
        let report = self.report(dir);
        disk::truncate(file, &report.segment, self.position)?;
        tracing::warn!(
            partition = report.partition,
            segment = %report.segment.display(),
            position = report.position,
            bytes_cut = report.bytes_cut,
            whole_records_cut = report.whole_records_cut,
            next = %report.next,
            "cut what a crash had left at the end of the event log"
        );
        Ok(report)
    }
}

/// The extent of a full segment; without an index that agrees with the file, from its records, all of which must then be
/// good.
fn check_sealed(dir: &PartitionDir, base: Offset, end: Offset) -> Result<Sealed, LogError> {
    let mut cursor = SegmentCursor::open(dir, base)?;
    let bytes = cursor.file_bytes()?;
    let extent = SegmentIndex::load(dir, base)?.map(|(_, sealed)| sealed);
    if let Some(sealed) = extent.filter(|sealed| (sealed.end, sealed.bytes) == (end, bytes)) {
        return Ok(sealed);
    }
    let (index, damage) = SegmentIndex::scan(&mut cursor)?;
    if let Some(damage) = damage {
        return Err(cursor.damage(damage));
    }
    if cursor.next() != end {
        let reason =
            format!("the segment ends before record {}, the next begins with {end}", cursor.next());
        return Err(LogError::corrupt(&dir.segment(base), bytes, reason));
    }
    let sealed = Sealed { base, end, bytes };
    index.write(dir, &sealed)?;
    Ok(sealed)
}

/// What an unfinished step has left: files not yet whole, and indexes of segments that are gone or not full.
pub(super) fn leftovers(dir: &PartitionDir, full: &[Offset]) -> Result<Vec<PathBuf>, LogError> {
    let mut found = Vec::new();
    for entry in disk::list(&*dir.disk, &dir.path)? {
        let (name, path) = (&entry.name, dir.path.join(&entry.name));
        let orphan =
            base_of(name.as_ref(), "index").is_some_and(|base| full.binary_search(&base).is_err());
        if !orphan && !name.ends_with(disk::UNFINISHED_SUFFIX) {
            continue;
        }
        if entry.is_dir {
            tracing::warn!(path = %path.display(), "a directory in the place of a file of the event log is left alone");
            continue;
        }
        found.push(path);
    }
    Ok(found)
}

/// How many whole records with an offset above `next` stand anywhere behind `position`.
fn whole_records_behind(
    dir: &PartitionDir,
    base: Offset,
    position: u64,
    next: Offset,
) -> Result<u64, LogError> {
    let path = dir.segment(base);
    let file = disk::open(&*dir.disk, &path)?;
    let file_bytes = disk::length(&*file, &path)?;
    let mut window = vec![0; 64 << 10];
    let (mut window_start, mut found, mut at) = (position, 0, position);
    let mut held = disk::read_at(&*file, &path, window_start, &mut window)?;
    while at + FRAME_HEADER_BYTES as u64 <= file_bytes {
        let within = usize::try_from(at - window_start).expect("the window is small");
        let Some(bytes) = window[within..held].first_chunk() else {
            window_start = at;
            held = disk::read_at(&*file, &path, window_start, &mut window)?;
            if held < FRAME_HEADER_BYTES {
                break;
            }
            continue;
        };
        let header = FrameHeader::parse(bytes);
        if is_whole(&*file, &path, at, header, next, file_bytes)? {
            found += 1;
            at += header.frame_bytes() as u64;
            window_start = at;
            held = disk::read_at(&*file, &path, window_start, &mut window)?;
        } else {
            at += 1;
        }
    }
    Ok(found)
}

fn is_whole(
    file: &dyn DiskFile,
    path: &Path,
    at: u64,
    header: FrameHeader,
    next: Offset,
    file_bytes: u64,
) -> Result<bool, LogError> {
    // Later offsets that could at all have fitted between; cheap, so that few places need their checksum computed.
    let plausible = next < header.offset
        && header.offset.get() - next.get() <= file_bytes / FRAME_HEADER_BYTES as u64;
    let fits = header.payload_bytes as usize <= PAYLOAD_BYTES_CEILING
        && at + header.frame_bytes() as u64 <= file_bytes;
    if !plausible || !fits {
        return Ok(false);
    }
    let mut frame = vec![0; header.frame_bytes()];
    let held = disk::read_at(file, path, at, &mut frame)?;
    Ok(held == frame.len() && header.verifies(&frame, &mut Checksums::default()))
}

/// Writes the bytes between two places of a file to where they are.
fn rewrite(file: &dyn DiskFile, path: &Path, from: u64, to: u64) -> Result<(), LogError> {
    let mut chunk = vec![0; 256 << 10];
    let mut at = from;
    while at < to {
        let wanted = usize::try_from(to - at).unwrap_or(usize::MAX).min(chunk.len());
        let held = disk::read_at(file, path, at, &mut chunk[..wanted])?;
        if held == 0 {
            break;
        }
        disk::write_at(file, path, at, &chunk[..held])?;
        at += held as u64;
    }
    Ok(())
}
