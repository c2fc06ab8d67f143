//! The content of a store, for inspection: every checkpoint in whatever condition, every position.

use std::path::PathBuf;

use super::{encoded::EncodedState, manifest::Manifest, store_error::StoreError, unit::PartName};
use crate::id::{CheckpointId, ExecutionId};

/// Everything in the directory of a store, as [`DirectoryStore::survey`](super::DirectoryStore::survey) found it.
///
/// A job may be using the directory meanwhile, so two entries may be from different moments.
#[derive(Debug)]
#[non_exhaustive]
pub struct Survey {
    /// The newest execution id, `None` if none has ever begun, an error if a start would be refused because of it.
    pub execution: Result<Option<ExecutionId>, StoreError>,
    /// Every attempt at a checkpoint, newest first; those set aside come last.
    pub checkpoints: Vec<SurveyedCheckpoint>,
    /// Every file of positions that sources have written ahead, by file name.
    pub positions: Vec<SurveyedPosition>,
    /// Entries in the store's directories that do not belong to the store; the store does not touch them.
    pub foreign: Vec<PathBuf>,
}

/// One attempt at a checkpoint.
#[derive(Debug)]
#[non_exhaustive]
pub struct SurveyedCheckpoint {
    /// The execution that took it.
    pub execution: ExecutionId,
    /// Its number.
    pub checkpoint: CheckpointId,
    /// The name of its directory within that of the store.
    pub directory: String,
    /// The bytes of all its files.
    pub bytes: u64,
    /// Whether it can be restored.
    pub condition: Condition,
}

/// Whether an attempt at a checkpoint can be restored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Condition {
    /// It has a manifest, and the manifest and every part verify.
    Complete(Manifest),
    /// It has a manifest, but the manifest or a part is damaged or missing.
    Damaged(StoreError),
    /// It has a manifest, but the manifest or a part was written by another version of the library. A start
    /// that reaches it is refused.
    UnknownFormat(StoreError),
    /// It cannot be read at present: a dangling link, a directory in the place of a file, a broken disk. A
    /// start that reaches it is refused.
    Unreadable(StoreError),
    /// It has no manifest: it is being taken, or was abandoned.
    Unfinished,
    /// It has been removed, except for parts that newer checkpoints refer to.
    Referenced,
    /// A start has found it damaged and set it aside; what is wrong with it, or `None` if by now nothing is.
    SetAside(Option<StoreError>),
}

/// One file of positions.
#[derive(Debug)]
#[non_exhaustive]
pub struct SurveyedPosition {
    /// The file's name.
    pub file: String,
    /// The length of the file.
    pub bytes: u64,
    /// Its owner and the newest position in it, or why they cannot be read.
    pub newest: Result<(PartName, EncodedState), StoreError>,
}
