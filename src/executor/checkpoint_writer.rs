//! Encodes state and writes checkpoints, on a separate thread, so that no instance waits for a disk.
//!
//! The writer does its tasks in order: parts, then the manifest, then the clean-up. It keeps the last parts
//! of instances that have ended, which belong to every later checkpoint. It also keeps the small parts of a
//! checkpoint until its manifest is due: the store gets them together, and they are durable before the
//! manifest. What a checkpoint has of keys may stand in earlier ones ([`Carried`]).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::checkpoint::{
    CheckpointStore, CodecError, CodecId, ComponentRecord, EncodedState, Location, Manifest, Part,
    PartKind, PartName, PartRecord, PartSink, Snapshot, SnapshotError, StoreError, Unit, encoded,
};
use crate::clock::{Clock, Timestamp};
use crate::error::{Cause, with_causes};
use crate::executor::carried::{Carried, hull};
use crate::executor::small_parts::{PartOr, PartOrSmall, SmallParts};
use crate::executor::writer_queue::{Taken, Task};
use crate::id::{CheckpointId, ExecutionId};
use crate::time::EventTime;

/// What became of it.
#[derive(Debug)]
pub(crate) enum Written {
    /// The parts of an instance are stored, or are kept to be stored before the manifest.
    Parts {
        checkpoint: CheckpointId,
        instance: usize,
        taken: Taken,
        work: Work,
    },
    LastParts {
        instance: usize,
    },
    Committed {
        checkpoint: CheckpointId,
        work: Work,
        /// The time that the manifest took.
        committing: Duration,
    },
    /// A checkpoint cannot be completed.
    Failed {
        checkpoint: CheckpointId,
        reason: String,
    },
    /// No checkpoint can be taken any more in this execution: last parts could not be encoded, or it is
    /// unknown whether a checkpoint was committed. The next execution finds out.
    Unusable {
        instance: usize,
        reason: String,
    },
    /// A state was encoded but cannot be restored from its bytes: no checkpoint with it could be used.
    NotGivenBack {
        name: PartName,
        error: CodecError,
    },
}

/// What the writer did for a checkpoint in one task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) encoding: Duration,
    pub(crate) writing: Duration,
    /// Bytes of state.
    pub(crate) bytes: u64,
    pub(crate) parts: u64,
}

impl Work {
    fn add(&mut self, more: Self) {
        self.encoding += more.encoding;
        self.writing += more.writing;
        self.bytes += more.bytes;
        self.parts += more.parts;
    }
}

/// A part of an instance that has ended.
#[derive(Clone)]
struct LastPart {
    name: PartName,
    state: EncodedState,
    marks: Marks,
}

/// What a part does not say of itself, for its record in the manifest.
#[derive(Clone, Copy)]
struct Marks {
    watermark: Option<EventTime>,
    cut_at: Option<Timestamp>,
    kind: PartKind,
}

pub(crate) struct CheckpointWriter {
    store: Arc<dyn CheckpointStore>,
    clock: Arc<dyn Clock>,
    execution: ExecutionId,
    job: String,
    cut: &'static str,
    components: Vec<ComponentRecord>,
    records: BTreeMap<CheckpointId, BTreeMap<PartName, PartRecord>>,
    answered: BTreeMap<CheckpointId, Vec<usize>>,
    /// What was done for instances that have given some of their parts.
    begun: BTreeMap<(CheckpointId, usize), Work>,
    marks: BTreeMap<CheckpointId, BTreeMap<PartName, Marks>>,
    /// Parts of earlier checkpoints that those of one have absorbed.
    absorbed: BTreeMap<CheckpointId, Vec<Location>>,
    carried: Carried,
    last_parts: BTreeMap<usize, Vec<LastPart>>,
    small: SmallParts,
    /// Components whose first state was read back.
    read_back: BTreeSet<String>,
    /// What was done in the running task.
    work: Work,
}

impl CheckpointWriter {
    pub(crate) fn new(
        store: Arc<dyn CheckpointStore>,
        clock: Arc<dyn Clock>,
        execution: ExecutionId,
        job: String,
        cut: &'static str,
        components: Vec<ComponentRecord>,
    ) -> Self {
        Self {
            store,
            clock,
            execution,
            job,
            cut,
            components,
            records: BTreeMap::new(),
            answered: BTreeMap::new(),
            begun: BTreeMap::new(),
            marks: BTreeMap::new(),
            absorbed: BTreeMap::new(),
            carried: Carried::default(),
            last_parts: BTreeMap::new(),
            small: SmallParts::default(),
            read_back: BTreeSet::new(),
            work: Work::default(),
        }
    }

    /// Works until its queue is closed.
    pub(crate) fn run(mut self, tasks: Receiver<Task>, to: Sender<Written>) {
        for task in tasks {
            let written = self.answer(task);
            if written.is_some_and(|written| to.send(written).is_err()) {
                return;
            }
        }
    }

    /// Does one task.
    pub(crate) fn answer(&mut self, task: Task) -> Option<Written> {
        let (checkpoint, unknown) = (task.checkpoint(), matches!(task, Task::Commit { .. }));
        let done = catch_unwind(AssertUnwindSafe(|| self.perform(task)));
        done.unwrap_or_else(|payload| {
            // The store has panicked. It is unknown whether it had committed before.
            let reason = Cause::panic(payload).to_string();
            Some(match unknown {
                true => Written::Unusable { instance: 0, reason },
                false => Written::Failed { checkpoint, reason },
            })
        })
    }

    fn perform(&mut self, task: Task) -> Option<Written> {
        self.work = Work::default();
        match task {
            Task::Parts { checkpoint, instance, taken, parts, more } => {
                for part in parts.take()? {
                    match self.write(checkpoint, part) {
                        Ok(()) => {}
                        Err(Unwritten::Failed(reason)) => {
                            return Some(Written::Failed { checkpoint, reason });
                        }
                        Err(Unwritten::NotGivenBack(name, error)) => {
                            return Some(Written::NotGivenBack { name, error });
                        }
                    }
                }
                let work = self.begun.entry((checkpoint, instance)).or_default();
                work.add(self.work);
                if more {
                    return None;
                }
                let work = *work;
                self.begun.remove(&(checkpoint, instance));
                self.answered.entry(checkpoint).or_default().push(instance);
                Some(Written::Parts { checkpoint, instance, taken, work })
            }
            Task::LastParts { instance, parts } => {
                Some(match parts.into_iter().map(|part| self.encode_last(part)).collect() {
                    Ok(encoded) => {
                        self.last_parts.insert(instance, encoded);
                        Written::LastParts { instance }
                    }
                    Err(Unwritten::Failed(reason)) => Written::Unusable { instance, reason },
                    Err(Unwritten::NotGivenBack(name, error)) => {
                        Written::NotGivenBack { name, error }
                    }
                })
            }
            Task::Commit { checkpoint } => Some(match self.commit(checkpoint) {
                Ok(committing) => Written::Committed { checkpoint, work: self.work, committing },
                Err(Uncommitted::No(reason)) => Written::Failed { checkpoint, reason },
                Err(Uncommitted::Unknown(reason)) => Written::Unusable { instance: 0, reason },
            }),
            Task::Abandon { checkpoint } => {
                self.forget(checkpoint);
                if let Err(error) = self.store.abandon(self.execution, checkpoint) {
                    tracing::warn!(%checkpoint, %error, "an abandoned checkpoint was not removed");
                }
                None
            }
            Task::Retain { keep } => {
                match self.store.retain(keep, None) {
                    Ok(deleted) => tracing::trace!(?deleted, "old checkpoints removed"),
                    Err(error) => tracing::warn!(%error, "old checkpoints were not removed"),
                }
                None
            }
        }
    }

    /// Writes the state of one component, piece by piece; a small one is kept.
    fn write(&mut self, of: CheckpointId, part: Part) -> Result<(), Unwritten> {
        let Part { name, state, watermark, cut_at, kind } = part;
        let codec = state.codec();
        let (name, older) = match kind {
            PartKind::Delta => self.absorb(of, name, codec),
            PartKind::Whole => (name, Vec::new()),
        };
        self.marks.entry(of).or_default().insert(name.clone(), Marks { watermark, cut_at, kind });
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let execution = self.execution;
        let begin = || store.begin_part(execution, of, &name, codec);
        let mut sink = PartOrSmall::new(&begin, &*clock);
        let began = clock.now();
        let absorbed = older.iter().try_for_each(|bytes| sink.append(bytes));
        let absorbed = absorbed.map_err(|error| Unwritten::Failed(with_causes(&error)));
        let written = absorbed.and_then(|()| self.encode(&name, state, &mut sink));
        self.work.encoding += clock.now().since(began).saturating_sub(sink.writing());
        let stored = written
            .and_then(|()| sink.finish().map_err(|error| Unwritten::Failed(with_causes(&error))));
        let (stored, writing, bytes) = stored?;
        self.work.writing += writing;
        self.work.bytes += bytes;
        self.work.parts += 1;
        match stored {
            PartOr::Large(record) => {
                self.records.entry(of).or_default().insert(name, record);
                Ok(())
            }
            PartOr::Small(bytes) => {
                let full = self.small.keep(of, (name, EncodedState { codec, bytes }));
                let stored = if full { self.store_small_parts(of) } else { Ok(()) };
                stored.map_err(Unwritten::Failed)
            }
        }
    }

    /// The bytes of earlier deltas that one of this name begins with, and its name then: its range is that of all of
    /// them. What cannot be read is left where it is.
    fn absorb(
        &mut self,
        of: CheckpointId,
        name: PartName,
        codec: CodecId,
    ) -> (PartName, Vec<Vec<u8>>) {
        let component = self.components.iter().find(|known| known.name == name.component);
        let parallelism = component.map_or(1, |known| known.parallelism);
        let parallelism = usize::try_from(parallelism).unwrap_or(1).max(1);
        let wanted = self.carried.absorbed_by(&name, parallelism);
        let known = self.absorbed.entry(of).or_default();
        if wanted.iter().any(|part| part.codec != codec || known.contains(&part.at)) {
            return (name, Vec::new());
        }
        let read = wanted.iter().map(|part| self.store.read(part).map(|state| state.bytes));
        match read.collect::<Result<Vec<_>, StoreError>>() {
            Ok(older) => {
                known.extend(wanted.iter().map(|part| part.at.clone()));
                (wanted.iter().fold(name, |name, part| hull(&name, part)), older)
            }
            Err(error) => {
                tracing::warn!(%name, error = with_causes(&error), "changes in an earlier checkpoint cannot be read");
                (name, Vec::new())
            }
        }
    }

    /// The last state of one component as bytes, which are kept.
    fn encode_last(&mut self, part: Part) -> Result<LastPart, Unwritten> {
        let Part { name, state, watermark, cut_at, kind } = part;
        let (codec, mut bytes) = (state.codec(), Vec::new());
        self.encode(&name, state, &mut bytes)?;
        let state = EncodedState { codec, bytes };
        Ok(LastPart { name, state, marks: Marks { watermark, cut_at, kind } })
    }

    /// Encodes a state; a panic of its `Serialize` is an error like any other. The first of each component is read
    /// back as well.
    fn encode(
        &mut self,
        name: &PartName,
        part: Box<dyn Snapshot>,
        to: &mut dyn PartSink,
    ) -> Result<(), Unwritten> {
        let is_first = !self.read_back.contains(&name.component);
        let encoded = catch_unwind(AssertUnwindSafe(|| match is_first {
            true => part.write_and_read_back(to),
            false => part.write(to),
        }));
        if is_first {
            self.read_back.insert(name.component.clone());
        }
        match encoded {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SnapshotError::Codec(error @ CodecError::NotGivenBack { .. }))) => {
                Err(Unwritten::NotGivenBack(name.clone(), error))
            }
            Ok(Err(SnapshotError::Store(error))) => Err(Unwritten::Failed(with_causes(&error))),
            Ok(Err(error)) => Err(Unwritten::Failed(format!("{name}: {}", with_causes(&error)))),
            Err(payload) => Err(Unwritten::Failed(format!("{name}: {}", Cause::panic(payload)))),
        }
    }

    fn keep_or_store(&mut self, of: CheckpointId, part: LastPart) -> Result<(), String> {
        let LastPart { name, state, marks: Marks { watermark, cut_at, kind } } = part;
        match self.write(of, Part { name, state: encoded(state), watermark, cut_at, kind }) {
            Ok(()) => Ok(()),
            Err(Unwritten::Failed(reason)) => Err(reason),
            Err(Unwritten::NotGivenBack(_, error)) => Err(with_causes(&error)),
        }
    }

    fn store_small_parts(&mut self, of: CheckpointId) -> Result<(), String> {
        let parts = self.small.take(of);
        if parts.is_empty() {
            return Ok(());
        }
        let began = self.clock.now();
        let stored = self.store.write_parts(self.execution, of, &parts);
        self.work.writing += self.clock.now().since(began);
        let stored = stored.map_err(|error| with_causes(&error))?;
        if stored.len() != parts.len() {
            // In a manifest without some of the parts, these instances would seem to have no state.
            let (stored, parts) = (stored.len(), parts.len());
            return Err(format!("the checkpoint store has records of {stored} of {parts} parts"));
        }
        let names = parts.into_iter().map(|(name, _)| name);
        self.records.entry(of).or_default().extend(names.zip(stored));
        Ok(())
    }

    /// Stores the missing parts of a checkpoint: the last parts of instances that have ended, and all kept
    /// parts.
    fn complete(&mut self, checkpoint: CheckpointId) -> Result<(), String> {
        let answered = self.answered.get(&checkpoint).cloned().unwrap_or_default();
        let missing: Vec<_> = self
            .last_parts
            .iter()
            .filter(|(instance, _)| !answered.contains(instance))
            .flat_map(|(_, parts)| parts.iter().cloned())
            .collect();
        for part in missing {
            self.keep_or_store(checkpoint, part)?;
        }
        self.store_small_parts(checkpoint)
    }

    /// Completes a checkpoint. The time that its manifest took.
    fn commit(&mut self, checkpoint: CheckpointId) -> Result<Duration, Uncommitted> {
        // A store that panics here was not asked to commit yet, so nothing is in doubt.
        catch_unwind(AssertUnwindSafe(|| self.complete(checkpoint)))
            .unwrap_or_else(|payload| Err(Cause::panic(payload).to_string()))
            .map_err(Uncommitted::No)?;
        let parts = self.records.get(&checkpoint).into_iter().flatten();
        let mut manifest = Manifest::new(self.execution, checkpoint, self.job.clone());
        self.cut.clone_into(&mut manifest.cut);
        manifest.components.clone_from(&self.components);
        manifest.taken_unix_ms = self.clock.unix_ms();
        let marks = self.marks.get(&checkpoint);
        let record = |(name, record): (&PartName, &PartRecord)| {
            let marks = marks.and_then(|known| known.get(name));
            let Marks { watermark, cut_at, kind } = marks.copied().unwrap_or(Marks::NONE);
            let cut_at = cut_at.map(|at| at.0);
            PartRecord { watermark, cut_at, kind, ..record.clone() }
        };
        let absorbed = self.absorbed.get(&checkpoint).map_or(&[][..], Vec::as_slice);
        manifest.parts = self.carried.with(parts.map(record).collect(), absorbed);
        let began = self.clock.now();
        self.store.commit(&manifest).map_err(|error| match &error {
            // A process that was replaced finds that out when it restarts.
            StoreError::InDoubt { .. } | StoreError::Fenced { .. } => {
                Uncommitted::Unknown(with_causes(&error))
            }
            _ => Uncommitted::No(with_causes(&error)),
        })?;
        let committing = self.clock.now().since(began);
        self.carried.committed(&manifest);
        self.drop_what_is_carried(checkpoint);
        self.forget(checkpoint);
        Ok(committing)
    }

    /// Last parts of keys that are in a complete checkpoint are carried over to the next one from there.
    fn drop_what_is_carried(&mut self, complete: CheckpointId) {
        let answered = self.answered.remove(&complete).unwrap_or_default();
        let stored =
            self.last_parts.iter_mut().filter(|(instance, _)| !answered.contains(instance));
        for (_, parts) in stored {
            parts.retain(|part| !matches!(part.name.unit, Unit::Range(_)));
        }
    }

    /// Drops everything about this checkpoint and older ones.
    fn forget(&mut self, checkpoint: CheckpointId) {
        self.records.retain(|of, _| *of > checkpoint);
        self.marks.retain(|of, _| *of > checkpoint);
        self.absorbed.retain(|of, _| *of > checkpoint);
        self.answered.retain(|of, _| *of > checkpoint);
        self.small.forget(checkpoint);
    }
}

impl Marks {
    const NONE: Self = Self { watermark: None, cut_at: None, kind: PartKind::Whole };
}

/// Why a state was not written.
enum Unwritten {
    /// It could not be encoded or stored this time.
    Failed(String),
    /// It can be encoded, but not restored from its bytes.
    NotGivenBack(PartName, CodecError),
}

/// Why a checkpoint is not known to be committed.
enum Uncommitted {
    /// It is certainly not committed.
    No(String),
    /// It may be committed: it must be neither announced nor abandoned.
    Unknown(String),
}

impl Task {
    fn checkpoint(&self) -> CheckpointId {
        match self {
            Self::Parts { checkpoint, .. }
            | Self::Commit { checkpoint }
            | Self::Abandon { checkpoint } => *checkpoint,
            Self::LastParts { .. } | Self::Retain { .. } => CheckpointId(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{CodecId, DirectoryStore, PartWriter, Recovered};
    use crate::clock::MonotonicClock;
    use crate::executor::instance::Parts;
    use crate::executor::writer_queue::Revocable;
    use crate::sync::Mutex;

    const SMALL: usize = 10;
    const LARGE: usize = 5_000;

    /// What becomes of the next part that the store gets.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Fate {
        Written,
        Refused,
        Panic,
    }

    /// A store that does not know how to write parts together, and notes in which order it gets what.
    #[derive(Debug)]
    struct Noting {
        store: DirectoryStore,
        noted: Mutex<Vec<String>>,
        fate: Mutex<Fate>,
    }

    impl crate::checkpoint::Sealed for Noting {}

    impl CheckpointStore for Noting {
        fn begin_execution(&self) -> Result<ExecutionId, StoreError> {
            self.store.begin_execution()
        }
        fn latest(&self) -> Result<Option<Recovered>, StoreError> {
            self.store.latest()
        }
        fn read(&self, part: &PartRecord) -> Result<EncodedState, StoreError> {
            self.store.read(part)
        }
        fn begin_part<'a>(
            &'a self,
            execution: ExecutionId,
            checkpoint: CheckpointId,
            name: &PartName,
            codec: CodecId,
        ) -> Result<Box<dyn PartWriter + 'a>, StoreError> {
            match *self.fate.lock() {
                Fate::Written => {}
                Fate::Refused => return Err(StoreError::NotBegun),
                Fate::Panic => panic!("no part is wanted"),
            }
            self.noted.lock().push(name.to_string());
            self.store.begin_part(execution, checkpoint, name, codec)
        }
        fn commit(&self, manifest: &Manifest) -> Result<(), StoreError> {
            self.noted.lock().push("commit".to_owned());
            self.store.commit(manifest)
        }
        fn abandon(&self, of: ExecutionId, checkpoint: CheckpointId) -> Result<(), StoreError> {
            self.store.abandon(of, checkpoint)
        }
        fn retain(
            &self,
            keep: usize,
            in_use: Option<CheckpointId>,
        ) -> Result<Vec<CheckpointId>, StoreError> {
            self.store.retain(keep, in_use)
        }
        fn write_position(
            &self,
            execution: ExecutionId,
            name: &PartName,
            position: &EncodedState,
        ) -> Result<(), StoreError> {
            self.store.write_position(execution, name, position)
        }
        fn read_position(&self, name: &PartName) -> Result<Option<EncodedState>, StoreError> {
            self.store.read_position(name)
        }
        fn list(&self) -> Result<Vec<Manifest>, StoreError> {
            self.store.list()
        }
        fn stored_bytes(&self) -> Result<u64, StoreError> {
            self.store.stored_bytes()
        }
        fn release(&self) {
            self.store.release();
        }
    }

    /// A writer in a directory, and the store that it writes to.
    struct Scene<S> {
        directory: tempfile::TempDir,
        store: Arc<S>,
        writer: CheckpointWriter,
    }

    impl<S: CheckpointStore + 'static> Scene<S> {
        fn new(of: impl FnOnce(DirectoryStore) -> S) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let store = Arc::new(of(DirectoryStore::open(directory.path()).expect("it opens")));
            let execution = store.begin_execution().expect("it begins");
            let (same, clock) = (Arc::clone(&store), Arc::new(MonotonicClock::default()));
            let job = "count".to_owned();
            let writer = CheckpointWriter::new(same, clock, execution, job, "aligned", Vec::new());
            Self { directory, store, writer }
        }

        fn parts(&mut self, checkpoint: u64, instance: usize, bytes: usize) -> Written {
            let checkpoint = CheckpointId(checkpoint);
            let parts = Revocable::new(parts(instance, bytes));
            let task =
                Task::Parts { checkpoint, instance, taken: Taken::default(), parts, more: false };
            self.writer.answer(task).expect("parts are answered")
        }

        fn commit(&mut self, checkpoint: u64) -> Written {
            let task = Task::Commit { checkpoint: CheckpointId(checkpoint) };
            self.writer.answer(task).expect("a commit is answered")
        }

        fn abandon(&mut self, checkpoint: u64) {
            let task = Task::Abandon { checkpoint: CheckpointId(checkpoint) };
            assert!(self.writer.answer(task).is_none());
        }

        /// The instances that the newest checkpoint has a part of, each of which must be readable.
        fn newest(&self) -> Vec<usize> {
            let manifest = self.store.latest().expect("readable").expect("complete").manifest;
            let names: Vec<_> = manifest.parts.iter().map(|part| part.name.clone()).collect();
            for name in &names {
                let state =
                    self.store.read_part(&manifest, name).expect("readable").expect("there");
                assert!(
                    state.bytes.iter().all(|byte| usize::from(*byte) == name.instance()),
                    "{name}"
                );
            }
            names.iter().map(PartName::instance).collect()
        }

        /// The files of a checkpoint of the first execution, by their extensions.
        fn files(&self, checkpoint: u64) -> Vec<String> {
            let path = self.directory.path().join(format!("chk-{checkpoint:020}-x1"));
            let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
            let mut extensions: Vec<_> = entries
                .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned())
                .map(|name| name.rsplit('.').next().unwrap_or_default().to_owned())
                .collect();
            extensions.sort();
            extensions
        }
    }

    fn noting() -> Scene<Noting> {
        let (noted, fate) = (Mutex::default(), Mutex::new(Fate::Written));
        Scene::new(|store| Noting { store, noted, fate })
    }

    fn parts(instance: usize, bytes: usize) -> Parts {
        let state = vec![u8::try_from(instance).expect("few instances"); bytes];
        vec![Part::new(PartName::new("counter", instance), encoded(state.into()))]
    }

    #[test]
    fn small_parts_are_stored_when_the_manifest_is_due_and_before_it_and_a_large_one_at_once() {
        let mut scene = noting();
        for (instance, bytes) in [(0, SMALL), (1, LARGE), (2, SMALL)] {
            let written = scene.parts(1, instance, bytes);
            assert!(matches!(written, Written::Parts { instance: of, .. } if of == instance));
        }
        assert_eq!(*scene.store.noted.lock(), ["counter[1]"]);
        assert!(matches!(scene.commit(1), Written::Committed { .. }));
        let noted = ["counter[1]", "counter[0]", "counter[2]", "commit"];
        assert_eq!(*scene.store.noted.lock(), noted);
        assert_eq!(scene.newest(), [0, 1, 2]);
    }

    #[test]
    fn a_hundred_small_parts_are_one_file() {
        let mut scene = Scene::new(|store| store);
        (0..100).for_each(|instance| drop(scene.parts(1, instance, SMALL)));
        assert!(scene.files(1).is_empty(), "{:?}", scene.files(1));
        assert!(matches!(scene.commit(1), Written::Committed { .. }));
        assert_eq!(scene.files(1), ["MANIFEST", "parts"]);
        assert_eq!(scene.newest().len(), 100);
    }

    #[test]
    fn last_parts_of_instances_that_have_ended_go_along_with_the_small_or_by_themselves() {
        let mut scene = Scene::new(|store| store);
        for (instance, bytes) in [(0, SMALL), (1, LARGE)] {
            let task = Task::LastParts { instance, parts: parts(instance, bytes) };
            assert!(matches!(scene.writer.answer(task), Some(Written::LastParts { .. })));
        }
        for checkpoint in [1, 2] {
            drop(scene.parts(checkpoint, 2, SMALL));
            assert!(matches!(scene.commit(checkpoint), Written::Committed { .. }));
            assert_eq!(scene.files(checkpoint), ["MANIFEST", "part", "parts"]);
            assert_eq!(scene.newest(), [0, 1, 2]);
        }
    }

    #[test]
    fn more_small_parts_than_may_be_kept_are_stored_before_the_manifest_is_due() {
        let mut scene = Scene::new(|store| store);
        let many = (0..2_500).map(|instance| {
            let state = encoded(vec![0; 4096].into());
            Part::new(PartName::new("counter", instance), state)
        });
        let (checkpoint, parts) = (CheckpointId(1), Revocable::new(many.collect()));
        let taken = Taken::default();
        let written =
            scene.writer.answer(Task::Parts { checkpoint, instance: 0, taken, parts, more: false });
        assert!(matches!(written, Some(Written::Parts { .. })), "{written:?}");
        assert_eq!(scene.files(1), ["parts", "parts"]);
        assert!(matches!(scene.commit(1), Written::Committed { .. }));
        assert_eq!(scene.files(1), ["MANIFEST", "parts", "parts", "parts"]);
        let manifest = scene.store.latest().expect("readable").expect("complete").manifest;
        assert_eq!(manifest.parts.len(), 2_500);
    }

    #[test]
    fn a_checkpoint_whose_small_parts_fail_is_certainly_not_complete_and_the_next_can_be() {
        for fate in [Fate::Refused, Fate::Panic] {
            let mut scene = noting();
            drop(scene.parts(1, 0, SMALL));
            *scene.store.fate.lock() = fate;
            let failed = scene.commit(1);
            assert!(matches!(failed, Written::Failed { .. }), "{fate:?}: {failed:?}");
            assert!(scene.store.noted.lock().is_empty(), "{fate:?}");
            scene.abandon(1);
            *scene.store.fate.lock() = Fate::Written;
            drop(scene.parts(2, 1, SMALL));
            assert!(matches!(scene.commit(2), Written::Committed { .. }), "{fate:?}");
            assert_eq!(scene.newest(), [1], "{fate:?}");
        }
    }

    #[test]
    fn what_was_kept_of_a_checkpoint_that_is_abandoned_is_in_none() {
        let mut scene = noting();
        drop(scene.parts(1, 0, SMALL));
        scene.abandon(1);
        assert!(matches!(scene.commit(1), Written::Committed { .. }));
        assert_eq!(*scene.store.noted.lock(), ["commit"]);
    }
}
