//! The event log on the simulated disk: one job writes it, another reads it, and both run at the same time.
//!
//! ```text
//!   numbers ── by key ──▶ log (plain sink, an event log in "/log")
//!                              │
//!                              ▼
//!                         log (source) ──▶ files (transactional)
//! ```

use std::cell::Cell;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use streamwork::log::{EventLog, LogOptions, LogReader, Offset};
use streamwork::testkit::{Ended, History, SimulatedDisk, Simulation, explore};
use streamwork::{AtLeastOnce, BoxError, EventLogSource, ExactlyOnce, Instance, Job, Sink, Stream};

use crate::files::{committed, files_on};
use crate::histories::often;
use crate::oracle::{Counted, Event, Numbers};
use crate::tier;

const EVENTS: u64 = 40;
const LOG: &str = "/log";
const PARTITIONS: u32 = 2;

/// The records that the log has reported as durable, by partition, and violations of that; outside of all processes.
#[derive(Clone, Debug, Default)]
struct Promised {
    durable: Arc<Mutex<[Vec<Event>; PARTITIONS as usize]>>,
    broken: Arc<Mutex<Vec<String>>>,
}

/// Small segments and buffers, so that a short history writes out, rolls and repairs.
fn options() -> LogOptions {
    LogOptions {
        partitions: Some(PARTITIONS),
        segment_bytes: 400,
        buffer_bytes: 90,
        ..LogOptions::default()
    }
}

fn open(disk: &SimulatedDisk) -> Result<EventLog<Event>, BoxError> {
    Ok(EventLog::create_or_open_on(Arc::new(disk.clone()), LOG, options())?)
}

fn read_all(disk: &SimulatedDisk, partition: u32) -> Result<Vec<Event>, BoxError> {
    let mut reader = LogReader::<Event>::open_on(Arc::new(disk.clone()), LOG)?;
    let (mut next, mut records) = (Offset::ZERO, Vec::new());
    while next < reader.end(partition)? {
        next = reader.read(partition, next, 3, &mut records)?;
    }
    Ok(records.into_iter().map(|record| record.event).collect())
}

/// Appends to the log, and syncs events before they are acknowledged.
struct Append {
    disk: SimulatedDisk,
    promised: Promised,
    log: Option<EventLog<Event>>,
    /// Whether the log has failed since the last flush, and another was opened.
    has_lost: bool,
    /// The content of the log, if all appended records are there.
    appended: [Vec<Event>; PARTITIONS as usize],
}

impl Append {
    fn factory(
        disk: &SimulatedDisk,
        promised: &Promised,
    ) -> impl Fn() -> Self + Send + Sync + use<> {
        let (disk, promised) = (disk.clone(), promised.clone());
        move || Self {
            disk: disk.clone(),
            promised: promised.clone(),
            log: None,
            has_lost: false,
            appended: Default::default(),
        }
    }
}

impl Append {
    /// The log. If it has to be opened, it is checked: durable records must be there.
    fn log(&mut self) -> Result<&mut EventLog<Event>, BoxError> {
        if self.log.is_none() {
            let log = open(&self.disk)?;
            for partition in 0..PARTITIONS {
                let found = read_all(&self.disk, partition)?;
                let durable = &self.promised.durable.lock()[partition as usize];
                if !found.starts_with(durable) {
                    let broken = format!("{partition}: of {durable:?} there is {found:?}");
                    self.promised.broken.lock().push(broken);
                }
                self.appended[partition as usize] = found;
            }
            self.log = Some(log);
        }
        self.log.as_mut().ok_or_else(|| "it was just opened".into())
    }

    fn append(&mut self, event: Event) -> Result<(), BoxError> {
        let partition = (event.number / 2) % u64::from(PARTITIONS);
        let offset = self.log()?.append(partition as u32, 0, &event)?;
        let appended = &mut self.appended[partition as usize];
        assert_eq!(offset.get(), appended.len() as u64);
        appended.push(event);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), BoxError> {
        if mem::take(&mut self.has_lost) {
            return Err("events that were appended went with the log that has failed".into());
        }
        self.log()?.sync()?;
        self.promised.durable.lock().clone_from(&self.appended);
        Ok(())
    }

    /// A log that has failed writes nothing more, and events since its last sync may be lost.
    fn or_begin_anew(&mut self, done: Result<(), BoxError>) -> Result<(), BoxError> {
        done.inspect_err(|_| self.log = None)
    }
}

impl Sink for Append {
    type In = Event;

    fn setup(&mut self, _: &Instance) -> Result<(), BoxError> {
        self.log = None;
        self.log().map(drop)
    }

    fn write(&mut self, event: Event) -> Result<(), BoxError> {
        let appended = self.append(event);
        self.has_lost |= appended.is_err();
        self.or_begin_anew(appended)
    }

    fn flush(&mut self) -> Result<(), BoxError> {
        let synced = self.sync();
        self.or_begin_anew(synced)
    }
}

fn numbers(job: &Job) -> Stream<Event> {
    job.stateful_source("numbers", || Numbers::to(EVENTS))
}

fn from_log(job: &Job, disk: &SimulatedDisk) {
    let source = EventLogSource::<Event>::open_on(Arc::new(disk.clone()), LOG);
    let source = source.expect("there is a log").until_end();
    let read = job.event_log("read", source).parallelism(2);
    read.map(|event| (event, 0)).own_thread().transactional_sink("files", files_on(disk));
}

/// The events of the log that are in files.
fn in_files(disk: &SimulatedDisk) -> Vec<Event> {
    let mut events: Vec<_> = committed(disk).into_iter().map(|(event, _): Counted| event).collect();
    events.sort_by_key(|event| event.number);
    events
}

/// The content of the whole log, by number.
fn in_log(disk: &SimulatedDisk, history: &History) -> Vec<Event> {
    let read = |partition| read_all(disk, partition).unwrap_or_else(|e| panic!("{e}: {history}"));
    let mut events: Vec<_> = (0..PARTITIONS).flat_map(read).collect();
    events.sort_by_key(|event| event.number);
    events
}

fn assert_kept(promised: &Promised, disk: &SimulatedDisk, history: &History) {
    assert_eq!(*promised.broken.lock(), [""; 0], "{history}");
    for event in in_log(disk, history) {
        assert_eq!(event, Event::new(event.number), "{history}");
    }
}

#[test]
fn a_log_that_one_job_writes_and_another_reads_loses_and_repeats_nothing_on_the_way() {
    let test = "a_log_that_one_job_writes_and_another_reads_loses_and_repeats_nothing_on_the_way";
    let (began, first) = (Instant::now(), tier::seed(test));
    let histories = tier::times(500, 100_000);
    let (lives, repeated) = (Cell::new(0), Cell::new(0));
    explore(first..first + histories, |simulation: Simulation| {
        let (disk, promised) = (simulation.disk().clone(), Promised::default());
        let job = Job::new("writes");
        numbers(&job).own_thread().sink("append", Append::factory(&disk, &promised));
        let wrote = AtLeastOnce::new().store_in("/positions").every(often());
        let history = simulation.run(&job, wrote);
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        // Whoever wrote is gone, and of what was not durable any part may be too.
        disk.lose_power(history.seed);
        drop(open(&disk).unwrap_or_else(|error| panic!("{error}: {history}")));
        assert_kept(&promised, &disk, &history);
        let written = in_log(&disk, &history);
        for number in 0..EVENTS {
            assert!(written.contains(&Event::new(number)), "{number} is lost: {history}");
        }

        let job = Job::new("reads");
        from_log(&job, &disk);
        let read = ExactlyOnce::checkpoints_in("/checkpoints").every(often());
        let reading = simulation.run(&job, read);
        assert!(matches!(reading.ended, Ended::Finished(_)), "{reading}");
        assert_eq!(in_files(&disk), written, "{reading}");
        lives.set(lives.get() + history.lives + reading.lives);
        repeated.set(repeated.get() + written.len() as u64 - EVENTS);
    });
    assert!(u64::from(lives.get()) > 2 * histories, "a test that cannot fail: no process ended");
    assert!(repeated.get() > 0, "a test that cannot fail: nothing was appended twice");
    tier::report(4, test, histories, "histories", first, began.elapsed());
}

#[test]
fn what_a_job_has_read_of_a_log_that_is_being_written_never_vanishes_from_it() {
    let test = "what_a_job_has_read_of_a_log_that_is_being_written_never_vanishes_from_it";
    let (began, first) = (Instant::now(), tier::seed(test));
    let histories = tier::times(500, 100_000);
    let read_on = Cell::new(0);
    explore(first..first + histories, |simulation: Simulation| {
        let (disk, promised) = (simulation.disk().clone(), Promised::default());
        drop(open(&disk).expect("a new log"));
        let job = Job::new("both");
        numbers(&job).own_thread().sink("append", Append::factory(&disk, &promised));
        from_log(&job, &disk);
        let guarantee = ExactlyOnce::checkpoints_in("/checkpoints").every(often());
        let history = simulation.run(&job, guarantee);
        assert!(matches!(history.ended, Ended::Finished(_)), "{history}");
        assert_kept(&promised, &disk, &history);
        // Each process reads up to what the log held when it began.
        let (read, mut left) = (in_files(&disk), in_log(&disk, &history));
        for event in &read {
            let found = left.iter().position(|written| written == event);
            let found = found.unwrap_or_else(|| panic!("{event:?} was read too often: {history}"));
            left.remove(found);
        }
        read_on.set(read_on.get() + read.len());
    });
    assert!(read_on.get() > 0, "a test that cannot fail: nothing was read");
    tier::report(4, test, histories, "histories", first, began.elapsed());
}
