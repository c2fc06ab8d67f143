//! [`Supervisor`]: runs a job. It turns messages into events for two values, the [`Lifecycle`] of the job and
//! the coordinator of its checkpoints, and performs the actions that they answer with.
//!
//! ```text
//!   instances, writer, owner ── Message ──▶ Supervisor ── Event ──▶ Lifecycle, Coordinator
//!       ▲                                      │   ▲                      │
//!       └────────── commands, tasks ───────────┘   └─────── Action ───────┘
//! ```
//! One per job. Between two messages it lets its [`Host`] wait, at one place, until the next moment that
//! matters. It decides nothing that one of the two values could decide.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, never};

use crate::channel::frame::End;
use crate::checkpoint::CheckpointStore;
use crate::checkpoint::coordinator;
use crate::clock::{Clock, Timestamp, earlier};
use crate::delivery::terms::{Guarantee, Verdict};
use crate::error::{Cause, Failure, JobError, Permanent, Refused};
use crate::executor::blueprint::{Blueprint, Run};
use crate::executor::checkpoint_writer::Written;
use crate::executor::drop_hook::tell;
use crate::executor::host::{Host, Mailboxes, Message, Request};
use crate::executor::instance::{Command, Report};
use crate::id::{CheckpointId, ExecutionId, InstanceName};
use crate::metrics::{CheckpointOutcome, Loss, Registry};

use checkpoint_requests::CheckpointRequests;
use execution::RunningExecution;
use lifecycle::{Action, Event, Lifecycle, LifecycleOptions, RunEnd};
use statistics::Statistics;

mod lifecycle;

mod checkpoint_requests;
mod checkpoints;
mod execution;
mod start;
mod statistics;

#[cfg(test)]
mod counted_tests;

/// How a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The end that was asked for and came about; none if the sources ended by themselves.
    pub(crate) asked: Option<End>,
    pub(crate) restored_from: Option<CheckpointId>,
}

/// What a supervisor is made of.
pub(crate) struct SupervisorParts {
    pub(crate) blueprint: Blueprint,
    pub(crate) guarantee: Guarantee,
    pub(crate) store: Option<Arc<dyn CheckpointStore>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) requests: Receiver<Request>,
}

pub(crate) struct Supervisor<H> {
    host: H,
    blueprint: Blueprint,
    guarantee: Guarantee,
    store: Option<Arc<dyn CheckpointStore>>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    mailboxes: Mailboxes,
    lifecycle: Lifecycle,
    /// The callers that wait for a checkpoint. They keep waiting over a restart.
    checkpoint_requests: CheckpointRequests,
    statistics: Statistics,
    /// From the start of its instances to the end of the last one.
    execution: Option<RunningExecution>,
    /// The first execution of this process.
    first_execution: Option<ExecutionId>,
    restored_from: Option<CheckpointId>,
    end: Option<RunEnd>,
    /// From the start of the first execution to the end of the last one.
    job_run: Option<Run>,
}

impl<H: Host> Supervisor<H> {
    pub(crate) fn new(parts: SupervisorParts, host: H) -> Self {
        let SupervisorParts { blueprint, guarantee, store, clock, registry, requests } = parts;
        let lifecycle = Lifecycle::new(LifecycleOptions {
            instances: blueprint.threads.iter().map(|thread| thread.name.clone()).collect(),
            stored: store.is_some(),
            stop_within: guarantee.options.stop_within,
            restarts: guarantee.options.restarts,
        });
        let statistics = Statistics::new(clock.now());
        Self {
            host,
            blueprint,
            guarantee,
            store,
            clock,
            registry,
            mailboxes: Mailboxes::to_owner(requests),
            lifecycle,
            checkpoint_requests: CheckpointRequests::default(),
            statistics,
            execution: None,
            first_execution: None,
            restored_from: None,
            end: None,
            job_run: None,
        }
    }

    /// Takes the store and starts all instances. If that fails, the store is released.
    ///
    /// # Errors
    /// An error of the store, a checkpoint that does not fit the job, or a thread that could not be started.
    pub(crate) fn begin(&mut self) -> Result<(), Refused> {
        self.act(vec![Action::StartExecution]);
        // If an instance could not be started, those before it are already running: they must end first.
        while self.lifecycle.is_shutting_down() {
            self.wait_and_handle();
        }
        match self.end.take() {
            Some(RunEnd::Refused(refused)) => {
                // The job may be started again with the same store value, in this process or after it.
                if let Some(store) = &self.store {
                    store.release();
                }
                Err(refused)
            }
            other => {
                self.end = other;
                // Only now: a job that was refused has never run, and senders to it must not learn of an end.
                self.job_run = Some(Run::begin(self.blueprint.surroundings.clone()));
                Ok(())
            }
        }
    }

    /// Runs executions until one ends the job.
    ///
    /// # Errors
    /// The failure that ended it, if neither its sources nor its owner did.
    pub(crate) fn run(mut self) -> Result<Ended, JobError> {
        let end = loop {
            match self.end.take() {
                Some(end) => break end,
                None => self.wait_and_handle(),
            }
        };
        match end {
            RunEnd::Ended { asked } => Ok(Ended { asked, restored_from: self.restored_from }),
            RunEnd::Failed(error) => Err(error),
            RunEnd::Refused(Refused::Store(error)) => Err(JobError::Store(Arc::new(error))),
            RunEnd::Refused(refused) => Err(JobError::Restart(Arc::new(refused))),
        }
    }

    /// The only place where a supervisor waits.
    fn wait_and_handle(&mut self) {
        let now = self.clock.now();
        self.look_for_stalls(now);
        let until = self.next_moment(now);
        let message = self.host.wait(&self.mailboxes, until);
        self.handle(message);
    }

    fn next_moment(&self, now: Timestamp) -> Timestamp {
        let execution = self.execution.as_ref();
        let at_work = execution.filter(|_| self.lifecycle.is_at_work());
        let checkpoints = execution.filter(|_| self.lifecycle.takes_checkpoints());
        let next = earlier(
            self.lifecycle.deadline(),
            earlier(
                checkpoints.and_then(RunningExecution::checkpoint_deadline),
                at_work.map(RunningExecution::stall_check),
            ),
        );
        next.unwrap_or(now.after(Duration::from_secs(1)))
    }

    fn handle(&mut self, message: Message) {
        let (mut checkpoint_event, mut quiet) = (None, false);
        match message {
            Message::Report(instance, report) => self.reported(instance, report),
            Message::Written(written) => {
                // Before the coordinator hears of it: its answer may end the checkpoint and its statistics.
                self.measure(&written);
                match outcome(written) {
                    Ok(event) => checkpoint_event = Some(event),
                    Err(failure) => self.on(Event::Failed(failure)),
                }
            }
            Message::WriterGone => {
                // A closed channel is always ready: it would be reported again at every wait.
                self.mailboxes.written = never();
                self.on(Event::WriterGone);
            }
            Message::Request(Request::Stop { end, within }) => {
                self.on(Event::StopAsked { end, within });
            }
            Message::Request(Request::Checkpoint { reply }) if self.store.is_some() => {
                self.checkpoint_requests.add(reply);
            }
            Message::Request(Request::Checkpoint { reply }) => {
                let _ = reply.send(Err("nothing is stored under this guarantee".to_owned()));
            }
            Message::Orphaned => {
                self.mailboxes.requests = never();
                self.on(Event::Orphaned);
            }
            Message::Nothing => {
                (checkpoint_event, quiet) = (Some(coordinator::Event::Tick), true);
            }
        }
        self.look_after_checkpoints(checkpoint_event);
        // Last: a message that was read in time counts, even if the deadline has passed meanwhile.
        let due = self.lifecycle.deadline().is_some_and(|at| at <= self.clock.now());
        if due {
            self.on(if quiet { Event::Quiet } else { Event::Tick });
        }
    }

    fn reported(&mut self, instance: usize, report: Report) {
        match report {
            Report::Up => self.on(Event::InstanceUp),
            Report::Ended => self.on(Event::Ended { instance }),
            Report::Failed(failure) => self.on(Event::Failed(failure)),
            Report::Gone => self.on(Event::Gone { instance }),
        }
    }

    /// Gives the lifecycle an event, and performs the actions that it answers with.
    fn on(&mut self, event: Event) {
        let actions = self.lifecycle.on(event, self.clock.now());
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            if let Err(event) = self.perform(action) {
                // Behind the actions that are left: the lifecycle put these in order before it knew of this.
                actions.extend(self.lifecycle.on(event, self.clock.now()));
            }
        }
    }

    /// Performs one action.
    ///
    /// # Errors
    /// The event for the lifecycle if the action was not possible.
    fn perform(&mut self, action: Action) -> Result<(), Event> {
        match action {
            Action::StartExecution => return self.start_execution(),
            Action::OpenAll => self.tell_all(Command::Open),
            Action::TellStop { end, by } => self.tell_all(Command::Stop { end, by }),
            Action::TellExit => self.tell_all(Command::Exit),
            Action::CloseAccount => {
                if let Some(execution) = &self.execution {
                    execution.close_account();
                }
            }
            Action::CancelAll => {
                if let Some(execution) = &self.execution {
                    execution.cancel_all();
                }
                let reason = "its execution ended before it was known to be complete";
                self.ended(CheckpointOutcome::Abandoned { reason: reason.to_owned() });
            }
            Action::DropExecution { gone, writer_gone } => {
                self.host.clear(&|instance| gone.contains(&instance), writer_gone);
                self.execution = None;
                // New channels with the next execution: a late report of an instance that was left behind
                // must not be taken for one of the next instance with its number.
                self.mailboxes = Mailboxes::to_owner(self.mailboxes.requests.clone());
            }
            Action::Settle(failure) => self.settle(&failure),
            Action::Rest { failure, pause } => {
                tracing::warn!(%failure, ?pause, "the job starts over");
            }
            Action::DropHeld => self.drop_held(),
            Action::ReportEnd(end) => self.end = Some(self.with_holders(end)),
        }
        Ok(())
    }

    fn tell_all(&self, command: Command) {
        if let Some(execution) = &self.execution {
            execution.tell(command, |_| true);
        }
    }

    /// An execution has failed and all its instances have ended: the events that it had in flight are dropped
    /// or replayed. Not earlier, since the counters of an instance change as long as it runs.
    fn settle(&self, failure: &Failure) {
        let terms = &self.guarantee.terms;
        match terms.on_failure {
            Verdict::Drop => {
                let events = self.registry.settle(Loss::Dropped);
                tell(terms.on_drop.as_ref(), failure, events);
            }
            Verdict::Fail | Verdict::RollBack => {
                self.registry.settle(Loss::TakenBack);
            }
        }
    }

    /// Names who holds events that a stop waited for in vain.
    fn with_holders(&self, mut end: RunEnd) -> RunEnd {
        if let RunEnd::Failed(JobError::StopTimedOut { held, .. }) = &mut end {
            *held = self.registry.deferred();
        }
        end
    }

    /// The job has ended without a failure: events that are still held in tokens are dropped if the guarantee
    /// does not replay them.
    fn drop_held(&self) {
        let terms = &self.guarantee.terms;
        if terms.on_failure != Verdict::Drop {
            return;
        }
        for (instance, events) in self.registry.drop_held() {
            let cause = Cause::error("token without an answer at the end of the job");
            let failure = Failure { instance, callback: "token", cause };
            tell(terms.on_drop.as_ref(), &failure, events);
        }
    }

    /// Reports callbacks that have not returned for long, once each.
    fn look_for_stalls(&mut self, now: Timestamp) {
        if let Some(execution) = self.execution.as_mut().filter(|_| self.lifecycle.is_at_work()) {
            let stalled_after = self.guarantee.options.stalled_after;
            execution.look_for_stalls(&self.blueprint, &self.registry, stalled_after, now);
        }
    }
}

/// The event for the coordinator that the writer's answer is.
///
/// # Errors
/// The failure, if no checkpoint can be taken any more.
fn outcome(written: Written) -> Result<coordinator::Event, Failure> {
    use coordinator::Event;
    Ok(match written {
        Written::Parts { checkpoint, instance, .. } => Event::Stored { checkpoint, instance },
        Written::LastParts { instance } => Event::Ended { instance },
        Written::Committed { checkpoint, .. } => Event::Committed { checkpoint },
        Written::Failed { checkpoint, reason } => Event::Failed { checkpoint, reason },
        Written::NotGivenBack { name, error } => {
            return Err(Failure {
                instance: InstanceName::new(&*name.component, name.instance()),
                callback: "state",
                cause: Cause::error(Permanent::new(error)),
            });
        }
        Written::Unusable { instance, reason } => {
            return Err(Failure {
                instance: InstanceName::new("checkpoint writer", instance),
                callback: "checkpoint",
                cause: Cause::error(reason),
            });
        }
    })
}
