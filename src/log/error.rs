//! The errors of a log.
//!
//! One enum for writer and reader. Each message ends with that of its cause, which is also reachable through `source()`.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use super::{LogId, Offset};

/// Why a log refused or failed.
///
/// ```
/// use streamwork::log::{LogError, LogReader};
///
/// let refused = LogReader::<String>::open("no/such/directory").unwrap_err();
/// assert!(matches!(refused, LogError::NotALog { .. }));
/// assert_eq!(refused.to_string(), "no event log in no/such/directory");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another writer, in this process or another, has the log open.
    #[error("event log {} already has a writer", dir.display())]
    Locked {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// Another writer has opened the log since this one did, although this one lives: somebody has removed its lock. Or the
    /// log's directory was removed, moved or replaced. This writer changes nothing any more; what it appended since its last
    /// successful `sync` is not in the log.
    #[error("event log {} no longer belongs to this writer: another has taken over, or it was moved away", dir.display())]
    Fenced {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// The log that was opened no longer exists; there is another one in its place.
    #[error("event log {} was made anew: it is {found}, not {opened}", dir.display())]
    MadeAnew {
        /// The directory of the log.
        dir: PathBuf,
        /// The identity of the log that was opened.
        opened: LogId,
        /// The identity of the one that exists now.
        found: LogId,
    },
    /// The directory holds no log, or one whose creation was never finished.
    #[error("no event log in {}", dir.display())]
    NotALog {
        /// The directory that was to be opened.
        dir: PathBuf,
    },
    /// The options contradict themselves or exceed a limit.
    #[error("invalid log options: {reason}")]
    InvalidOptions {
        /// What is wrong.
        reason: &'static str,
    },
    /// The log exists with another number of partitions.
    #[error("event log {} has {stored} partitions, not {requested}", dir.display())]
    PartitionCountMismatch {
        /// The directory of the log.
        dir: PathBuf,
        /// What the log was created with.
        stored: u32,
        /// What the options ask for.
        requested: u32,
    },
    /// The partition's number is too high.
    #[error("no partition {partition} in a log of {partitions}")]
    NoSuchPartition {
        /// The number that was asked for.
        partition: u32,
        /// How many there are; the last is one less.
        partitions: u32,
    },
    /// The file was written by a version of this library, or with a codec, that this one does not read.
    #[error("{} has format version {version} and codec {codec}, which are not supported", path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its format version.
        version: u16,
        /// The id of its codec.
        codec: u16,
    },
    /// Bytes that were written are damaged or missing. Nothing was changed on disk.
    #[error("{} is corrupt at byte {position}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The byte at which it no longer makes sense.
        position: u64,
        /// What was found there.
        reason: String,
    },
    /// The event encodes to more than `max_record_bytes`. The log is unchanged and stays usable.
    #[error("event for partition {partition} encodes to more than {max_bytes} bytes")]
    RecordTooLarge {
        /// Where it was to go.
        partition: u32,
        /// The limit.
        max_bytes: usize,
    },
    /// The event's `Serialize` failed. The log is unchanged and stays usable.
    #[error("event for partition {partition} cannot be encoded: {source}")]
    Encode {
        /// Where it was to go.
        partition: u32,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The record is undamaged but is not of the reader's event type.
    #[error("record {offset} of partition {partition} cannot be decoded: {source}")]
    Decode {
        /// The record's partition.
        partition: u32,
        /// The record's offset; reading on from the next one is possible.
        offset: Offset,
        /// The record's bytes, as they are in the log.
        bytes: Vec<u8>,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Retention has removed the record.
    #[error("offset {requested} of partition {partition} is gone, the earliest is {earliest}")]
    OffsetGone {
        /// The partition.
        partition: u32,
        /// The offset that was requested.
        requested: Offset,
        /// The first one that still exists.
        earliest: Offset,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// An earlier write or fsync failed, so this writer no longer knows what is on disk. Drop it and open the
    /// log again, which reads the disk.
    #[error("writer of event log {} gave up after: {cause}", dir.display())]
    Poisoned {
        /// The directory of the log.
        dir: PathBuf,
        /// The error that ended it.
        cause: String,
    },
}

impl LogError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io { action, path: path.to_owned(), source }
    }

    pub(super) fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> LogError {
        LogError::Corrupt { path: path.to_owned(), position, reason: reason.into() }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, LogError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
