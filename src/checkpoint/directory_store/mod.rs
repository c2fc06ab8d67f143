//! The checkpoint store in a directory, the default.
//!
//! ```text
//! LOCK                                        held by the live store, released by the kernel when its process ends
//! EXECUTION                                   the newest execution id
//! chk-00000000000000000007-x3/                checkpoint 7 as execution 3 took it
//!     counter-9a3b…-0.part                    one instance's state, under its own header and checksum
//!     source-51d0…-0.parts                    several instances' states, each as in a file of its own
//!     MANIFEST                                its appearance by rename makes the checkpoint complete
//! damaged-1-chk-00000000000000000006-x3/      set aside, for a person to look at
//! positions/counter-9a3b…-0.pos               write-ahead positions of a source instance
//! ```
//!
//! This file decides who may write (`admission`), and there is a file per concern for the rest. Nothing here
//! retries, and only `retain` and `abandon` delete files.

mod admission;
mod commit;
mod files;
mod layout;
mod part;
mod positions;
mod recovery;
mod retention;
mod survey;

use std::{
    path::{Path, absolute},
    sync::Arc,
};

use parking_lot::{RwLock, RwLockReadGuard};

use self::{
    admission::Admission, files::Files, layout::Attempt, part::Beside, positions::Positions,
};
use super::{
    encoded::EncodedState,
    manifest::{Manifest, PartRecord},
    snapshot::PartSink,
    store::{CheckpointStore, PartWriter, Recovered, sealed::Sealed},
    store_error::StoreError,
    survey::Survey,
    unit::PartName,
};
use crate::id::{CheckpointId, ExecutionId};
use crate::storage::codec::CodecId;
use crate::storage::{Disk, RealDisk};

/// Checkpoints in a directory on a local disk.
///
/// One store that has begun an execution owns the directory; others can read it (`latest`, `list`,
/// `read_part`) without changing anything. The owner holds an advisory file lock, so the directory must be on
/// a file system that has such locks.
///
/// ```
/// use streamwork::checkpoint::{CheckpointStore, DirectoryStore, StoreError};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let first = DirectoryStore::open(directory.path().join("checkpoints")).unwrap();
/// first.begin_execution().unwrap();
///
/// let second = DirectoryStore::open(directory.path().join("checkpoints")).unwrap();
/// assert!(matches!(second.begin_execution(), Err(StoreError::InUse { .. })));
///
/// drop(first);
/// second.begin_execution().unwrap();
/// ```
#[derive(Debug)]
pub struct DirectoryStore {
    files: Files,
    /// Locked for reading by calls that write parts and positions, and for writing by calls that decide: a
    /// new execution waits until the calls of the old one are over, and then fences it.
    admission: RwLock<Admission>,
    positions: Positions,
}

impl DirectoryStore {
    /// Opens the directory, and creates it and its parents if necessary. Takes no lock yet. A relative path
    /// is resolved now, against the current working directory.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if it cannot be created or listed.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(RealDisk), dir)
    }

    /// Opens a directory on the caller's disk, for tests that let it fail.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use streamwork::checkpoint::DirectoryStore;
    /// use streamwork::storage::RealDisk;
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// DirectoryStore::open_on(Arc::new(RealDisk), directory.path()).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if it cannot be created or listed.
    pub fn open_on(disk: Arc<dyn Disk>, dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = absolute(dir.as_ref()).map_err(files::failed("find", dir.as_ref()))?;
        let files = Files::new(disk, &root);
        files.create_dir_durably(files.root())?;
        files.list(files.root())?;
        Ok(Self { files, admission: RwLock::default(), positions: Positions::default() })
    }

    /// The directory, from the root on.
    ///
    /// ```
    /// use streamwork::checkpoint::DirectoryStore;
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// let store = DirectoryStore::open(directory.path()).unwrap();
    /// assert_eq!(store.path(), directory.path());
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        self.files.root()
    }

    /// Looks at everything in the directory and verifies it: complete checkpoints, damaged ones, unfinished ones, those set
    /// aside, and positions. Takes no lock and changes nothing, also while a job runs on the directory.
    ///
    /// Reads every part of every checkpoint, one at a time.
    ///
    /// ```
    /// use streamwork::CheckpointId;
    /// use streamwork::checkpoint::{CheckpointStore, Condition, DirectoryStore, Manifest, PartName};
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// let owner = DirectoryStore::open(directory.path()).unwrap();
    /// let (execution, checkpoint) = (owner.begin_execution().unwrap(), CheckpointId(1));
    /// let part = owner.write_part(execution, checkpoint, &PartName::new("count", 0), &b"42".into()).unwrap();
    /// let mut manifest = Manifest::new(execution, checkpoint, "numbers");
    /// manifest.parts = vec![part];
    /// owner.commit(&manifest).unwrap();
    ///
    /// let survey = DirectoryStore::open(directory.path()).unwrap().survey().unwrap();
    /// let Condition::Complete(found) = &survey.checkpoints[0].condition else { panic!() };
    /// assert_eq!(*found, manifest);
    /// ```
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if a file cannot be read. Damage and files of another version are in the survey
    /// instead.
    pub fn survey(&self) -> Result<Survey, StoreError> {
        survey::survey(&self.files)
    }

    /// Admits a writer of `execution`, and keeps the next execution from beginning until the guard is
    /// dropped.
    fn admit(&self, execution: ExecutionId) -> Result<RwLockReadGuard<'_, Admission>, StoreError> {
        let admission = self.admission.read();
        admission.admit(execution)?;
        Ok(admission)
    }
}

/// A part that is being written. No next execution begins before it is finished or dropped.
#[derive(Debug)]
struct Admitted<'a> {
    part: part::Begun<'a>,
    _admission: RwLockReadGuard<'a, Admission>,
}

impl PartSink for Admitted<'_> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.part.append(bytes)
    }
}

impl PartWriter for Admitted<'_> {
    fn finish(self: Box<Self>) -> Result<PartRecord, StoreError> {
        self.part.finish()
    }
}

impl Sealed for DirectoryStore {}

impl CheckpointStore for DirectoryStore {
    fn begin_execution(&self) -> Result<ExecutionId, StoreError> {
        let mut admission = self.admission.write();
        self.positions.close();
        admission.begin(&self.files)
    }

    fn latest(&self) -> Result<Option<Recovered>, StoreError> {
        let admission = self.admission.write();
        if admission.is_begun() {
            recovery::latest_for_owner(&self.files)
        } else {
            recovery::latest(&self.files)
        }
    }

    fn read(&self, part: &PartRecord) -> Result<EncodedState, StoreError> {
        let attempt = Attempt::of_location(&part.at);
        let (root, directory) = (self.files.root(), attempt.path(self.files.root()));
        let beside = Beside { root, own: (attempt, &directory) };
        part::read(&self.files, beside, part)?
            .map_err(|source| StoreError::unreadable(beside.path(part), source))
    }

    fn begin_part<'a>(
        &'a self,
        execution: ExecutionId,
        checkpoint: CheckpointId,
        name: &PartName,
        codec: CodecId,
    ) -> Result<Box<dyn PartWriter + 'a>, StoreError> {
        let admission = self.admit(execution)?;
        admission.admit_checkpoint(checkpoint)?;
        let attempt = Attempt { execution, checkpoint };
        let part = part::Begun::begin(&self.files, attempt, name, codec)?;
        Ok(Box::new(Admitted { part, _admission: admission }))
    }

    /// All of them in one file, which is written and synchronized once.
    fn write_parts(
        &self,
        execution: ExecutionId,
        checkpoint: CheckpointId,
        parts: &[(PartName, EncodedState)],
    ) -> Result<Vec<PartRecord>, StoreError> {
        let admission = self.admit(execution)?;
        admission.admit_checkpoint(checkpoint)?;
        let attempt = Attempt { execution, checkpoint };
        part::write_together(&self.files, attempt, parts)
    }

    fn commit(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let mut admission = self.admission.write();
        admission.admit(manifest.execution)?;
        admission.admit_checkpoint(manifest.checkpoint)?;
        let fence = || admission.fence(&self.files);
        // First of all too: a successor may have cleared away the parts, which is not what is wrong.
        fence()?;
        let committed = commit::commit(&self.files, manifest, fence);
        if matches!(committed, Ok(()) | Err(StoreError::InDoubt { .. })) {
            admission.note_committed(manifest.checkpoint);
        }
        committed
    }

    fn abandon(&self, execution: ExecutionId, checkpoint: CheckpointId) -> Result<(), StoreError> {
        let admission = self.admission.write();
        admission.fence(&self.files)?;
        let attempt = Attempt { execution, checkpoint };
        retention::abandon(&self.files, attempt)
    }

    fn retain(
        &self,
        keep: usize,
        in_use: Option<CheckpointId>,
    ) -> Result<Vec<CheckpointId>, StoreError> {
        let admission = self.admission.read();
        admission.fence(&self.files)?;
        retention::retain(&self.files, keep, in_use)
    }

    fn write_position(
        &self,
        execution: ExecutionId,
        name: &PartName,
        position: &EncodedState,
    ) -> Result<(), StoreError> {
        let admission = self.admit(execution)?;
        admission.fence(&self.files)?;
        self.positions.write(&self.files, execution, name, position)?;
        // Whoever took over before this was written starts from an older position.
        admission.fence(&self.files)
    }

    fn read_position(&self, name: &PartName) -> Result<Option<EncodedState>, StoreError> {
        positions::read(&self.files, name)
    }

    fn list(&self) -> Result<Vec<Manifest>, StoreError> {
        recovery::list(&self.files)
    }

    fn stored_bytes(&self) -> Result<u64, StoreError> {
        self.files.bytes_below(self.files.root())
    }

    fn release(&self) {
        let mut admission = self.admission.write();
        self.positions.close();
        *admission = Admission::default();
    }
}
