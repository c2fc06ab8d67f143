//! [`Running`]: the threads of one execution. How they are started, told and ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, unbounded};

use crate::channel::frame::End;
use crate::clock::Timestamp;
use crate::delivery::account::Account;
use crate::error::Refused;
use crate::executor::blueprint::{Blueprint, Execution};
use crate::executor::checkpoint_writer::{CheckpointWriter, Task, Written};
use crate::executor::instance::{Command, Mailbox, Report, Reporter};
use crate::executor::supervisor::{Prepared, Supervisor};
use crate::executor::threads::{self, Seat};
use crate::id::InstanceName;

/// The threads of one execution.
pub(crate) struct Running {
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) reports: Receiver<(usize, Report)>,
    pub(super) account: Account,
    pub(super) tasks: Option<Sender<Task>>,
    pub(super) written: Receiver<Written>,
    pub(super) writer: Option<JoinHandle<()>>,
    pub(super) threads: Vec<Option<JoinHandle<()>>>,
    pub(super) up: usize,
    pub(super) opened: bool,
    pub(super) ended: BTreeSet<usize>,
    pub(super) end: End,
    pub(super) gone: BTreeSet<usize>,
    pub(super) warned: BTreeSet<usize>,
    pub(super) told: bool,
    pub(super) stall_check: Timestamp,
}

impl Running {
    pub(super) fn tell(&self, command: Command, whom: impl Fn(usize) -> bool) {
        for (_, mailbox) in self.mailboxes.iter().enumerate().filter(|(number, _)| whom(*number)) {
            mailbox.send(command);
        }
    }

    pub(super) fn tell_all(&self, command: Command) {
        self.tell(command, |_| true);
    }

    pub(super) fn write(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // The writer outlives its tasks; it ends when this sender is dropped.
            let _ = tasks.send(task);
        }
    }

    pub(super) fn all_ended(&self) -> bool {
        self.ended.len() == self.mailboxes.len()
    }

    pub(super) fn still_here(&self, blueprint: &Blueprint) -> Vec<InstanceName> {
        let started = 0..self.threads.len();
        let here = started.filter(|number| !self.gone.contains(number));
        here.map(|number| blueprint.threads[number].name.clone()).collect()
    }
}

/// The line to the checkpoint writer, if there is one.
type WriterLine = (Option<Sender<Task>>, Receiver<Written>, Option<JoinHandle<()>>);

impl Supervisor {
    /// Starts all threads of an execution; no event flows yet.
    ///
    /// # Errors
    /// A thread that the operating system refused; those already started are ended.
    pub(crate) fn start_threads(&self, prepared: &Prepared) -> Result<Running, Refused> {
        let plan = &self.blueprint.threads;
        let (reports_in, reports) = unbounded();
        let mailboxes: Vec<Arc<Mailbox>> = plan.iter().map(|_| Arc::default()).collect();
        let reporters: Vec<Reporter> =
            (0..plan.len()).map(|number| Reporter { number, to: reports_in.clone() }).collect();
        let sources = plan.iter().zip(&mailboxes).filter(|(thread, _)| thread.is_source);
        let wakers = sources.map(|(_, mailbox)| mailbox.waker.clone()).collect();
        let alarm_to = reports_in;
        let alarm = Arc::new(move |failure| {
            let _ = alarm_to.send((0, Report::Failed(failure)));
        });
        let terms = &self.guarantee.terms;
        let account = terms.open_account(wakers, plan.len(), Arc::clone(&self.clock), alarm);
        let execution = Execution {
            id: prepared.execution,
            terms: terms.clone(),
            restarts: self.guarantee.options.restarts,
            account: account.clone(),
            clock: Arc::clone(&self.clock),
            registry: Arc::clone(&self.registry),
            store: self.store.clone(),
            restored: prepared.restored.clone(),
            mailboxes: mailboxes.clone().into(),
            reporters: reporters.clone().into(),
        };
        let builds = (self.blueprint.wire)(&execution);
        let (tasks, written, writer) = match self.writer(prepared) {
            Some(writer) => writer?,
            None => (None, never(), None),
        };
        let mut running = Running {
            mailboxes,
            reports,
            account,
            tasks,
            written,
            writer,
            threads: Vec::new(),
            up: 0,
            opened: false,
            ended: BTreeSet::new(),
            end: End::Finished,
            gone: BTreeSet::new(),
            warned: BTreeSet::new(),
            told: false,
            stall_check: Timestamp(0),
        };
        for (number, build) in builds.into_iter().enumerate() {
            let name = plan[number].name.clone();
            let started = threads::start(Seat {
                counters: self.registry.counters(&name),
                name,
                build,
                mailbox: Arc::clone(&running.mailboxes[number]),
                reporter: reporters[number].clone(),
                clock: Arc::clone(&self.clock),
            });
            match started {
                Ok(thread) => running.threads.push(Some(thread)),
                Err(refused) => {
                    self.dismiss(running);
                    return Err(refused);
                }
            }
        }
        Ok(running)
    }

    fn writer(&self, prepared: &Prepared) -> Option<Result<WriterLine, Refused>> {
        let store = Arc::clone(self.store.as_ref()?);
        let parallelism = &self.blueprint.components;
        let writer = CheckpointWriter::new(
            store,
            prepared.execution,
            self.blueprint.job.clone(),
            self.guarantee.terms.cut.word(),
            parallelism.iter().map(|(name, n)| (name.clone(), *n as u64)).collect(),
        );
        let (tasks, to_do) = unbounded();
        let (done, written) = unbounded();
        let name = "checkpoint writer".to_owned();
        let spawned = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || writer.run(to_do, done))
            .map_err(|source| Refused::Spawn { name, source });
        Some(spawned.map(|thread| (Some(tasks), written, Some(thread))))
    }

    /// Ends all threads of an execution; those that do not end in time are left behind and named.
    pub(super) fn dismiss(&self, mut running: Running) -> Vec<InstanceName> {
        running.account.close();
        running.mailboxes.iter().for_each(|mailbox| mailbox.cancel());
        let patience = self.stopping.map_or(self.guarantee.options.stop_within, |stopping| {
            // Whoever stopped has waited already; one more moment for those who are on their way.
            stopping.by.since(self.clock.now()).max(Duration::from_millis(200))
        });
        let by = self.clock.now().after(patience);
        while running.gone.len() < running.threads.len() {
            match running.reports.recv_timeout(by.since(self.clock.now())) {
                Ok((number, Report::Gone)) => {
                    running.gone.insert(number);
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let mut stuck = running.still_here(&self.blueprint);
        for number in &running.gone {
            if let Some(thread) = running.threads[*number].take() {
                // It reported that it is gone; what it panicked with has been reported too.
                let _ = thread.join();
            }
        }
        drop(running.tasks.take());
        let Some(writer) = running.writer.take() else { return stuck };
        while !writer.is_finished() && self.clock.now() < by {
            // It closes this line as it ends; what it still reports is of no use any more.
            let left = by.since(self.clock.now());
            if running.written.recv_timeout(left).is_err() {
                std::thread::yield_now();
            }
        }
        if writer.is_finished() {
            let _ = writer.join();
        } else {
            stuck.push(InstanceName::new("checkpoint writer", 0));
        }
        stuck
    }
}
