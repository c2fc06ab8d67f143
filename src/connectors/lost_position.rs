//! [`OnLostPosition`] and [`LostPosition`]: what a source does when its position is no longer valid.
//!
//! A position is a number, and a number fits into any file. So sources store checksums of what they had read
//! there, and compare them before they continue.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::log::{LogId, Offset};

/// What a source does when its input is no longer the one that it had read: the log or file was created
/// again, truncated or restored from an older copy, or retention has removed the next record.
///
/// Only [`Fail`](OnLostPosition::Fail) keeps the promise of the guarantee. The others are for sources that
/// are known to be created again, and for people who have read the error.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("lines");
/// # std::fs::write(&path, "one\ntwo\n")?;
/// use streamwork::{Guarantee, Job, LinesSource, OnLostPosition};
///
/// let job = Job::new("lines");
/// let source = LinesSource::new(&path).on_lost_position(OnLostPosition::Earliest);
/// job.lines("lines", source).for_each(|line| println!("{line}"));
/// job.run(Guarantee::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLostPosition {
    /// The job ends with [`LostPosition`], and nothing is emitted.
    #[default]
    Fail,
    /// It continues with the first event that exists. Events may be repeated.
    Earliest,
    /// It continues after the last event that exists now. Events may be missing. At-most-once stores a
    /// position only together with the events after it. So as long as none has come, the next start looks for
    /// the end again.
    Latest,
}

/// A source cannot continue where it stopped: its input is no longer the one that it had read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place}: cannot go on at {position}: {reason}; put back what was there, or choose another `on_lost_position` than `Fail`"
)]
pub struct LostPosition {
    place: String,
    position: u64,
    reason: Loss,
}

impl LostPosition {
    pub(super) fn in_file(path: &Path, offset: u64, reason: Loss) -> Self {
        Self { place: path.display().to_string(), position: offset, reason }
    }

    pub(super) fn in_log(log: &Path, partition: u32, next: Offset, reason: Loss) -> Self {
        let place = format!("partition {partition} of {}", log.display());
        Self { place, position: next.get(), reason }
    }

    /// Why the position is lost.
    #[must_use]
    pub fn reason(&self) -> &Loss {
        &self.reason
    }
}

/// Why a position is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The log was removed while it was being read.
    Removed {
        /// Its directory.
        log: PathBuf,
    },
    /// The log that was read was removed, and another one was created in its place.
    MadeAnew {
        /// The log that was read.
        read: LogId,
        /// The log that exists now.
        found: LogId,
    },
    /// Retention has removed records that had not been read.
    Retained {
        /// The first record that still exists.
        earliest: Offset,
    },
    /// It is shorter than what was read: it was truncated, or restored from an older copy.
    Shorter {
        /// Where it ends: an offset in a log, a byte of a file.
        end: u64,
    },
    /// The content before the position is not what was read there.
    Changed,
    /// The last line of a file had no end when it was emitted as an event, and has been continued since.
    LineGoesOn,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed { log } => write!(f, "{} is no longer there", log.display()),
            Self::MadeAnew { read, found } => {
                write!(f, "this is log {found}, and log {read} had been read")
            }
            Self::Retained { earliest } => {
                write!(f, "retention has removed everything before {earliest}")
            }
            Self::Shorter { end } => write!(f, "there is nothing beyond {end}"),
            Self::Changed => f.write_str("what stands before is not what had been read"),
            Self::LineGoesOn => {
                f.write_str("the line before had no end, was read as it was then, and goes on now")
            }
        }
    }
}
