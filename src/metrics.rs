//! The counters of a job: per component and instance, cheap to write (relaxed, once per batch), read
//! as a snapshot. *Processed* is how often `apply` was called, *delivered* how often it succeeded.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::id::InstanceName;

mod account;
mod checkpoints;
mod histogram;
pub use account::{AccountError, ComponentAccount};
pub(crate) use account::{Edge, Loss};
pub(crate) use checkpoints::RecentCheckpoints;
pub use checkpoints::{CheckpointKind, CheckpointOutcome, CheckpointStats};
pub use histogram::{Histogram, LatencySummary};

/// One number that only its instance writes and anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        if n != 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counts of one instance, kept across its restarts. Aligned so that two instances never share
/// a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) received: Count,
    pub(crate) processed: Count,
    pub(crate) delivered: Count,
    pub(crate) emitted: Count,
    /// Events for which `apply` (or `write`, or `flush`) failed.
    pub(crate) failed: Count,
    /// Calls of other callbacks that failed.
    pub(crate) failed_calls: Count,
    /// Events that failed and were dropped.
    pub(crate) dropped: Count,
    /// Events that never arrived: dropped by a full edge, or lost on it by a restart.
    pub(crate) dropped_on_the_way: Count,
    /// Events that had arrived when a restart lost them.
    pub(crate) lost: Count,
    /// Events that had arrived when a restart discarded them, to be replayed.
    pub(crate) taken_back: Count,
    /// Events that a restart discarded before they arrived, to be replayed.
    pub(crate) taken_back_on_the_way: Count,
    /// Records of a source that could not become events: counted as emitted, and not sent.
    pub(crate) rejected: Count,
    pub(crate) replayed: Count,
    pub(crate) dead_lettered: Count,
    pub(crate) restarts: Count,
    pub(crate) busy_ns: Count,
    pub(crate) idle_ns: Count,
    pub(crate) blocked_ns: Count,
    pub(crate) queue_depth: Count,
    pub(crate) unacknowledged: Count,
    /// Events in tokens that are not answered.
    pub(crate) deferred: Count,
    /// Events whose time was too far ahead of the clock to move a watermark.
    pub(crate) future_stamped: Count,
    /// Keys of which there is state.
    pub(crate) state_entries: Count,
    /// The bytes of state by key.
    pub(crate) state_bytes: Count,
    /// Events that a checkpoint held and gave back.
    pub(crate) restored: Count,
    /// Events that the last checkpoint holds for the next start.
    pub(crate) handed_over: Count,
    /// When the running step began; 0 while parked.
    pub(crate) working_since: Count,
    /// 1 while the running step takes suspiciously long.
    pub(crate) stalled: Count,
    pub(crate) latency: Histogram,
}

impl Counters {
    /// Events that were sent, including replays.
    pub(crate) fn sent(&self) -> u64 {
        (self.emitted.get() + self.replayed.get()).saturating_sub(self.rejected.get())
    }
}

/// The counters of a whole job at one moment, in the order in which the components were added.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// One entry per instance of each component.
    pub instances: Vec<InstanceMetrics>,
    /// One entry per component: what became of the events that were sent to it.
    pub accounts: Vec<ComponentAccount>,
    /// Checkpoints completed since the job was started.
    pub checkpoints: u64,
    /// Checkpoints that were begun and abandoned, except those that were cut off by the end of their
    /// execution.
    pub checkpoints_failed: u64,
    /// The phases of the last 100 checkpoints that were completed or abandoned, in the order in which they
    /// ended.
    pub recent_checkpoints: Vec<CheckpointStats>,
    /// How often the whole job was restarted.
    pub restarts: u64,
}

/// The counters of one instance.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InstanceMetrics {
    /// Component and instance.
    pub instance: InstanceName,
    /// Events that arrived.
    pub received: u64,
    /// Times `apply` (or `write`) was called.
    pub processed: u64,
    /// Times it succeeded; a deferred event counts when it is acknowledged.
    pub delivered: u64,
    /// Events emitted on the main output, replays not counted.
    pub emitted: u64,
    /// Times a callback returned an error or panicked.
    pub failed: u64,
    /// Events that failed and are not replayed, that a full edge into this instance dropped, or that a
    /// restart lost. An event that was in flight to a component when a restart lost it counts at the
    /// component's first instance.
    pub dropped: u64,
    /// Events that a restart discarded before they were done, and under at-least-once also attempts that no
    /// longer count: they are replayed. Always 0 under at-most-once. An event that was in flight to a
    /// component counts at its first instance.
    pub taken_back: u64,
    /// Events that have arrived and are not done: before `apply`, or in a token. An estimate while
    /// the job runs.
    pub held: u64,
    /// Events in tokens that are not answered.
    pub deferred: u64,
    /// Events whose time was too far ahead of the clock to move the watermark; see
    /// [`WatermarkStrategy::future_at_most`](crate::WatermarkStrategy::future_at_most).
    pub future_stamped: u64,
    /// Keys of which it has state that the engine keeps.
    pub state_entries: u64,
    /// The memory of that state: the tables, and an estimate of what keys and values own beside them, by the bytes that
    /// some of them have when they are encoded. Without the index of timers.
    pub state_bytes: u64,
    /// Held events of a checkpoint that it was given again after a restart.
    pub restored: u64,
    /// Events that a source replayed.
    pub replayed: u64,
    /// Dead letters: events that failed at a component with `on_error(OnError::DeadLetter)`, bad records of a
    /// source that the job reads, and events of a source that failed too often.
    pub dead_lettered: u64,
    /// How often the instance was rebuilt in place.
    pub restarts: u64,
    /// Time in callbacks and engine, on the component that heads its thread.
    pub busy: Duration,
    /// Time without input.
    pub idle: Duration,
    /// Time waiting for downstream instances.
    pub blocked: Duration,
    /// Batches waiting in its queues, when they were last counted.
    pub queue_depth: u64,
    /// Events of a source that are kept for replay.
    pub unacknowledged: u64,
    /// Whether a callback has not returned for longer than `stalled_after`; on the component that
    /// heads the thread.
    pub stalled: bool,
    /// From the source's `get_events` to the end of this sink's `flush`, counting for each event
    /// the oldest of its batch.
    pub latency: LatencySummary,
}

impl Metrics {
    /// The sum over the instances of a component.
    ///
    /// ```
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("sum");
    /// job.from_iter("numbers", || 0..10).filter(|n| n % 2 == 0).for_each(|_| ());
    /// let report = job.run(Guarantee::default())?;
    /// assert_eq!(report.metrics.sum("numbers", |m| m.emitted), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sum(&self, component: &str, of: impl Fn(&InstanceMetrics) -> u64) -> u64 {
        self.instances.iter().filter(|m| &*m.instance.component == component).map(of).sum()
    }

    /// The sum over all instances of all components.
    pub fn total(&self, of: impl Fn(&InstanceMetrics) -> u64) -> u64 {
        self.instances.iter().map(of).sum()
    }
}

/// All counters of a job; lives as long as its handle, across executions.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    components: Vec<ComponentInstances>,
    edges: Vec<Edge>,
    instances: Vec<(InstanceName, Arc<Counters>)>,
    by_name: HashMap<InstanceName, usize>,
    /// What instances emitted on side outputs that are read: by the instance's place and the output.
    side_outputs: BTreeMap<(usize, &'static str), Arc<Count>>,
    pub(crate) checkpoints: Count,
    pub(crate) checkpoints_failed: Count,
    pub(crate) recent_checkpoints: RecentCheckpoints,
    pub(crate) restarts: Count,
}

/// A component, and where its instances are in the registry.
#[derive(Debug)]
struct ComponentInstances {
    name: Arc<str>,
    instances: Range<usize>,
}

impl Registry {
    /// For these components and how many instances they have, and the streams between them.
    pub(crate) fn of<'c>(
        components: impl IntoIterator<Item = (&'c str, usize)>,
        edges: &[Edge],
    ) -> Self {
        let mut registry = Self { edges: edges.to_vec(), ..Self::default() };
        for (name, parallelism) in components {
            let (name, first): (Arc<str>, _) = (name.into(), registry.instances.len());
            for instance in 0..parallelism {
                let instance = InstanceName::new(Arc::clone(&name), instance);
                registry.by_name.insert(instance.clone(), registry.instances.len());
                registry.instances.push((instance, Arc::default()));
            }
            let instances = first..registry.instances.len();
            registry.components.push(ComponentInstances { name, instances });
        }
        for edge in edges {
            let Some(name) = edge.side_output else { continue };
            for instance in registry.components[edge.from].instances.clone() {
                registry.side_outputs.entry((instance, name)).or_default();
            }
        }
        registry
    }

    /// What this instance has emitted on a side output.
    pub(crate) fn side_output(&self, of: &InstanceName, name: &'static str) -> Arc<Count> {
        let at = self.by_name.get(of);
        let found = at.and_then(|at| self.side_outputs.get(&(*at, name)));
        found.map(Arc::clone).unwrap_or_default()
    }

    pub(crate) fn counters(&self, name: &InstanceName) -> Arc<Counters> {
        let found = self.by_name.get(name);
        found.map(|at| Arc::clone(&self.instances[*at].1)).unwrap_or_default()
    }

    pub(crate) fn snapshot(&self) -> Metrics {
        Metrics {
            instances: self.instances.iter().map(|(name, c)| read(name, c)).collect(),
            accounts: self.accounts(),
            checkpoints: self.checkpoints.get(),
            checkpoints_failed: self.checkpoints_failed.get(),
            recent_checkpoints: self.recent_checkpoints.all(),
            restarts: self.restarts.get(),
        }
    }
}

fn read(name: &InstanceName, c: &Counters) -> InstanceMetrics {
    InstanceMetrics {
        instance: name.clone(),
        received: c.received.get(),
        processed: c.processed.get(),
        delivered: c.delivered.get(),
        emitted: c.emitted.get(),
        failed: c.failed.get() + c.failed_calls.get(),
        dropped: c.dropped.get() + c.dropped_on_the_way.get() + c.lost.get(),
        taken_back: c.taken_back.get() + c.taken_back_on_the_way.get(),
        held: c.held(),
        deferred: c.deferred.get(),
        future_stamped: c.future_stamped.get(),
        state_entries: c.state_entries.get(),
        state_bytes: c.state_bytes.get(),
        restored: c.restored.get(),
        replayed: c.replayed.get(),
        dead_lettered: c.dead_lettered.get(),
        restarts: c.restarts.get(),
        busy: Duration::from_nanos(c.busy_ns.get()),
        idle: Duration::from_nanos(c.idle_ns.get()),
        blocked: Duration::from_nanos(c.blocked_ns.get()),
        queue_depth: c.queue_depth.get(),
        unacknowledged: c.unacknowledged.get(),
        stalled: c.stalled.get() != 0,
        latency: c.latency.summary(),
    }
}
