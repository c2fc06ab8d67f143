//! [`OperatorInstance`]: an inbox, a gate, a stage. Takes one frame per step.

use crate::channel::frame::{Control, Frame};
use crate::channel::inbox::Inbox;
use crate::channel::push::{Local, Push};
use crate::clock::{Timestamp, earlier};
use crate::delivery::checkpointed::gate::{Gate, GateVerdict};
use crate::executor::instance::{Base, Command, Progress, Report, Step};
use crate::id::CheckpointId;
use crate::metrics::Counters;
use std::sync::Arc;

/// Batches taken in a row before partial outputs are sent nevertheless, so that a rare receiver does
/// not wait for a full batch while there is always input.
const BATCHES_PER_FLUSH: u32 = 16;

pub(crate) struct OperatorInstance<T> {
    base: Base,
    inbox: Inbox<T>,
    gate: Gate,
    stage: Box<dyn Push<T>>,
    counters: Arc<Counters>,
    since_flush: u32,
    /// The newest checkpoint this instance knows of.
    newest: CheckpointId,
    /// The end is on its way through the stage.
    ending: bool,
    ended: bool,
}

impl<T> OperatorInstance<T> {
    pub(crate) fn new(
        base: Base,
        inbox: Inbox<T>,
        hold: bool,
        stage: Box<dyn Push<T>>,
        counters: Arc<Counters>,
    ) -> Self {
        let gate = Gate::new(inbox.lanes(), hold);
        Self {
            base,
            inbox,
            gate,
            stage,
            counters,
            since_flush: 0,
            newest: CheckpointId(0),
            ending: false,
            ended: false,
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Open => self.base.open = true,
            Command::Snapshot(checkpoint) if !self.ended => {
                self.newest = self.newest.max(checkpoint);
                self.stage.local(Local::Snapshot(checkpoint), &mut self.base.context);
                self.base.report_saved(checkpoint);
            }
            Command::Complete { checkpoint, last } => {
                self.stage.local(Local::Complete(checkpoint), &mut self.base.context);
                self.base.over = last;
            }
            Command::Exit => self.base.over = true,
            Command::Snapshot(_) | Command::Inject(_) | Command::Stop(_) => {}
        }
    }

    fn control(&mut self, lane: usize, control: Control) {
        let verdict = match control {
            Control::Barrier(checkpoint) => self.gate.barrier(lane, checkpoint),
            Control::End(_) => self.gate.end(lane),
            Control::Watermark(ms) => {
                if let Some(risen) = self.inbox.watermark(lane, ms) {
                    self.stage.control(Control::Watermark(risen), &mut self.base.context);
                }
                GateVerdict::default()
            }
            Control::Drain => GateVerdict::default(),
        };
        self.act(lane, verdict);
        match control {
            Control::End(_) => {
                if let Some(risen) = self.inbox.risen_watermark() {
                    self.stage.control(Control::Watermark(risen), &mut self.base.context);
                }
                match self.inbox.ended() {
                    Some(end) => {
                        self.stage.control(Control::End(end), &mut self.base.context);
                        self.ending = true;
                    }
                    None => self.drain(),
                }
            }
            Control::Drain => self.drain(),
            Control::Barrier(_) | Control::Watermark(_) => {}
        }
    }

    fn drain(&mut self) {
        if self.inbox.all_drained() {
            self.stage.control(Control::Drain, &mut self.base.context);
        }
    }

    fn act(&mut self, lane: usize, verdict: GateVerdict) {
        if verdict.release {
            self.inbox.release_all();
        }
        if verdict.hold {
            self.inbox.hold(lane);
        }
        if let Some(checkpoint) = verdict.cut {
            self.newest = self.newest.max(checkpoint);
            // Nothing waits in the stage, or this frame had not been taken: the barrier passes every
            // component of the instance at once.
            self.stage.control(Control::Barrier(checkpoint), &mut self.base.context);
            self.base.report_saved(checkpoint);
        }
    }

    /// The end has left the stage behind: the last parts are what stands from now on.
    fn passed(&mut self) {
        let context = &mut self.base.context;
        context.ledger.send();
        let after = CheckpointId(self.newest.0 + 1);
        self.stage.local(Local::Snapshot(after), context);
        self.ended = true;
        if context.fatal.is_none() {
            let parts = std::mem::take(&mut context.snapshots);
            self.base.reporter.send(Report::Ended { parts });
        }
    }

    fn look_at_queues(&self) {
        self.counters.queue_depth.set(self.inbox.depth() as u64);
    }

    fn take(&mut self) -> Progress {
        let now = self.base.context.now;
        match self.inbox.poll(now) {
            Some((lane, Frame::Batch(mut batch))) => {
                self.stage.push(&mut batch, &mut self.base.context);
                self.inbox.recycle(lane, batch);
                self.since_flush += 1;
                if self.since_flush >= BATCHES_PER_FLUSH {
                    self.since_flush = 0;
                    self.stage.flush(&mut self.base.context);
                    self.look_at_queues();
                }
                Progress::Moved
            }
            Some((lane, Frame::Control(control))) => {
                self.control(lane, control);
                Progress::Moved
            }
            None if self.stage.flush(&mut self.base.context) => Progress::Moved,
            None => {
                self.since_flush = 0;
                Progress::Idle(earlier(self.stage.deadline(), self.inbox.deadline()))
            }
        }
    }
}

impl<T> Step for OperatorInstance<T> {
    fn step(&mut self, now: Timestamp) -> Progress {
        if self.base.mailbox.cancelled() {
            return Progress::Done;
        }
        self.base.context.now = now;
        for command in self.base.mailbox.take() {
            self.obey(command);
        }
        if self.base.report_failure() || self.base.over {
            return Progress::Done;
        }
        if !self.base.open || self.ended {
            return Progress::Idle(None);
        }
        self.stage.tick(&mut self.base.context);
        let mut progress = Progress::Moved;
        if self.stage.blocked() {
            progress = Progress::Blocked(self.stage.deadline());
        } else if std::mem::take(&mut self.ending) {
            self.passed();
        } else {
            progress = self.take();
        }
        if progress != Progress::Moved {
            self.look_at_queues();
        }
        self.base.end_step(progress)
    }
}
