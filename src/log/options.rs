//! The options of a writer: size of the files, when records become durable, what is removed.
//!
//! Owns the options and refuses values that mean nothing. Nothing here touches a file.

use std::time::Duration;

use super::codec::PAYLOAD_BYTES_CEILING;
use super::error::LogError;

/// The most partitions that a log can have.
pub const PARTITIONS_MAX: u32 = 4096;

/// How many partitions a new log gets by default.
pub const PARTITIONS_DEFAULT: u32 = 4;

/// The largest buffer that a partition can have.
const BUFFER_BYTES_MAX: usize = 256 << 20;

/// The options of a log's writer. Every field has a default; set the ones that you want to change.
///
/// ```
/// use streamwork::log::{Fsync, LogOptions};
///
/// let options = LogOptions { partitions: Some(8), fsync: Fsync::EveryBytes(1 << 20), ..LogOptions::default() };
/// assert_eq!(options.segment_bytes, 64 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The number of partitions, 1 to [`PARTITIONS_MAX`]. It is fixed when the log is created. `None` (the default) takes
    /// the number of the existing log, or [`PARTITIONS_DEFAULT`] for a new one.
    pub partitions: Option<u32>,
    /// A segment that has reached this many bytes is closed and the next record opens a new one, so a segment may be larger
    /// than this by one record. Default 64 MiB.
    pub segment_bytes: u64,
    /// Appended records wait in one buffer per partition; when it holds this many bytes it is written to the file. Default
    /// 1 MiB, at most 256 MiB. The memory of a writer is bounded by partitions × (this + one record).
    pub buffer_bytes: usize,
    /// When records become durable. Default [`Fsync::GroupCommit`].
    pub fsync: Fsync,
    /// Which old segments are removed. Default: none.
    pub retention: Retention,
    /// An event that encodes to more than this is refused, at most 256 MiB. Default 16 MiB.
    pub max_record_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            partitions: None,
            segment_bytes: 64 << 20,
            buffer_bytes: 1 << 20,
            fsync: Fsync::default(),
            retention: Retention::default(),
            max_record_bytes: 16 << 20,
        }
    }
}

impl LogOptions {
    pub(super) fn validate(&self) -> Result<(), LogError> {
        let refuse = |reason| Err(LogError::InvalidOptions { reason });
        match self {
            Self { partitions: Some(0), .. } => refuse("a log needs at least one partition"),
            Self { partitions: Some(n), .. } if *n > PARTITIONS_MAX => {
                refuse("a log has at most 4096 partitions")
            }
            Self { segment_bytes: 0, .. } => refuse("segment_bytes must be at least 1"),
            Self { buffer_bytes: 0, .. } => refuse("buffer_bytes must be at least 1"),
            Self { buffer_bytes, .. } if *buffer_bytes > BUFFER_BYTES_MAX => {
                refuse("buffer_bytes must be at most 256 MiB: what waits there is kept in memory")
            }
            Self { fsync: Fsync::EveryBytes(0), .. } => {
                refuse("the byte count of Fsync::EveryBytes must be at least 1")
            }
            Self { max_record_bytes: 0, .. } => refuse("max_record_bytes must be at least 1"),
            Self { max_record_bytes, .. } if *max_record_bytes > PAYLOAD_BYTES_CEILING => {
                refuse("max_record_bytes must be at most 256 MiB")
            }
            _ => Ok(()),
        }
    }
}

/// When appended records become durable (survive a power failure), and when readers see them.
///
/// | policy | after `append` | after `flush` | after `sync`, `close`, a full segment | readers see |
/// |---|---|---|---|---|
/// | `Never` | nothing promised | survives kill -9 | durable | what is written (`flush`, full buffer) |
/// | `GroupCommit` | nothing promised | survives kill -9 | durable | only what is durable |
/// | `EveryBytes(n)` | at most `n` bytes and one record not durable | survives kill -9 | durable | only what is durable |
/// | `Always` | durable | | | only what is durable |
///
/// "Nothing promised" means that a crash may keep or lose the record, never half of it, and never a record without those
/// before it in the same partition.
///
/// Under `GroupCommit` and `EveryBytes` the log does not leave all work to the sync: whenever 2 MiB of a
/// partition wait for it, a thread begins to sync them while appends continue, one such thread at a time for
/// the whole log. So records may be on disk before that is promised. Readers do not see them any sooner, and
/// if the thread meets an error, the next `sync` returns it at the latest.
///
/// Under `Never` a reader can see records that a power failure then removes, and whose offsets are then given
/// to other records. So do not combine it with an exactly-once reader, unless power failures are no concern.
/// Under the other three a record that a reader has seen stays (until retention removes it).
///
/// ```
/// # fn main() -> Result<(), streamwork::log::LogError> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// use streamwork::log::{EventLog, Fsync, LogOptions, LogReader, Offset};
///
/// let options = LogOptions { fsync: Fsync::Always, ..LogOptions::default() };
/// let mut log = EventLog::create_or_open(dir.path(), options)?;
/// log.append(0, 0, &"durable at once".to_string())?;
/// assert_eq!(LogReader::<String>::open(dir.path())?.end(0)?, Offset::new(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    /// The operating system decides, except when a segment is full, at `sync` and at `close`.
    Never,
    /// As `GroupCommit`, and the log calls `sync` itself once this many bytes were appended (all partitions together).
    EveryBytes(u64),
    /// Many appends share one fsync per partition, at the moment that the writer chooses: [`sync`](super::EventLog::sync).
    #[default]
    GroupCommit,
    /// Every append is synced before it returns. The slowest.
    Always,
}

/// Which old segments are removed: whole segments, oldest first, never the one being written.
///
/// Checked for a partition when one of its segments is full, and for all by
/// [`apply_retention`](super::EventLog::apply_retention). With both limits unset nothing is ever removed.
///
/// ```
/// use std::time::Duration;
/// use streamwork::log::Retention;
///
/// let week = Retention { max_age: Some(Duration::from_secs(7 * 24 * 3600)), ..Retention::default() };
/// assert_eq!(week.max_partition_bytes, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Remove segments last written longer ago than this by the wall clock (the file's modification time). The timestamps of
    /// the records play no part: importing old events does not delete them.
    pub max_age: Option<Duration>,
    /// Remove the oldest segments while the partition, with the segment being written, has more bytes than this.
    pub max_partition_bytes: Option<u64>,
}
