//! The start of an execution: which checkpoint it restores, decided from the store before any thread runs,
//! and the instances that the host gets.

use std::collections::BTreeSet;
use std::sync::Arc;

use crossbeam_channel::{never, unbounded};

use crate::checkpoint::Manifest;
use crate::checkpoint::coordinator::Coordinator;
use crate::delivery::terms::HeldIn;
use crate::error::Refused;
use crate::executor::blueprint::{ComponentPlan, Execution};
use crate::executor::checkpoint_writer::CheckpointWriter;
use crate::executor::host::{Host, Mailboxes};
use crate::executor::instance::{Mailbox, Report, Reporter};
use crate::executor::instance_slot::InstanceSlot;
use crate::executor::node::held::is_held_part;
use crate::executor::supervisor::Supervisor;
use crate::executor::supervisor::execution::RunningExecution;
use crate::executor::supervisor::lifecycle::Event;
use crate::executor::writer_queue::WriterQueue;
use crate::id::{CheckpointId, ExecutionId};

/// Where an execution starts.
struct Prepared {
    execution: ExecutionId,
    restored: Option<Arc<Manifest>>,
    /// Components that start without their state.
    anew: Arc<BTreeSet<String>>,
    /// The highest number of a checkpoint in the store.
    newest: CheckpointId,
}

impl<H: Host> Supervisor<H> {
    /// Starts an execution; no event flows yet.
    ///
    /// # Errors
    /// The event for the lifecycle: the reason, and how many instances were started nevertheless.
    pub(super) fn start_execution(&mut self) -> Result<(), Event> {
        let restarted = self.lifecycle.restarted();
        self.registry.restarts.set(restarted);
        let prepared = self
            .prepare(ExecutionId(restarted + 1))
            .map_err(|refused| Event::NotStarted { refused, instances: 0, writer: false })?;
        self.restored_from = prepared.restored.as_ref().map(|manifest| manifest.checkpoint);
        self.start_instances(&prepared)
    }

    /// Takes the store and finds where to start. Without a store the execution has this number.
    ///
    /// # Errors
    /// The store's own, or a checkpoint that does not fit the job.
    fn prepare(&mut self, without_store: ExecutionId) -> Result<Prepared, Refused> {
        let Some(store) = &self.store else {
            return Ok(Prepared {
                execution: without_store,
                restored: None,
                anew: Arc::default(),
                newest: CheckpointId(0),
            });
        };
        // First the new execution id, which fences the old owner: from here on it cannot complete a
        // checkpoint that is newer than the one found below.
        let execution = store.begin_execution()?;
        let first = *self.first_execution.get_or_insert(execution);
        let found = store.latest()?;
        for aside in found.iter().flat_map(|found| &found.set_aside) {
            tracing::error!(?aside, "a damaged checkpoint was set aside; an older one is used");
        }
        let aside = found.iter().flat_map(|found| &found.set_aside);
        let aside = aside.map(|aside| aside.checkpoint).max();
        let manifest = found.map(|found| Arc::new(found.manifest));
        // `anew` drops state of earlier runs. What this run has stored itself is restored when it restarts.
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
        // The numbers of damaged checkpoints are not used again either.
        let listed = store.list()?.into_iter().map(|manifest| manifest.checkpoint).max();
        let restored = manifest.as_ref().map(|manifest| manifest.checkpoint);
        let newest = listed.max(restored).max(aside).unwrap_or_default();
        Ok(Prepared { execution, restored: manifest, anew, newest })
    }

    /// Refuses names that are neither in the job nor in the checkpoint.
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

    /// # Errors
    /// The event for the lifecycle, if a thread could not be started.
    fn start_instances(&mut self, prepared: &Prepared) -> Result<(), Event> {
        let plan = self.blueprint.threads.len();
        let (reports_in, reports) = unbounded();
        let commands: Vec<Arc<Mailbox>> = (0..plan).map(|_| Arc::default()).collect();
        let (writer_queue, tasks) = WriterQueue::new();
        let snapshots = self.store.as_ref().map(|_| &writer_queue);
        let reporters: Vec<Reporter> = (0..plan)
            .map(|number| Reporter { number, to: reports_in.clone(), writer: snapshots.cloned() })
            .collect();
        let shared = self.shared(prepared, &commands, &reporters);
        let builds = (self.blueprint.wire)(&shared);
        let (done, written) = unbounded();
        // Without a writer `written` has no sender: it would say at once that the writer is gone.
        self.mailboxes =
            Mailboxes { reports, written: never(), requests: self.mailboxes.requests.clone() };
        let mut execution = RunningExecution::new(commands, reports_in, shared.account);
        if let Some(writer) = self.writer(prepared) {
            self.host.spawn_writer(writer, tasks, done).map_err(|refused| Event::NotStarted {
                refused,
                instances: 0,
                writer: false,
            })?;
            execution.writer = Some(writer_queue);
            execution.coordinator = Some(self.coordinator(prepared));
            self.mailboxes.written = written;
        }
        let writer = execution.writer.is_some();
        let mailboxes = execution.commands.clone();
        // Before the first instance: if a later one cannot be started, this is how the others are cancelled.
        self.execution = Some(execution);
        for (instances, (build, reporter)) in builds.into_iter().zip(reporters).enumerate() {
            let name = self.blueprint.threads[instances].name.clone();
            let counters = self.registry.counters(&name);
            let mailbox = Arc::clone(&mailboxes[instances]);
            let clock = Arc::clone(&self.clock);
            let slot = InstanceSlot { name, build, mailbox, reporter, counters, clock };
            self.host.spawn_instance(slot).map_err(|refused| Event::NotStarted {
                refused,
                instances,
                writer,
            })?;
        }
        Ok(())
    }

    /// All that the instances of the execution share.
    fn shared(
        &self,
        prepared: &Prepared,
        commands: &[Arc<Mailbox>],
        reporters: &[Reporter],
    ) -> Execution {
        let plan = &self.blueprint.threads;
        let sources = plan.iter().zip(commands).filter(|(thread, _)| thread.is_source);
        let wakers = sources.map(|(_, mailbox)| mailbox.waker.clone()).collect();
        let alarm_to = reporters.first().map(|reporter| reporter.to.clone());
        let alarm = Arc::new(move |failure| {
            if let Some(to) = &alarm_to {
                // Any number will do: a failure names its instance itself.
                let _ = to.send((0, Report::Failed(failure)));
            }
        });
        let terms = &self.guarantee.terms;
        Execution {
            id: prepared.execution,
            terms: terms.clone(),
            restarts: self.guarantee.options.restarts,
            answer_within: self.guarantee.options.answer_within,
            incremental_above: self.guarantee.options.incremental_above,
            account: terms.open_account(wakers, plan.len(), Arc::clone(&self.clock), alarm),
            clock: Arc::clone(&self.clock),
            injected: self.host.injected(),
            registry: Arc::clone(&self.registry),
            store: self.store.clone(),
            restored: prepared.restored.clone(),
            anew: Arc::clone(&prepared.anew),
            mailboxes: commands.into(),
            budgets: commands.iter().map(|_| Arc::default()).collect(),
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

    fn coordinator(&self, prepared: &Prepared) -> Coordinator {
        let numbers = self.blueprint.threads.iter().enumerate();
        let (sources, others): (Vec<_>, Vec<_>) = numbers.partition(|(_, thread)| thread.is_source);
        let set = |of: Vec<(usize, _)>| of.into_iter().map(|(number, _)| number).collect();
        let coordinator = Coordinator::new(
            self.guarantee.options.schedule.clone(),
            self.guarantee.terms.cut,
            set(sources),
            set(others),
            CheckpointId(prepared.newest.0 + 1),
            self.clock.now(),
        );
        // Events that the last process held are not applied before a checkpoint says that they have been taken
        // over: by a second crash they would come a second time.
        let parts = prepared.restored.iter().flat_map(|manifest| &manifest.parts);
        let has_held = parts.into_iter().any(|part| is_held_part(&part.name));
        match self.guarantee.terms.held_in(true) {
            HeldIn::LastCheckpoint if has_held => coordinator.first_at_once(self.clock.now()),
            _ => coordinator,
        }
    }
}
