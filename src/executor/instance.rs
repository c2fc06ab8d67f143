//! What every instance has in common: a step, a mailbox for commands, a way to report.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::api::waker::Waker;
use crate::channel::frame::{BATCH, End};
use crate::channel::push::{Context, InstanceCall, Saving, Stage};
use crate::checkpoint::Part;
use crate::clock::{Timestamp, earlier};
use crate::error::Failure;
use crate::executor::writer_queue::{Taken, Task, WriterQueue};
use crate::id::CheckpointId;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// One instance, driven from outside: by its thread or by a simulation.
pub(crate) trait Step {
    /// Does a bounded piece of work at this moment, never waits.
    fn step(&mut self, now: Timestamp) -> Progress;
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was done; there may be more.
    Moved,
    /// Nothing to do until it is woken, or until this time.
    Idle(Option<Timestamp>),
    /// Cannot continue until it is woken, or until this time.
    Blocked(Option<Timestamp>),
    /// Over.
    Done,
}

/// What the supervisor tells an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// All instances are up: let events flow.
    Open,
    /// Sources: contribute to this checkpoint, and send its barrier if it has one. Operators: cut when no
    /// barrier comes any more.
    Inject(CheckpointId),
    /// Take the current state for this checkpoint.
    Snapshot(CheckpointId),
    /// This checkpoint is complete. After the last one the instance is over.
    Complete { checkpoint: CheckpointId, last: bool },
    /// Sources: emit nothing new, and end the stream in this way, by then. Operators: let nothing wait that
    /// only waits for time to pass.
    Stop { end: End, by: Timestamp },
    /// The instance is over.
    Exit,
}

/// Commands for one instance. Looking for one costs an atomic load.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    any: AtomicBool,
    commands: Mutex<Vec<Command>>,
    cancelled: AtomicBool,
    pub(crate) waker: Waker,
}

impl Mailbox {
    pub(crate) fn send(&self, command: Command) {
        self.commands.lock().push(command);
        self.any.store(true, Ordering::Release);
        self.waker.notify();
    }

    /// Ends the instance at its next step, whatever it still has to do.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.waker.notify();
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> Vec<Command> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut commands = self.commands.lock();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut commands)
    }
}

/// Snapshots of the components of one instance.
pub(crate) type Parts = Vec<Part>;

/// What an instance reports to the supervisor. Snapshots go to the checkpoint writer instead.
pub(crate) enum Report {
    /// It has set up and waits for [`Command::Open`].
    Up,
    /// Its stream has ended, and the writer has its last parts.
    Ended,
    /// It cannot go on.
    Failed(Failure),
    /// Its thread is about to end.
    Gone,
}

/// An instance's channels to the supervisor and to the checkpoint writer. Each execution has new ones, so a
/// late report of an old execution is not received.
#[derive(Clone)]
pub(crate) struct Reporter {
    /// The instance's number in the plan.
    pub(crate) number: usize,
    pub(crate) to: Sender<(usize, Report)>,
    /// Where snapshots go; nowhere if nothing is stored.
    pub(crate) writer: Option<WriterQueue>,
}

impl Reporter {
    pub(crate) fn send(&self, report: Report) {
        // Without a supervisor there is no receiver, and nothing left to report.
        let _ = self.to.send((self.number, report));
    }

    /// Gives the writer parts of a checkpoint, which are the last ones unless `more` follow.
    fn saved(&self, checkpoint: CheckpointId, taken: Taken, parts: Parts, more: bool) {
        if let Some(writer) = &self.writer {
            writer.send_parts(checkpoint, self.number, taken, parts, more);
        }
    }

    /// Gives the writer the last parts, and tells the supervisor that the stream has ended.
    fn ended(&self, parts: Parts) {
        if let Some(writer) = &self.writer {
            writer.send(Task::LastParts { instance: self.number, parts });
        }
        self.send(Report::Ended);
    }
}

/// How soon an instance that waits for the checkpoint writer looks whether it has caught up.
const WRITER_PAUSE: Duration = Duration::from_millis(1);

/// What both kinds of instances have in addition to their stage.
pub(crate) struct Base {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) reporter: Reporter,
    pub(crate) context: Context,
    pub(crate) open: bool,
    pub(crate) over: bool,
    /// The checkpoint that is being saved in pieces.
    saving: Option<(CheckpointId, Taken)>,
}

impl Base {
    pub(crate) fn new(mailbox: Arc<Mailbox>, reporter: Reporter, context: Context) -> Self {
        Self { mailbox, reporter, context, open: false, over: false, saving: None }
    }

    /// Gives the writer the snapshots taken since this moment. If a component could not give its snapshot
    /// they are incomplete, and are not given: a checkpoint without one must never be complete.
    pub(crate) fn report_saved(&mut self, checkpoint: CheckpointId, since: Timestamp) {
        let taken = Taken { at: since, took: self.context.clock.now().since(since) };
        // A save that went on for an earlier checkpoint has been given up.
        self.saving = Some((checkpoint, taken));
        self.send_saved();
    }

    /// Gives the writer the snapshots so far.
    fn send_saved(&mut self) {
        let parts = std::mem::take(&mut self.context.snapshots);
        let saving = std::mem::replace(&mut self.context.saving, Saving::Through);
        let more = saving != Saving::Through;
        let Some((checkpoint, taken)) = self.saving.take_if(|_| !more).or(self.saving) else {
            return;
        };
        if self.context.fatal.is_none() && !(more && parts.is_empty()) {
            self.reporter.saved(checkpoint, taken, parts, more);
        }
    }

    /// Goes on with a save, at the end of a step that had this result.
    pub(crate) fn go_on_saving(&mut self, stage: &mut dyn Stage, progress: Progress) -> Progress {
        if self.saving.is_none() || self.context.fatal.is_some() {
            return progress;
        }
        stage.call_instance(InstanceCall::GoOnSaving, &mut self.context);
        let saving = self.context.saving;
        self.send_saved();
        let soon = Some(self.context.now.after(WRITER_PAUSE));
        match (saving, progress) {
            (Saving::Through, _) | (_, Progress::Done) => progress,
            (Saving::GoesOn, _) => Progress::Moved,
            (Saving::Waits, Progress::Moved) => Progress::Moved,
            (Saving::Waits, Progress::Idle(at)) => Progress::Idle(earlier(at, soon)),
            (Saving::Waits, Progress::Blocked(at)) => Progress::Blocked(earlier(at, soon)),
        }
    }

    /// Saves the rest, before the last snapshot begins another save.
    pub(crate) fn finish_saving(&mut self, stage: &mut dyn Stage) {
        if self.saving.is_some() && self.context.fatal.is_none() {
            stage.call_instance(InstanceCall::FinishSaving, &mut self.context);
            self.send_saved();
        }
    }

    /// Gives the writer the snapshots of this step as the last ones, which belong to every later checkpoint.
    /// If they are incomplete, the failure is reported instead.
    pub(crate) fn report_ended(&mut self) {
        let parts = std::mem::take(&mut self.context.snapshots);
        match self.context.fatal {
            None => self.reporter.ended(parts),
            Some(_) => drop(parts),
        }
    }

    /// The stage is blocked until it is woken or this time. If the time has come already, it is blocked only
    /// until the next step.
    pub(crate) fn blocked_until(&self, deadline: Option<Timestamp>) -> Progress {
        match deadline {
            Some(at) if at <= self.context.now => Progress::Moved,
            _ => Progress::Blocked(deadline),
        }
    }

    /// Ends every step: reports a failure, and sends reports on events when there are many or when no
    /// more come for now.
    pub(crate) fn end_step(&mut self, progress: Progress) -> Progress {
        if self.report_failure() {
            return Progress::Done;
        }
        if progress != Progress::Moved || self.context.ledger.len() >= BATCH {
            self.context.ledger.send();
        }
        if progress != Progress::Moved {
            self.context.slice.close(self.context.clock.now());
        }
        progress
    }

    /// Reports a failure of this step, if there was one: the instance is over then.
    pub(crate) fn report_failure(&mut self) -> bool {
        let Some(failure) = self.context.fatal.take() else { return false };
        self.reporter.send(Report::Failed(failure));
        self.over = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::ledger::Ledger;
    use crate::checkpoint::{PartName, encoded};
    use crate::clock::MonotonicClock;
    use crate::error::Cause;
    use crate::id::InstanceName;

    #[test]
    fn parts_that_are_not_all_are_never_reported_as_saved() {
        let (to, reports) = crossbeam_channel::unbounded();
        let context = Context::new(Arc::new(MonotonicClock::default()), Ledger::new(None));
        let (writer, tasks) = WriterQueue::new();
        let reporter = Reporter { number: 7, to, writer: Some(writer) };
        let mut base = Base::new(Arc::default(), reporter, context);
        let part = || Part::new(PartName::new("counter", 0), encoded(b"42".into()));

        base.context.snapshots.push(part());
        base.report_saved(CheckpointId(1), Timestamp(0));
        let Ok(Task::Parts { checkpoint: CheckpointId(1), instance: 7, parts, .. }) =
            tasks.try_recv()
        else {
            panic!("no parts");
        };
        assert_eq!(parts.take().map(|parts| parts.len()), Some(1));

        base.context.snapshots.push(part());
        base.context.fail(Failure {
            instance: InstanceName::new("sink", 0),
            callback: "prepare",
            cause: Cause::error("the database is gone"),
        });
        base.report_saved(CheckpointId(2), Timestamp(0));
        assert!(tasks.try_recv().is_err(), "the part of the sink is missing");
        base.report_ended();
        assert!(tasks.try_recv().is_err(), "and it would be missing in every later checkpoint");
        assert!(base.report_failure());
        assert!(matches!(reports.try_recv(), Ok((7, Report::Failed(_)))));
    }
}
