//! At-least-once with an acknowledger: every event is kept until all deliveries that came of it are done,
//! and replayed if one failed.
//!
//! [`counts`] counts first attempts and [`tracker`] replays and groups, [`acknowledger`] is where the
//! threads meet, [`replay_buffer`] keeps the events, and [`tracked_source`] is the source's side of it.

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
pub(crate) mod replay_buffer;
pub(crate) mod tracked_source;
pub(crate) mod tracker;

/// Every event is processed until it succeeds; perhaps more than once.
///
/// The engine keeps each emitted event in a bounded buffer until all deliveries that came of it have
/// been acknowledged. After a failure the event is replayed behind the others: A, B, C with A failing
/// once is processed A, B, C, A. After [`attempts_max`](AtLeastOnce::attempts_max) the event becomes a
/// dead letter and the others continue.
///
/// Without a store the buffer survives failures of components, not of the process. With a store, the
/// positions up to which everything is acknowledged are saved periodically, and the state of
/// operators after them: no event before a saved position can be missing from the state, also after
/// kill -9.
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
    /// queue is held while a checkpoint is taken, and events may count twice after a failure.
    ///
    /// ```
    /// # use streamwork::{AtLeastOnce, Guarantee};
    /// let guarantee: Guarantee = AtLeastOnce::checkpoints_in("checkpoints").into();
    /// assert_eq!(guarantee.name(), "at-least-once-checkpoint");
    /// ```
    pub fn checkpoints_in(directory: impl Into<PathBuf>) -> Checkpointed {
        Checkpointed::without_alignment(StoreChoice::directory(directory.into()))
    }

    /// As [`checkpoints_in`](AtLeastOnce::checkpoints_in), in this store.
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
        Checkpointed::without_alignment(StoreChoice::Own(store))
    }

    /// Keeps acknowledged positions and state in a directory.
    ///
    /// ```
    /// # use streamwork::{AtLeastOnce, Job};
    /// # let directory = tempfile::tempdir()?;
    /// let job = Job::new("numbers");
    /// job.from_iter("numbers", || 0..9_u64).for_each(|_| ());
    /// let guarantee = || AtLeastOnce::new().store_in(directory.path());
    /// assert_eq!(job.run(guarantee())?.metrics.sum("numbers", |m| m.emitted), 9);
    /// // The next run goes on where all is acknowledged.
    /// assert_eq!(job.run(guarantee())?.metrics.sum("numbers", |m| m.emitted), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn store_in(self, directory: impl Into<PathBuf>) -> Self {
        self.store(StoreChoice::directory(directory.into()))
    }

    /// As [`store_in`](AtLeastOnce::store_in), in this store.
    pub fn store_with(self, store: Arc<dyn CheckpointStore>) -> Self {
        self.store(StoreChoice::Own(store))
    }

    /// The maximum number of unacknowledged events of a source instance; then the source has to wait.
    /// Default 65,536; at least 1. With `usize::MAX` the bytes are the only bound.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicUsize, Ordering};
    /// # use streamwork::{AtLeastOnce, Job};
    /// // Events that have been read and not yet written.
    /// let (out, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    /// let (reading, writing, most) = (Arc::clone(&out), Arc::clone(&out), Arc::clone(&read));
    /// let job = Job::new("numbers");
    /// job.from_iter("numbers", move || {
    ///     let (reading, most) = (Arc::clone(&reading), Arc::clone(&most));
    ///     (0..50_000_u64).inspect(move |_| {
    ///         most.fetch_max(1 + reading.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
    ///     })
    /// })
    /// .for_each(move |_| drop(writing.fetch_sub(1, Ordering::SeqCst)))
    /// .own_thread();
    /// job.run(AtLeastOnce::new().replay_events_max(1_000))?;
    /// assert!(read.load(Ordering::SeqCst) <= 1_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replay_events_max(mut self, events: usize) -> Self {
        self.replay.events_max = events;
        self
    }

    /// The maximum size of the unacknowledged events of a source instance in bytes, by the source's
    /// `event_bytes`. Default 64 MiB; at least 1. A larger event waits until no other is
    /// unacknowledged. With `usize::MAX` the number of events is the only bound.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicUsize, Ordering};
    /// # use streamwork::{AtLeastOnce, Job};
    /// // Events that have been read and not yet written.
    /// let (out, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    /// let (reading, writing, most) = (Arc::clone(&out), Arc::clone(&out), Arc::clone(&read));
    /// let job = Job::new("numbers");
    /// job.from_iter("numbers", move || {
    ///     let (reading, most) = (Arc::clone(&reading), Arc::clone(&most));
    ///     (0..50_000_u64).inspect(move |_| {
    ///         most.fetch_max(1 + reading.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
    ///     })
    /// })
    /// .for_each(move |_| drop(writing.fetch_sub(1, Ordering::SeqCst)))
    /// .own_thread();
    /// job.run(AtLeastOnce::new().replay_bytes_max(8_000))?;
    /// // A thousand numbers of eight bytes, and what one batch may have more.
    /// assert!(read.load(Ordering::SeqCst) <= 1_000 + 1_024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replay_bytes_max(mut self, bytes: usize) -> Self {
        self.replay.bytes_max = bytes;
        self
    }

    /// How often an event is tried before it becomes a dead letter; at least 1. Default 10.
    ///
    /// ```
    /// # use streamwork::{AtLeastOnce, Job};
    /// let job = Job::new("poison");
    /// job.from_iter("numbers", || 0..9_u64).try_for_each(|n| if n == 7 { Err("poison".into()) } else { Ok(()) });
    /// let report = job.run(AtLeastOnce::new().attempts_max(3))?;
    /// assert_eq!(report.metrics.sum("for_each", |m| m.failed), 3);
    /// assert_eq!(report.metrics.sum("numbers", |m| m.dead_lettered), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.replay.attempts_max = attempts;
        self
    }

    /// The pause before an event is replayed: `first`, doubled with every attempt, at most `longest`.
    /// Default 1 millisecond and 1 second. One of the two must be at most a year.
    ///
    /// ```
    /// # use std::time::{Duration, Instant};
    /// # use streamwork::{AtLeastOnce, Job};
    /// let job = Job::new("poison");
    /// job.from_iter("numbers", || 0..1_u64).try_for_each(|_| Err("poison".into()));
    /// let (first, longest) = (Duration::from_millis(10), Duration::from_millis(20));
    /// let started = Instant::now();
    /// job.run(AtLeastOnce::new().attempts_max(4).backoff(first, longest))?;
    /// // Three pauses between four attempts.
    /// assert!(started.elapsed() >= Duration::from_millis(10 + 20 + 20));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.replay.backoff = first;
        self.replay.backoff_max = longest;
        self
    }

    /// After a failure, replays everything from the lowest unfinished event on, in order. By default
    /// only the failed event is replayed, behind the others.
    ///
    /// ```
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    /// # use streamwork::testkit::Collected;
    /// # use streamwork::{AtLeastOnce, Job};
    /// let (seen, failed) = (Collected::new(), AtomicBool::new(false));
    /// let job = Job::new("letters");
    /// job.from_iter("letters", || ["A", "B", "C"])
    ///     .try_map(move |letter| match letter {
    ///         "A" if !failed.swap(true, Ordering::SeqCst) => Err("once".into()),
    ///         _ => Ok(letter),
    ///     })
    ///     .sink("seen", seen.factory());
    /// job.run(AtLeastOnce::new().ordered())?;
    /// assert!(seen.events().ends_with(&["A", "B", "C"]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ordered(mut self) -> Self {
        self.replay.order = ReplayOrder::Ordered;
        self
    }

    /// Fails events without progress for this long; at least 1 millisecond. Off by default: with
    /// back-pressure, waiting is not failing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{AtLeastOnce, BoxError, Collector, Job, Operator, Token};
    /// /// Keeps an event for ever.
    /// #[derive(Default)]
    /// struct Keeps(Vec<Token>);
    /// impl Operator for Keeps {
    ///     type In = u64;
    ///     type Out = u64;
    ///     fn apply(&mut self, _: u64, out: &mut Collector<u64>) -> Result<(), BoxError> {
    ///         self.0.push(out.defer());
    ///         Ok(())
    ///     }
    /// }
    /// let job = Job::new("held");
    /// job.from_iter("numbers", || 0..1_u64).operator("keeps", Keeps::default).ignore();
    /// let impatient = AtLeastOnce::new().attempts_max(2).timeout(Duration::from_millis(20));
    /// let (handle, started) = (job.start(impatient)?, std::time::Instant::now());
    /// while !handle.is_finished() {
    ///     assert!(started.elapsed() < Duration::from_secs(10), "the event is waited for");
    ///     std::thread::yield_now();
    /// }
    /// let report = handle.wait()?;
    /// assert_eq!(report.metrics.sum("numbers", |m| m.dead_lettered), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
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
            sources: SourceTerms::Tracked(chosen.replay),
            on_drop: None,
        };
        Self { terms, options: chosen.options }
    }
}
