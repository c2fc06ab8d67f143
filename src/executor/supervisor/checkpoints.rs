//! What the supervisor does about checkpoints: tells the coordinator what happened, and does what it says.

use crate::checkpoint::coordinator::{Action, Event};
use crate::executor::checkpoint_writer::Task;
use crate::executor::host::Host;
use crate::executor::instance::{Command, Parts};
use crate::executor::supervisor::{Supervisor, lifecycle};
use crate::id::CheckpointId;

impl<H: Host> Supervisor<H> {
    /// Hands the writer an instance's parts of the checkpoint that is being taken. Those of one that was
    /// given up meanwhile are dropped.
    pub(super) fn saved(&mut self, instance: usize, checkpoint: CheckpointId, parts: Parts) {
        let taken = self.lifecycle.takes_checkpoints();
        if let Some(execution) = self.execution.as_mut().filter(|_| taken) {
            execution.write_parts(checkpoint, instance, parts);
        }
    }

    /// Hands the writer the last parts of an instance, which stand for every later checkpoint.
    pub(super) fn save_last(&mut self, instance: usize, parts: Parts) {
        if let Some(execution) = &self.execution {
            execution.write(Task::LastParts { instance, parts });
        }
    }

    /// Lets the coordinator know what happened, what time it is, and who has asked for a checkpoint.
    pub(super) fn look_after_checkpoints(&mut self, event: Option<Event>) {
        if let Some(event) = event {
            self.coordinate(event);
        }
        let now = self.clock.now();
        let deadline =
            self.execution.as_ref().and_then(|execution| execution.checkpoint_deadline());
        if deadline.is_some_and(|at| at <= now) {
            self.coordinate(Event::Tick);
        }
        if !self.lifecycle.takes_checkpoints() {
            return;
        }
        let Some(execution) = &mut self.execution else { return };
        let (tickets, next) = self.questions.since(execution.told_tickets);
        execution.told_tickets = next;
        for ticket in tickets {
            self.coordinate(Event::Asked { ticket });
        }
    }

    fn coordinate(&mut self, event: Event) {
        if !self.lifecycle.takes_checkpoints() {
            return;
        }
        let now = self.clock.now();
        let coordinator =
            self.execution.as_mut().and_then(|execution| execution.coordinator.as_mut());
        let Some(coordinator) = coordinator else { return };
        for action in coordinator.on(event, now) {
            self.perform_for_checkpoint(action);
        }
    }

    fn perform_for_checkpoint(&mut self, action: Action) {
        // An action before this one may have ended the execution.
        let Some(execution) = &mut self.execution else { return };
        match action {
            Action::Inject(checkpoint) => {
                let threads = &self.blueprint.threads;
                execution.tell(Command::Inject(checkpoint), |number| threads[number].is_source);
            }
            Action::Snapshot { checkpoint, instances } => {
                let snapshot = Command::Snapshot(checkpoint);
                execution.tell(snapshot, |number| instances.contains(&number));
            }
            Action::Commit { checkpoint, .. } => execution.write(Task::Commit { checkpoint }),
            Action::Announce { checkpoint, last, tickets } => {
                self.registry.checkpoints.add(1);
                execution.tell(Command::Complete { checkpoint, last }, |_| true);
                execution.write(Task::Retain { keep: self.guarantee.options.keep });
                execution.forget_parts(checkpoint);
                self.questions.answer(&tickets, &Ok(checkpoint));
                self.on(lifecycle::Event::CheckpointComplete { last });
            }
            Action::Abandon { checkpoint, reason, tickets } => {
                self.registry.checkpoints_failed.add(1);
                tracing::warn!(%checkpoint, reason, "checkpoint abandoned");
                execution.write(Task::Abandon { checkpoint });
                execution.forget_parts(checkpoint);
                self.questions.answer(&tickets, &Err(reason));
            }
            Action::GiveUp { failures, reason } => {
                self.on(lifecycle::Event::CheckpointsFailed { failures, reason });
            }
        }
    }
}
