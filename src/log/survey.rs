//! Looks at a whole log, for a person: every record of every segment is verified.
//!
//! Takes no lock and writes nothing. A writer may be working meanwhile, so the order is that of the readers:
//! first the mark, then the names, then the bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{SegmentCursor, Step};
use super::error::LogError;
use super::index::SegmentIndex;
use super::mark::{self, Mark};
use super::meta::{self, Meta};
use super::recovery::{self, RepairReport};
use super::segment::{self, PartitionDir};
use super::{LogId, Offset};
use crate::storage::{Disk, RealDisk};

/// The content of a log on disk.
///
/// ```
/// # fn main() -> Result<(), streamwork::log::LogError> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// use streamwork::log::{EventLog, LogOptions, LogSurvey, Offset};
///
/// let mut log = EventLog::create_or_open(dir.path(), LogOptions::default())?;
/// log.append(2, 1_700_000_000_000, &"paid".to_string())?;
/// log.sync()?;
///
/// let survey = LogSurvey::of(dir.path())?;
/// let partition = &survey.partitions[2];
/// assert_eq!(partition.segments[0].end, Offset::new(1));
/// assert!(partition.damage.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct LogSurvey {
    /// The identity of the log.
    pub id: LogId,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionSurvey>,
    /// Entries in its directory that do not belong to the log; the log does not touch them.
    pub foreign: Vec<PathBuf>,
}

/// One partition.
#[derive(Debug)]
#[non_exhaustive]
pub struct PartitionSurvey {
    /// Its number.
    pub partition: u32,
    /// Its segments, oldest first. Records before the first of them have been removed by retention.
    pub segments: Vec<SegmentSurvey>,
    /// The offset after the last record that readers may see; `None` if the end mark cannot be read.
    pub readable_end: Option<Offset>,
    /// The offset below which every record is on disk, by the same mark.
    pub durable_end: Option<Offset>,
    /// What opening the log for writing would cut off, and where, as the trace of a crash. It looks the same
    /// for a moment while a writer is working.
    pub would_cut: Option<RepairReport>,
    /// The errors with which readers or a writer would be refused, each with file and place.
    pub damage: Vec<LogError>,
    /// Files that an unfinished step has left; opening the log for writing removes them.
    pub leftovers: Vec<PathBuf>,
    /// Entries in the partition's directory that do not belong to the log; the log does not touch them.
    pub foreign: Vec<PathBuf>,
}

/// One segment.
#[derive(Debug)]
#[non_exhaustive]
pub struct SegmentSurvey {
    /// Its file.
    pub path: PathBuf,
    /// The offset of its first record.
    pub first: Offset,
    /// The offset after its last good record.
    pub end: Offset,
    /// The length of its file.
    pub bytes: u64,
    /// The smallest and the largest timestamp of its good records, in milliseconds since the Unix epoch.
    pub times_ms: Option<(i64, i64)>,
    /// Whether it is followed by another one, and so is never written any more.
    pub full: bool,
    /// Whether it has a time index that can be used; only full ones do, and no reader needs it.
    pub indexed: bool,
}

impl LogSurvey {
    /// Reads the log in a directory, with memory for one record at a time.
    ///
    /// # Errors
    ///
    /// [`LogError::NotALog`]; [`LogError::Corrupt`] or [`LogError::UnsupportedFormat`] if the log's own description is
    /// damaged or of another version; [`LogError::Io`]. Damage to a partition is in the survey instead.
    pub fn of(dir: impl AsRef<Path>) -> Result<Self, LogError> {
        Self::on(Arc::new(RealDisk), dir)
    }

    /// Reads a log on the caller's disk, for tests and simulations.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn on(disk: Arc<dyn Disk>, dir: impl AsRef<Path>) -> Result<Self, LogError> {
        let dir = dir.as_ref();
        let Some(Meta { partitions, id }) = meta::read(&*disk, dir)? else {
            return Err(LogError::NotALog { dir: dir.to_owned() });
        };
        let look = |number| partition(&PartitionDir::of(&disk, dir, number));
        let foreign = segment::foreign(&*disk, dir, |name| meta::is_of_a_log(name, partitions))?;
        let partitions = (0..partitions).map(look).collect::<Result<_, _>>()?;
        Ok(Self { id, partitions, foreign })
    }
}

fn partition(dir: &PartitionDir) -> Result<PartitionSurvey, LogError> {
    let mark = mark::read(&*dir.disk, &dir.path)?;
    let bases = dir.segments()?;
    let mut survey = PartitionSurvey {
        partition: dir.number,
        segments: Vec::new(),
        readable_end: mark.map(|mark| mark.end),
        durable_end: mark.map(|mark| mark.durable),
        would_cut: None,
        damage: Vec::new(),
        leftovers: recovery::leftovers(dir, bases.split_last().map_or(&[], |(_, full)| full))?,
        foreign: segment::foreign(&*dir.disk, &dir.path, |name| {
            name == "end"
                || segment::base_of(name, "log").or(segment::base_of(name, "index")).is_some()
        })?,
    };
    survey.foreign.retain(|path| !survey.leftovers.contains(path));
    if mark.is_none() {
        let path = mark::file_of(&dir.path);
        survey.damage.push(LogError::corrupt(&path, 0, "the end mark cannot be read"));
    }
    if bases.is_empty() {
        survey.damage.push(LogError::corrupt(&dir.path, 0, "the partition has no segment"));
    }
    for (at, base) in bases.iter().enumerate() {
        let looked = match bases.get(at + 1) {
            Some(following) => full_segment(dir, *base, *following, &mut survey),
            None => last_segment(dir, *base, mark, &mut survey),
        };
        match looked {
            Ok(()) => {}
            // Removed by retention since it was listed.
            Err(error) if error.is_not_found() && !dir.segments()?.contains(base) => {}
            Err(error @ LogError::Io { .. }) => return Err(error),
            Err(error) => survey.damage.push(error),
        }
    }
    Ok(survey)
}

fn full_segment(
    dir: &PartitionDir,
    base: Offset,
    following: Offset,
    survey: &mut PartitionSurvey,
) -> Result<(), LogError> {
    let (mut found, damage) = walk(dir, base)?;
    found.full = true;
    found.indexed = SegmentIndex::load(dir, base)?
        .is_some_and(|(_, sealed)| (sealed.end, sealed.bytes) == (following, found.bytes));
    let short = (found.end != following).then(|| {
        let reason = format!(
            "the segment ends before record {}, the next begins with {following}",
            found.end
        );
        LogError::corrupt(&found.path, found.bytes, reason)
    });
    survey.segments.push(found);
    survey.damage.extend(damage.or(short));
    Ok(())
}

fn last_segment(
    dir: &PartitionDir,
    base: Offset,
    mark: Option<Mark>,
    survey: &mut PartitionSurvey,
) -> Result<(), LogError> {
    let (found, _) = walk(dir, base)?;
    survey.segments.push(found);
    // Bad records at the end are the trace of a crash or damage; who opens the log for writing decides.
    survey.would_cut = recovery::would_cut(dir, base, mark)?;
    Ok(())
}

/// All records of a segment, up to the first bad one.
fn walk(dir: &PartitionDir, base: Offset) -> Result<(SegmentSurvey, Option<LogError>), LogError> {
    let path = dir.segment(base);
    let mut cursor = SegmentCursor::open(dir, base)?;
    let bytes = cursor.file_bytes()?;
    let mut times_ms: Option<(i64, i64)> = None;
    let damage = loop {
        match cursor.step()? {
            Step::Frame(frame) => {
                let at = frame.timestamp_ms;
                let (first, last) = times_ms.unwrap_or((at, at));
                times_ms = Some((first.min(at), last.max(at)));
            }
            Step::End => break None,
            Step::Bad(damage) => break Some(cursor.damage(damage)),
        }
    };
    let end = cursor.next();
    let found =
        SegmentSurvey { path, first: base, end, bytes, times_ms, full: false, indexed: false };
    Ok((found, damage))
}
