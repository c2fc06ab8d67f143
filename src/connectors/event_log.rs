//! A source that reads an event log; its state is one offset per partition.
//!
//! The partitions are dealt out to the source's instances: partition p is read by instance p modulo
//! their number. Events of one partition keep their order; between partitions there is none.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::api::collector::Collector;
use crate::api::event::Event;
use crate::api::instance::Instance;
use crate::api::source::{Next, StatefulSource};
use crate::delivery::options::LONGEST_WAIT;
use crate::error::BoxError;
use crate::job::Job;
use crate::job::stream::Stream;
use crate::log::{LogError, LogReader, Offset, Record};

/// Records taken from one partition before the next one has its turn.
const TURN: usize = 256;
/// The shortest pause of a source that is held back by [`EventLogSource::per_second_max`].
const PACE: Duration = Duration::from_millis(1);

/// Which event log a source reads, from where, and how far; given to [`Job::event_log`].
///
/// Rewindable: its state is the offset in each partition, so it serves every guarantee. By default
/// it starts at the first record that is there, follows the log for ever, and looks for new records
/// every 20 milliseconds while there are none.
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
    directory: PathBuf,
    start: Start,
    reach: Reach,
    poll_every: Duration,
    per_second_max: Option<f64>,
    event: PhantomData<fn() -> T>,
}

/// Where a partition is begun for which there is no state.
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
    /// The log in this directory, which must be there. The job opens it again at every start.
    ///
    /// # Errors
    /// [`LogError::NotALog`], or what else keeps it from being read.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LogError> {
        let directory = directory.into();
        LogReader::<T>::open(&directory)?;
        Ok(Self {
            directory,
            start: Start::Earliest,
            reach: Reach::Forever,
            poll_every: Duration::from_millis(20),
            per_second_max: None,
            event: PhantomData,
        })
    }

    /// Ends when it has read what the log holds at the start. A later run of the same job goes on
    /// from there, up to what the log holds by then.
    pub fn until_end(mut self) -> Self {
        self.reach = Reach::End;
        self
    }

    /// Starts at the first record whose time is this (milliseconds since the epoch) or later. Where
    /// there is a state, that counts instead.
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

    /// The option that has a value with which nothing would be read, and why.
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
        Self { directory: self.directory.clone(), ..*self }
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
            self.graph.borrow_mut().refuse(option, reason.to_owned());
        }
        self.stateful_source(name, move || LogInstance::new(source.clone()))
    }
}

/// One instance of the source.
struct LogInstance<T> {
    source: EventLogSource<T>,
    reader: Option<LogReader<T>>,
    lanes: Vec<Lane>,
    /// The lane whose turn it is.
    turn: usize,
    records: Vec<Record<T>>,
    started: Instant,
    emitted: u64,
}

/// One partition of this instance.
struct Lane {
    partition: u32,
    next: Offset,
    /// Where it is over, if it ever is.
    end: Option<Offset>,
}

impl Lane {
    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// How many records may be read at once.
    fn room(&self, wanted: usize) -> usize {
        let left = self.end.map_or(u64::MAX, |end| end.get().saturating_sub(self.next.get()));
        wanted.min(TURN).min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

impl<T: Event + DeserializeOwned> LogInstance<T> {
    fn new(source: EventLogSource<T>) -> Self {
        Self {
            source,
            reader: None,
            lanes: Vec::new(),
            turn: 0,
            records: Vec::new(),
            started: Instant::now(),
            emitted: 0,
        }
    }

    /// Events that may be emitted now, and when to ask again if there are none.
    fn allowance(&self, room: usize) -> (usize, Duration) {
        let Some(per_second) = self.source.per_second_max else { return (room, PACE) };
        let due = (self.started.elapsed().as_secs_f64() * per_second) as u64;
        let allowed = usize::try_from(due.saturating_sub(self.emitted)).unwrap_or(usize::MAX);
        (room.min(allowed), Duration::from_secs_f64(1.0 / per_second).max(PACE))
    }

    /// Emits what one partition has, at most this many; how many it were.
    fn read(
        &mut self,
        lane: usize,
        wanted: usize,
        out: &mut Collector<T>,
    ) -> Result<usize, BoxError> {
        let reader = self.reader.as_mut().ok_or("the event log is not open")?;
        let lane = &mut self.lanes[lane];
        let wanted = lane.room(wanted);
        if wanted > 0 {
            lane.next = reader.read(lane.partition, lane.next, wanted, &mut self.records)?;
        }
        let found = self.records.len();
        self.records.drain(..).for_each(|record| out.emit(record.event));
        self.emitted += found as u64;
        Ok(found)
    }
}

impl<T: Event + DeserializeOwned> StatefulSource for LogInstance<T> {
    type Out = T;
    type State = Vec<(u32, Offset)>;

    fn setup(&mut self, instance: &Instance, state: Option<Self::State>) -> Result<(), BoxError> {
        let mut reader = LogReader::open(&self.source.directory)?;
        let known = state.unwrap_or_default();
        for partition in (0..reader.partitions()).skip(instance.index()) {
            if partition as usize % instance.parallelism() != instance.index() {
                continue;
            }
            let next = match known.iter().find(|(known, _)| *known == partition) {
                Some((_, next)) => *next,
                None => match self.source.start {
                    Start::Earliest => reader.earliest(partition)?,
                    Start::Time { unix_ms } => reader.seek_to_time(partition, unix_ms)?,
                },
            };
            let end = match self.source.reach {
                Reach::End => Some(reader.end(partition)?),
                Reach::Forever => None,
            };
            self.lanes.push(Lane { partition, next, end });
        }
        self.reader = Some(reader);
        self.started = Instant::now();
        Ok(())
    }

    fn get_events(&mut self, out: &mut Collector<T>) -> Result<Next, BoxError> {
        let (mut room, pace) = self.allowance(out.room());
        if room == 0 && !self.lanes.iter().all(Lane::is_over) {
            return Ok(Next::After(pace));
        }
        let mut empty_handed = 0;
        while room > 0 && empty_handed < self.lanes.len() {
            let lane = self.turn;
            self.turn = (self.turn + 1) % self.lanes.len();
            let found = self.read(lane, room, out)?;
            room -= found;
            empty_handed = if found == 0 { empty_handed + 1 } else { 0 };
        }
        if self.lanes.iter().all(Lane::is_over) {
            return Ok(Next::End);
        }
        Ok(if empty_handed == 0 { Next::Now } else { Next::After(self.source.poll_every) })
    }

    fn state(&self) -> Self::State {
        self.lanes.iter().map(|lane| (lane.partition, lane.next)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{EventLog, LogOptions};
    use crate::testkit::check_source;

    #[test]
    fn a_log_is_read_on_from_any_offset_in_each_partition() {
        let directory = tempfile::tempdir().expect("a directory");
        let options = LogOptions { partitions: Some(2), ..LogOptions::default() };
        let mut log = EventLog::create_or_open(directory.path(), options).expect("a new log");
        for n in 0..300_u32 {
            log.append(n % 2, i64::from(n), &n).expect("a record is taken");
        }
        log.close().expect("the log is closed");
        let source = EventLogSource::<u32>::open(directory.path()).expect("the log is there");
        let source = source.until_end();
        let read = check_source(move || LogInstance::new(source.clone()), 2).expect("it is read");
        let every_other = |from| (from..300).step_by(2).collect::<Vec<u32>>();
        assert_eq!(read, [every_other(0), every_other(1)]);
    }
}
