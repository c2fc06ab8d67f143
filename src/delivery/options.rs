//! What every guarantee lets its user choose: where checkpoints go, how often, how restarts are
//! limited, how long a stop may take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::CheckpointStore;
use crate::checkpoint::DirectoryStore;
use crate::checkpoint::coordinator::Schedule;
use crate::error::Refused;

/// How often a failed part of a job is started again before the job ends with the cause.
///
/// The pause before the n-th restart in a row is `backoff · 2ⁿ⁻¹`, at most `backoff_max`. A checkpoint
/// that completes, or a window without failures, makes it short again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// Restarts within the window that are accepted. Default 5.
    pub limit: u32,
    /// The window. Default 10 seconds.
    pub window: Duration,
    /// The pause before the first restart. Default 10 milliseconds.
    pub backoff: Duration,
    /// The longest pause. Default 1 second.
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

    /// As often as failures come; the pause still grows to `backoff_max`.
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
    /// A relative path counts from the working directory of this moment.
    pub(crate) fn directory(path: PathBuf) -> Self {
        // Without a working directory a relative path leads nowhere, and opening it says so.
        Self::Directory(std::path::absolute(&path).unwrap_or(path))
    }

    pub(crate) fn open(&self) -> Result<Arc<dyn CheckpointStore>, Refused> {
        Ok(match self {
            Self::Directory(path) => Arc::new(DirectoryStore::open(path)?),
            Self::Own(store) => Arc::clone(store),
        })
    }
}

/// What is the same under every guarantee.
#[derive(Clone, Debug)]
pub(crate) struct RunOptions {
    pub(crate) store: Option<StoreChoice>,
    pub(crate) schedule: Schedule,
    pub(crate) keep: usize,
    pub(crate) restarts: Restarts,
    pub(crate) stop_within: Duration,
    pub(crate) stalled_after: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            store: None,
            schedule: Schedule::default(),
            keep: 2,
            restarts: Restarts::default(),
            stop_within: Duration::from_secs(30),
            stalled_after: Duration::from_secs(10),
        }
    }
}

impl RunOptions {
    /// Refuses values that mean nothing.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        let refuse =
            |option, reason: &str| Err(Refused::Option { option, reason: reason.to_owned() });
        if self.schedule.every.is_zero() {
            return refuse("every", "an interval of zero would checkpoint without end");
        }
        if self.schedule.timeout.is_zero() {
            return refuse("checkpoint_timeout", "no checkpoint is done in no time");
        }
        if self.schedule.failures_in_a_row_max == 0 {
            return refuse("failed_checkpoints_max", "at least 1: the failure that ends the job");
        }
        if self.keep < 2 {
            return refuse("keep", "at least 2: the newest and one to fall back to");
        }
        Ok(())
    }
}

/// The builder methods that every guarantee shares, written once.
macro_rules! shared_options {
    ($guarantee:ident) => {
        impl $guarantee {
            /// Time between the beginnings of two checkpoints. Default 1 second.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Guarantee, Restarts};
            /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").every(Duration::from_millis(100)).into();
            /// assert_eq!(guarantee.name(), "exactly-once");
            /// ```
            pub fn every(mut self, interval: std::time::Duration) -> Self {
                self.options.schedule.every = interval;
                self
            }

            /// Time that passes at least between the end of a checkpoint and the beginning of the
            /// next. Default none.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Guarantee, Restarts};
            /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").minimum_pause(Duration::from_millis(500)).into();
            /// assert_eq!(guarantee.name(), "exactly-once");
            /// ```
            pub fn minimum_pause(mut self, pause: std::time::Duration) -> Self {
                self.options.schedule.minimum_pause = pause;
                self
            }

            /// Time after which a checkpoint is given up. Default 60 seconds.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Guarantee, Restarts};
            /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").checkpoint_timeout(Duration::from_secs(10)).into();
            /// assert_eq!(guarantee.name(), "exactly-once");
            /// ```
            pub fn checkpoint_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.options.schedule.timeout = timeout;
                self
            }

            /// Checkpoints that may fail in a row before the job ends; at least 1. Default 5.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Guarantee, Restarts};
            /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").failed_checkpoints_max(3).into();
            /// assert_eq!(guarantee.name(), "exactly-once");
            /// ```
            pub fn failed_checkpoints_max(mut self, failures: u32) -> Self {
                self.options.schedule.failures_in_a_row_max = failures;
                self
            }

            /// Complete checkpoints to keep; at least 2, the default.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Guarantee, Restarts};
            /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").keep(5).into();
            /// assert_eq!(guarantee.name(), "exactly-once");
            /// ```
            pub fn keep(mut self, checkpoints: usize) -> Self {
                self.options.keep = checkpoints;
                self
            }

            /// How often failures are answered with a restart.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Guarantee, Restarts};
            /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").restarts(Restarts { limit: 2, ..Restarts::default() }).into();
            /// assert_eq!(guarantee.name(), "exactly-once");
            /// ```
            pub fn restarts(mut self, restarts: $crate::delivery::options::Restarts) -> Self {
                self.options.restarts = restarts;
                self
            }

            /// Time that a stop may take before it is reported as failed. Default 30 seconds.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Guarantee, Restarts};
            /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").stop_within(Duration::from_secs(5)).into();
            /// assert_eq!(guarantee.name(), "exactly-once");
            /// ```
            pub fn stop_within(mut self, deadline: std::time::Duration) -> Self {
                self.options.stop_within = deadline;
                self
            }

            /// Time without a return from a callback after which an instance is reported as
            /// stalled. Default 10 seconds.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use streamwork::{ExactlyOnce, Guarantee, Restarts};
            /// let guarantee: Guarantee = ExactlyOnce::checkpoints_in("checkpoints").stalled_after(Duration::from_secs(60)).into();
            /// assert_eq!(guarantee.name(), "exactly-once");
            /// ```
            pub fn stalled_after(mut self, time: std::time::Duration) -> Self {
                self.options.stalled_after = time;
                self
            }
        }
    };
}
pub(crate) use shared_options;
