//! [`Running`]: the instances of one execution. How they are started, told and ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, never, unbounded};

use crate::clock::Timestamp;
use crate::delivery::account::Account;
use crate::error::Refused;
use crate::executor::blueprint::{Blueprint, ComponentPlan, Execution};
use crate::executor::checkpoint_writer::{CheckpointWriter, Revocable, Task};
use crate::executor::host::{Host, Mailboxes, Message};
use crate::executor::instance::{Command, Mailbox, Parts, Report, Reporter};
use crate::executor::instance_slot::InstanceSlot;
use crate::executor::supervisor::{Prepared, Supervisor};
use crate::id::{CheckpointId, InstanceName};

/// The instances of one execution.
pub(crate) struct Running {
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) lines: Mailboxes,
    /// Keeps the line of reports open when nobody is left to report.
    _reports: Sender<(usize, Report)>,
    pub(super) account: Account,
    pub(super) tasks: Option<Sender<Task>>,
    /// Parts that the writer may not have come to yet.
    unwritten: Vec<(CheckpointId, Revocable)>,
    pub(super) writer_gone: bool,
    /// Instances that a host has taken.
    pub(super) started: usize,
    pub(super) up: usize,
    pub(super) opened: bool,
    pub(super) ended: BTreeSet<usize>,
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

    pub(super) fn write_parts(&mut self, checkpoint: CheckpointId, instance: usize, parts: Parts) {
        let parts = Revocable::new(parts);
        self.unwritten.push((checkpoint, parts.clone()));
        self.write(Task::Parts { checkpoint, instance, parts });
    }

    /// This checkpoint and those before it are complete or given up: what the writer has not come to
    /// it need not write.
    pub(super) fn forget_parts(&mut self, up_to: CheckpointId) {
        self.unwritten.retain(|(checkpoint, parts)| {
            let keep = *checkpoint > up_to;
            if !keep {
                drop(parts.take());
            }
            keep
        });
    }

    pub(super) fn writer_left(&mut self) {
        self.lines.written = never();
        self.writer_gone = true;
    }

    pub(super) fn all_ended(&self) -> bool {
        self.ended.len() == self.mailboxes.len()
    }

    pub(super) fn still_here(&self, blueprint: &Blueprint) -> Vec<InstanceName> {
        let here = (0..self.started).filter(|number| !self.gone.contains(number));
        here.map(|number| blueprint.threads[number].name.clone()).collect()
    }
}

impl<H: Host> Supervisor<H> {
    /// Starts all instances of an execution; no event flows yet.
    ///
    /// # Errors
    /// What the host could not take; those already started are ended.
    pub(crate) fn start_instances(&mut self, prepared: &Prepared) -> Result<Running, Refused> {
        let plan = self.blueprint.threads.len();
        let (reports_in, reports) = unbounded();
        let mailboxes: Vec<Arc<Mailbox>> = (0..plan).map(|_| Arc::default()).collect();
        let reporters: Vec<Reporter> =
            (0..plan).map(|number| Reporter { number, to: reports_in.clone() }).collect();
        let execution = self.execution(prepared, &mailboxes, &reporters);
        let builds = (self.blueprint.wire)(&execution);
        let (tasks, to_do) = unbounded();
        let (done, written) = unbounded();
        let mut running = Running {
            lines: Mailboxes { reports, written: never(), requests: self.requests.clone() },
            _reports: reports_in,
            account: execution.account,
            tasks: None,
            unwritten: Vec::new(),
            writer_gone: true,
            started: 0,
            up: 0,
            opened: false,
            ended: BTreeSet::new(),
            gone: BTreeSet::new(),
            warned: BTreeSet::new(),
            told: false,
            stall_check: Timestamp(0),
            mailboxes,
        };
        if let Some(writer) = self.writer(prepared) {
            self.host.spawn_writer(writer, to_do, done)?;
            running.tasks = Some(tasks);
            running.lines.written = written;
            running.writer_gone = false;
        }
        for (number, (build, reporter)) in builds.into_iter().zip(reporters).enumerate() {
            let name = self.blueprint.threads[number].name.clone();
            let counters = self.registry.counters(&name);
            let mailbox = Arc::clone(&running.mailboxes[number]);
            let clock = Arc::clone(&self.clock);
            let slot = InstanceSlot { name, build, mailbox, reporter, counters, clock };
            if let Err(refused) = self.host.spawn_instance(slot) {
                self.dismiss(running);
                return Err(refused);
            }
            running.started += 1;
        }
        Ok(running)
    }

    fn execution(
        &self,
        prepared: &Prepared,
        mailboxes: &[Arc<Mailbox>],
        reporters: &[Reporter],
    ) -> Execution {
        let plan = &self.blueprint.threads;
        let sources = plan.iter().zip(mailboxes).filter(|(thread, _)| thread.is_source);
        let wakers = sources.map(|(_, mailbox)| mailbox.waker.clone()).collect();
        let alarm_to = reporters.first().map(|reporter| reporter.to.clone());
        let alarm = Arc::new(move |failure| {
            if let Some(to) = &alarm_to {
                let _ = to.send((0, Report::Failed(failure)));
            }
        });
        let terms = &self.guarantee.terms;
        Execution {
            id: prepared.execution,
            terms: terms.clone(),
            restarts: self.guarantee.options.restarts,
            account: terms.open_account(wakers, plan.len(), Arc::clone(&self.clock), alarm),
            clock: Arc::clone(&self.clock),
            injected: self.host.injected(),
            registry: Arc::clone(&self.registry),
            store: self.store.clone(),
            restored: prepared.restored.clone(),
            anew: Arc::clone(&prepared.anew),
            mailboxes: mailboxes.into(),
            reporters: reporters.into(),
        }
    }

    fn writer(&self, prepared: &Prepared) -> Option<CheckpointWriter> {
        let store = Arc::clone(self.store.as_ref()?);
        Some(CheckpointWriter::new(
            store,
            Arc::clone(&self.clock),
            prepared.execution,
            self.blueprint.job.clone(),
            self.guarantee.terms.cut.word(),
            self.blueprint.components.iter().map(ComponentPlan::record).collect(),
        ))
    }

    /// Ends all instances of an execution; those that do not end in time are left behind and named.
    pub(super) fn dismiss(&mut self, mut running: Running) -> Vec<InstanceName> {
        running.account.close();
        running.mailboxes.iter().for_each(|mailbox| mailbox.cancel());
        // The writer ends when it has done what it was told to, but for what nobody needs any more.
        running.forget_parts(CheckpointId(u64::MAX));
        drop(running.tasks.take());
        let patience = self.stopping.map_or(self.guarantee.options.stop_within, |stopping| {
            // Whoever stopped has waited already; one more moment for those who are on their way.
            stopping.by.since(self.clock.now()).max(Duration::from_millis(200))
        });
        let by = self.clock.now().after(patience);
        while running.gone.len() < running.started || !running.writer_gone {
            match self.host.wait(&running.lines, by) {
                Message::Report(number, Report::Gone) => {
                    running.gone.insert(number);
                }
                Message::WriterGone => running.writer_left(),
                Message::Request(request) => self.note(request),
                Message::Orphaned => {
                    self.orphan();
                    running.lines.requests = never();
                }
                Message::Nothing if self.clock.now() >= by => break,
                Message::Report(..) | Message::Written(_) | Message::Nothing => {}
            }
        }
        self.host.clear(&|number| running.gone.contains(&number), running.writer_gone);
        let mut stuck = running.still_here(&self.blueprint);
        if !running.writer_gone {
            stuck.push(InstanceName::new("checkpoint writer", 0));
        }
        stuck
    }
}
