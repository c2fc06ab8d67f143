//! A source that reads an event log. Its position in each partition is an offset, and the identity of the
//! log.
//!
//! The partitions are the splits of the source, assigned to its instances in turn. Events of one partition
//! keep their order; between partitions there is none.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::bad_record::OnBadRecord;
use super::lost_position::OnLostPosition;
use crate::api::event::Event;
use crate::delivery::options::LONGEST_WAIT;
use crate::job::Job;
use crate::job::stream::Stream;
use crate::log::{LogError, LogReader};
use crate::storage::{Disk, RealDisk};

mod instance;
mod position;

use instance::LogInstance;

/// Which event log a source reads, from where, and how far; given to [`Job::event_log`].
///
/// Rewindable: it has a position per partition, so it works under every guarantee, and its parallelism may
/// change at the next start. By default it starts at the first record of the log, follows the log for ever,
/// and looks for new records every 20 milliseconds while there are none.
///
/// Its state also holds the identity of the log, and the checksum of the record before each offset. So it
/// notices, at the start and while it runs, if a log was created again or restored from an older copy, or if
/// retention has removed records before they were read.
/// [`on_lost_position`](EventLogSource::on_lost_position) decides what follows.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// use streamwork::log::{EventLog, LogOptions};
/// use streamwork::{EventLogSource, Guarantee, Job};
///
/// let mut log = EventLog::create_or_open(directory, LogOptions::default())?;
/// for account in 0..100_u32 {
///     log.append(account % log.partitions(), 1_700_000_000_000, &account)?;
/// }
/// log.close()?;
///
/// let job = Job::new("accounts");
/// let source = EventLogSource::<u32>::open(directory)?.until_end();
/// job.event_log("accounts", source).parallelism(2).for_each(|account| println!("{account}"));
/// let report = job.run(Guarantee::default())?;
/// assert_eq!(report.metrics.sum("accounts", |m| m.emitted), 100);
/// # Ok(())
/// # }
/// ```
#[must_use = "give it to `Job::event_log`"]
pub struct EventLogSource<T> {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    start: Start,
    reach: Reach,
    poll_every: Duration,
    per_second_max: Option<f64>,
    on_lost_position: OnLostPosition,
    on_bad_record: OnBadRecord,
    event: PhantomData<fn() -> T>,
}

/// Where reading starts in a partition without a state.
#[derive(Clone, Copy, Debug)]
enum Start {
    Earliest,
    Time { unix_ms: i64 },
}

/// How far a partition is read.
#[derive(Clone, Copy, Debug)]
enum Reach {
    End,
    Forever,
}

impl<T> EventLogSource<T> {
    /// The log in this directory, which must exist. The job opens it again at every start. A relative path is
    /// resolved now, against the current working directory.
    ///
    /// # Errors
    /// [`LogError::NotALog`], or another error that keeps it from being read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LogError> {
        Self::open_on(Arc::new(RealDisk), directory)
    }

    /// The log in a directory on a disk of the caller's, for tests and simulations.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(disk: Arc<dyn Disk>, directory: impl Into<PathBuf>) -> Result<Self, LogError> {
        let reader = LogReader::<T>::open_on(Arc::clone(&disk), directory.into())?;
        Ok(Self {
            disk,
            directory: reader.dir().to_owned(),
            start: Start::Earliest,
            reach: Reach::Forever,
            poll_every: Duration::from_millis(20),
            per_second_max: None,
            on_lost_position: OnLostPosition::default(),
            on_bad_record: OnBadRecord::default(),
            event: PhantomData,
        })
    }

    /// Ends when it has read what the log holds at the start. A later run of the same job continues
    /// from there, up to the end of the log at its start.
    pub fn until_end(mut self) -> Self {
        self.reach = Reach::End;
        self
    }

    /// Starts at the first record whose time is this (milliseconds since the epoch) or later. If
    /// there is a state, it is used instead.
    pub fn from_time(mut self, unix_ms: i64) -> Self {
        self.start = Start::Time { unix_ms };
        self
    }

    /// How often to look for new records while there are none. Default 20 milliseconds; more than
    /// zero and at most a year, or the job is refused when it is started.
    pub fn poll_every(mut self, interval: Duration) -> Self {
        self.poll_every = interval;
        self
    }

    /// Reads no faster than this, per instance, counted from its start. By default, and with
    /// infinity, as fast as the job takes it. At least one event in a thousand seconds (0.001), or
    /// the job is refused when it is started.
    pub fn per_second_max(mut self, events: f64) -> Self {
        self.per_second_max = Some(events).filter(|events| *events != f64::INFINITY);
        self
    }

    /// What to do with a complete record that cannot be decoded: it was written with another type. Default
    /// [`OnBadRecord::Fail`]. This does not cover damaged records: they end the job with
    /// [`LogError::Corrupt`].
    pub fn on_bad_record(mut self, policy: OnBadRecord) -> Self {
        self.on_bad_record = policy;
        self
    }

    /// What to do if the log is not the one that was read before, or no longer holds the next record. Default
    /// [`OnLostPosition::Fail`].
    pub fn on_lost_position(mut self, policy: OnLostPosition) -> Self {
        self.on_lost_position = policy;
        self
    }

    /// The option whose value would let nothing be read, and why.
    fn unfit_option(&self) -> Option<(&'static str, &'static str)> {
        if self.poll_every.is_zero() {
            return Some(("poll_every", "an interval of zero would look without a pause"));
        }
        if self.poll_every > LONGEST_WAIT {
            return Some(("poll_every", "at most a year: new records would not be seen"));
        }
        let too_few = self.per_second_max.is_some_and(|events| events.is_nan() || events < 0.001);
        too_few.then_some(("per_second_max", "at least one event in a thousand seconds"))
    }
}

impl<T> Clone for EventLogSource<T> {
    fn clone(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), directory: self.directory.clone(), ..*self }
    }
}

impl<T> std::fmt::Debug for EventLogSource<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLogSource")
            .field("directory", &self.directory)
            .field("start", &self.start)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

impl Job {
    /// Adds a source that reads an event log; see [`EventLogSource`].
    pub fn event_log<T: Event + DeserializeOwned>(
        &self,
        name: impl Into<String>,
        source: EventLogSource<T>,
    ) -> Stream<T> {
        if let Some((option, reason)) = source.unfit_option() {
            self.graph.lock().refuse(option, reason.to_owned());
        }
        self.split_source(name, move || LogInstance::new(source.clone()))
    }
}
