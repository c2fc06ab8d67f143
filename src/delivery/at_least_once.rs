//! At-least-once with an acknowledger: every event is kept until all that came of it is done, and
//! emitted again if anything failed.
//!
//! [`counts`] counts first attempts and [`tracker`] replays and groups, [`acknowledger`] is where the
//! threads meet, [`replay_buffer`] keeps the events, and [`kept`] is the source's side of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::CheckpointStore;
use crate::checkpoint::coordinator::Cut;
use crate::delivery::at_least_once::replay_buffer::{ReplayOptions, ReplayOrder};
use crate::delivery::checkpointed::Checkpointed;
use crate::delivery::options::{RunOptions, StoreChoice, shared_options};
use crate::delivery::terms::{Commits, Demands, Guarantee, SourceTerms, Terms, Verdict};

pub(crate) mod acknowledger;
pub(crate) mod chunks;
pub(crate) mod counts;
pub(crate) mod kept;
pub(crate) mod replay_buffer;
pub(crate) mod tracker;

/// Every event is processed until it succeeds; perhaps more than once.
///
/// The engine keeps each emitted event in a bounded buffer until everything that came of it has
/// been acknowledged. On a failure the event is emitted again, after the others: A, B, C with A
/// failing once is processed A, B, C, A. After [`attempts_max`](AtLeastOnce::attempts_max) the
/// event becomes a dead letter and the others flow on.
///
/// Without a store the buffer survives failures of components, not of the process. With one, the
/// positions up to which everything is acknowledged are saved periodically, and the state of
/// stateful operators after them: nothing below a saved position can be missing from the state,
/// also after kill -9.
///
/// ```
/// use streamwork::{AtLeastOnce, Job};
///
/// let job = Job::new("import");
/// job.from_iter("records", || 0..1_000).for_each(|record| println!("{record}"));
/// let report = job.run(AtLeastOnce::new().attempts_max(3))?;
/// assert_eq!(report.metrics.sum("records", |m| m.replayed), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AtLeastOnce {
    options: RunOptions,
    replay: ReplayOptions,
}

shared_options!(AtLeastOnce);

impl AtLeastOnce {
    /// With an acknowledger, and nothing stored.
    pub fn new() -> Self {
        Self::default()
    }

    /// By checkpoints instead of an acknowledger: as [`ExactlyOnce`](crate::ExactlyOnce), but no
    /// queue is held back while a checkpoint is taken, and events may count twice after a failure.
    ///
    /// ```
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::checkpoints_in("checkpoints").into();
    /// assert_eq!(guarantee.name(), "at-least-once-checkpoint");
    /// ```
    pub fn checkpoints_in(directory: impl Into<PathBuf>) -> Checkpointed {
        Checkpointed::unaligned(StoreChoice::directory(directory.into()))
    }

    /// As [`checkpoints_in`](AtLeastOnce::checkpoints_in), in a store of your own.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use streamwork::checkpoint::DirectoryStore;
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// # let directory = tempfile::tempdir()?;
    /// let store = Arc::new(DirectoryStore::open(directory.path())?);
    /// let guarantee: Guarantee = AtLeastOnce::checkpoints_with(store).into();
    /// assert_eq!(guarantee.name(), "at-least-once-checkpoint");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn checkpoints_with(store: Arc<dyn CheckpointStore>) -> Checkpointed {
        Checkpointed::unaligned(StoreChoice::Own(store))
    }

    /// Keeps acknowledged positions and state in a directory.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::new().store_in("positions").into();
    /// assert_eq!(guarantee.name(), "at-least-once");
    /// ```
    pub fn store_in(self, directory: impl Into<PathBuf>) -> Self {
        self.store(StoreChoice::directory(directory.into()))
    }

    /// As [`store_in`](AtLeastOnce::store_in), in a store of your own.
    pub fn store_with(self, store: Arc<dyn CheckpointStore>) -> Self {
        self.store(StoreChoice::Own(store))
    }

    /// Events that a source instance may have unacknowledged; more wait in the source. Default
    /// 65,536.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::new().replay_events_max(1_000).into();
    /// assert_eq!(guarantee.name(), "at-least-once");
    /// ```
    pub fn replay_events_max(mut self, events: usize) -> Self {
        self.replay.events_max = events;
        self
    }

    /// Bytes, by `event_bytes` of the source, that a source instance may have unacknowledged.
    /// Default 64 MiB.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::new().replay_bytes_max(1 << 20).into();
    /// assert_eq!(guarantee.name(), "at-least-once");
    /// ```
    pub fn replay_bytes_max(mut self, bytes: usize) -> Self {
        self.replay.bytes_max = bytes;
        self
    }

    /// Times an event is tried before it becomes a dead letter; at least 1. Default 10.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::new().attempts_max(3).into();
    /// assert_eq!(guarantee.name(), "at-least-once");
    /// ```
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.replay.attempts_max = attempts;
        self
    }

    /// The pause before an event is tried again: `first`, doubled with every attempt, at most
    /// `longest`. Default 1 millisecond and 1 second.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::new().backoff(Duration::from_millis(5), Duration::from_secs(5)).into();
    /// assert_eq!(guarantee.name(), "at-least-once");
    /// ```
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.replay.backoff = first;
        self.replay.backoff_max = longest;
        self
    }

    /// On a failure go back to the lowest unfinished event and emit everything from there again,
    /// in order. By default only the failed event is emitted again, after the others.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::new().ordered().into();
    /// assert_eq!(guarantee.name(), "at-least-once");
    /// ```
    pub fn ordered(mut self) -> Self {
        self.replay.order = ReplayOrder::Ordered;
        self
    }

    /// Fails events of which nothing has been heard for this long, counted from their last
    /// progress. Off by default: with back-pressure, waiting is not failing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::new().timeout(Duration::from_secs(60)).into();
    /// assert_eq!(guarantee.name(), "at-least-once");
    /// ```
    pub fn timeout(mut self, without_progress: Duration) -> Self {
        self.replay.timeout = Some(without_progress);
        self
    }

    fn store(mut self, store: StoreChoice) -> Self {
        self.options.store = Some(store);
        self
    }
}

/// At-least-once with an acknowledger and nothing stored: nothing is lost while the process lives.
impl Default for Guarantee {
    fn default() -> Self {
        AtLeastOnce::new().into()
    }
}

impl From<AtLeastOnce> for Guarantee {
    fn from(chosen: AtLeastOnce) -> Self {
        let terms = Terms {
            name: "at-least-once",
            demands: Demands { lossless_edges: true, ..Demands::default() },
            cut: Cut::Positions,
            on_failure: Verdict::Fail,
            commits: Commits::EachBatch,
            sources: SourceTerms::Kept(chosen.replay),
            on_drop: None,
        };
        Self { terms, options: chosen.options }
    }
}
