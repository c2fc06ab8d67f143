//! [`Supervisor`]: owns clock, store and instances of a job, performs what the coordinator decides,
//! and starts the job over when an instance cannot go on.
//!
//! One per job. Everything that happens comes in through channels; between two messages it lets its
//! [`Host`] wait until the next moment that matters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never};

use crate::channel::frame::End;
use crate::checkpoint::coordinator::{Action, Coordinator, Event};
use crate::checkpoint::{CheckpointStore, Manifest};
use crate::clock::{Clock, Timestamp, earlier};
use crate::delivery::terms::{Guarantee, Verdict};
use crate::error::{Cause, Failure, JobError, Permanent, Refused};
use crate::executor::blueprint::{Blueprint, Run};
use crate::executor::checkpoint_writer::{Task, Written};
use crate::executor::drop_hook::tell;
use crate::executor::host::{Host, Mailboxes, Message, Request};
use crate::executor::instance::{Command, Report};
use crate::executor::rebuild::Rebuild;
use crate::executor::supervisor::running::Running;
use crate::id::{CheckpointId, ExecutionId, InstanceName};
use crate::metrics::{Loss, Registry};

/// How a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The end that was asked for and came about; none if the sources ended by themselves.
    pub(crate) asked: Option<End>,
    pub(crate) restored_from: Option<CheckpointId>,
}

pub(crate) struct Supervisor<H> {
    host: H,
    blueprint: Blueprint,
    guarantee: Guarantee,
    store: Option<Arc<dyn CheckpointStore>>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    requests: Receiver<Request>,
    attempt: u64,
    /// The first execution of this process.
    first_execution: Option<ExecutionId>,
    window: Rebuild,
    restored_from: Option<CheckpointId>,
    /// Who waits for a checkpoint, by ticket; a restart in between does not send them away.
    asked: BTreeMap<u64, Sender<Result<CheckpointId, String>>>,
    next_ticket: u64,
    /// A stop that was asked for: how, and until when.
    stopping: Option<Stopping>,
    /// From the start of the first execution to the end of the last one.
    job_run: Option<Run>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopping {
    end: End,
    pub(super) by: Timestamp,
    within: Duration,
}

mod running;

/// How an execution ended.
enum Outcome {
    Ended,
    Failed(Failure),
    Over(JobError),
}

/// The start of an execution, taken from the store before any thread runs.
pub(crate) struct Prepared {
    pub(super) execution: ExecutionId,
    pub(super) restored: Option<Arc<Manifest>>,
    /// Components that start anew.
    pub(super) anew: Arc<BTreeSet<String>>,
    newest: CheckpointId,
}

/// What a supervisor is made around.
pub(crate) struct SupervisorParts {
    pub(crate) blueprint: Blueprint,
    pub(crate) guarantee: Guarantee,
    pub(crate) store: Option<Arc<dyn CheckpointStore>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) requests: Receiver<Request>,
}

impl<H: Host> Supervisor<H> {
    pub(crate) fn new(charge: SupervisorParts, host: H) -> Self {
        let SupervisorParts { blueprint, guarantee, store, clock, registry, requests } = charge;
        let window = Rebuild::new(guarantee.options.restarts);
        Self {
            host,
            blueprint,
            guarantee,
            store,
            clock,
            registry,
            requests,
            attempt: 1,
            first_execution: None,
            window,
            restored_from: None,
            asked: BTreeMap::new(),
            next_ticket: 0,
            stopping: None,
            job_run: None,
        }
    }

    /// Takes the store and starts all instances. If that fails, the store is let go.
    ///
    /// # Errors
    /// What [`prepare`](Self::prepare) or the host said.
    pub(crate) fn begin(&mut self) -> Result<(Prepared, Running), Refused> {
        let begun = self.prepare().and_then(|prepared| {
            let running = self.start_instances(&prepared)?;
            self.job_run = Some(Run::begin(self.blueprint.surroundings.clone()));
            Ok((prepared, running))
        });
        begun.inspect_err(|_| {
            if let Some(store) = &self.store {
                store.release();
            }
        })
    }

    /// Takes the store and finds where to start.
    ///
    /// # Errors
    /// The store's own, or a checkpoint that does not fit the job.
    fn prepare(&mut self) -> Result<Prepared, Refused> {
        let Some(store) = &self.store else {
            let execution = ExecutionId(self.attempt);
            return Ok(Prepared {
                execution,
                restored: None,
                anew: Arc::default(),
                newest: CheckpointId(0),
            });
        };
        let execution = store.begin_execution()?;
        let first = *self.first_execution.get_or_insert(execution);
        let found = store.latest()?;
        for aside in found.iter().flat_map(|found| &found.set_aside) {
            tracing::error!(?aside, "a damaged checkpoint was set aside; an older one is used");
        }
        let aside = found.iter().flat_map(|found| &found.set_aside);
        let aside = aside.map(|aside| aside.checkpoint).max();
        let manifest = found.map(|found| Arc::new(found.manifest));
        // What this run has stored itself is not left behind when it starts over.
        let is_older = manifest.as_ref().is_some_and(|manifest| manifest.execution < first);
        let anew = match execution == first || is_older {
            true => Arc::clone(&self.guarantee.options.anew),
            false => Arc::default(),
        };
        self.check_anew(manifest.as_deref())?;
        if let Some(manifest) = &manifest {
            let cut = self.guarantee.terms.cut.word();
            let accepted = self.blueprint.accepts(manifest, cut, &anew);
            let checkpoint = manifest.checkpoint.0;
            accepted.map_err(|reason| Refused::Incompatible { checkpoint, reason })?;
        }
        // Numbers of damaged ones are not used again either.
        let listed = store.list()?.into_iter().map(|manifest| manifest.checkpoint).max();
        let restored = manifest.as_ref().map(|manifest| manifest.checkpoint);
        let newest = listed.max(restored).max(aside).unwrap_or_default();
        Ok(Prepared { execution, restored: manifest, anew, newest })
    }

    /// Refuses names of components that are nowhere.
    fn check_anew(&self, manifest: Option<&Manifest>) -> Result<(), Refused> {
        let then = manifest.into_iter().flat_map(|manifest| &manifest.components);
        let known: BTreeSet<&str> = self
            .blueprint
            .components
            .iter()
            .map(|now| &*now.name)
            .chain(then.map(|then| &*then.name))
            .collect();
        match self.guarantee.options.anew.iter().find(|name| !known.contains(&***name)) {
            None => Ok(()),
            Some(name) => Err(Refused::Option {
                option: "start_anew",
                reason: format!("neither the job nor its checkpoint has a component \"{name}\""),
            }),
        }
    }

    /// Runs executions until one ends the job.
    pub(crate) fn run(
        mut self,
        first: Prepared,
        first_running: Running,
    ) -> Result<Ended, JobError> {
        let mut running = first_running;
        self.restored_from = first.restored.as_ref().map(|manifest| manifest.checkpoint);
        let mut prepared = first;
        loop {
            let outcome = self.execute(&mut running, &prepared);
            let opened = running.opened;
            let failure = match outcome {
                Outcome::Ended => {
                    self.dismiss(running);
                    self.give_up_held();
                    let asked = self.stopping.map(|stopping| stopping.end);
                    return Ok(Ended { asked, restored_from: self.restored_from });
                }
                Outcome::Over(error) => {
                    self.dismiss(running);
                    return Err(error);
                }
                Outcome::Failed(failure) => failure,
            };
            let stuck = self.dismiss(running);
            if !stuck.is_empty() {
                let deadline = self.guarantee.options.stop_within;
                return Err(JobError::Stuck { failure, deadline, stuck });
            }
            self.settle(&failure);
            let may_restart = (self.store.is_some() || !opened) && !failure.cause.is_permanent();
            let again = self.window.again(self.clock.now()).filter(|_| may_restart);
            let restarts = self.registry.restarts.get();
            let Some(pause) = again.filter(|_| self.stopping.is_none()) else {
                return Err(JobError::Failed { failure, restarts });
            };
            tracing::warn!(%failure, ?pause, "the job starts over");
            self.rest(pause);
            self.attempt += 1;
            self.registry.restarts.add(1);
            prepared = self.prepare().map_err(restart_error)?;
            self.restored_from = prepared.restored.as_ref().map(|manifest| manifest.checkpoint);
            running = self.start_instances(&prepared).map_err(restart_error)?;
        }
    }

    /// Waits before a restart; a stop that comes meanwhile is noted.
    fn rest(&mut self, pause: Duration) {
        let until = self.clock.now().after(pause);
        while self.clock.now() < until && self.stopping.is_none() {
            match self.host.wait(&Mailboxes::to_owner(self.requests.clone()), until) {
                Message::Request(request) => self.note(request),
                Message::Orphaned => self.orphan(),
                Message::Report(..)
                | Message::Written(_)
                | Message::WriterGone
                | Message::Nothing => {}
            }
        }
    }

    fn note(&mut self, request: Request) {
        match request {
            Request::Stop { end, within } => {
                // How the job ends is settled by who asked first, until when by who asked last.
                let end = self.stopping.map_or(end, |stopping| stopping.end);
                let by = self.clock.now().after(within);
                self.stopping = Some(Stopping { end, by, within });
            }
            Request::Checkpoint { reply } if self.store.is_some() => {
                self.asked.insert(self.next_ticket, reply);
                self.next_ticket += 1;
            }
            Request::Checkpoint { reply } => {
                let _ = reply.send(Err("nothing is stored under this guarantee".to_owned()));
            }
        }
    }

    /// The handle was dropped: the job is asked to stop.
    fn orphan(&mut self) {
        self.requests = never();
        if self.stopping.is_none() {
            let within = self.guarantee.options.stop_within;
            self.note(Request::Stop { end: End::Suspended, within });
        }
    }

    /// An execution has failed and all its instances are gone: what it had on its way is dropped, or
    /// comes again.
    fn settle(&self, failure: &Failure) {
        let terms = &self.guarantee.terms;
        match terms.on_failure {
            Verdict::Drop => {
                let events = self.registry.settle(Loss::Dropped);
                tell(terms.on_drop.as_ref(), failure, events);
            }
            Verdict::Fail | Verdict::GoBack => {
                self.registry.settle(Loss::TakenBack);
            }
        }
    }

    /// The job has ended well: what still sits in tokens is given up where nothing brings it again.
    fn give_up_held(&self) {
        let terms = &self.guarantee.terms;
        if terms.on_failure != Verdict::Drop {
            return;
        }
        for (instance, events) in self.registry.give_up_held() {
            let cause = Cause::error("token without an answer at the end of the job");
            let failure = Failure { instance, callback: "token", cause };
            tell(terms.on_drop.as_ref(), &failure, events);
        }
    }

    /// Runs one execution to its end.
    fn execute(&mut self, running: &mut Running, prepared: &Prepared) -> Outcome {
        let mut coordinator = self.store.is_some().then(|| self.coordinator(prepared));
        let mut next_ticket = 0;
        loop {
            if let Some(outcome) = self.stop_if_asked(running) {
                return outcome;
            }
            let now = self.clock.now();
            self.look_for_stalls(running, now);
            let until = self.next_moment(coordinator.as_ref(), running, now);
            let event = match self.host.wait(&running.lines, until) {
                Message::Report(number, report) => {
                    let wanted = coordinator.as_ref().and_then(Coordinator::in_flight);
                    match self.reported(running, number, report, wanted) {
                        Ok(event) => event,
                        Err(outcome) => return outcome,
                    }
                }
                Message::Written(written) => match was_written(written) {
                    Ok(event) => Some(event),
                    Err(failure) => return Outcome::Failed(failure),
                },
                Message::WriterGone => {
                    running.writer_left();
                    None
                }
                Message::Request(request) => {
                    self.note(request);
                    None
                }
                Message::Orphaned => {
                    self.orphan();
                    running.lines.requests = never();
                    None
                }
                Message::Nothing => Some(Event::Tick),
            };
            let now = self.clock.now();
            match &mut coordinator {
                Some(coordinator) if running.opened => {
                    let mut actions =
                        event.map_or_else(Vec::new, |event| coordinator.on(event, now));
                    if coordinator.deadline().is_some_and(|at| at <= now) {
                        actions.extend(coordinator.on(Event::Tick, now));
                    }
                    for (ticket, _) in self.asked.range(next_ticket..) {
                        actions.extend(coordinator.on(Event::Asked { ticket: *ticket }, now));
                    }
                    next_ticket = self.next_ticket;
                    if let Some(outcome) = self.perform(actions, running) {
                        return outcome;
                    }
                }
                Some(_) => {}
                None if running.all_ended() => {
                    running.tell_all(Command::Exit);
                    return Outcome::Ended;
                }
                None => {}
            }
        }
    }

    fn coordinator(&self, prepared: &Prepared) -> Coordinator {
        let numbers = self.blueprint.threads.iter().enumerate();
        let (sources, others): (Vec<_>, Vec<_>) = numbers.partition(|(_, thread)| thread.is_source);
        let set = |of: Vec<(usize, _)>| of.into_iter().map(|(number, _)| number).collect();
        Coordinator::new(
            self.guarantee.options.schedule.clone(),
            self.guarantee.terms.cut,
            set(sources),
            set(others),
            CheckpointId(prepared.newest.0 + 1),
            self.clock.now(),
        )
    }

    fn next_moment(
        &self,
        coordinator: Option<&Coordinator>,
        running: &Running,
        now: Timestamp,
    ) -> Timestamp {
        let deadline = coordinator.filter(|_| running.opened).and_then(Coordinator::deadline);
        let stop = self.stopping.map(|stopping| stopping.by);
        let next = earlier(earlier(deadline, stop), Some(running.stall_check));
        next.unwrap_or(now.after(Duration::from_secs(1)))
    }

    fn reported(
        &self,
        running: &mut Running,
        number: usize,
        report: Report,
        wanted: Option<CheckpointId>,
    ) -> Result<Option<Event>, Outcome> {
        match report {
            Report::Up => {
                running.up += 1;
                if running.up == running.mailboxes.len() {
                    running.opened = true;
                    running.tell_all(Command::Open);
                }
                Ok(None)
            }
            Report::Saved { checkpoint, parts } if wanted == Some(checkpoint) => {
                running.write_parts(checkpoint, number, parts);
                Ok(None)
            }
            // Of a checkpoint that was given up meanwhile.
            Report::Saved { .. } => Ok(None),
            Report::Ended { parts } => {
                running.ended.insert(number);
                running.write(Task::LastParts { instance: number, parts });
                Ok(None)
            }
            Report::Failed(failure) => Err(Outcome::Failed(failure)),
            Report::Gone => {
                running.gone.insert(number);
                Ok(None)
            }
        }
    }

    fn perform(&mut self, actions: Vec<Action>, running: &mut Running) -> Option<Outcome> {
        for action in actions {
            match action {
                Action::Inject(checkpoint) => {
                    let threads = &self.blueprint.threads;
                    running.tell(Command::Inject(checkpoint), |number| threads[number].is_source);
                }
                Action::Snapshot { checkpoint, instances } => {
                    running
                        .tell(Command::Snapshot(checkpoint), |number| instances.contains(&number));
                }
                Action::Commit { checkpoint, .. } => running.write(Task::Commit { checkpoint }),
                Action::Announce { checkpoint, last, tickets } => {
                    self.registry.checkpoints.add(1);
                    self.window.progressed();
                    running.tell_all(Command::Complete { checkpoint, last });
                    running.write(Task::Retain { keep: self.guarantee.options.keep });
                    running.forget_parts(checkpoint);
                    self.reply(&tickets, &Ok(checkpoint));
                    if last {
                        return Some(self.after_last(running));
                    }
                }
                Action::Abandon { checkpoint, reason, tickets } => {
                    self.registry.checkpoints_failed.add(1);
                    tracing::warn!(%checkpoint, reason, "checkpoint abandoned");
                    running.write(Task::Abandon { checkpoint });
                    running.forget_parts(checkpoint);
                    self.reply(&tickets, &Err(reason));
                }
                Action::GiveUp { failures, reason } => {
                    return Some(Outcome::Over(JobError::Checkpoints { failures, reason }));
                }
            }
        }
        None
    }

    fn reply(&mut self, tickets: &[u64], answer: &Result<CheckpointId, String>) {
        for ticket in tickets {
            if let Some(reply) = self.asked.remove(ticket) {
                // Whoever asked may have gone away.
                let _ = reply.send(answer.clone());
            }
        }
    }

    /// Waits for the last commits of the sinks: as long as they take, unless somebody stops the job.
    fn after_last(&mut self, running: &mut Running) -> Outcome {
        while running.gone.len() < running.started {
            let now = self.clock.now();
            self.look_for_stalls(running, now);
            if let Some(Stopping { within, .. }) = self.stopping.filter(|stop| stop.by <= now) {
                let stuck = running.still_here(&self.blueprint);
                return Outcome::Over(JobError::StopTimedOut { deadline: within, stuck });
            }
            let by = self.stopping.map(|stopping| stopping.by);
            let until = by.map_or(running.stall_check, |by| by.min(running.stall_check));
            match self.host.wait(&running.lines, until) {
                Message::Report(_, Report::Failed(failure)) => return Outcome::Failed(failure),
                Message::Report(number, Report::Gone) => {
                    running.gone.insert(number);
                }
                Message::WriterGone => running.writer_left(),
                Message::Request(request) => self.note(request),
                Message::Orphaned => {
                    self.orphan();
                    running.lines.requests = never();
                }
                Message::Report(..) | Message::Written(_) | Message::Nothing => {}
            }
        }
        Outcome::Ended
    }

    /// Tells the sources to stop, once; gives up when the deadline is over.
    fn stop_if_asked(&self, running: &mut Running) -> Option<Outcome> {
        let stopping = self.stopping?;
        if running.opened && !std::mem::replace(&mut running.told, true) {
            // Without a store nothing could be resumed: what is held is emitted.
            let end = if self.store.is_some() { stopping.end } else { End::Finished };
            running.tell_all(Command::Stop { end, by: stopping.by });
        }
        if self.clock.now() < stopping.by {
            return None;
        }
        let names = self.blueprint.threads.iter().enumerate();
        let stuck = names.filter(|(number, _)| !running.ended.contains(number));
        let stuck = stuck.map(|(_, thread)| thread.name.clone()).collect();
        Some(Outcome::Over(JobError::StopTimedOut { deadline: stopping.within, stuck }))
    }

    /// Reports callbacks that have not returned for long, once each.
    fn look_for_stalls(&self, running: &mut Running, now: Timestamp) {
        if now < running.stall_check {
            return;
        }
        let pause = self.guarantee.options.stalled_after / 2;
        running.stall_check = now.after(pause.max(Duration::from_millis(10)));
        for (number, thread) in self.blueprint.threads.iter().enumerate() {
            let counters = self.registry.counters(&thread.name);
            let since = Timestamp(counters.working_since.get());
            let stalled = since.0 != 0 && now.since(since) > self.guarantee.options.stalled_after;
            counters.stalled.set(u64::from(stalled));
            if stalled && running.warned.insert(number) {
                let instance = &thread.name;
                let seconds = now.since(since).as_secs();
                tracing::warn!(%instance, seconds, "a callback has not returned: instance stalled");
            } else if !stalled {
                running.warned.remove(&number);
            }
        }
    }
}

/// What the coordinator makes of the writer's answer.
fn was_written(written: Written) -> Result<Event, Failure> {
    Ok(match written {
        Written::Parts { checkpoint, instance } => Event::Stored { checkpoint, instance },
        Written::LastParts { instance } => Event::Ended { instance },
        Written::Committed { checkpoint } => Event::Committed { checkpoint },
        Written::Failed { checkpoint, reason } => Event::Failed { checkpoint, reason },
        Written::NotGivenBack { name, error } => {
            return Err(Failure {
                instance: InstanceName::new(name.component, name.instance),
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

fn restart_error(refused: Refused) -> JobError {
    match refused {
        Refused::Store(error) => JobError::Store(Arc::new(error)),
        other => JobError::Restart(Arc::new(other)),
    }
}
