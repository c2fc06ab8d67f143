//! [`InstanceSlot`]: what a host needs to run one instance, and the [`RunningInstance`] that it becomes there:
//! built, stepped to its end, dropped on the thread that carries it. Never waits; the host does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::error::{Cause, Failure};
use crate::executor::blueprint::BuildInstance;
use crate::executor::instance::{Mailbox, Progress, Report, Reporter, Step};
use crate::id::InstanceName;
use crate::metrics::Counters;

/// An instance that does not run yet, and can be sent to the thread that will carry it.
pub(crate) struct InstanceSlot {
    pub(crate) name: InstanceName,
    pub(crate) build: BuildInstance,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) reporter: Reporter,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// An instance on the thread that carries it, which its components never leave.
pub(crate) struct RunningInstance {
    pub(crate) name: InstanceName,
    pub(crate) mailbox: Arc<Mailbox>,
    reporter: Reporter,
    life: Life,
}

enum Life {
    Unborn(BuildInstance),
    Living(Box<dyn Step>),
    Over,
}

impl RunningInstance {
    pub(crate) fn of(slot: InstanceSlot) -> Self {
        let InstanceSlot { name, build, mailbox, reporter, .. } = slot;
        Self { name, mailbox, reporter, life: Life::Unborn(build) }
    }

    /// One step of its life. The last one reports that the instance is gone.
    pub(crate) fn step(&mut self, now: Timestamp) -> Progress {
        // A panic that gets here is a defect of this crate; it is reported, never silent.
        let stepped = catch_unwind(AssertUnwindSafe(|| self.live(now)));
        let progress = stepped.unwrap_or_else(|payload| {
            let (instance, cause) = (self.name.clone(), Cause::panic(payload));
            self.reporter.send(Report::Failed(Failure { instance, callback: "engine", cause }));
            Progress::Done
        });
        if progress == Progress::Done {
            self.end();
        }
        progress
    }

    fn live(&mut self, now: Timestamp) -> Progress {
        if let Life::Living(step) = &mut self.life {
            return step.step(now);
        }
        let Life::Unborn(build) = std::mem::replace(&mut self.life, Life::Over) else {
            return Progress::Done;
        };
        match build() {
            Ok(step) => {
                self.life = Life::Living(step);
                self.reporter.send(Report::Up);
                Progress::Moved
            }
            Err(failure) => {
                self.reporter.send(Report::Failed(failure));
                Progress::Done
            }
        }
    }

    fn end(&mut self) {
        let life = std::mem::replace(&mut self.life, Life::Over);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(life))) {
            let (instance, cause) = (&self.name, Cause::panic(payload));
            tracing::error!(%instance, %cause, "a destructor panicked");
        }
        self.reporter.send(Report::Gone);
    }
}
