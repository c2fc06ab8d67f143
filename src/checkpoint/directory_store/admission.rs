//! Who may write: the lock keeps out other processes, and the execution id fences old executions.
//!
//! The lock is released with the process, however it ends. If a lock is lost without its owner knowing, the
//! id on the disk still fences the old owner at the points that matter: commit, abandon, retain, positions,
//! and the next execution.

use super::{
    super::store_error::StoreError,
    files::Files,
    layout::{self, Attempt},
};
use crate::id::{CheckpointId, ExecutionId};
use crate::storage::DiskLock;
use crate::storage::codec;
use crate::storage::envelope::{self, FormatError, Kind};

/// What a store value knows about its right to write.
#[derive(Debug, Default)]
pub(super) struct Admission {
    lock: Option<Box<dyn DiskLock>>,
    execution: Option<ExecutionId>,
    /// The newest checkpoint that this execution has committed.
    committed: Option<CheckpointId>,
}

impl Admission {
    /// Takes the lock, unless it is held already, and makes the next execution id durable. On failure it
    /// releases the lock.
    pub(super) fn begin(&mut self, files: &Files) -> Result<ExecutionId, StoreError> {
        let before = self.execution.take();
        self.committed = None;
        let lock = match self.lock.take() {
            Some(lock) => still_ours(files, before).map(|()| lock)?,
            None => take_lock(files)?,
        };
        let execution = next_execution(files)?;
        let bytes = envelope::seal(&KIND, &codec::encode(&execution)?);
        files.replace(&files.root().join(layout::EXECUTION), &[&bytes])?;
        self.lock = Some(lock);
        self.execution = Some(execution);
        Ok(execution)
    }

    pub(super) fn is_begun(&self) -> bool {
        self.execution.is_some()
    }

    /// Whether `execution` is the one that has begun here.
    pub(super) fn admit(&self, execution: ExecutionId) -> Result<(), StoreError> {
        match self.execution {
            None => Err(StoreError::NotBegun),
            Some(newest) if newest != execution => Err(StoreError::Fenced { execution, newest }),
            Some(_) => Ok(()),
        }
    }

    /// Whether `checkpoint` is newer than all that this execution has committed.
    pub(super) fn admit_checkpoint(&self, checkpoint: CheckpointId) -> Result<(), StoreError> {
        match self.committed {
            Some(committed) if checkpoint <= committed => {
                Err(StoreError::TooLate { checkpoint, committed })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn note_committed(&mut self, checkpoint: CheckpointId) {
        self.committed = Some(checkpoint);
    }

    /// Whether the execution that has begun here is also the newest on the disk.
    pub(super) fn fence(&self, files: &Files) -> Result<(), StoreError> {
        let execution = self.execution.ok_or(StoreError::NotBegun)?;
        match read_execution(files)? {
            Some(newest) if newest == execution => Ok(()),
            Some(newest) => Err(StoreError::Fenced { execution, newest }),
            None => Err(StoreError::Damaged {
                path: files.root().join(layout::EXECUTION),
                source: FormatError::Missing { expected: KIND.what.to_owned() },
            }),
        }
    }
}

fn take_lock(files: &Files) -> Result<Box<dyn DiskLock>, StoreError> {
    let path = files.root().join(layout::LOCK);
    match files.try_lock(&path)? {
        Some(lock) => Ok(lock),
        None => Err(StoreError::InUse { path }),
    }
}

/// An owner that lost its lock without knowing must not take the store back from its new owner.
fn still_ours(files: &Files, before: Option<ExecutionId>) -> Result<(), StoreError> {
    match (before, read_execution(files)?) {
        (Some(execution), Some(newest)) if newest != execution => {
            Err(StoreError::Fenced { execution, newest })
        }
        _ => Ok(()),
    }
}

/// One more than any id in this store: the ids of checkpoints count too, in case the file was removed by
/// hand.
fn next_execution(files: &Files) -> Result<ExecutionId, StoreError> {
    let noted = read_execution(files)?.unwrap_or_default();
    let newest = files
        .list(files.root())?
        .iter()
        .filter_map(|entry| {
            Attempt::parse(&entry.name).or_else(|| Attempt::parse_set_aside(&entry.name))
        })
        .map(|attempt| attempt.execution)
        .fold(noted, ExecutionId::max);
    match newest.0.checked_add(1) {
        Some(next) => Ok(ExecutionId(next)),
        None => Err(StoreError::Other {
            operation: "begin another execution".to_owned(),
            source: "the ids are used up".into(),
        }),
    }
}

/// The newest execution id on the disk.
pub(super) fn read_execution(files: &Files) -> Result<Option<ExecutionId>, StoreError> {
    let path = files.root().join(layout::EXECUTION);
    let Some(bytes) = files.read(&path)? else {
        return Ok(None);
    };
    envelope::open(&KIND, &bytes)
        .and_then(|body| Ok(codec::decode(body)?))
        .map(Some)
        .map_err(|source| StoreError::unreadable(path, source))
}

const KIND: Kind = Kind {
    what: "execution id",
    magic: *b"STRWEXEC",
    version: 1,
    oldest: 1,
    codecs: envelope::OURS,
};
