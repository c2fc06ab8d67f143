//! Which old segments go, and their removal.
//!
//! Choosing is a pure function; removing goes from the oldest on, each made durable before the next, so what is left is
//! always one run without a gap. The segment being written is never in question.

use std::time::{Duration, SystemTime};

use super::disk;
use super::error::LogError;
use super::index::Sealed;
use super::options::Retention;
use super::segment::PartitionDir;
use crate::storage::DiskEntry;

/// What retention has removed.
///
/// ```
/// use streamwork::log::Removed;
///
/// let mut both = Removed { segments: 1, records: 20, bytes: 4000 };
/// both += Removed { segments: 1, records: 22, bytes: 4100 };
/// assert_eq!(both, Removed { segments: 2, records: 42, bytes: 8100 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many segments.
    pub segments: u64,
    /// How many records they held.
    pub records: u64,
    /// How many bytes they took.
    pub bytes: u64,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, more: Removed) {
        self.segments += more.segments;
        self.records += more.records;
        self.bytes += more.bytes;
    }
}

/// Removes the segments of a partition that the limits no longer allow, and forgets them in `sealed`.
pub(super) fn apply(
    dir: &PartitionDir,
    sealed: &mut Vec<Sealed>,
    active_bytes: u64,
    limits: &Retention,
    now: SystemTime,
) -> Result<Removed, LogError> {
    let mut removed = Removed::default();
    let mut total_bytes = active_bytes + sealed.iter().map(|segment| segment.bytes).sum::<u64>();
    let there = match limits.max_age {
        Some(_) => disk::list(&*dir.disk, &dir.path)?,
        None => Vec::new(),
    };
    while let Some(oldest) = sealed.first().copied() {
        if !exceeds(limits, age(dir, &oldest, &there, now), total_bytes) {
            break;
        }
        disk::remove(&*dir.disk, &dir.segment(oldest.base))?;
        disk::remove(&*dir.disk, &dir.index(oldest.base))?;
        disk::sync_dir(&*dir.disk, &dir.path)?;
        sealed.remove(0);
        total_bytes -= oldest.bytes;
        removed += Removed {
            segments: 1,
            records: oldest.end.get() - oldest.base.get(),
            bytes: oldest.bytes,
        };
    }
    Ok(removed)
}

/// Whether the oldest segment, of this age, of a partition of this many bytes has to go.
fn exceeds(limits: &Retention, oldest_age: Duration, partition_bytes: u64) -> bool {
    limits.max_age.is_some_and(|max| oldest_age > max)
        || limits.max_partition_bytes.is_some_and(|max| partition_bytes > max)
}

/// How long ago the segment was last written, by what lies in the directory; nothing, when that is not known, or in the future
/// because a clock was set back.
fn age(dir: &PartitionDir, segment: &Sealed, there: &[DiskEntry], now: SystemTime) -> Duration {
    let path = dir.segment(segment.base);
    let entry = there.iter().find(|entry| path.ends_with(&entry.name));
    let written = entry.and_then(|entry| entry.modified);
    written.and_then(|written| now.duration_since(written).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_limits_nothing_is_ever_too_much() {
        assert!(!exceeds(&Retention::default(), Duration::MAX, u64::MAX));
    }

    #[test]
    fn each_limit_alone_is_enough_and_reaching_it_is_not_exceeding_it() {
        let old = Retention { max_age: Some(Duration::from_secs(9)), ..Retention::default() };
        assert!(!exceeds(&old, Duration::from_secs(9), u64::MAX));
        assert!(exceeds(&old, Duration::from_secs(10), 0));
        let big = Retention { max_partition_bytes: Some(9), ..Retention::default() };
        assert!(!exceeds(&big, Duration::MAX, 9));
        assert!(exceeds(&big, Duration::ZERO, 10));
    }
}
