//! [`WriterQueue`]: the tasks of the checkpoint writer. Instances put their snapshots there, and the
//! supervisor everything else; so no snapshot waits for the supervisor, and none is kept longer than its
//! checkpoint.
//!
//! ```text
//!   instance ───── parts ─────┐
//!   instance ───── parts ─────┼──▶ WriterQueue ──▶ checkpoint writer
//!   supervisor ─ other tasks ─┘        ▲
//!              settle, close ──────────┘  remove parts that are no longer needed
//! ```
//! The order is that of the calls. It writes nothing, and never waits.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::clock::Timestamp;
use crate::executor::instance::Parts;
use crate::id::CheckpointId;
use crate::sync::Mutex;

/// What is to be written.
pub(crate) enum Task {
    /// Parts of an instance for a checkpoint: the last ones unless `more` follow.
    Parts { checkpoint: CheckpointId, instance: usize, taken: Taken, parts: Revocable, more: bool },
    /// The last parts of an instance.
    LastParts { instance: usize, parts: Parts },
    /// The manifest of a checkpoint.
    Commit { checkpoint: CheckpointId },
    /// Remove the files of an abandoned checkpoint.
    Abandon { checkpoint: CheckpointId },
    /// Remove old checkpoints.
    Retain { keep: usize },
}

/// When an instance began to take its parts, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) at: Timestamp,
    pub(crate) took: Duration,
}

/// Parts in the queue. They are removed when their checkpoint is abandoned, so that a writer that waits
/// for its store does not keep the state of every checkpoint since then.
#[derive(Clone)]
pub(crate) struct Revocable(Arc<Mutex<Option<Parts>>>);

impl Revocable {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Mutex::new(Some(parts))))
    }

    /// The parts, unless they have been removed.
    pub(crate) fn take(&self) -> Option<Parts> {
        self.0.lock().take()
    }
}

/// The tasks of one execution's writer. Clones are the same queue.
#[derive(Clone)]
pub(crate) struct WriterQueue(Arc<Mutex<Tasks>>);

struct Tasks {
    /// None once the queue is closed.
    to: Option<Sender<Task>>,
    /// This checkpoint and those before it are complete or abandoned.
    settled: CheckpointId,
    /// Parts of later checkpoints that may still be in the queue.
    unwritten: Vec<(CheckpointId, Revocable)>,
}

impl WriterQueue {
    /// An open queue, and its end for the writer, which is disconnected when the queue is closed.
    pub(crate) fn new() -> (Self, Receiver<Task>) {
        let (to, tasks) = unbounded();
        let open = Tasks { to: Some(to), settled: CheckpointId(0), unwritten: Vec::new() };
        (Self(Arc::new(Mutex::new(open))), tasks)
    }

    /// Puts a task behind the others; a queue that is closed drops it.
    pub(crate) fn send(&self, task: Task) {
        let undone = self.0.lock().send(task);
        // Outside the lock: a user's destructor may be called.
        drop(undone);
    }

    /// Puts the parts of an instance behind the other tasks. Those of a checkpoint that is settled are dropped:
    /// behind the task that cleans up after it they would be written and never removed.
    pub(crate) fn send_parts(
        &self,
        checkpoint: CheckpointId,
        instance: usize,
        taken: Taken,
        parts: Parts,
        more: bool,
    ) {
        let mut tasks = self.0.lock();
        if checkpoint <= tasks.settled {
            drop(tasks);
            return drop(parts);
        }
        let parts = Revocable::new(parts);
        tasks.unwritten.push((checkpoint, parts.clone()));
        let undone = tasks.send(Task::Parts { checkpoint, instance, taken, parts, more });
        drop(tasks);
        drop(undone);
    }

    /// This checkpoint and those before it are complete or abandoned: drops their parts that are still in the
    /// queue, and those that arrive later.
    pub(crate) fn settle(&self, checkpoint: CheckpointId) {
        let mut tasks = self.0.lock();
        tasks.settled = tasks.settled.max(checkpoint);
        let (settled, unwritten) =
            std::mem::take(&mut tasks.unwritten).into_iter().partition(|(of, _)| *of <= checkpoint);
        tasks.unwritten = unwritten;
        drop(tasks);
        let settled: Vec<(CheckpointId, Revocable)> = settled;
        settled.iter().for_each(|(_, parts)| drop(parts.take()));
    }

    /// Takes no more tasks, also from instances that never end. The writer does the remaining tasks, except
    /// parts, which no checkpoint needs any more.
    pub(crate) fn close(&self) {
        self.settle(CheckpointId(u64::MAX));
        drop(self.0.lock().to.take());
    }
}

impl Tasks {
    /// Sends a task; returns it if the queue is closed.
    fn send(&self, task: Task) -> Option<Task> {
        match &self.to {
            Some(to) => to.send(task).err().map(|undone| undone.0),
            None => Some(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Part, PartName, PartSink, Snapshot, SnapshotError};

    /// A state that is alive as long as somebody has a clone of its counter.
    struct Alive(#[expect(dead_code, reason = "only counted")] Arc<()>);

    impl Snapshot for Alive {
        fn write(self: Box<Self>, _: &mut dyn PartSink) -> Result<(), SnapshotError> {
            Ok(())
        }
    }

    fn parts(alive: &Arc<()>) -> Parts {
        vec![Part::new(PartName::new("counter", 0), Box::new(Alive(Arc::clone(alive))))]
    }

    fn kept(alive: &Arc<()>) -> usize {
        Arc::strong_count(alive) - 1
    }

    #[test]
    fn tasks_come_out_in_the_order_in_which_instances_and_supervisor_put_them_in() {
        let (queue, tasks) = WriterQueue::new();
        let (of_instance, alive) = (queue.clone(), Arc::new(()));
        of_instance.send_parts(CheckpointId(1), 4, Taken::default(), parts(&alive), false);
        queue.send(Task::Commit { checkpoint: CheckpointId(1) });
        of_instance.send(Task::LastParts { instance: 4, parts: parts(&alive) });
        let all: Vec<Task> = tasks.try_iter().collect();
        assert!(matches!(
            all[..],
            [
                Task::Parts { checkpoint: CheckpointId(1), instance: 4, .. },
                Task::Commit { checkpoint: CheckpointId(1) },
                Task::LastParts { instance: 4, .. }
            ]
        ));
    }

    #[test]
    fn a_writer_that_hangs_keeps_the_parts_of_one_checkpoint_however_many_are_given_up() {
        let (queue, tasks) = WriterQueue::new();
        let alive = Arc::new(());
        for checkpoint in 1..=100 {
            for instance in 0..3 {
                queue.send_parts(
                    CheckpointId(checkpoint),
                    instance,
                    Taken::default(),
                    parts(&alive),
                    false,
                );
            }
            assert_eq!(kept(&alive), 3);
            queue.settle(CheckpointId(checkpoint));
            assert_eq!(kept(&alive), 0);
        }
        // The writer finds nothing to do.
        let left = tasks
            .try_iter()
            .filter(|task| matches!(task, Task::Parts { parts, .. } if parts.take().is_some()));
        assert_eq!(left.count(), 0);
    }

    #[test]
    fn parts_that_come_after_their_checkpoint_was_given_up_are_not_written() {
        let (queue, tasks) = WriterQueue::new();
        let alive = Arc::new(());
        queue.settle(CheckpointId(2));
        queue.send(Task::Abandon { checkpoint: CheckpointId(2) });
        queue.send_parts(CheckpointId(2), 0, Taken::default(), parts(&alive), false);
        assert_eq!(kept(&alive), 0);
        assert!(matches!(tasks.try_iter().collect::<Vec<_>>()[..], [Task::Abandon { .. }]));
        queue.send_parts(CheckpointId(3), 0, Taken::default(), parts(&alive), false);
        assert_eq!(kept(&alive), 1);
    }

    #[test]
    fn a_closed_queue_lets_the_writer_leave_though_an_instance_that_hangs_still_has_it() {
        let (queue, tasks) = WriterQueue::new();
        let (of_instance, alive) = (queue.clone(), Arc::new(()));
        of_instance.send_parts(CheckpointId(1), 0, Taken::default(), parts(&alive), false);
        queue.send(Task::Retain { keep: 2 });
        queue.close();
        assert_eq!(kept(&alive), 0);
        // Parts that the instance leaves when it continues are dropped.
        of_instance.send_parts(CheckpointId(2), 0, Taken::default(), parts(&alive), false);
        of_instance.send(Task::LastParts { instance: 0, parts: parts(&alive) });
        assert_eq!(kept(&alive), 0);
        let all: Vec<Task> = tasks.iter().collect();
        assert!(matches!(all[..], [Task::Parts { .. }, Task::Retain { keep: 2 }]));
    }
}
