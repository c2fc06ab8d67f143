//! The supervisor's part in checkpoints: it gives events to the coordinator, and performs its actions.

use crate::checkpoint::coordinator::{Action, Cut, Event};
use crate::executor::checkpoint_writer::Written;
use crate::executor::host::Host;
use crate::executor::instance::Command;
use crate::executor::supervisor::{Supervisor, lifecycle};
use crate::executor::writer_queue::Task;
use crate::metrics::{CheckpointKind, CheckpointOutcome};

impl<H: Host> Supervisor<H> {
    /// Adds the writer's measurements to the statistics.
    pub(super) fn measure(&mut self, written: &Written) {
        match written {
            Written::Parts { checkpoint, instance, taken, work } => {
                let name = &self.blueprint.threads[*instance].name;
                self.statistics.stored(*checkpoint, name, *taken, *work);
            }
            Written::Committed { checkpoint, work, committing } => {
                self.statistics.committed(*checkpoint, *work, *committing);
            }
            _ => {}
        }
    }

    /// The running checkpoint, if there is one, has ended with this outcome.
    pub(super) fn ended(&mut self, outcome: CheckpointOutcome) {
        let ended = self.statistics.end(outcome, self.clock.now());
        ended.into_iter().for_each(|stats| self.registry.recent_checkpoints.add(stats));
    }

    /// Tells the coordinator what happened, what time it is, and who has asked for a checkpoint.
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
        // Each execution has a new coordinator: it learns of the requests that its predecessor did not
        // answer.
        let (tickets, next) = self.checkpoint_requests.since(execution.told_tickets);
        execution.told_tickets = next;
        for ticket in tickets {
            self.coordinate(Event::Asked { ticket });
        }
    }

    fn coordinate(&mut self, event: Event) {
        // The writer may still answer while the execution is shut down; its checkpoints are abandoned by
        // then.
        if !self.lifecycle.takes_checkpoints() {
            return;
        }
        let now = self.clock.now();
        let coordinator =
            self.execution.as_mut().and_then(|execution| execution.coordinator.as_mut());
        let Some(coordinator) = coordinator else { return };
        let actions = coordinator.on(event, now);
        let kind = match coordinator.was_asked() {
            true => CheckpointKind::Asked,
            false => CheckpointKind::Periodic,
        };
        for action in actions {
            match &action {
                Action::Inject(checkpoint) | Action::Snapshot { checkpoint, .. } => {
                    self.statistics.begin(*checkpoint, kind, now);
                }
                // The last checkpoint has no barrier and no snapshots of its own: it begins with its commit.
                Action::Commit { checkpoint, last: true } => {
                    self.statistics.begin(*checkpoint, CheckpointKind::Last, now);
                }
                _ => {}
            }
            self.perform_for_checkpoint(action);
        }
    }

    fn perform_for_checkpoint(&mut self, action: Action) {
        // An action before this one may have ended the execution.
        let Some(execution) = &mut self.execution else { return };
        match action {
            Action::Inject(checkpoint) => {
                let threads = &self.blueprint.threads;
                // Whoever waits at the end of its inputs is reached by no barrier.
                let everybody = matches!(self.guarantee.terms.cut, Cut::Barriers { .. });
                let told = |number: usize| everybody || threads[number].is_source;
                execution.tell(Command::Inject(checkpoint), told);
            }
            Action::Snapshot { checkpoint, instances } => {
                let snapshot = Command::Snapshot(checkpoint);
                execution.tell(snapshot, |number| instances.contains(&number));
            }
            Action::Commit { checkpoint, .. } => execution.write(Task::Commit { checkpoint }),
            Action::Announce { checkpoint, last, tickets } => {
                execution.tell(Command::Complete { checkpoint, last }, |_| true);
                execution.settle(checkpoint);
                execution.write(Task::Retain { keep: self.guarantee.options.keep });
                // Counted before it is answered: a caller that gets its number also finds it in the metrics.
                self.registry.checkpoints.add(1);
                self.ended(CheckpointOutcome::Completed);
                self.checkpoint_requests.answer(&tickets, &Ok(checkpoint));
                // Last: it may end the execution.
                self.on(lifecycle::Event::CheckpointComplete { last });
            }
            Action::Abandon { checkpoint, reason, tickets } => {
                tracing::warn!(%checkpoint, reason, "checkpoint abandoned");
                // Before the writer cleans up: parts that an instance hands in later would stay on the disk.
                execution.settle(checkpoint);
                execution.write(Task::Abandon { checkpoint });
                self.registry.checkpoints_failed.add(1);
                self.ended(CheckpointOutcome::Abandoned { reason: reason.clone() });
                self.checkpoint_requests.answer(&tickets, &Err(reason));
            }
            Action::GiveUp { failures, reason } => {
                self.on(lifecycle::Event::CheckpointsFailed { failures, reason });
            }
        }
    }
}
