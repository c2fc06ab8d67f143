//! The contract of a checkpoint store. The rest of the engine knows only this file.
//!
//! ```text
//! begin_execution ─► latest ─► read_part …                                   once per execution
//!                    write_part …, write_parts ─► commit ─► retain           once per checkpoint
//!                                               or abandon
//!                    write_position                                          once per batch, sources that ask for it
//! ```
//!
//! The order of the protocol, in which each step is durable before the next: Chandy and Lamport's consistent
//! cut says what to write; the manifest's rename as the only commit point is the usual way to make many files
//! visible at once.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{
    directory_store::DirectoryStore,
    encoded::EncodedState,
    manifest::{Manifest, PartRecord},
    snapshot::PartSink,
    store_error::StoreError,
    unit::PartName,
};
use crate::id::{CheckpointId, ExecutionId};
use crate::storage::codec::CodecId;

/// A store in which complete checkpoints survive the process. Other crates cannot implement it yet: its
/// methods still change.
///
/// Methods may be called from any thread. Parts of one checkpoint may be written by several threads at once; `commit` is
/// called after all of them returned. Within one execution checkpoint ids only grow.
///
/// An error leaves complete checkpoints as they were. The store never retries a write that failed: the caller
/// abandons the checkpoint and takes another.
///
/// ```
/// use streamwork::checkpoint::{CheckpointStore, DirectoryStore, Manifest, PartName};
/// use streamwork::CheckpointId;
///
/// # let directory = tempfile::tempdir().unwrap();
/// let store = DirectoryStore::open(directory.path()).unwrap();
/// let execution = store.begin_execution().unwrap();
/// assert!(store.latest().unwrap().is_none());
///
/// let counter = PartName::new("counter", 0);
/// let part = store.write_part(execution, CheckpointId(1), &counter, &b"42".into()).unwrap();
/// let mut manifest = Manifest::new(execution, CheckpointId(1), "count");
/// manifest.parts = vec![part];
/// store.commit(&manifest).unwrap();
///
/// let recovered = store.latest().unwrap().unwrap();
/// assert_eq!(recovered.manifest, manifest);
/// assert_eq!(store.read_part(&manifest, &counter).unwrap().unwrap().bytes, b"42");
/// ```
pub trait CheckpointStore: sealed::Sealed + Send + Sync + fmt::Debug {
    /// Begins an execution: takes the store for this process, and makes a new, higher execution id durable.
    ///
    /// Called again on a store that is already taken by this value (the job restarts within its process) it gives the next
    /// id; every running call for the old id ends before, and every later one is refused.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] if another live store has it, [`StoreError::Fenced`] if another took it from this one, whose lock
    /// was lost, [`StoreError::Damaged`] or [`StoreError::UnknownFormat`] if the
    /// last id cannot be read, [`StoreError::Io`]. No execution has begun then, and the store is released.
    fn begin_execution(&self) -> Result<ExecutionId, StoreError>;

    /// The newest checkpoint whose manifest and parts all verify, or `None` if there never was a complete one.
    ///
    /// Damaged newer ones are set aside, never deleted, and reported. A store that has not begun an execution only reports.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoneUsable`] if there are checkpoints but none that verifies,
    /// [`StoreError::UnknownFormat`] if the newest was written by another version of the library,
    /// [`StoreError::Io`] if a file cannot be read. Never treat any of these as an empty store.
    fn latest(&self) -> Result<Option<Recovered>, StoreError>;

    /// The state in one part, verified.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], [`StoreError::UnknownFormat`] or [`StoreError::Io`].
    fn read(&self, part: &PartRecord) -> Result<EncodedState, StoreError>;

    /// The state in the first part of this name, verified; `None` if the manifest has no such part.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    fn read_part(
        &self,
        manifest: &Manifest,
        name: &PartName,
    ) -> Result<Option<EncodedState>, StoreError> {
        manifest.part(name).map(|part| self.read(part)).transpose()
    }

    /// Writes one part of a checkpoint that is being taken. On return its bytes survive a power failure; it counts only
    /// once a committed manifest holds the record returned.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotBegun`], [`StoreError::Fenced`], [`StoreError::TooLate`] or [`StoreError::Io`].
    fn write_part(
        &self,
        execution: ExecutionId,
        checkpoint: CheckpointId,
        name: &PartName,
        state: &EncodedState,
    ) -> Result<PartRecord, StoreError> {
        let mut part = self.begin_part(execution, checkpoint, name, state.codec)?;
        part.append(&state.bytes)?;
        part.finish()
    }

    /// Begins a part of a checkpoint that is being taken, whose bytes come piece by piece; their number is
    /// not known yet. A part that is not finished does not count.
    ///
    /// ```
    /// use streamwork::checkpoint::{CheckpointStore, DirectoryStore, Manifest, PartName, StateCodec};
    /// use streamwork::CheckpointId;
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// let store = DirectoryStore::open(directory.path()).unwrap();
    /// let (execution, checkpoint) = (store.begin_execution().unwrap(), CheckpointId(1));
    /// let counter = PartName::new("counter", 0);
    /// let codec = StateCodec::POSITIONAL;
    /// let mut part = store.begin_part(execution, checkpoint, &counter, codec).unwrap();
    /// part.append(b"4").unwrap();
    /// part.append(b"2").unwrap();
    /// let mut manifest = Manifest::new(execution, checkpoint, "count");
    /// manifest.parts = vec![part.finish().unwrap()];
    /// store.commit(&manifest).unwrap();
    /// assert_eq!(store.read_part(&manifest, &counter).unwrap().unwrap().bytes, b"42");
    /// ```
    ///
    /// # Errors
    ///
    /// As [`write_part`](Self::write_part), which does the same for bytes that are complete.
    fn begin_part<'a>(
        &'a self,
        execution: ExecutionId,
        checkpoint: CheckpointId,
        name: &PartName,
        codec: CodecId,
    ) -> Result<Box<dyn PartWriter + 'a>, StoreError>;

    /// Writes several parts of a checkpoint that is being taken, as [`write_part`](Self::write_part) does for each. On return
    /// the bytes of all survive a power failure; each counts only once a committed manifest holds its record.
    ///
    /// The engine writes the small parts of a checkpoint with this method, all together right before
    /// `commit`, and earlier if they become too large to keep. Override it if each part costs a file, an
    /// fsync or a request. The default calls `write_part` for each.
    ///
    /// Returns a record for each part, in their order.
    ///
    /// ```
    /// use streamwork::checkpoint::{CheckpointStore, DirectoryStore, Manifest, PartName};
    /// use streamwork::CheckpointId;
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// let store = DirectoryStore::open(directory.path()).unwrap();
    /// let (execution, checkpoint) = (store.begin_execution().unwrap(), CheckpointId(1));
    /// let [first, second] = [0, 1].map(|instance| PartName::new("counter", instance));
    /// let states = [(first, b"42".into()), (second.clone(), b"7".into())];
    /// let mut manifest = Manifest::new(execution, checkpoint, "count");
    /// manifest.parts = store.write_parts(execution, checkpoint, &states).unwrap();
    /// store.commit(&manifest).unwrap();
    /// assert_eq!(store.read_part(&manifest, &second).unwrap().unwrap().bytes, b"7");
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`write_part`](Self::write_part). Some of the parts may have been written then.
    fn write_parts(
        &self,
        execution: ExecutionId,
        checkpoint: CheckpointId,
        parts: &[(PartName, EncodedState)],
    ) -> Result<Vec<PartRecord>, StoreError> {
        let write = |(name, state): &(PartName, EncodedState)| {
            self.write_part(execution, checkpoint, name, state)
        };
        parts.iter().map(write).collect()
    }

    /// Makes a checkpoint complete. On `Ok` it and all its parts survive a power failure.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotBegun`], [`StoreError::Fenced`] if the manifest's execution is not the newest,
    /// [`StoreError::TooLate`], [`StoreError::PartNotWritten`], [`StoreError::Io`]: the checkpoint is not complete.
    /// [`StoreError::InDoubt`]: it may be.
    fn commit(&self, manifest: &Manifest) -> Result<(), StoreError>;

    /// Removes the files of an abandoned checkpoint. Does nothing if it was committed, or has no files.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotBegun`], [`StoreError::Fenced`] or [`StoreError::Io`]; what remains, `retain` removes later.
    fn abandon(&self, execution: ExecutionId, checkpoint: CheckpointId) -> Result<(), StoreError>;

    /// Deletes complete checkpoints except the newest `keep` (at least two are kept) and `in_use`, and the
    /// files of abandoned ones that are older than the newest complete one. Damaged ones are neither counted
    /// nor deleted.
    ///
    /// Returns the complete ones deleted, oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotBegun`], [`StoreError::Fenced`] or [`StoreError::Io`]; a later call continues where
    /// this one ended.
    fn retain(
        &self,
        keep: usize,
        in_use: Option<CheckpointId>,
    ) -> Result<Vec<CheckpointId>, StoreError>;

    /// Copies the newest complete checkpoint into a directory, which is created, or is empty: with everything that it
    /// refers to, so that it can be restored without this store ([`DirectoryStore`]). It is
    /// durable on return. What is copied stays here meanwhile. The default says that the store cannot.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotEmpty`], [`StoreError::Io`], or [`StoreError::Other`] if there is no checkpoint.
    fn copy_newest(&self, to: &Path) -> Result<Manifest, StoreError> {
        Err(StoreError::Other {
            operation: format!("copy a checkpoint into {}", to.display()),
            source: "it is of a kind that has no copies".into(),
        })
    }

    /// A directory into which a checkpoint was copied, as a store that is only read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if there is no such directory.
    fn open_copy(&self, from: &Path) -> Result<Arc<dyn CheckpointStore>, StoreError> {
        Ok(Arc::new(DirectoryStore::open(from)?))
    }

    /// Writes the position of a source instance *before* the events up to it are emitted. Durable on return;
    /// the newest position counts. Independent of checkpoints.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotBegun`], [`StoreError::Fenced`] or [`StoreError::Io`]; the events must not be emitted then.
    fn write_position(
        &self,
        execution: ExecutionId,
        name: &PartName,
        position: &EncodedState,
    ) -> Result<(), StoreError>;

    /// The newest position of a source instance, or `None` if it never wrote one.
    ///
    /// A record that a crash cut short counts as never written: the events that it covers were not emitted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] if any other record is damaged, [`StoreError::UnknownFormat`] or [`StoreError::Io`].
    fn read_position(&self, name: &PartName) -> Result<Option<EncodedState>, StoreError>;

    /// The manifests of all complete checkpoints, newest first, for inspection. Parts are not read. Damaged
    /// manifests are left out; [`latest`](Self::latest) reports them.
    ///
    /// # Errors
    ///
    /// [`StoreError::UnknownFormat`] or [`StoreError::Io`].
    fn list(&self) -> Result<Vec<Manifest>, StoreError>;

    /// The number of bytes of everything that is stored at present.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    fn stored_bytes(&self) -> Result<u64, StoreError>;

    /// Releases the store, so that another owner may take it. Nothing can be written until the next
    /// [`begin_execution`](Self::begin_execution). Dropping the store does the same.
    fn release(&self);
}

/// A part that is being written; see [`CheckpointStore::begin_part`].
pub trait PartWriter: PartSink {
    /// The part is complete. On return its bytes survive a power failure.
    ///
    /// # Errors
    ///
    /// As [`CheckpointStore::write_part`].
    fn finish(self: Box<Self>) -> Result<PartRecord, StoreError>;
}

/// Only this crate implements stores until the trait is stable.
pub(crate) mod sealed {
    /// Other crates cannot name it.
    pub trait Sealed {}
}

/// What [`CheckpointStore::latest`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The checkpoint to start from.
    pub manifest: Manifest,
    /// The newer ones that could not be used, newest first.
    pub set_aside: Vec<SetAside>,
}

/// A checkpoint that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAside {
    /// The execution that took it.
    pub execution: ExecutionId,
    /// Its number.
    pub checkpoint: CheckpointId,
    /// What is wrong with it, for a person.
    pub reason: String,
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { execution, checkpoint, reason } = self;
        write!(f, "checkpoint {checkpoint} of execution {execution}: {reason}")
    }
}
