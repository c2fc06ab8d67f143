//! [`CheckpointStats`]: the phases of a checkpoint, and which instance was last. Written by the supervisor,
//! once per checkpoint; it measures nothing itself.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use crate::id::{CheckpointId, InstanceName};

/// The phases of one checkpoint. [`Metrics::recent_checkpoints`](crate::metrics::Metrics::recent_checkpoints)
/// has the last 100 that were completed or abandoned.
///
/// ```text
///   begun                        last instance cut           last part handed over       manifest in place
///     ├────────── waiting ──────────────┤── taking ──┤                                          │
///     │                          ┄┄┄┄ encoding, writing: the writer's own time ┄┄┄┄├─ committing ─┤
///     └───────────────────────────────────────── total ────────────────────────────────────────┘
/// ```
/// The phases overlap, so they do not add up to the total: the writer encodes and writes the parts of the first
/// instances while it waits for those of the last. All times are by the job's clock; in a
/// [`Simulation`](crate::testkit::Simulation) that is the counted one, and exact.
///
/// How to read it: a long `waiting` means many events in front of a barrier, and `last` is the instance that
/// had the most. A long `taking` means a component that takes long to copy its state; its events wait
/// meanwhile. The other phases delay no event, only the next checkpoint.
///
/// ```
/// use std::time::Duration;
/// use streamwork::{ExactlyOnce, Job};
///
/// # let directory = tempfile::tempdir()?;
/// let job = Job::new("numbers");
/// job.from_iter("numbers", || 0..1000_u64).for_each(|_| ());
/// let report = job.run(ExactlyOnce::checkpoints_in(directory.path()))?;
///
/// for taken in &report.metrics.recent_checkpoints {
///     println!("{taken}");
///     if taken.waiting > Duration::from_secs(1) {
///         println!("waited for {}", taken.last.as_ref().map(ToString::to_string).unwrap_or_default());
///     }
/// }
/// assert!(!report.metrics.recent_checkpoints.is_empty(), "one is taken at the end");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointStats {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// Why it was taken.
    pub kind: CheckpointKind,
    /// When it was begun: time since the job was started.
    pub begun: Duration,
    /// What became of it.
    pub outcome: CheckpointOutcome,
    /// From its beginning until the last instance with a part began to take it. With barriers this is the
    /// time that the slowest barrier took.
    pub waiting: Duration,
    /// The longest time that an instance took to take its part. It processes no events meanwhile.
    pub taking: Duration,
    /// The instance that took longest; none if no instance has taken a part.
    pub slowest: Option<InstanceName>,
    /// The time to encode all states, on the writer's thread. The last states of instances that have ended
    /// are not counted: they are encoded once, before the checkpoint begins.
    pub encoding: Duration,
    /// The time to make all parts durable.
    pub writing: Duration,
    /// The time to make the manifest durable, which completes the checkpoint; zero if it was not completed.
    pub committing: Duration,
    /// From its beginning until its outcome was announced.
    pub total: Duration,
    /// Bytes of state in all parts; of an abandoned one, those that had been written or were about to be.
    pub bytes: u64,
    /// Parts, one per component and instance with state; of an abandoned one as `bytes`.
    pub parts: u64,
    /// The instance that was the last to hand in its part, named by the component that heads its thread; none if
    /// no instance has, as in the last checkpoint of a job, which is made of what ended instances left.
    pub last: Option<InstanceName>,
}

/// Why a checkpoint was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckpointKind {
    /// It was due.
    Periodic,
    /// Somebody asked for it, with [`JobHandle::checkpoint_now`](crate::JobHandle::checkpoint_now).
    Asked,
    /// All instances had ended.
    Last,
}

/// What became of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointOutcome {
    /// It is complete: a restart would find it.
    Completed,
    /// It was abandoned. One that was cut off by the end of its execution may turn out to be complete
    /// nevertheless.
    Abandoned {
        /// Why.
        reason: String,
    },
}

impl CheckpointStats {
    /// A checkpoint of which nothing is there yet.
    pub(crate) fn new(checkpoint: CheckpointId, kind: CheckpointKind, begun: Duration) -> Self {
        Self {
            checkpoint,
            kind,
            begun,
            outcome: CheckpointOutcome::Completed,
            waiting: Duration::ZERO,
            taking: Duration::ZERO,
            slowest: None,
            encoding: Duration::ZERO,
            writing: Duration::ZERO,
            committing: Duration::ZERO,
            total: Duration::ZERO,
            bytes: 0,
            parts: 0,
            last: None,
        }
    }
}

/// One line for people.
impl fmt::Display for CheckpointStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checkpoint, waiting, taking, encoding, writing, committing, .. } = self;
        let Self { kind, outcome, total, bytes, parts, .. } = self;
        let kind = match kind {
            CheckpointKind::Periodic => "periodic",
            CheckpointKind::Asked => "asked for",
            CheckpointKind::Last => "the last",
        };
        write!(f, "checkpoint {checkpoint} ({kind}) ")?;
        match outcome {
            CheckpointOutcome::Completed => write!(f, "completed in {total:?}")?,
            CheckpointOutcome::Abandoned { reason } => {
                write!(f, "abandoned after {total:?}, {reason}")?;
            }
        }
        write!(f, ": waiting {waiting:?}, taking {taking:?}, encoding {encoding:?}, ")?;
        write!(
            f,
            "writing {writing:?}, committing {committing:?}; {bytes} bytes in {parts} parts"
        )?;
        match &self.last {
            Some(last) => write!(f, "; last was {last}"),
            None => Ok(()),
        }
    }
}

/// The newest checkpoints, in the order in which they ended.
#[derive(Debug, Default)]
pub(crate) struct RecentCheckpoints(Mutex<VecDeque<CheckpointStats>>);

/// How many are kept.
const KEPT: usize = 100;

impl RecentCheckpoints {
    pub(crate) fn add(&self, ended: CheckpointStats) {
        let mut recent = self.0.lock();
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(ended);
    }

    pub(crate) fn all(&self) -> Vec<CheckpointStats> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hundred_and_first_checkpoint_pushes_out_the_first() {
        let recent = RecentCheckpoints::default();
        let add = |number| {
            let (checkpoint, kind) = (CheckpointId(number), CheckpointKind::Periodic);
            recent.add(CheckpointStats::new(checkpoint, kind, Duration::ZERO));
        };
        let kept = || recent.all().iter().map(|stats| stats.checkpoint.0).collect::<Vec<_>>();
        (1..=100).for_each(add);
        assert_eq!(kept(), (1..=100).collect::<Vec<_>>());
        add(101);
        assert_eq!(kept(), (2..=101).collect::<Vec<_>>());
    }

    #[test]
    fn a_checkpoint_is_told_in_a_line_with_its_phases_its_end_and_who_was_last() {
        let begun = Duration::from_secs(1);
        let mut stats = CheckpointStats::new(CheckpointId(7), CheckpointKind::Asked, begun);
        stats.waiting = Duration::from_millis(20);
        stats.total = Duration::from_millis(25);
        (stats.bytes, stats.parts) = (4096, 2);
        stats.last = Some(InstanceName::new("balances", 1));
        assert_eq!(
            stats.to_string(),
            "checkpoint 7 (asked for) completed in 25ms: waiting 20ms, taking 0ns, encoding 0ns, \
             writing 0ns, committing 0ns; 4096 bytes in 2 parts; last was balances[1]"
        );
        stats.outcome = CheckpointOutcome::Abandoned { reason: "the disk is full".to_owned() };
        assert!(stats.to_string().contains("abandoned after 25ms, the disk is full: waiting"));
    }
}
