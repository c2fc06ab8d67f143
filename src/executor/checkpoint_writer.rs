//! Encodes state and writes checkpoints, apart from the instances, so that none waits for a disk.
//!
//! The writer does what it is told, in order: parts, then the manifest, then the clean-up. It keeps the last
//! parts of instances that have ended, which belong to every later checkpoint.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::checkpoint::{CheckpointStore, Manifest, PartName, PartRecord, Snapshot, StoreError};
use crate::clock::Clock;
use crate::error::Cause;
use crate::executor::instance::Parts;
use crate::id::{CheckpointId, ExecutionId};

/// What is to be written.
pub(crate) enum Task {
    /// Parts of an instance for a checkpoint.
    Parts { checkpoint: CheckpointId, instance: usize, parts: Parts },
    /// The last parts of an instance.
    LastParts { instance: usize, parts: Parts },
    /// The manifest of a checkpoint.
    Commit { checkpoint: CheckpointId },
    /// Remove what an abandoned checkpoint left.
    Abandon { checkpoint: CheckpointId },
    /// Remove old checkpoints.
    Retain { keep: usize },
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Written {
    Parts {
        checkpoint: CheckpointId,
        instance: usize,
    },
    LastParts {
        instance: usize,
    },
    Committed {
        checkpoint: CheckpointId,
    },
    /// A checkpoint cannot be completed.
    Failed {
        checkpoint: CheckpointId,
        reason: String,
    },
    /// No checkpoint can be taken any more in this execution: last parts could not be encoded, or
    /// nobody knows whether a checkpoint was committed. The next execution finds out.
    Unusable {
        instance: usize,
        reason: String,
    },
}

pub(crate) struct CheckpointWriter {
    store: Arc<dyn CheckpointStore>,
    clock: Arc<dyn Clock>,
    execution: ExecutionId,
    job: String,
    cut: &'static str,
    parallelism: Vec<(String, u64)>,
    records: BTreeMap<CheckpointId, BTreeMap<PartName, PartRecord>>,
    answered: BTreeMap<CheckpointId, Vec<usize>>,
    last_parts: BTreeMap<usize, Vec<(PartName, Vec<u8>)>>,
}

impl CheckpointWriter {
    pub(crate) fn new(
        store: Arc<dyn CheckpointStore>,
        clock: Arc<dyn Clock>,
        execution: ExecutionId,
        job: String,
        cut: &'static str,
        parallelism: Vec<(String, u64)>,
    ) -> Self {
        Self {
            store,
            clock,
            execution,
            job,
            cut,
            parallelism,
            records: BTreeMap::new(),
            answered: BTreeMap::new(),
            last_parts: BTreeMap::new(),
        }
    }

    /// Works until nobody can send tasks any more.
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
            // The store has panicked. Whether it has committed before that nobody knows.
            let reason = Cause::panic(payload).to_string();
            Some(match unknown {
                true => Written::Unusable { instance: 0, reason },
                false => Written::Failed { checkpoint, reason },
            })
        })
    }

    fn perform(&mut self, task: Task) -> Option<Written> {
        match task {
            Task::Parts { checkpoint, instance, parts } => {
                self.answered.entry(checkpoint).or_default().push(instance);
                for part in parts {
                    let stored = encode(part)
                        .and_then(|(name, bytes)| self.store_part(checkpoint, name, &bytes));
                    if let Err(reason) = stored {
                        return Some(Written::Failed { checkpoint, reason });
                    }
                }
                Some(Written::Parts { checkpoint, instance })
            }
            Task::LastParts { instance, parts } => {
                Some(match parts.into_iter().map(encode).collect() {
                    Ok(encoded) => {
                        self.last_parts.insert(instance, encoded);
                        Written::LastParts { instance }
                    }
                    Err(reason) => Written::Unusable { instance, reason },
                })
            }
            Task::Commit { checkpoint } => Some(match self.commit(checkpoint) {
                Ok(()) => Written::Committed { checkpoint },
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

    fn store_part(&mut self, of: CheckpointId, name: PartName, bytes: &[u8]) -> Result<(), String> {
        let record = self
            .store
            .write_part(self.execution, of, &name, bytes)
            .map_err(|error| with_causes(&error))?;
        self.records.entry(of).or_default().insert(name, record);
        Ok(())
    }

    fn commit(&mut self, checkpoint: CheckpointId) -> Result<(), Uncommitted> {
        let answered = self.answered.get(&checkpoint).cloned().unwrap_or_default();
        let missing: Vec<_> = self
            .last_parts
            .iter()
            .filter(|(instance, _)| !answered.contains(instance))
            .flat_map(|(_, parts)| parts.iter().cloned())
            .collect();
        for (name, bytes) in missing {
            self.store_part(checkpoint, name, &bytes).map_err(Uncommitted::No)?;
        }
        let parts = self.records.get(&checkpoint).into_iter().flatten();
        let manifest = Manifest {
            execution: self.execution,
            checkpoint,
            job: self.job.clone(),
            cut: self.cut.to_owned(),
            parallelism: self.parallelism.clone(),
            taken_unix_ms: self.clock.unix_ms(),
            parts: parts.map(|(_, record)| record.clone()).collect(),
        };
        self.store.commit(&manifest).map_err(|error| match &error {
            // One that was replaced finds that out for good as it starts over.
            StoreError::InDoubt { .. } | StoreError::Fenced { .. } => {
                Uncommitted::Unknown(with_causes(&error))
            }
            _ => Uncommitted::No(with_causes(&error)),
        })?;
        self.forget(checkpoint);
        Ok(())
    }

    /// Drops what is known of this checkpoint and of older ones.
    fn forget(&mut self, checkpoint: CheckpointId) {
        self.records.retain(|of, _| *of > checkpoint);
        self.answered.retain(|of, _| *of > checkpoint);
    }
}

/// The state of one component as bytes; a panic of its `Serialize` is an error like any other.
fn encode((name, part): (PartName, Box<dyn Snapshot>)) -> Result<(PartName, Vec<u8>), String> {
    match catch_unwind(AssertUnwindSafe(|| part.encode())) {
        Ok(Ok(bytes)) => Ok((name, bytes)),
        Ok(Err(error)) => Err(format!("{name}: {}", with_causes(&error))),
        Err(payload) => Err(format!("{name}: {}", Cause::panic(payload))),
    }
}

/// Why a checkpoint is not known to be committed.
enum Uncommitted {
    /// It certainly is not.
    No(String),
    /// It may be: neither to be announced nor to be abandoned.
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

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
