//! [`Lifecycle`]: the states that a job goes through, from its first execution to its end. A value: events
//! in, actions out; no channel, no clock, no host. The supervisor owns those and performs the actions.
//!
//! ```text
//!              all up            stop asked            last checkpoint complete
//!   Starting ─────────▶ Running ───────────▶ Stopping ─────────────────▶ Finishing
//!      ▲  │                │                    │                            │
//!      │  └────────────────┴──── failed, over, or out of time ───────────────┘
//!      │                                  ▼
//!   Resting ◀── may start over ── ShuttingDown ── else ──▶ Over
//! ```
//! It never decides about a single checkpoint; [`Coordinator`](crate::checkpoint::coordinator::Coordinator) does.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::channel::frame::End;
use crate::clock::Timestamp;
use crate::delivery::options::Restarts;
use crate::error::{Failure, JobError, Refused};
use crate::executor::rebuild::Rebuild;
use crate::id::InstanceName;

/// What happened. Instances are numbered by the plan.
#[derive(Debug)]
pub(crate) enum Event {
    /// Time passed; there may be unread messages.
    Tick,
    /// Time passed, and every message has been read.
    Quiet,
    /// An instance has set up.
    InstanceUp,
    /// The stream of an instance has ended.
    Ended { instance: usize },
    /// An instance, or the checkpoint writer, cannot go on.
    Failed(Failure),
    /// An instance has sent its last message.
    Gone { instance: usize },
    /// The checkpoint writer has sent its last message.
    WriterGone,
    /// An execution could not be started. This many of its instances were started, and perhaps its writer.
    NotStarted { refused: Refused, instances: usize, writer: bool },
    /// A checkpoint is complete. After the last one only the commits of the sinks are left.
    CheckpointComplete { last: bool },
    /// Too many checkpoints have failed in a row.
    CheckpointsFailed { failures: u32, reason: String },
    /// The owner of the job asks for its end.
    StopAsked { end: End, within: Duration },
    /// All handles of the job were dropped.
    Orphaned,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Action {
    /// Find the checkpoint to restore, and start all instances.
    StartExecution,
    /// Let events flow.
    OpenAll,
    /// Tell all instances that the job is to end in this way, by then.
    TellStop { end: End, by: Timestamp },
    /// Tell all instances that they are over.
    TellExit,
    /// Answers of this execution have no effect from now on.
    CloseAccount,
    /// End all instances at their next step, and the writer when it has done its tasks.
    CancelAll,
    /// Drop the execution: wait for the threads of those that are gone, leave the others behind.
    DropExecution { gone: BTreeSet<usize>, writer_gone: bool },
    /// Account for the events that a failed execution had in flight.
    Settle(Failure),
    /// Log that the job pauses and restarts.
    Rest { failure: Failure, pause: Duration },
    /// Account for events that are still held in tokens.
    DropHeld,
    /// The job is over.
    ReportEnd(RunEnd),
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum RunEnd {
    /// Without a failure: in the way that was asked for, or because the sources ended.
    Ended {
        asked: Option<End>,
    },
    Failed(JobError),
    /// An execution could not be started.
    Refused(Refused),
}

/// What the lifecycle depends on.
pub(crate) struct LifecycleOptions {
    /// The instances by number.
    pub(crate) instances: Vec<InstanceName>,
    /// Whether there is a checkpoint store: then there is a writer, a failed job can restart, and a
    /// stopped one can be resumed.
    pub(crate) stored: bool,
    /// The timeout of a stop that was asked for without one.
    pub(crate) stop_within: Duration,
    pub(crate) restarts: Restarts,
}

pub(crate) struct Lifecycle {
    options: LifecycleOptions,
    restarts: Rebuild,
    restarted: u64,
    state: State,
    execution: Execution,
    stop: Option<Stop>,
}

#[derive(Debug)]
enum State {
    /// Instances set up; no event flows.
    Starting,
    /// Events flow.
    Running,
    /// The instances have been told to end.
    Stopping,
    /// The last checkpoint is complete, and sinks commit what it holds.
    Finishing,
    /// All instances and the writer have been told to end. Those that have not ended by then are left behind.
    ShuttingDown {
        why: Why,
        by: Timestamp,
    },
    /// Between two executions.
    Resting {
        until: Timestamp,
    },
    Over,
}

/// Why an execution is shut down.
#[derive(Debug)]
enum Why {
    Ended,
    Failed(Failure),
    /// The job ends with this error, even if all instances end in time.
    GivenUp(JobError),
    NotStarted(Refused),
}

/// The state of the instances of one execution.
#[derive(Debug, Default)]
struct Execution {
    /// How many the host has started.
    started: usize,
    up: usize,
    /// Whether events have flowed.
    opened: bool,
    ended: BTreeSet<usize>,
    gone: BTreeSet<usize>,
    writer_gone: bool,
}

/// A stop that was asked for: how the job ends, the deadline, and the timeout that it was computed from.
#[derive(Clone, Copy, Debug)]
struct Stop {
    end: End,
    by: Timestamp,
    within: Duration,
}

/// The least time for a shutdown. When the deadline of a stop has passed, instances that are about to end
/// still get this long, so that they are not reported as stuck.
const LAST_MOMENT: Duration = Duration::from_millis(200);

impl Lifecycle {
    /// The lifecycle of a job whose first execution is about to be started.
    pub(crate) fn new(options: LifecycleOptions) -> Self {
        let restarts = Rebuild::new(options.restarts);
        let execution = Execution::of(&options);
        let (state, stop) = (State::Starting, None);
        Self { options, restarts, restarted: 0, state, execution, stop }
    }

    /// When it needs its next tick.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        match &self.state {
            State::Starting | State::Running | State::Stopping | State::Finishing => {
                self.stop.map(|stop| stop.by)
            }
            State::ShuttingDown { by, .. } => Some(*by),
            State::Resting { until } => Some(*until),
            State::Over => None,
        }
    }

    /// Whether checkpoints are taken.
    pub(crate) fn takes_checkpoints(&self) -> bool {
        matches!(self.state, State::Running | State::Stopping)
    }

    /// Whether instances are expected to work, so that a stalled one is reported.
    pub(crate) fn is_at_work(&self) -> bool {
        self.takes_checkpoints() || matches!(self.state, State::Starting | State::Finishing)
    }

    /// Whether an execution is being shut down.
    pub(crate) fn is_shutting_down(&self) -> bool {
        matches!(self.state, State::ShuttingDown { .. })
    }

    /// How often the job has restarted.
    pub(crate) fn restarted(&self) -> u64 {
        self.restarted
    }

    /// The one transition function.
    pub(crate) fn on(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        // Nobody is called stuck while messages are unread: the next one may say that this instance is gone.
        let out_of_patience = matches!(event, Event::Quiet);
        let mut actions = match event {
            Event::Tick | Event::Quiet => Vec::new(),
            Event::InstanceUp => self.instance_up(),
            Event::Ended { instance } => self.ended(instance, now),
            Event::Gone { instance } => {
                self.execution.gone.insert(instance);
                Vec::new()
            }
            Event::WriterGone => {
                self.execution.writer_gone = true;
                Vec::new()
            }
            Event::Failed(failure) if self.is_at_work() => {
                self.shut_down(Why::Failed(failure), now)
            }
            // A failure during a shutdown is a consequence of it; the cause of the shutdown is the one to
            // report.
            Event::Failed(_) => Vec::new(),
            Event::NotStarted { refused, instances, writer } => {
                (self.execution.started, self.execution.writer_gone) = (instances, !writer);
                self.shut_down(Why::NotStarted(refused), now)
            }
            Event::CheckpointComplete { last } => {
                // The next pause is short again, but the failures still count: otherwise one that comes back
                // after every checkpoint would never end the job.
                self.restarts.progressed();
                if last && self.takes_checkpoints() {
                    self.state = State::Finishing;
                }
                Vec::new()
            }
            Event::CheckpointsFailed { failures, reason } if self.is_at_work() => {
                self.shut_down(Why::GivenUp(JobError::Checkpoints { failures, reason }), now)
            }
            Event::CheckpointsFailed { .. } => Vec::new(),
            Event::StopAsked { end, within } => self.stop_asked(end, within, now),
            Event::Orphaned if self.stop.is_none() => {
                self.stop_asked(End::Suspended, self.options.stop_within, now)
            }
            Event::Orphaned => Vec::new(),
        };
        actions.extend(self.look_around(out_of_patience, now));
        actions
    }

    fn instance_up(&mut self) -> Vec<Action> {
        self.execution.up += 1;
        let all_up = self.execution.up == self.options.instances.len();
        if !matches!(self.state, State::Starting) || !all_up {
            return Vec::new();
        }
        (self.state, self.execution.opened) = (State::Running, true);
        let mut actions = vec![Action::OpenAll];
        // A stop may have been asked for during the start.
        actions.extend(self.tell_stop());
        actions
    }

    /// Without a store the end of the last stream is the end of the job. With a store it is not: the last
    /// checkpoint and its commits follow.
    fn ended(&mut self, instance: usize, now: Timestamp) -> Vec<Action> {
        self.execution.ended.insert(instance);
        let all_ended = self.execution.ended.len() == self.options.instances.len();
        if self.options.stored || !all_ended || !self.is_at_work() {
            return Vec::new();
        }
        let mut actions = vec![Action::TellExit];
        actions.extend(self.shut_down(Why::Ended, now));
        actions
    }

    /// The first request decides how the job ends, the last one by when.
    fn stop_asked(&mut self, end: End, within: Duration, now: Timestamp) -> Vec<Action> {
        let end = self.stop.map_or(end, |stop| stop.end);
        self.stop = Some(Stop { end, by: now.after(within), within });
        self.tell_stop().into_iter().collect()
    }

    /// Tells a running job to stop if that was asked for; once in an execution.
    fn tell_stop(&mut self) -> Option<Action> {
        let stop = self.stop.filter(|_| matches!(self.state, State::Running))?;
        self.state = State::Stopping;
        // Without a store nothing could be resumed: what is held is emitted.
        let end = if self.options.stored { stop.end } else { End::Finished };
        Some(Action::TellStop { end, by: stop.by })
    }

    /// Enters the next state if nothing is left to wait for, or the time is over.
    fn look_around(&mut self, out_of_patience: bool, now: Timestamp) -> Vec<Action> {
        let over = self.deadline().is_some_and(|at| at <= now);
        // In this order: a job that is complete has ended, even if its deadline has passed as well.
        match &self.state {
            State::Finishing if self.execution.instances_are_gone() => {
                self.shut_down(Why::Ended, now)
            }
            _ if self.is_at_work() && over => self.stop_timed_out(now),
            State::ShuttingDown { .. } if self.execution.is_gone() => self.drop_execution(now),
            State::ShuttingDown { .. } if over && out_of_patience => self.drop_execution(now),
            State::Resting { .. } if over || self.stop.is_some() => vec![self.start_over()],
            _ => Vec::new(),
        }
    }

    fn stop_timed_out(&mut self, now: Timestamp) -> Vec<Action> {
        let Some(Stop { within, .. }) = self.stop else { return Vec::new() };
        let stuck = match self.state {
            // All streams have ended: the instances that are left commit.
            State::Finishing => self.still_here(),
            _ => self.names(|number| !self.execution.ended.contains(&number)),
        };
        let error = JobError::StopTimedOut { deadline: within, stuck, held: Vec::new() };
        self.shut_down(Why::GivenUp(error), now)
    }

    fn shut_down(&mut self, why: Why, now: Timestamp) -> Vec<Action> {
        let patience =
            self.stop.map_or(self.options.stop_within, |stop| stop.by.since(now).max(LAST_MOMENT));
        self.state = State::ShuttingDown { why, by: now.after(patience) };
        // The account first: a cancelled instance drops its components with their tokens, and each of these
        // would count as a failed event.
        let mut actions = vec![Action::CloseAccount, Action::CancelAll];
        if self.execution.is_gone() {
            actions.extend(self.drop_execution(now));
        }
        actions
    }

    /// All have ended, or their time is over: the execution ends here.
    fn drop_execution(&mut self, now: Timestamp) -> Vec<Action> {
        let mut stuck = self.still_here();
        if !self.execution.writer_gone {
            stuck.push(InstanceName::new("checkpoint writer", 0));
        }
        let gone = std::mem::take(&mut self.execution.gone);
        let mut actions =
            vec![Action::DropExecution { gone, writer_gone: self.execution.writer_gone }];
        let state = std::mem::replace(&mut self.state, State::Over);
        let State::ShuttingDown { why, .. } = state else { return actions };
        let end = match why {
            Why::Ended => {
                actions.push(Action::DropHeld);
                RunEnd::Ended { asked: self.stop.map(|stop| stop.end) }
            }
            Why::GivenUp(error) => RunEnd::Failed(error),
            Why::NotStarted(refused) => RunEnd::Refused(refused),
            Why::Failed(failure) if !stuck.is_empty() => {
                // No restart beside an instance that still runs: its sink may still write, and its source
                // read.
                let deadline = self.options.stop_within;
                RunEnd::Failed(JobError::Stuck { failure, deadline, stuck })
            }
            Why::Failed(failure) => {
                // Whether the job restarts or not, its events are accounted for.
                actions.push(Action::Settle(failure.clone()));
                match self.pause_after(&failure, now) {
                    Some(pause) => {
                        actions.extend(self.rest(failure, pause, now));
                        return actions;
                    }
                    None => RunEnd::Failed(JobError::Failed { failure, restarts: self.restarted }),
                }
            }
        };
        actions.push(Action::ReportEnd(end));
        actions
    }

    /// How long to wait before the job restarts, if it may.
    fn pause_after(&mut self, failure: &Failure, now: Timestamp) -> Option<Duration> {
        // Without a store the events of this execution are lost; before it was opened there were none.
        let resumable = self.options.stored || !self.execution.opened;
        let may_restart = resumable && !failure.cause.is_permanent() && self.stop.is_none();
        // Only then the policy is asked, since each answer counts as a restart.
        if may_restart { self.restarts.again(now) } else { None }
    }

    fn rest(&mut self, failure: Failure, pause: Duration, now: Timestamp) -> Vec<Action> {
        self.state = State::Resting { until: now.after(pause) };
        let mut actions = vec![Action::Rest { failure, pause }];
        if pause.is_zero() {
            actions.push(self.start_over());
        }
        actions
    }

    /// Also if a stop was asked for meanwhile: events after the newest checkpoint must still be processed.
    /// The next execution is told to stop as soon as it is up.
    fn start_over(&mut self) -> Action {
        self.restarted += 1;
        self.execution = Execution::of(&self.options);
        self.state = State::Starting;
        Action::StartExecution
    }

    /// The instances that are not gone.
    fn still_here(&self) -> Vec<InstanceName> {
        self.names(|number| !self.execution.gone.contains(&number))
    }

    fn names(&self, of: impl Fn(usize) -> bool) -> Vec<InstanceName> {
        let numbers = self.options.instances.iter().enumerate();
        numbers.filter(|(number, _)| of(*number)).map(|(_, name)| name.clone()).collect()
    }
}

impl Execution {
    /// One that is about to be started.
    fn of(options: &LifecycleOptions) -> Self {
        let started = options.instances.len();
        Self { started, writer_gone: !options.stored, ..Self::default() }
    }

    fn instances_are_gone(&self) -> bool {
        self.gone.len() >= self.started
    }

    fn is_gone(&self) -> bool {
        self.instances_are_gone() && self.writer_gone
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
