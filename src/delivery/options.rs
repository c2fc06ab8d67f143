//! The options of every guarantee: where checkpoints are stored, how often they are taken, how restarts
//! are limited, how long a stop may take.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::coordinator::Schedule;
use crate::checkpoint::{CheckpointStore, DirectoryStore, StateCodec};
use crate::error::Refused;

/// How often a job or a component is restarted after failures, before the job ends with the cause.
///
/// The pause before the n-th restart in a row is `backoff · 2ⁿ⁻¹`, at most `backoff_max`. A checkpoint
/// that completes, or a window without failures, makes it short again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// The maximum number of restarts within the window. Default 5; 0 means none, `u32::MAX` means no limit.
    pub limit: u32,
    /// The window. Default 10 seconds. If there is a limit it must be more than zero, or nothing would be
    /// counted.
    pub window: Duration,
    /// The pause before the first restart. Default 10 milliseconds. This or `backoff_max` must be at most a year.
    pub backoff: Duration,
    /// The longest pause. Default 1 second; zero is no pause at all.
    pub backoff_max: Duration,
}

impl Default for Restarts {
    fn default() -> Self {
        Self {
            limit: 5,
            window: Duration::from_secs(10),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
        }
    }
}

impl Restarts {
    /// No restart at all: the first failure ends the job.
    ///
    /// ```
    /// # use streamwork::Restarts;
    /// assert_eq!(Restarts::never().limit, 0);
    /// ```
    pub fn never() -> Self {
        Self { limit: 0, ..Self::default() }
    }

    /// No limit; the pause still grows to `backoff_max`.
    pub fn unlimited() -> Self {
        Self { limit: u32::MAX, ..Self::default() }
    }

    /// The pause before restart number `n` (from 1) of a window.
    pub(crate) fn pause(&self, n: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << n.saturating_sub(1).min(20));
        doubled.min(self.backoff_max)
    }
}

/// Where checkpoints go.
#[derive(Clone, Debug)]
pub(crate) enum StoreChoice {
    Directory(PathBuf),
    Own(Arc<dyn CheckpointStore>),
}

impl StoreChoice {
    /// A relative path is resolved now, against the current working directory.
    pub(crate) fn directory(path: PathBuf) -> Self {
        // Without a working directory a relative path cannot be resolved; opening it then fails with that
        // error.
        Self::Directory(std::path::absolute(&path).unwrap_or(path))
    }

    pub(crate) fn open(&self) -> Result<Arc<dyn CheckpointStore>, Refused> {
        Ok(match self {
            Self::Directory(path) => Arc::new(DirectoryStore::open(path)?),
            Self::Own(store) => Arc::clone(store),
        })
    }
}

/// The options that all guarantees have.
#[derive(Clone, Debug)]
pub(crate) struct RunOptions {
    pub(crate) store: Option<StoreChoice>,
    pub(crate) schedule: Schedule,
    pub(crate) keep: usize,
    /// Above so many bytes, the state by key of an instance is saved by what has changed.
    pub(crate) incremental_above: u64,
    pub(crate) restarts: Restarts,
    pub(crate) stop_within: Duration,
    pub(crate) stalled_after: Duration,
    /// The time an event may be held, if that is limited.
    pub(crate) answer_within: Option<Duration>,
    /// Components that start without their stored state.
    pub(crate) anew: Arc<BTreeSet<String>>,
    /// The codec of states, unless a component has its own.
    pub(crate) state_codec: StateCodec,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            store: None,
            schedule: Schedule::default(),
            keep: 2,
            incremental_above: 1 << 20,
            restarts: Restarts::default(),
            stop_within: Duration::from_secs(30),
            stalled_after: Duration::from_secs(10),
            answer_within: None,
            anew: Arc::default(),
            state_codec: StateCodec::default(),
        }
    }
}

/// The shortest timeout: with a shorter one, nothing would ever be done in time.
pub(crate) const SHORTEST_LIMIT: Duration = Duration::from_millis(1);

/// The longest time that events may have to wait by an option. A longer one counts as a mistake, since the
/// job would seem to hang.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Refuses an option by its name.
pub(crate) fn refuse<T>(option: &'static str, reason: &str) -> Result<T, Refused> {
    Err(Refused::Option { option, reason: reason.to_owned() })
}

impl RunOptions {
    /// Refuses values that mean nothing.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        if self.schedule.every.is_zero() {
            return refuse("every", "an interval of zero would checkpoint without end");
        }
        if self.schedule.timeout < SHORTEST_LIMIT {
            return refuse("checkpoint_timeout", "at least 1 ms: no checkpoint is done in less");
        }
        if self.schedule.failures_in_a_row_max == 0 {
            return refuse("failed_checkpoints_max", "at least 1: the failure that ends the job");
        }
        if self.keep < 2 {
            return refuse("keep", "at least 2: the newest and one to fall back to");
        }
        if self.stop_within < SHORTEST_LIMIT {
            return refuse("stop_within", "at least 1 ms: no stop is done in less");
        }
        if self.stalled_after < SHORTEST_LIMIT {
            return refuse("stalled_after", "at least 1 ms: every callback takes some time");
        }
        if self.answer_within.is_some_and(|within| within < SHORTEST_LIMIT) {
            return refuse("answer_within", "at least 1 ms: every answer takes some time");
        }
        self.restarts.check()
    }
}

impl Restarts {
    fn check(&self) -> Result<(), Refused> {
        let counts = self.limit != 0 && self.limit != u32::MAX;
        if counts && self.window.is_zero() {
            let reason = "a window of zero counts no failure: use `Restarts::unlimited()`";
            return refuse("restarts.window", reason);
        }
        if self.pause(1) > LONGEST_WAIT {
            let reason = "at most a year: what has failed would not be started again";
            return refuse("restarts.backoff", reason);
        }
        Ok(())
    }
}

/// The builder methods that every guarantee shares, written once.
macro_rules! shared_options {
    ($guarantee:ident) => {
        impl $guarantee {
            /// Time between the beginnings of two checkpoints. Default 1 second; more than zero, and with
            /// `Duration::MAX` none is taken before the end.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Job};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("endless");
            /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
            /// let often = ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_millis(10));
            /// let (handle, started) = (job.start(often)?, std::time::Instant::now());
            /// while handle.metrics().checkpoints < 3 {
            ///     std::thread::yield_now();
            /// }
            /// assert!(started.elapsed() < Duration::from_secs(3));
            /// handle.stop_within(Duration::from_secs(10))?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn every(mut self, interval: std::time::Duration) -> Self {
                self.options.schedule.every = interval;
                self
            }

            /// The least time between the end of a checkpoint and the beginning of the next. Default
            /// none; any length. The last checkpoint does not wait for it.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Job};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("numbers");
            /// job.from_iter("numbers", || 0..100_000_u64).for_each(|_| ());
            /// let often = ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_nanos(1));
            /// let report = job.run(often.minimum_pause(Duration::from_secs(3600)))?;
            /// // The first one, and the last.
            /// assert!(report.metrics.checkpoints <= 2);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn minimum_pause(mut self, pause: std::time::Duration) -> Self {
                self.options.schedule.minimum_pause = pause;
                self
            }

            /// Time after which a checkpoint is abandoned. Default 60 seconds; at least 1 millisecond.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Job, JobError, RunError};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("late");
            /// // No barrier passes while this sleeps.
            /// job.from_iter("numbers", || 0..9_u64).for_each(|_| std::thread::sleep(Duration::from_millis(20)));
            /// let exactly_once = ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_millis(1));
            /// let impatient = exactly_once.checkpoint_timeout(Duration::from_millis(5)).failed_checkpoints_max(1);
            /// let ended = job.run(impatient);
            /// assert!(matches!(ended, Err(RunError::Failed(JobError::Checkpoints { .. }))), "{ended:?}");
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn checkpoint_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.options.schedule.timeout = timeout;
                self
            }

            /// Checkpoints that may fail in a row before the job ends; at least 1. Default 5.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Job, JobError, RunError};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("late");
            /// job.from_iter("numbers", || 0..9_u64).for_each(|_| std::thread::sleep(Duration::from_millis(40)));
            /// let exactly_once = ExactlyOnce::checkpoints_in(directory.path()).every(Duration::from_millis(1));
            /// let impatient = exactly_once.checkpoint_timeout(Duration::from_millis(5)).failed_checkpoints_max(3);
            /// let ended = job.run(impatient);
            /// let Err(RunError::Failed(JobError::Checkpoints { failures, .. })) = ended else { panic!("{ended:?}") };
            /// assert_eq!(failures, 3);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn failed_checkpoints_max(mut self, failures: u32) -> Self {
                self.options.schedule.failures_in_a_row_max = failures;
                self
            }

            /// Complete checkpoints to keep; at least 2, the default. With `usize::MAX` none is removed. Where state by
            /// key is saved [incrementally](Self::incremental_above), up to two older ones stay: one that shares no file
            /// with the newest, and the next that will not.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Job};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("endless");
            /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
            /// let handle = job.start(ExactlyOnce::checkpoints_in(directory.path()).keep(3))?;
            /// for _ in 0..5 {
            ///     handle.checkpoint_now()?;
            /// }
            /// handle.stop_within(Duration::from_secs(10))?;
            /// let names = std::fs::read_dir(directory.path())?.flatten().map(|entry| entry.file_name());
            /// assert_eq!(names.filter(|name| name.to_string_lossy().starts_with("chk-")).count(), 3);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn keep(mut self, checkpoints: usize) -> Self {
                self.options.keep = checkpoints;
                self
            }

            /// The bytes of state by key of one instance above which a checkpoint has only what changed since the newest
            /// complete one; default 1 MiB. Everything else stays in the files of earlier checkpoints, which are kept as
            /// long as they are needed. All of it is written again, an eighth at a time, once the changes have become
            /// half of it, and after a start. With `u64::MAX` every checkpoint has everything.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Job};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("counts");
            /// let numbers = job.from_iter("numbers", || (0..30_000_u64).chain(0..));
            /// numbers.key_by(|n| n % 30_000).count().updates().for_each(|_| ());
            /// let handle = job.start(ExactlyOnce::checkpoints_in(directory.path()).incremental_above(100_000))?;
            /// for _ in 0..4 {
            ///     handle.checkpoint_now()?;
            /// }
            /// handle.stop_within(Duration::from_secs(10))?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn incremental_above(mut self, bytes: u64) -> Self {
                self.options.incremental_above = bytes;
                self
            }

            /// The time that an operator may hold an event in a token. An event that is not answered within it
            /// fails, by the name of the operator: it is dropped, replayed, or the job rolls back, as for every
            /// failure of this guarantee, and what its token says later means nothing. At least 1 millisecond.
            /// Without it, the default, events may be held for ever, and the end of the input waits for them.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{AtMostOnce, BoxError, Collector, Job, Operator, Token};
            /// /// Keeps every event for ever.
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
            /// job.from_iter("numbers", || 0..9_u64).operator("keeps", Keeps::default).ignore();
            /// let report = job.run(AtMostOnce::new().answer_within(Duration::from_millis(20)))?;
            /// assert_eq!(report.metrics.sum("keeps", |m| m.dropped), 9);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn answer_within(mut self, time: std::time::Duration) -> Self {
                self.options.answer_within = Some(time);
                self
            }

            /// Lets a component start without its stored state and position; for a transactional sink this
            /// also drops output that was prepared and not committed. Use it for a component that has
            /// changed its kind or type under its old name, and for one that the job no longer has; both
            /// are refused otherwise. Remove the call after that run, or every start of the job drops the
            /// state. May be called for several components.
            ///
            /// ```
            /// # use streamwork::{AtLeastOnce, Job};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("numbers");
            /// job.from_iter("numbers", || 0..10).for_each(|_| ());
            /// let guarantee = || AtLeastOnce::new().store_in(directory.path());
            /// job.run(guarantee())?;
            /// // It has come to its end, unless the source begins again.
            /// let emitted = |report: streamwork::JobReport| report.metrics.sum("numbers", |m| m.emitted);
            /// assert_eq!(emitted(job.run(guarantee())?), 0);
            /// assert_eq!(emitted(job.run(guarantee().start_anew("numbers"))?), 10);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn start_anew(mut self, component: impl Into<String>) -> Self {
                std::sync::Arc::make_mut(&mut self.options.anew).insert(component.into());
                self
            }

            /// The codec of states, unless a component has its own
            /// ([`Stream::state_codec`](crate::Stream::state_codec)); see
            /// [`StateCodec`](crate::checkpoint::StateCodec). Default `Auto`.
            ///
            /// ```
            /// # use streamwork::{AtLeastOnce, Job};
            /// use streamwork::checkpoint::StateCodec;
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("numbers");
            /// job.from_iter("numbers", || 0..10).for_each(|_| ());
            /// let guarantee = AtLeastOnce::new().store_in(directory.path());
            /// job.run(guarantee.state_codec(StateCodec::SelfDescribing))?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn state_codec(mut self, codec: crate::checkpoint::StateCodec) -> Self {
                self.options.state_codec = codec;
                self
            }

            /// How often the job or a component is restarted after failures; see
            /// [`Restarts`](crate::Restarts).
            ///
            /// ```
            /// # use streamwork::{ExactlyOnce, Job, JobError, Restarts, RunError};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("poison");
            /// job.from_iter("numbers", || 0..9_u64).try_for_each(|_| Err("never".into()));
            /// let restarts = Restarts { limit: 2, ..Restarts::default() };
            /// let ended = job.run(ExactlyOnce::checkpoints_in(directory.path()).restarts(restarts));
            /// let Err(RunError::Failed(JobError::Failed { restarts, .. })) = ended else { panic!("{ended:?}") };
            /// assert_eq!(restarts, 2);
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn restarts(mut self, restarts: $crate::delivery::options::Restarts) -> Self {
                self.options.restarts = restarts;
                self
            }

            /// Time that a stop may take before it is reported as failed. Default 30 seconds; at least
            /// 1 millisecond. It applies to [`JobHandle::stop`](crate::JobHandle::stop), and to the end of
            /// the instances after a failure.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Job, JobError};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("stuck");
            /// job.from_iter("numbers", || 0..9_u64).for_each(|_| std::thread::sleep(Duration::from_secs(5)));
            /// let soon = ExactlyOnce::checkpoints_in(directory.path()).stop_within(Duration::from_millis(50));
            /// let handle = job.start(soon)?;
            /// while handle.metrics().sum("numbers", |m| m.emitted) == 0 {
            ///     std::thread::yield_now();
            /// }
            /// handle.stop();
            /// let ended = handle.wait();
            /// let Err(JobError::StopTimedOut { deadline, .. }) = ended else { panic!("{ended:?}") };
            /// assert_eq!(deadline, Duration::from_millis(50));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn stop_within(mut self, deadline: std::time::Duration) -> Self {
                self.options.stop_within = deadline;
                self
            }

            /// If a callback has not returned for this long, its instance is reported as stalled.
            /// Default 10 seconds; at least 1 millisecond.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Job};
            /// # let directory = tempfile::tempdir()?;
            /// let job = Job::new("slow");
            /// job.from_iter("numbers", || 0..1_u64).for_each(|_| std::thread::sleep(Duration::from_millis(300)));
            /// let strict = ExactlyOnce::checkpoints_in(directory.path()).stalled_after(Duration::from_millis(20));
            /// let handle = job.start(strict)?;
            /// let stalled = || handle.metrics().instances.iter().any(|instance| instance.stalled);
            /// while !stalled() {
            ///     assert!(!handle.is_finished(), "the stall went by unnoticed");
            /// }
            /// handle.wait()?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            pub fn stalled_after(mut self, time: std::time::Duration) -> Self {
                self.options.stalled_after = time;
                self
            }
        }
    };
}
pub(crate) use shared_options;
