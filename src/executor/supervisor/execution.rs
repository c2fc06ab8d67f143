//! [`RunningExecution`]: what the supervisor holds of one execution: the mailboxes of its instances, the
//! queue of its writer, its account, its coordinator. The lifecycle knows which instances have ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::checkpoint::coordinator::Coordinator;
use crate::clock::Timestamp;
use crate::delivery::account::Account;
use crate::executor::blueprint::Blueprint;
use crate::executor::instance::{Command, Mailbox, Report};
use crate::executor::writer_queue::{Task, WriterQueue};
use crate::id::CheckpointId;
use crate::metrics::Registry;

/// One execution, from the start of its instances until the last one is gone or left behind.
pub(crate) struct RunningExecution {
    /// The mailboxes for commands, by instance number.
    pub(super) commands: Vec<Arc<Mailbox>>,
    /// Keeps the channel of reports open when no instance is left. A closed channel would always be ready.
    _reports: Sender<(usize, Report)>,
    account: Account,
    /// With a store.
    pub(super) writer: Option<WriterQueue>,
    /// With a store.
    pub(super) coordinator: Option<Coordinator>,
    /// The coordinator knows all requests for a checkpoint below this ticket.
    pub(super) told_tickets: u64,
    /// When to look for stalled instances again.
    stall_check: Timestamp,
    /// Instances that were reported as stalled.
    warned: BTreeSet<usize>,
    standstill: Standstill,
}

/// How much had been done when that last changed, since when, and whether it was reported.
#[derive(Debug, Default)]
struct Standstill {
    done: u64,
    since: Timestamp,
    warned: bool,
}

impl RunningExecution {
    /// One without a checkpoint store.
    pub(super) fn new(
        commands: Vec<Arc<Mailbox>>,
        reports: Sender<(usize, Report)>,
        account: Account,
    ) -> Self {
        Self {
            commands,
            _reports: reports,
            account,
            writer: None,
            coordinator: None,
            told_tickets: 0,
            stall_check: Timestamp(0),
            warned: BTreeSet::new(),
            standstill: Standstill::default(),
        }
    }

    pub(super) fn tell(&self, command: Command, whom: impl Fn(usize) -> bool) {
        for (_, mailbox) in self.commands.iter().enumerate().filter(|(number, _)| whom(*number)) {
            mailbox.send(command);
        }
    }

    /// Gives the writer a task.
    pub(super) fn write(&self, task: Task) {
        if let Some(writer) = &self.writer {
            writer.send(task);
        }
    }

    /// This checkpoint and those before it are complete or abandoned: the writer need not write their parts
    /// that are still in its queue.
    pub(super) fn settle(&self, checkpoint: CheckpointId) {
        if let Some(writer) = &self.writer {
            writer.settle(checkpoint);
        }
    }

    /// Answers that still come have no effect.
    pub(super) fn close_account(&self) {
        self.account.close();
    }

    /// Ends all instances. The writer ends when it has done its tasks, except those that are no longer
    /// needed.
    pub(super) fn cancel_all(&self) {
        self.commands.iter().for_each(|mailbox| mailbox.cancel());
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }

    /// When the coordinator needs its next tick.
    pub(super) fn checkpoint_deadline(&self) -> Option<Timestamp> {
        self.coordinator.as_ref().and_then(Coordinator::deadline)
    }

    /// When to look for stalled instances again.
    pub(super) fn stall_check(&self) -> Timestamp {
        self.stall_check
    }

    /// Reports callbacks that have not returned for longer than `stalled_after`, once each.
    pub(super) fn look_for_stalls(
        &mut self,
        blueprint: &Blueprint,
        registry: &Registry,
        stalled_after: Duration,
        now: Timestamp,
    ) {
        if now < self.stall_check {
            return;
        }
        self.stall_check = now.after((stalled_after / 2).max(Duration::from_millis(10)));
        for (number, thread) in blueprint.threads.iter().enumerate() {
            let counters = registry.counters(&thread.name);
            let since = Timestamp(counters.working_since.get());
            let stalled = since.0 != 0 && now.since(since) > stalled_after;
            counters.stalled.set(u64::from(stalled));
            if stalled && self.warned.insert(number) {
                let instance = &thread.name;
                let seconds = now.since(since).as_secs();
                tracing::warn!(%instance, seconds, "a callback has not returned: instance stalled");
            } else if !stalled {
                self.warned.remove(&number);
            }
        }
        self.look_for_standstill(registry, stalled_after, now);
    }

    /// Reports, once each time, that nothing has moved for so long while events are held: whoever holds them
    /// may be what everything waits for.
    fn look_for_standstill(&mut self, registry: &Registry, after: Duration, now: Timestamp) {
        let done = registry.progress();
        if done != self.standstill.done {
            self.standstill = Standstill { done, since: now, warned: false };
        }
        let still = now.since(self.standstill.since);
        if self.standstill.warned || still < after {
            return;
        }
        for (instance, events) in registry.deferred() {
            self.standstill.warned = true;
            let seconds = still.as_secs();
            tracing::warn!(%instance, events, seconds, "nothing moves: events in tokens are not answered");
        }
    }
}
