//! Why a checkpoint store refused or failed, with the file it happened to.

use std::{error::Error, io, path::PathBuf};

use super::{store::SetAside, unit::PartName};
use crate::id::{CheckpointId, ExecutionId};
use crate::storage::codec::CodecError;
use crate::storage::envelope::FormatError;

/// Why a [`CheckpointStore`](super::CheckpointStore) could not do what was asked.
///
/// None of them ever means that the store is empty: never treat unreadable data as absent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk refused: full, read-only, not permitted, broken. Stored data is unchanged.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another live store, in this process or another, has the directory.
    #[error("{} is in use by another execution", path.display())]
    InUse {
        /// The lock that is held.
        path: PathBuf,
    },
    /// A write before [`begin_execution`](super::CheckpointStore::begin_execution) or after
    /// [`release`](super::CheckpointStore::release).
    #[error("no execution has begun on this checkpoint store")]
    NotBegun,
    /// The writer belongs to an execution that has been replaced; nothing was changed.
    #[error("execution {execution} was replaced by execution {newest}")]
    Fenced {
        /// The execution of the late writer.
        execution: ExecutionId,
        /// The execution that has the store.
        newest: ExecutionId,
    },
    /// A part or manifest came for a checkpoint that is not newer than one already complete; nothing was changed.
    #[error("checkpoint {checkpoint} comes after checkpoint {committed} was committed")]
    TooLate {
        /// The late checkpoint.
        checkpoint: CheckpointId,
        /// The newest complete one.
        committed: CheckpointId,
    },
    /// The manifest to commit names a part that was not written, or written differently.
    #[error("checkpoint {checkpoint} names part {part}, which was not written")]
    PartNotWritten {
        /// The checkpoint that was refused.
        checkpoint: CheckpointId,
        /// The part that is missing.
        part: PartName,
    },
    /// A commit failed so late that it may have taken effect. The prepared outputs must neither be committed
    /// nor aborted: end the execution, and let recovery decide from the stored data.
    #[error("it is not known whether checkpoint {checkpoint} was committed: {source}")]
    InDoubt {
        /// The checkpoint in question.
        checkpoint: CheckpointId,
        /// What went wrong.
        source: Box<StoreError>,
    },
    /// A file is complete, but was written by another version of the library. It stays where it is.
    #[error("{} was written by another version of this library: {source}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What is unknown in it.
        source: FormatError,
    },
    /// A file that cannot be replaced by an older one is damaged.
    #[error("{} is damaged: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// There are checkpoints, but none of them can be used. A person has to decide: restore one from a
    /// backup, or move them all away to start without state.
    #[error("none of the {} checkpoints can be used: {}", .reasons.len(), listed(.reasons))]
    NoneUsable {
        /// Every checkpoint, with what is wrong with it.
        reasons: Vec<SetAside>,
    },
    /// A directory that a checkpoint was to be copied into has something in it.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The store's own records could not be encoded.
    #[error("cannot encode the records of the checkpoint store: {0}")]
    Codec(#[from] CodecError),
    /// An error of a store that is not a directory.
    #[error("checkpoint store cannot {operation}: {source}")]
    Other {
        /// What was tried, as a verb and an object.
        operation: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// The error for an unreadable file: damaged, or of an unknown format.
    pub(super) fn unreadable(path: PathBuf, source: FormatError) -> Self {
        if source.is_unknown_format() {
            Self::UnknownFormat { path, source }
        } else {
            Self::Damaged { path, source }
        }
    }
}

fn listed(reasons: &[SetAside]) -> String {
    let each: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    each.join("; ")
}
