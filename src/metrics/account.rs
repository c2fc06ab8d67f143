//! [`ComponentAccount`]: what became of every event that was sent to a component. Double entry: each event
//! that the components before it counted as emitted has to be counted here again.
//!
//! ```text
//!   sent ──▶ queued, dropped or taken back on the way
//!       └──▶ received ──▶ held, delivered, failed, lost or taken back
//! ```
//! Counters continue over restarts. Events that a failed execution had in flight are entered by
//! [`Registry::settle`], once all its instances have ended and no counter changes any more.

use std::fmt;

use crate::id::InstanceName;
use crate::metrics::{Counters, Registry};

/// A stream into a component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    /// The side output of `from` that is read; none for the main one.
    pub(crate) side_output: Option<&'static str>,
    pub(crate) to: usize,
    /// Deliveries that one event makes.
    pub(crate) copies: u64,
}

/// What becomes of the events that a failed execution had in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// They are not replayed.
    Dropped,
    /// They are replayed, or the events that they come from are.
    TakenBack,
}

/// What became of every event that was sent to a component: all its instances together, since the job
/// was started in this process.
///
/// ```text
///   sent + restored = received + dropped_on_the_way + taken_back_on_the_way + queued
///   received = delivered + failed + lost + taken_back + held
/// ```
/// `queued` and `held` are the remainders, so while the job runs they are estimates: its counters change
/// while they are read. Once the job has ended they are exact, and [`check`](ComponentAccount::check)
/// says whether every event was counted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentAccount {
    /// The component.
    pub component: String,
    /// Events that the components before it emitted to it, including replays and copies. 0 for a source.
    pub sent: u64,
    /// Events that the component had held in a checkpoint, and that were given back to it after a restart.
    pub restored: u64,
    /// Events that arrived.
    pub received: u64,
    /// Events dropped by a full edge, or lost on it by a restart that does not replay them.
    pub dropped_on_the_way: u64,
    /// Events that a restart discarded before they arrived, and that are replayed.
    pub taken_back_on_the_way: u64,
    /// Events between the components before it and this one.
    pub queued: u64,
    /// Events for which `apply` (or `write` and `flush`) succeeded.
    pub delivered: u64,
    /// Events that failed. The guarantee decided what became of each: it was dropped, it was replayed,
    /// or the job was rolled back.
    pub failed: u64,
    /// Events that had arrived when a restart lost them, and that are not replayed.
    pub lost: u64,
    /// Events that had arrived when a restart discarded them, and that are replayed.
    pub taken_back: u64,
    /// Events that have arrived and are not done: before `apply`, or in a token.
    pub held: u64,
    /// How many events were counted too often; 0 unless the engine counts wrongly.
    surplus: u64,
}

/// After the end of a job an event was not accounted for, or was counted twice: a defect of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account of \"{}\" does not add up: {}", .0.component, .0)]
pub struct AccountError(pub ComponentAccount);

impl ComponentAccount {
    /// Whether every event that was sent to this component has arrived or is accounted for, once the
    /// job has ended. Events in tokens may remain: a stop leaves them for the next start.
    ///
    /// # Errors
    /// The account itself.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("account");
    /// job.from_iter("numbers", || 0..10).filter(|n| n % 2 == 0).for_each(|_| ());
    /// let report = job.run(Guarantee::default())?;
    /// for account in &report.metrics.accounts {
    ///     account.check()?;
    /// }
    /// let sink = &report.metrics.accounts[2];
    /// assert_eq!((sink.sent, sink.delivered, sink.held), (5, 5, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self) -> Result<(), AccountError> {
        if self.queued == 0 && self.surplus == 0 { Ok(()) } else { Err(AccountError(self.clone())) }
    }

    fn receive(&mut self, counters: &Counters) {
        self.received += counters.received.get();
        self.restored += counters.restored.get();
        self.dropped_on_the_way += counters.dropped_on_the_way.get();
        self.taken_back_on_the_way += counters.taken_back_on_the_way.get();
        self.delivered += counters.delivered.get();
        self.failed += counters.failed.get();
        self.lost += counters.lost.get();
        self.taken_back += counters.taken_back.get();
        let (held, surplus) = left(counters.received.get(), counters.done());
        self.held += held;
        self.surplus += surplus;
    }

    fn on_the_way(&mut self) {
        let arrived = self.received + self.dropped_on_the_way + self.taken_back_on_the_way;
        let (queued, surplus) = left(self.sent + self.restored, arrived);
        self.queued = queued;
        self.surplus += surplus;
    }
}

/// What is left of `of` without `without`, and by how much that is too much.
fn left(of: u64, without: u64) -> (u64, u64) {
    (of.saturating_sub(without), without.saturating_sub(of))
}

impl fmt::Display for ComponentAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {} + given back {} = received {} + dropped {} + taken back {} + queued {}; received {} = \
             delivered {} + failed {} + lost {} + taken back {} + held {}; {} too many",
            self.sent,
            self.restored,
            self.received,
            self.dropped_on_the_way,
            self.taken_back_on_the_way,
            self.queued,
            self.received,
            self.delivered,
            self.failed,
            self.lost,
            self.taken_back,
            self.held,
            self.surplus
        )
    }
}

impl Counters {
    /// Events that were received and are no longer here.
    fn done(&self) -> u64 {
        let ways = [&self.delivered, &self.failed, &self.lost, &self.taken_back];
        ways.into_iter().map(super::Count::get).sum()
    }

    /// Events that were received and are here.
    pub(super) fn held(&self) -> u64 {
        self.received.get().saturating_sub(self.done())
    }
}

impl Registry {
    /// The account of each component, in the order in which they were added.
    pub(super) fn accounts(&self) -> Vec<ComponentAccount> {
        let mut accounts: Vec<ComponentAccount> = Vec::with_capacity(self.components.len());
        for of in &self.components {
            let component = of.name.to_string();
            let mut account = ComponentAccount { component, ..ComponentAccount::default() };
            let instances = &self.instances[of.instances.clone()];
            instances.iter().for_each(|(_, counters)| account.receive(counters));
            accounts.push(account);
        }
        for edge in &self.edges {
            accounts[edge.to].sent += self.sent(edge);
        }
        // A source has no edge into it, and receives nothing.
        accounts.iter_mut().for_each(ComponentAccount::on_the_way);
        accounts
    }

    /// Events that went over an edge, or were meant to.
    fn sent(&self, edge: &Edge) -> u64 {
        let from = self.components[edge.from].instances.clone();
        let emitted: u64 = match edge.side_output {
            None => self.instances[from].iter().map(|(_, counters)| counters.sent()).sum(),
            Some(side) => {
                let of = self
                    .side_outputs
                    .iter()
                    .filter(|((at, name), _)| *name == side && from.contains(at));
                of.map(|(_, count)| count.get()).sum()
            }
        };
        emitted * edge.copies
    }

    /// Enters the events that an ended execution had in flight as lost in this manner. Returns the
    /// maximum number of events of sources that this affects. Only after its last instance has ended.
    pub(crate) fn settle(&self, loss: Loss) -> u64 {
        let mut events = 0;
        for (of, account) in self.components.iter().zip(self.accounts()) {
            let instances = &self.instances[of.instances.clone()];
            for (_, counters) in instances {
                let held = counters.held();
                events += held;
                match loss {
                    Loss::Dropped => counters.lost.add(held),
                    Loss::TakenBack => counters.taken_back.add(held),
                }
            }
            // Nobody knows which instance they were for.
            let Some((_, first)) = instances.first() else { continue };
            events += account.queued;
            match loss {
                Loss::Dropped => first.dropped_on_the_way.add(account.queued),
                Loss::TakenBack => first.taken_back_on_the_way.add(account.queued),
            }
        }
        events
    }

    /// How much has been done by all instances: what moves if anything does.
    pub(crate) fn progress(&self) -> u64 {
        let of = |c: &Counters| c.processed.get() + c.emitted.get() + c.replayed.get() + c.done();
        self.instances.iter().map(|(_, counters)| of(counters)).sum()
    }

    /// The instances with events in tokens that are not answered, and how many.
    pub(crate) fn deferred(&self) -> Vec<(InstanceName, u64)> {
        let each = self.instances.iter().map(|(name, counters)| (name, counters.deferred.get()));
        each.filter(|(_, events)| *events > 0).map(|(name, n)| (name.clone(), n)).collect()
    }

    /// Enters the events that instances still hold at the end of a job as lost, and returns them by instance. Events
    /// that the last checkpoint holds are not lost.
    pub(crate) fn drop_held(&self) -> Vec<(InstanceName, u64)> {
        let held = self.instances.iter().map(|(name, counters)| {
            let here = counters.held().saturating_sub(counters.handed_over.get());
            (name, counters, here)
        });
        let holding = held.filter(|(.., events)| *events > 0);
        let dropped = holding.map(|(name, counters, events)| {
            counters.lost.add(events);
            (name.clone(), events)
        });
        dropped.collect()
    }
}
