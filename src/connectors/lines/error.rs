//! Why a file cannot be read as lines.

use std::io;
use std::path::{Path, PathBuf};
use std::str::Utf8Error;

/// Why a source of lines failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinesError {
    /// The source reads one file, and has several instances.
    #[error("a file has one order of lines: give this source parallelism 1, not {parallelism}")]
    Parallelism {
        /// How many it has.
        parallelism: usize,
    },
    /// The name of a file in the directory is not UTF-8, so its position cannot be stored.
    #[error("cannot read {}: the name of the file is not UTF-8", path.display())]
    FileName {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A line is longer than [`line_bytes_max`](crate::LinesSource::line_bytes_max).
    #[error("{}, byte {offset}: the line is longer than {bytes_max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        offset: u64,
        /// The maximum.
        bytes_max: usize,
    },
    /// A line is not UTF-8.
    #[error("{}, byte {offset}: the line is not UTF-8: {source}: {bytes}", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where the line begins.
        offset: u64,
        /// Its first bytes; those that are not text as `\\xNN`.
        bytes: String,
        /// The first byte that is not UTF-8.
        source: Utf8Error,
    },
}

impl LinesError {
    /// Makes this error out of the operating system's reason.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the file or directory does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
