//! [`JobHandle`]: a job that runs. Stop it, drain it, wait for it, look at it.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::channel::frame::End;
use crate::checkpoint::coordinator::Cut;
use crate::checkpoint::{CheckpointStore, StoreError};
use crate::clock::{Clock, MonotonicClock};
use crate::delivery::terms::Guarantee;
use crate::error::{Cause, JobError, Refused};
use crate::executor::blueprint::Blueprint;
use crate::executor::host::Request;
use crate::executor::supervisor::{Ended, Supervisor, SupervisorParts};
use crate::executor::threads::Threads;
use crate::id::CheckpointId;
use crate::metrics::{Metrics, Registry};

/// The errors of [`Job::run`](crate::Job::run).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Nothing was started.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The job started, and a failure ended it.
    #[error(transparent)]
    Failed(#[from] JobError),
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// All sources ended by themselves.
    Finished,
    /// It was stopped; with a store, the next start continues where it stopped.
    Stopped,
    /// It was drained: operators have emitted what they held.
    Drained,
}

/// The result of a job that ended without an error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobReport {
    /// How it ended.
    pub outcome: Outcome,
    /// What it counted.
    pub metrics: Metrics,
    /// From start to end.
    pub elapsed: Duration,
    /// The checkpoint that its last execution started from, if any.
    pub restored_from: Option<CheckpointId>,
}

/// A running job.
///
/// Dropping the handle asks the job to stop, without waiting for it.
#[must_use = "dropping the handle stops the job"]
pub struct JobHandle {
    control: JobControl,
    /// Taken by the thread that waits.
    supervisor: Option<JoinHandle<Result<Ended, JobError>>>,
    /// Closed when the job has ended.
    ended: Receiver<Infallible>,
    started: Instant,
}

/// Reads the metrics of a running job and asks it to stop, from any thread; made by [`JobHandle::control`].
/// Clones are for the same job. It may outlive the job, and does not keep it running.
///
/// ```
/// # use streamwork::{Guarantee, Job};
/// let job = Job::new("endless");
/// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
/// let handle = job.start(Guarantee::default())?;
/// let control = handle.control();
/// // As a signal handler would, on a thread of its own.
/// std::thread::spawn(move || control.stop());
/// handle.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct JobControl {
    requests: Sender<Request>,
    registry: Arc<Registry>,
    stop_within: Duration,
    /// Where the job stores, if its checkpoints have all that a start needs.
    store: Option<Weak<dyn CheckpointStore>>,
}

impl fmt::Debug for JobControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobControl").finish_non_exhaustive()
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        // Controls may be left that keep the line to the supervisor open.
        if self.supervisor.is_some() {
            self.control.stop();
        }
    }
}

/// Starts a planned job.
///
/// # Errors
/// An error of the store or the operating system.
pub(crate) fn start(blueprint: Blueprint, guarantee: Guarantee) -> Result<JobHandle, Refused> {
    let store = guarantee.options.store.as_ref().map(|choice| choice.open()).transpose()?;
    let registry = Arc::new(blueprint.registry());
    let (requests, asked) = unbounded();
    let stop_within = guarantee.options.stop_within;
    let has_positions = guarantee.terms.cut != Cut::Operators;
    let store_of_handle = store.as_ref().filter(|_| has_positions).map(Arc::downgrade);
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::default());
    let registry_of_handle = Arc::clone(&registry);
    let host = Threads::new(Arc::clone(&clock));
    let parts = SupervisorParts { blueprint, guarantee, store, clock, registry, requests: asked };
    let mut supervisor = Supervisor::new(parts, host);
    supervisor.begin()?;
    let name = "supervisor".to_owned();
    let (ends, ended) = bounded(0);
    let supervisor = std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let result = supervisor.run();
            drop(ends);
            result
        })
        .map_err(|source| Refused::Spawn { name, source })?;
    let (supervisor, started) = (Some(supervisor), Instant::now());
    let registry = registry_of_handle;
    let control = JobControl { requests, registry, stop_within, store: store_of_handle };
    Ok(JobHandle { control, supervisor, ended, started })
}

impl JobHandle {
    /// Asks the job to stop: sources emit nothing new, and events in flight are processed. With a store,
    /// state and positions are saved, and the next start continues from there. Returns at once;
    /// [`wait`](JobHandle::wait) returns the result.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    /// let handle = job.start(Guarantee::default())?;
    /// handle.stop();
    /// let report = handle.wait()?;
    /// println!("{:?} after {:?}", report.outcome, report.elapsed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop(&self) {
        self.control.stop();
    }

    /// A control for the job, to observe and stop it from other threads.
    pub fn control(&self) -> JobControl {
        self.control.clone()
    }

    /// As [`stop`](JobHandle::stop), and waits, at most this long.
    ///
    /// # Errors
    /// [`JobError::StopTimedOut`] names the instances that were still at work; or another error that
    /// ended the job.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    /// let handle = job.start(Guarantee::default())?;
    /// let report = handle.stop_within(Duration::from_secs(10))?;
    /// println!("{:?}", report.outcome);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stop_within(self, timeout: Duration) -> Result<JobReport, JobError> {
        self.control.request_stop(End::Suspended, timeout);
        self.wait()
    }

    /// Ends the job as if its sources had ended: events in flight are processed, and operators emit
    /// what they still hold. Waits, at most this long.
    ///
    /// # Errors
    /// As [`stop_within`](JobHandle::stop_within).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    /// let handle = job.start(Guarantee::default())?;
    /// let report = handle.drain(Duration::from_secs(10))?;
    /// assert_eq!(report.outcome, streamwork::Outcome::Drained);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(self, timeout: Duration) -> Result<JobReport, JobError> {
        self.control.request_stop(End::Finished, timeout);
        self.wait()
    }

    /// Waits until the job has ended.
    ///
    /// # Errors
    /// The failure that ended it, with component, instance and cause.
    pub fn wait(mut self) -> Result<JobReport, JobError> {
        let supervisor = self.supervisor.take().expect("only taken here, and the handle with it");
        let result = supervisor.join();
        let elapsed = self.started.elapsed();
        let ended = result.map_err(|payload| JobError::Supervisor {
            reason: Cause::panic(payload).to_string(),
        })??;
        let outcome = match ended.asked {
            None => Outcome::Finished,
            Some(End::Finished) => Outcome::Drained,
            Some(End::Suspended) => Outcome::Stopped,
        };
        let (metrics, restored_from) = (self.control.metrics(), ended.restored_from);
        for account in &metrics.accounts {
            if let Err(error) = account.check() {
                tracing::error!(%error, "a defect of this crate");
                debug_assert!(false, "{error}");
            }
        }
        Ok(JobReport { outcome, metrics, elapsed, restored_from })
    }

    /// As [`wait`](JobHandle::wait), for at most this long. If the time passes, the job keeps running.
    ///
    /// # Errors
    /// The handle, if the job has not ended by then.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    /// let mut handle = job.start(Guarantee::default())?;
    /// let report = loop {
    ///     match handle.wait_timeout(Duration::from_millis(10)) {
    ///         Ok(ended) => break ended?,
    ///         Err(running) => handle = running,
    ///     }
    ///     println!("{} so far", handle.metrics().sum("numbers", |m| m.emitted));
    ///     handle.stop();
    /// };
    /// println!("{:?}", report.outcome);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout(self, timeout: Duration) -> Result<Result<JobReport, JobError>, Self> {
        match self.ended.recv_timeout(timeout) {
            Err(RecvTimeoutError::Timeout) => Err(self),
            Err(RecvTimeoutError::Disconnected) => Ok(self.wait()),
            Ok(never) => match never {},
        }
    }

    /// Whether the job has ended, so that [`wait`](JobHandle::wait) returns at once.
    pub fn is_finished(&self) -> bool {
        self.supervisor.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The counters of the job so far. [`recent_checkpoints`](Metrics::recent_checkpoints) has the phases of
    /// its checkpoints.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    /// let handle = job.start(Guarantee::default())?;
    /// println!("{} numbers so far", handle.metrics().sum("numbers", |m| m.emitted));
    /// handle.stop_within(Duration::from_secs(10))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metrics(&self) -> Metrics {
        self.control.metrics()
    }

    /// Takes a checkpoint now, and waits until it is complete.
    ///
    /// # Errors
    /// Why there is none: nothing is stored, it failed, or the job ended first.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::{Guarantee, Job};
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    /// let handle = job.start(Guarantee::default())?;
    /// // Nothing is stored under this guarantee.
    /// assert!(handle.checkpoint_now().is_err());
    /// handle.stop_within(Duration::from_secs(10))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn checkpoint_now(&self) -> Result<CheckpointId, CheckpointRefused> {
        self.control.checkpoint_now()
    }

    /// Takes a savepoint: a checkpoint, copied into a directory of its own with everything that it needs, while the
    /// job goes on. The directory is created, or is empty. The savepoint is durable on return; nothing ever removes
    /// it, and other jobs can start from it ([`start_from`](crate::Checkpointed::start_from)).
    ///
    /// It has what [`checkpoint_now`](Self::checkpoint_now) has, or is newer. Its files are read and written by the
    /// thread that calls, at the speed of the disk.
    ///
    /// # Errors
    /// Why there is none: no checkpoint could be taken, the sources write their positions by themselves (at-most-once),
    /// the directory is not empty, or the disk failed. A directory that was created stays, and is empty.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamwork::checkpoint::{CheckpointStore, DirectoryStore};
    /// # use streamwork::{ExactlyOnce, Job};
    /// # let directory = tempfile::tempdir()?;
    /// let job = Job::new("endless");
    /// job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    /// let handle = job.start(ExactlyOnce::checkpoints_in(directory.path().join("checkpoints")))?;
    /// let savepoint = directory.path().join("before the upgrade");
    /// handle.savepoint_to(&savepoint)?;
    /// handle.stop_within(Duration::from_secs(10))?;
    /// assert!(DirectoryStore::open(savepoint)?.latest()?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn savepoint_to(
        &self,
        directory: impl AsRef<Path>,
    ) -> Result<CheckpointId, SavepointError> {
        self.control.savepoint_to(directory)
    }
}

impl JobControl {
    /// As [`JobHandle::stop`].
    pub fn stop(&self) {
        self.request_stop(End::Suspended, self.stop_within);
    }

    /// Asks the job to end as if its sources had ended, as [`JobHandle::drain`] does. Returns at once.
    pub fn drain(&self) {
        self.request_stop(End::Finished, self.stop_within);
    }

    fn request_stop(&self, end: End, within: Duration) {
        // A supervisor that is gone has stopped already.
        let _ = self.requests.send(Request::Stop { end, within });
    }

    /// As [`JobHandle::metrics`]; after the end of the job the final counters.
    pub fn metrics(&self) -> Metrics {
        self.registry.snapshot()
    }

    /// As [`JobHandle::checkpoint_now`].
    ///
    /// # Errors
    /// Why there is none: nothing is stored, it failed, or the job ended first.
    pub fn checkpoint_now(&self) -> Result<CheckpointId, CheckpointRefused> {
        let (reply, answer) = bounded(1);
        let sent = self.requests.send(Request::Checkpoint { reply });
        let ended = || CheckpointRefused { reason: "the job has ended".to_owned() };
        sent.map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?.map_err(|reason| CheckpointRefused { reason })
    }

    /// As [`JobHandle::savepoint_to`].
    ///
    /// # Errors
    /// As there.
    pub fn savepoint_to(
        &self,
        directory: impl AsRef<Path>,
    ) -> Result<CheckpointId, SavepointError> {
        self.checkpoint_now()?;
        let without = "sources write their positions by themselves under this guarantee";
        let gone = |reason: &str| CheckpointRefused { reason: reason.to_owned() };
        let store = self.store.as_ref().ok_or_else(|| gone(without))?;
        let store = store.upgrade().ok_or_else(|| gone("the job has ended"))?;
        Ok(store.copy_newest(directory.as_ref())?.checkpoint)
    }
}

/// Why [`JobHandle::savepoint_to`] took none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavepointError {
    /// There is no checkpoint to copy.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointRefused),
    /// It could not be copied.
    #[error("the savepoint was not written: {0}")]
    Store(#[from] StoreError),
}

/// Why [`JobHandle::checkpoint_now`] took none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no checkpoint: {reason}")]
#[non_exhaustive]
pub struct CheckpointRefused {
    /// Why.
    pub reason: String,
}
